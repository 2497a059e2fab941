//! The recipe of a build, as text: the versions to try, the content of the scratch module, the flags that stamp the
//! version.

use serde::Deserialize;

use crate::assets::version::KubernetesVersion;
use crate::kubernetes_minor::KubernetesMinor;

/// The module of Kubernetes itself.
pub(super) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";
/// The package of a component's command.
pub(super) fn kubernetes_package(component: &str) -> String {
    format!("{KUBERNETES_MODULE}/cmd/{component}")
}

/// The module of the simulated nodes.
pub(super) const KWOK_MODULE: &str = "sigs.k8s.io/kwok";
/// Its command.
pub(super) const KWOK_PACKAGE: &str = "sigs.k8s.io/kwok/cmd/kwok";

/// The module of the etcd server, which is also the command that is built.
pub(super) const ETCD_MODULE: &str = "go.etcd.io/etcd/server/v3";
/// The etcd that goes with every Kubernetes that kina builds: one version, so that snapshots and rewinds meet one
/// storage format.
pub(super) const ETCD_VERSION: &str = "v3.7.3";
/// The proxy may refuse what it lists; this many versions are tried before the source is given up.
const CANDIDATES_MAX: usize = 6;

/// The output of `go mod download -json` for a module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DownloadedModule {
    /// The reason why the module is not available.
    pub(super) error: Option<String>,
    /// The file with the module's `go.mod`.
    pub(super) go_mod: Option<String>,
    /// The file with the version's data.
    pub(super) info: Option<String>,
}

/// The output of `go list -m -versions -json` for a module.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedModule {
    #[serde(default)]
    versions: Vec<String>,
}

/// The proxy's data on a version.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VersionInfo {
    time: Option<String>,
    origin: Option<VersionOrigin>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct VersionOrigin {
    hash: Option<String>,
}

/// The versions of `minor` to try, newest first.
///
/// A proxy may serve a version that it does not list, so the patch that is known to build is always among them.
pub(super) fn candidates(listed: &ListedModule, minor: KubernetesMinor) -> Vec<KubernetesVersion> {
    let mut versions: Vec<KubernetesVersion> = listed
        .versions
        .iter()
        .filter_map(|version| version.strip_prefix('v')?.parse().ok())
        .filter(|version: &KubernetesVersion| version.is_of(minor))
        .chain(known_to_build(minor))
        .collect();
    versions.sort_unstable_by(|one, other| other.cmp(one));
    versions.dedup();
    if versions.len() > CANDIDATES_MAX {
        let known = versions.iter().position(|version| Some(*version) == known_to_build(minor));
        let last = known.filter(|position| *position >= CANDIDATES_MAX).map(|position| versions[position]);
        versions.truncate(CANDIDATES_MAX - usize::from(last.is_some()));
        versions.extend(last);
    }
    versions
}

/// The modules that Kubernetes keeps in its own tree, by the `go.mod` of the main module.
///
/// That file points them at directories which a module download does not have; each is published as a module of its
/// own.
pub(super) fn staging_modules(go_mod: &str) -> Vec<String> {
    go_mod
        .lines()
        .filter_map(|line| {
            let line = line.trim();
            let (module, target) = line.strip_prefix("replace ").unwrap_or(line).split_once(" => ")?;
            target.trim().starts_with("./staging/").then(|| module.trim().to_owned())
        })
        .collect()
}

/// The line `go 1.X.Y` of a `go.mod`.
pub(super) fn go_directive(go_mod: &str) -> Option<&str> {
    go_mod.lines().map(str::trim).find(|line| line.starts_with("go 1."))
}

/// The `go.mod` of the scratch module that Kubernetes is built in.
pub(super) fn kubernetes_go_mod(version: KubernetesVersion, go_mod: &str) -> Result<String, String> {
    let modules = staging_modules(go_mod);
    if modules.is_empty() {
        return Err(format!(
            "the go.mod of Kubernetes {version} names no module below ./staging, as all known versions do"
        ));
    }
    let go = go_directive(go_mod).ok_or_else(|| format!("the go.mod of Kubernetes {version} names no Go version"))?;
    let staging_version = format!("v0.{}.{}", version.minor_number(), version.patch_number());
    let mut text = format!("module kina.build/kubernetes\n\n{go}\n\nrequire {KUBERNETES_MODULE} v{version}\n\n");
    for module in modules {
        text.push_str(&format!("replace {module} => {module} {staging_version}\n"));
    }
    Ok(text)
}

/// The `go.mod` of the scratch module that `module` is built in, without anything that replaces its dependencies.
pub(super) fn plain_go_mod(name: &str, module: &str, version: &str, go_mod: &str) -> String {
    let go = go_directive(go_mod).unwrap_or("go 1.21");
    format!("module kina.build/{name}\n\n{go}\n\nrequire {module} {version}\n")
}

/// A source file that makes the scratch module need `packages`, without ever being compiled.
pub(super) fn tools_file(packages: &[&str]) -> String {
    let imports: String = packages.iter().map(|package| format!("import _ \"{package}\"\n")).collect();
    format!("//go:build tools\n\npackage tools\n\n{imports}")
}

/// The linker flags that make kube-apiserver report the version that it is.
pub(super) fn linker_flags(version: KubernetesVersion, info: &VersionInfo) -> String {
    let is_plain = |value: &&String| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b":-.+".contains(&byte));
    let minor = version.minor_number().to_string();
    let commit = info.origin.as_ref().and_then(|origin| origin.hash.as_ref()).filter(is_plain);
    let values = [
        ("gitVersion", Some(format!("v{version}"))),
        ("gitMajor", Some("1".to_owned())),
        ("gitMinor", Some(minor)),
        ("gitTreeState", Some("clean".to_owned())),
        ("gitCommit", commit.cloned()),
        ("buildDate", info.time.as_ref().filter(is_plain).cloned()),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .fold("-s -w".to_owned(), |flags, (name, value)| {
            format!("{flags} -X k8s.io/component-base/version.{name}={value}")
        })
}

/// The newest patch of each minor that was seen to build.
fn known_to_build(minor: KubernetesMinor) -> Option<KubernetesVersion> {
    let patch = match minor.number() {
        33 => 13,
        34 | 35 => 4,
        36 => 3,
        37 => 1,
        _ => return None,
    };
    Some(KubernetesVersion::new(minor, patch))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(versions: &[&str]) -> ListedModule {
        ListedModule { versions: versions.iter().map(|version| (*version).to_owned()).collect() }
    }

    fn candidates_of(versions: &[&str]) -> Vec<String> {
        candidates(&listed(versions), KubernetesMinor::DEFAULT).iter().map(ToString::to_string).collect()
    }

    const GO_MOD: &str = "
module k8s.io/kubernetes

go 1.26.0

godebug default=go1.26

require (
\tk8s.io/api v0.0.0
\tk8s.io/utils v0.0.0-20260108192941-914a6e750570
)

replace (
\tk8s.io/api => ./staging/src/k8s.io/api
\tk8s.io/client-go => ./staging/src/k8s.io/client-go
\texample.com/fork => example.com/other v1.0.0
)

replace k8s.io/metrics => ./staging/src/k8s.io/metrics
";

    #[test]
    fn candidates_are_released_patches_of_the_minor_newest_first() {
        assert_eq!(
            candidates_of(&["v1.37.2", "v1.36.9", "v1.37.10", "v1.37.11-rc.0", "v1.37.1"]),
            ["1.37.10", "1.37.2", "1.37.1"]
        );
    }

    #[test]
    fn the_patch_that_is_known_to_build_is_tried_listed_or_not() {
        assert_eq!(candidates_of(&[]), ["1.37.1"]);
        assert_eq!(candidates_of(&["v1.36.3"]), ["1.37.1"]);
        let many: Vec<String> = (0..30).map(|patch| format!("v1.37.{patch}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(candidates_of(&many), ["1.37.29", "1.37.28", "1.37.27", "1.37.26", "1.37.25", "1.37.1"]);
        for minor in KubernetesMinor::KNOWN {
            assert_eq!(candidates(&listed(&[]), minor).len(), 1, "{minor}");
        }
    }

    #[test]
    fn the_scratch_module_points_every_staging_module_at_its_published_one() {
        let version = "1.37.1".parse().expect("version");
        assert_eq!(
            kubernetes_go_mod(version, GO_MOD).expect("go.mod"),
            "module kina.build/kubernetes\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.37.1\n\n\
             replace k8s.io/api => k8s.io/api v0.37.1\n\
             replace k8s.io/client-go => k8s.io/client-go v0.37.1\n\
             replace k8s.io/metrics => k8s.io/metrics v0.37.1\n"
        );
    }

    #[test]
    fn a_go_mod_of_an_unknown_shape_is_refused() {
        let version = "1.37.1".parse().expect("version");
        assert!(kubernetes_go_mod(version, "module k8s.io/kubernetes\n\ngo 1.26.0\n").is_err());
        assert!(kubernetes_go_mod(version, "replace k8s.io/api => ./staging/src/k8s.io/api\n").is_err());
    }

    #[test]
    fn the_linker_flags_stamp_what_is_known_and_nothing_else() {
        let version = "1.37.1".parse().expect("version");
        let info = |text: &str| serde_json::from_str::<VersionInfo>(text).expect("info");
        let prefix = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.1 \
                      -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37 \
                      -X k8s.io/component-base/version.gitTreeState=clean";
        assert_eq!(linker_flags(version, &VersionInfo::default()), prefix);
        let full =
            info(r#"{"Version":"v1.37.1","Time":"2026-09-23T17:06:22Z","Origin":{"VCS":"git","Hash":"abc123"}}"#);
        assert_eq!(
            linker_flags(version, &full),
            format!(
                "{prefix} -X k8s.io/component-base/version.gitCommit=abc123 \
                 -X k8s.io/component-base/version.buildDate=2026-09-23T17:06:22Z"
            )
        );
        let hostile = info(r#"{"Time":"now -extld=/bin/sh","Origin":{"Hash":"a b"}}"#);
        assert_eq!(linker_flags(version, &hostile), prefix);
    }
}
