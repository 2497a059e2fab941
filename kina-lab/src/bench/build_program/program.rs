//! The package with the program in a commit, and its builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use kina_engine::lab::{process_time, search_path};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::process::Command;

use super::super::packages::last_lines;
use super::worktree::Worktree;

/// The program of users.
pub(super) const NAME: &str = "cargo-kina";
/// A build of everything takes minutes.
const BUILD_TIMEOUT: Duration = Duration::from_secs(3600);
/// Time for killed compilers to end.
const END_OF_COMPILERS: Duration = Duration::from_millis(200);

/// The program in one commit.
pub(super) struct Program {
    worktree: Worktree,
    cargo: PathBuf,
    target_directory: PathBuf,
    profile: String,
    target: Target,
    own_packages: Vec<String>,
}

/// The package that has the program, and the features that the program requires.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    package: String,
    features: Vec<String>,
}

/// Cargo's description of a workspace.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    targets: Vec<PackageTarget>,
}

#[derive(Deserialize)]
struct PackageTarget {
    name: String,
    kind: Vec<String>,
    #[serde(rename = "required-features", default)]
    required_features: Vec<String>,
}

/// A running build, whose compilers end with it.
struct Group(Pid);

impl Program {
    /// Finds the program in a commit, and has everything downloaded that its build needs.
    pub(super) async fn find(worktree: Worktree, target_directory: &Path, profile: &str) -> anyhow::Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let cargo = search_path::resolve(Path::new(&cargo), &search_path::of_this_process())?;
        let mut program = Self {
            worktree,
            cargo,
            target_directory: target_directory.to_owned(),
            profile: profile.to_owned(),
            target: Target { package: String::new(), features: Vec::new() },
            own_packages: Vec::new(),
        };
        program.run(&["fetch", "--locked"]).await?;
        let metadata = program.run(&["metadata", "--no-deps", "--format-version", "1", "--locked"]).await?;
        let metadata: Metadata = serde_json::from_slice(&metadata).context("cargo's metadata cannot be read")?;
        let target = target_in(&metadata).with_context(|| format!("no package of {} has {NAME}", program.commit()))?;
        program.own_packages = metadata.packages.into_iter().map(|package| package.name).collect();
        program.target = target;
        Ok(program)
    }

    pub(super) fn commit(&self) -> &str {
        self.worktree.commit()
    }

    pub(super) fn package(&self) -> &str {
        &self.target.package
    }

    pub(super) fn features(&self) -> &[String] {
        &self.target.features
    }

    /// Builds everything from nothing, and returns the processor time in seconds.
    pub(super) async fn build_everything(&self) -> anyhow::Result<f64> {
        if self.target_directory.exists() {
            std::fs::remove_dir_all(&self.target_directory)
                .with_context(|| format!("removing {} failed", self.target_directory.display()))?;
        }
        self.build().await
    }

    /// Builds the workspace's own packages again, and returns the processor time in seconds.
    pub(super) async fn build_own(&self) -> anyhow::Result<f64> {
        let mut clean = vec!["clean", "--locked", "--profile", &self.profile];
        clean.extend(self.own_packages.iter().flat_map(|name| ["--package", name.as_str()]));
        self.run(&clean).await?;
        self.build().await
    }

    async fn build(&self) -> anyhow::Result<f64> {
        let features = self.target.features.join(",");
        let mut arguments = vec!["build", "--locked", "--offline", "--quiet", "--profile", &self.profile];
        arguments.extend(["--package", &self.target.package, "--bin", NAME, "--features", &features]);
        let before = used_seconds()?;
        self.run(&arguments).await?;
        Ok(used_seconds()? - before)
    }

    /// Runs cargo, and returns its output.
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(&self.cargo);
        command
            .args(arguments)
            .current_dir(self.worktree.path())
            .env("CARGO_TARGET_DIR", &self.target_directory)
            .env("CARGO_INCREMENTAL", "0")
            // A cache of a compiler's results would be measured instead of the compiler.
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().context("starting cargo failed")?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).map(Group);
        let output = tokio::time::timeout(BUILD_TIMEOUT, child.wait_with_output());
        let output = output.await.with_context(|| format!("cargo took more than {BUILD_TIMEOUT:?}"))??;
        // It has ended, and its number may soon be another's.
        std::mem::forget(group);
        if !output.status.success() {
            bail!(
                "cargo {} failed ({}) at {}:\n{}",
                arguments.join(" "),
                output.status,
                self.commit(),
                last_lines(&output.stderr)
            );
        }
        Ok(output.stdout)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
        // They end a moment after the signal, and their directory is removed next.
        std::thread::sleep(END_OF_COMPILERS);
    }
}

/// The processor time of all children of this process so far.
fn used_seconds() -> anyhow::Result<f64> {
    let used = process_time::of_this_process().context("this system does not report processor time: use Linux")?;
    Ok(used.ended_children.as_secs_f64())
}

fn target_in(metadata: &Metadata) -> Option<Target> {
    let targets =
        metadata.packages.iter().flat_map(|package| package.targets.iter().map(move |target| (package, target)));
    let is_program = |target: &PackageTarget| target.name == NAME && target.kind.iter().any(|kind| kind == "bin");
    let (package, target) = targets.into_iter().find(|(_, target)| is_program(target))?;
    Some(Target { package: package.name.clone(), features: target.required_features.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<Target> {
        target_in(&serde_json::from_str(text).expect("understood"))
    }

    #[test]
    fn the_program_is_found_in_either_package() {
        let in_engine = r#"{"packages": [{"name": "kina-engine", "targets": [{"name": "kina_engine", "kind": ["lib"]},
            {"name": "cargo-kina", "kind": ["bin"], "required-features": ["cli"]}]}]}"#;
        let engine = Target { package: "kina-engine".to_owned(), features: vec!["cli".to_owned()] };
        assert_eq!(found(in_engine), Some(engine));
        let own = r#"{"packages": [{"name": "kina-engine", "targets": [{"name": "kina_engine", "kind": ["lib"]}]},
            {"name": "cargo-kina", "targets": [{"name": "cargo_kina", "kind": ["lib"]}, {"name": "cargo-kina", "kind": ["bin"]}]}]}"#;
        let program = Target { package: "cargo-kina".to_owned(), features: Vec::new() };
        assert_eq!(found(own), Some(program));
        assert_eq!(found(r#"{"packages": []}"#), None);
    }
}
