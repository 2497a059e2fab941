//! The package with the program in a commit, and its builds.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

use super::super::cargo::Cargo;
use super::worktree::Worktree;

/// The program of users.
pub(super) const NAME: &str = "cargo-kina";

/// The program in one commit.
pub(super) struct Program {
    worktree: Worktree,
    cargo: Cargo,
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

impl Program {
    /// Finds the program in a commit, and has everything downloaded that its build needs.
    pub(super) async fn find(worktree: Worktree, target_directory: &Path, profile: &str) -> anyhow::Result<Self> {
        let cargo = Cargo::find(worktree.path(), target_directory)?;
        let mut program = Self {
            worktree,
            cargo,
            profile: profile.to_owned(),
            target: Target { package: String::new(), features: Vec::new() },
            own_packages: Vec::new(),
        };
        program.cargo.run(&["fetch", "--locked"]).await?;
        let metadata = program.cargo.run(&["metadata", "--no-deps", "--format-version", "1", "--locked"]).await?;
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
        self.cargo.forget_builds()?;
        self.build().await
    }

    /// Builds the workspace's own packages again, and returns the processor time in seconds.
    pub(super) async fn build_own(&self) -> anyhow::Result<f64> {
        let mut clean = vec!["clean", "--locked", "--profile", &self.profile];
        clean.extend(self.own_packages.iter().flat_map(|name| ["--package", name.as_str()]));
        self.cargo.run(&clean).await?;
        self.build().await
    }

    async fn build(&self) -> anyhow::Result<f64> {
        let features = self.target.features.join(",");
        let mut arguments = vec!["build", "--locked", "--offline", "--quiet", "--profile", &self.profile];
        arguments.extend(["--package", &self.target.package, "--bin", NAME, "--features", &features]);
        self.cargo.run_timed(&arguments).await
    }
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
