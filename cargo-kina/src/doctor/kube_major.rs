//! The kube of the workspace, and the feature of kina-test that fits it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use toml_span::Value;

use super::check::{Check, Section};

const SECTION: Section = Section("workspace");
const NAME: &str = "kube";
/// The majors that kina knows: the first number of kube, the second of the k8s-openapi that belongs to it, and the feature.
const MAJORS: [(u64, u64, &str); 3] = [(3, 27, "kube3"), (4, 28, "kube4"), (5, 29, "kube5")];
/// A larger file is no `Cargo.lock`.
const LOCK_BYTES_MAX: u64 = 64 << 20;

/// Makes the check for the workspace that this directory is in.
pub(super) fn examine(directory: &Path) -> Vec<Check> {
    let Some(path) = directory.ancestors().map(|above| above.join("Cargo.lock")).find(|path| path.is_file()) else {
        return vec![SECTION.skipped(NAME, "no Cargo.lock is in this directory or above")];
    };
    vec![match read(&path) {
        Ok(packages) => fits(&packages),
        Err(cause) => SECTION.warning(
            NAME,
            format!("{} cannot be read: {cause}", path.display()),
            "the feature of kina-test that fits the workspace's kube is not known",
            "cargo generate-lockfile",
        ),
    }]
}

/// A package of the workspace or one that it depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    version: String,
    /// Each with its version if there are several of its name.
    dependencies: Vec<String>,
}

/// The versions that a package depends on: of kube by their first number, of k8s-openapi by their second.
#[derive(Debug, Default)]
struct Used {
    kube: BTreeSet<u64>,
    openapi: BTreeSet<u64>,
}

fn read(path: &PathBuf) -> Result<Vec<Package>, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if LOCK_BYTES_MAX < length {
        return Err(format!("it has {length} bytes"));
    }
    parse(&std::fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn parse(text: &str) -> Result<Vec<Package>, String> {
    let document = toml_span::parse(text).map_err(|error| error.to_string())?;
    let packages = document.pointer("/package").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |package: &Value<'_>, field: &str| package.pointer(field).and_then(Value::as_str).map(str::to_owned);
    Ok(packages
        .iter()
        .filter_map(|package| {
            let dependencies = package.pointer("/dependencies").and_then(Value::as_array);
            let dependencies = dependencies.map(Vec::as_slice).unwrap_or_default().iter();
            Some(Package {
                name: text(package, "/name")?,
                version: text(package, "/version")?,
                dependencies: dependencies.filter_map(|name| name.as_str().map(str::to_owned)).collect(),
            })
        })
        .collect())
}

/// Compares the versions that the users' packages depend on with those of kina-test.
fn fits(packages: &[Package]) -> Check {
    let (mut users, mut kina) = (Used::default(), None);
    for package in packages {
        match package.name.as_str() {
            "kina-test" => kina.get_or_insert_with(Used::default).add(package, packages),
            // The parts of kube depend on k8s-openapi themselves.
            name if name == "kube" || name.starts_with("kube-") || name.starts_with("kina-") => {}
            _ => users.add(package, packages),
        }
    }
    if users.kube.is_empty() {
        return SECTION.ok(NAME, "no package here depends on kube: kina-test works without its features for kube");
    }
    let known = |major: &u64| MAJORS.iter().find(|(kube, ..)| kube == major);
    let features: Vec<&str> = users.kube.iter().filter_map(known).map(|(_, _, feature)| *feature).collect();
    let line = format!(
        "kina-test = {{ version = \"0.1\", default-features = false, features = [\"cel\", \"embedded\", {}\"webhook\"] }}",
        features.iter().map(|feature| format!("\"{feature}\", ")).collect::<String>()
    );
    for major in &users.kube {
        let Some((_, openapi, feature)) = known(major) else {
            return SECTION.warning(
                NAME,
                format!("a package here depends on kube {major}, which kina-test has no feature for"),
                "tests cannot take its types as arguments; a client made from the kubeconfig of `kina::Cluster` works",
                line,
            );
        };
        if !users.openapi.is_empty() && !users.openapi.contains(openapi) {
            let found: Vec<String> = users.openapi.iter().map(|minor| format!("0.{minor}")).collect();
            return SECTION.wrong(
                NAME,
                format!(
                    "kube {major} goes with k8s-openapi 0.{openapi}, and the packages here depend on {}",
                    found.join(", ")
                ),
                "the types of the one are not those of the other, so nothing of them compiles together",
                format!("k8s-openapi = {{ version = \"0.{openapi}\", features = [\"latest\"] }}"),
            );
        }
        if kina.as_ref().is_some_and(|kina| !kina.kube.contains(major)) {
            return SECTION.wrong(
                NAME,
                format!("a package here depends on kube {major}, and kina-test has its feature `{feature}` off"),
                "a test that takes a type of kube as an argument does not compile",
                line,
            );
        }
    }
    let numbers: Vec<String> = users.kube.iter().map(|major| format!("kube {major}")).collect();
    SECTION.ok(NAME, format!("{}: the fitting features of kina-test are {}", numbers.join(", "), features.join(", ")))
}

impl Used {
    fn add(&mut self, package: &Package, packages: &[Package]) {
        for dependency in &package.dependencies {
            let mut words = dependency.split(' ');
            let name = words.next().unwrap_or_default();
            let one = || packages.iter().find(|package| package.name == name).map(|package| package.version.as_str());
            let Some(version) = words.next().or_else(one) else { continue };
            let mut numbers = version.split('.').map(|number| number.parse::<u64>().unwrap_or(0));
            match (name, numbers.next(), numbers.next()) {
                ("kube" | "kube-client" | "kube-core" | "kube-runtime", Some(major), _) if 0 < major => {
                    self.kube.insert(major);
                }
                ("k8s-openapi", _, Some(minor)) => {
                    self.openapi.insert(minor);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    fn lock(kube: &str, openapi: &str, of_kina: Option<&str>) -> Vec<Package> {
        let package = |name: &str, version: &str, dependencies: &str| {
            let listed: String =
                dependencies.split(';').filter(|one| !one.is_empty()).map(|one| format!("\"{one}\",")).collect();
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\ndependencies = [{listed}]\n")
        };
        let mut text = package("shop", "0.1.0", &format!("kube {kube};k8s-openapi"));
        text += &package("kube", kube, "kube-client");
        text += &package("kube-client", kube, "k8s-openapi");
        text += &package("k8s-openapi", openapi, "");
        if let Some(kube) = of_kina {
            text += &package("kube", kube, "");
            text += &package("kina-test", "0.1.0", &format!("kube {kube}"));
        }
        parse(&text).expect("a lock file")
    }

    #[test]
    fn the_feature_is_that_of_the_users_kube() {
        for (packages, outcome, found) in [
            (lock("4.2.0", "0.28.0", None), CheckOutcome::Ok, "kube4"),
            (lock("5.0.0", "0.29.0", Some("5.0.0")), CheckOutcome::Ok, "kube5"),
            (lock("3.1.0", "0.27.1", Some("5.0.0")), CheckOutcome::Wrong, "`kube3` off"),
            (lock("4.2.0", "0.29.0", None), CheckOutcome::Wrong, "goes with k8s-openapi 0.28"),
            (lock("2.0.1", "0.26.0", None), CheckOutcome::Warning, "kube 2"),
            (Vec::new(), CheckOutcome::Ok, "no package"),
        ] {
            let check = fits(&packages);
            assert!(check.outcome == outcome && check.found.contains(found), "{check:?}");
        }
    }

    #[test]
    fn the_repair_is_the_line_to_write() {
        let check = fits(&lock("3.1.0", "0.27.1", Some("5.0.0")));
        assert_eq!(
            check.repair.as_deref(),
            Some(
                "kina-test = { version = \"0.1\", default-features = false, features = [\"cel\", \"embedded\", \"kube3\", \
                 \"webhook\"] }"
            )
        );
    }

    #[test]
    fn a_directory_without_a_lock_file_is_skipped_and_a_broken_one_is_named() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let lock = directory.path().join("Cargo.lock");
        std::fs::write(&lock, "[[package").expect("written");
        let checks = examine(&directory.path().join("inner"));
        assert_eq!(checks[0].outcome, CheckOutcome::Warning, "{checks:?}");
        std::fs::write(&lock, "version = 4").expect("written");
        assert_eq!(examine(directory.path())[0].outcome, CheckOutcome::Ok);
    }
}
