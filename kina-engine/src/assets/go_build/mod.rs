//! The build from Go modules: for networks where no release can be downloaded but a module proxy can be reached.

mod command;
mod recipe;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::command::{Go, GoError, Step};
use self::recipe::{DownloadedModule, ListedModule, VersionInfo};
use super::binaries::{KWOK, KWOK_VERSION};
use super::error::{AssetsError, SourceFailure};
use super::request::AssetRequest;
use super::store::StoreLock;
use super::{Progress, Report};
use crate::assets::version::KubernetesVersion;
use crate::backoff::Backoff;
use crate::kubernetes_minor::OLDEST_GO;

const APISERVER: &str = "kube-apiserver";

/// A scratch module whose dependencies are all at hand.
struct Prepared {
    version: KubernetesVersion,
    linker_flags: String,
}

/// The output of `go env -json`.
#[derive(Deserialize)]
struct GoEnvironment {
    #[serde(rename = "GOFLAGS", default)]
    flags: String,
    #[serde(rename = "GOVERSION", default)]
    version: String,
}

/// Builds the newest available patch of the wanted minor into the store.
pub(super) fn build(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    report: &Report<'_>,
) -> Result<KubernetesVersion, SourceFailure> {
    let staging = lock.staging()?;
    let directory = |name: &str| directory(staging.path(), name);
    let (temporary, kubernetes, etcd) = (directory("tmp")?, directory("kubernetes")?, directory("etcd")?);
    let binaries = directory("binaries")?;
    let mut workshop = Workshop::new(request, report, &temporary)?;
    workshop.set_up(&kubernetes)?;
    workshop.prepare_module("etcd", recipe::ETCD_MODULE, recipe::ETCD_VERSION, recipe::ETCD_MODULE, &etcd)?;
    let prepared = workshop.prepare_kubernetes(&kubernetes)?;
    workshop.compile(
        &format!("building etcd {} with Go (about 1 minute, once)", recipe::ETCD_VERSION.trim_start_matches('v')),
        &etcd,
        "-s -w",
        &binaries.join("etcd"),
        recipe::ETCD_MODULE,
    )?;
    workshop.compile(
        &format!("building kube-apiserver {} with Go (about 5 minutes, once)", prepared.version),
        &kubernetes,
        &prepared.linker_flags,
        &binaries.join("kube-apiserver"),
        &recipe::kubernetes_package(APISERVER),
    )?;
    lock.publish(&binaries, prepared.version)?;
    Ok(prepared.version)
}

/// Builds `components` of exactly this version of Kubernetes into the store.
pub(super) fn build_components(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    version: KubernetesVersion,
    components: &[&str],
    report: &Report<'_>,
) -> Result<(), SourceFailure> {
    let staging = lock.staging()?;
    let (temporary, kubernetes) = (directory(staging.path(), "tmp")?, directory(staging.path(), "kubernetes")?);
    let mut workshop = Workshop::new(request, report, &temporary)?;
    workshop.set_up(&kubernetes)?;
    let packages: Vec<String> = components.iter().map(|component| recipe::kubernetes_package(component)).collect();
    let packages: Vec<&str> = packages.iter().map(String::as_str).collect();
    let prepared = workshop.prepare_version(version, &packages, &kubernetes)?;
    for (component, package) in components.iter().zip(packages) {
        let output = staging.path().join(component);
        workshop.compile(
            &format!("building {component} {version} with Go (about 2 minutes, once)"),
            &kubernetes,
            &prepared.linker_flags,
            &output,
            package,
        )?;
        lock.add(&output, component, version)?;
    }
    Ok(())
}

/// Builds the program that simulates nodes into the store.
pub(super) fn build_kwok(
    request: &AssetRequest,
    lock: &StoreLock<'_>,
    report: &Report<'_>,
) -> Result<(), SourceFailure> {
    let staging = lock.staging()?;
    let (temporary, kwok) = (directory(staging.path(), "tmp")?, directory(staging.path(), "kwok")?);
    let mut workshop = Workshop::new(request, report, &temporary)?;
    workshop.set_up(&kwok)?;
    let version = format!("v{KWOK_VERSION}");
    workshop.prepare_module(KWOK, recipe::KWOK_MODULE, &version, recipe::KWOK_PACKAGE, &kwok)?;
    let output = staging.path().join("kwok-program");
    let text = format!("building kwok {KWOK_VERSION} with Go (about 1 minute, once)");
    workshop.compile(&text, &kwok, "-s -w", &output, recipe::KWOK_PACKAGE)?;
    Ok(lock.add_kwok(&output)?)
}

fn directory(staging: &Path, name: &str) -> Result<PathBuf, AssetsError> {
    let path = staging.join(name);
    std::fs::create_dir(&path).map_err(|error| AssetsError::store("create", &path, error))?;
    Ok(path)
}

/// The `go` program and the parameters that its steps share.
struct Workshop<'a> {
    request: &'a AssetRequest,
    report: &'a Report<'a>,
    go: Go<'a>,
}

impl<'a> Workshop<'a> {
    fn new(request: &'a AssetRequest, report: &'a Report<'a>, temporary: &Path) -> Result<Self, SourceFailure> {
        match request.go_programs.iter().find(|program| is_executable(program)) {
            Some(program) => Ok(Self { request, report, go: Go::new(request, report, program.clone(), temporary) }),
            None => Err(SourceFailure::Answered(
                "there is no `go` program in the absolute entries of PATH, in GOROOT or in the usual places".to_owned(),
            )),
        }
    }

    /// Checks the program, and lets modules be resolved regardless of the user's own flags.
    fn set_up(&mut self, directory: &Path) -> Result<(), SourceFailure> {
        write(directory, "go.mod", "module kina.build/kubernetes\n")?;
        let arguments = ["env", "-json", "GOFLAGS", "GOVERSION"];
        let environment: GoEnvironment = self.query("looking at the `go` program", &arguments, directory)?;
        let minor =
            environment.version.strip_prefix("go1.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        // From this one on a `go` program fetches the newer one that a module asks for, or says clearly that it may
        // not.
        if minor.is_some_and(|minor| minor < 21) {
            return Err(SourceFailure::Answered(format!(
                "`{}` is {}, which is too old; Kubernetes {} needs Go {OLDEST_GO}",
                self.go.program().display(),
                environment.version,
                self.request.minor
            )));
        }
        self.go.set("GOFLAGS", format!("{} -mod=mod", environment.flags).trim_start().into());
        Ok(())
    }

    /// Prepares a module that depends on published ones only.
    fn prepare_module(
        &self,
        name: &str,
        module: &str,
        version: &str,
        package: &str,
        directory: &Path,
    ) -> Result<(), SourceFailure> {
        write(directory, "go.mod", &format!("module kina.build/{name}\n"))?;
        let downloaded = self.download(module, version, directory)?;
        write(directory, "go.mod", &recipe::plain_go_mod(name, module, version, &read(downloaded.go_mod)?))?;
        write(directory, "tools.go", &recipe::tools_file(&[package]))?;
        self.tidy(name, directory)
    }

    /// Prepares the newest patch that the module proxy serves; it may refuse what it lists.
    fn prepare_kubernetes(&self, directory: &Path) -> Result<Prepared, SourceFailure> {
        let arguments = ["list", "-m", "-versions", "-json", recipe::KUBERNETES_MODULE];
        let text = format!("asking the Go module proxy for Kubernetes {}", self.request.minor);
        let listed: Result<ListedModule, _> = self.query(&text, &arguments, directory);
        let mut problems = Vec::new();
        let listed = match listed {
            Err(SourceFailure::Answered(problem)) => {
                problems.push(problem);
                ListedModule::default()
            }
            other => other?,
        };
        for version in recipe::candidates(&listed, self.request.minor) {
            match self.prepare_version(version, &[&recipe::kubernetes_package(APISERVER)], directory) {
                Err(SourceFailure::Answered(problem)) => {
                    (self.report)(Progress::new(format!(
                        "Kubernetes {version} cannot be had from Go modules: {problem}"
                    )));
                    problems.push(format!("{version}: {problem}"));
                }
                other => return other,
            }
        }
        Err(SourceFailure::Answered(problems.join("; ")))
    }

    fn prepare_version(
        &self,
        version: KubernetesVersion,
        packages: &[&str],
        directory: &Path,
    ) -> Result<Prepared, SourceFailure> {
        write(directory, "go.mod", "module kina.build/kubernetes\n")?;
        let module = self.download(recipe::KUBERNETES_MODULE, &format!("v{version}"), directory)?;
        let go_mod = recipe::kubernetes_go_mod(version, &read(module.go_mod)?).map_err(SourceFailure::Answered)?;
        write(directory, "go.mod", &go_mod)?;
        write(directory, "tools.go", &recipe::tools_file(packages))?;
        self.tidy(&format!("Kubernetes {version}"), directory)?;
        // The proxy's other data only decorate the version that the server reports.
        let info: VersionInfo =
            read(module.info).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        Ok(Prepared { version, linker_flags: recipe::linker_flags(version, &info) })
    }

    fn download(&self, module: &str, version: &str, directory: &Path) -> Result<DownloadedModule, SourceFailure> {
        let text = format!("downloading the Go module {module} {version}");
        let query = format!("{module}@{version}");
        let arguments = ["mod", "download", "-json", &query];
        let step =
            Step { text: &text, arguments: &arguments, directory, timeout: self.request.limits.go_query_timeout };
        (self.report)(Progress::new(text.clone()));
        let downloaded: DownloadedModule = self.retried(&text, || {
            let outcome = self.go.outcome(&step)?;
            let parsed: Result<DownloadedModule, _> = serde_json::from_slice(&outcome.stdout);
            match parsed {
                // The reason is in the answer, in a field of its own.
                Ok(DownloadedModule { error: Some(said), .. }) => {
                    Err(GoError::Failed { command: outcome.command, status: outcome.status, said })
                }
                Ok(module) if outcome.status.success() => Ok(module),
                _ if !outcome.status.success() => {
                    Err(GoError::Failed { command: outcome.command, status: outcome.status, said: outcome.said })
                }
                Ok(module) => Ok(module),
                Err(source) => Err(GoError::Answer { command: outcome.command, source }),
            }
        })?;
        Ok(downloaded)
    }

    fn tidy(&self, what: &str, directory: &Path) -> Result<(), SourceFailure> {
        let text = format!("downloading the Go modules that {what} is made of");
        let timeout = self.request.limits.go_query_timeout;
        (self.report)(Progress::new(text.clone()));
        let step = Step { text: &text, arguments: &["mod", "tidy"], directory, timeout };
        self.retried(&text, || self.go.run(&step)).map(drop)
    }

    fn compile(
        &self,
        text: &str,
        directory: &Path,
        linker_flags: &str,
        output: &Path,
        package: &str,
    ) -> Result<(), SourceFailure> {
        (self.report)(Progress::new(text.to_owned()));
        let output = output.to_str().ok_or_else(|| {
            SourceFailure::Answered(format!("the path `{}` of the cache is not valid UTF-8", output.display()))
        })?;
        let arguments = ["build", "-trimpath", "-buildvcs=false", "-ldflags", linker_flags, "-o", output, package];
        let timeout = self.request.limits.go_build_timeout;
        let step = Step { text, arguments: &arguments, directory, timeout };
        self.go.run(&step).map(drop).map_err(|error| self.failure(&error))
    }

    fn query<T: DeserializeOwned>(&self, text: &str, arguments: &[&str], directory: &Path) -> Result<T, SourceFailure> {
        (self.report)(Progress::new(text.to_owned()));
        let step = Step { text, arguments, directory, timeout: self.request.limits.go_query_timeout };
        let stdout = self.retried(text, || self.go.run(&step))?;
        serde_json::from_slice(&stdout).map_err(|source| {
            SourceFailure::answered(&GoError::Answer { command: format!("go {}", arguments.join(" ")), source })
        })
    }

    /// Runs a step that needs the network, again if it failed in passing.
    fn retried<T>(&self, text: &str, step: impl FnMut() -> Result<T, GoError>) -> Result<T, SourceFailure> {
        Backoff::NETWORK
            .with_retries_max(self.request.limits.retries_max)
            .with_elapsed_max(self.request.limits.go_query_timeout)
            .run_blocking(
                step,
                |error| error.is_transient() && !self.request.is_cancelled(),
                |error, pause| {
                    let error = crate::error_text::with_causes(error);
                    let text = format!("{text}: {error}; trying again in {} ms", pause.as_millis());
                    (self.report)(Progress::new(text));
                },
            )
            .map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &GoError) -> SourceFailure {
        match error {
            GoError::Cancelled => AssetsError::Cancelled { minor: self.request.minor }.into(),
            error => SourceFailure::answered(error),
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> Result<(), SourceFailure> {
    let path = directory.join(name);
    std::fs::write(&path, text).map_err(|error| AssetsError::store("write", &path, error).into())
}

/// Reads a file of the module cache that `go` has named.
fn read(path: Option<String>) -> Result<String, SourceFailure> {
    let path = path.ok_or_else(|| SourceFailure::Answered("`go` did not say where the module is".to_owned()))?;
    std::fs::read_to_string(&path).map_err(|error| SourceFailure::Answered(format!("cannot read `{path}`: {error}")))
}

fn is_executable(program: &Path) -> bool {
    program.is_file() && rustix::fs::access(program, rustix::fs::Access::EXEC_OK).is_ok()
}
