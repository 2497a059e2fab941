//! Clusters that other programs make: from the first command to the answer of the first list.
//!
//! Each gets a name that only this process uses and a kubeconfig file of its own, so that nothing of the user's is
//! touched, and is deleted in any case.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::process::Command;

use super::super::packages::{find_program, last_lines};
use super::{Sample, since_ms};

/// Some pull their image the first time.
const CREATE_TIMEOUT: Duration = Duration::from_secs(900);
const DELETE_TIMEOUT: Duration = Duration::from_secs(180);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Commands that make and delete a cluster. `NAME` stands for its name.
struct Recipe {
    name: &'static str,
    program: &'static str,
    create: &'static [&'static str],
    delete: &'static [&'static str],
}

const RECIPES: [Recipe; 3] = [
    Recipe {
        name: "kind",
        program: "kind",
        create: &["create", "cluster", "--name", "NAME"],
        delete: &["delete", "cluster", "--name", "NAME"],
    },
    Recipe {
        name: "k3d",
        program: "k3d",
        create: &["cluster", "create", "NAME", "--no-lb", "--wait"],
        delete: &["cluster", "delete", "NAME"],
    },
    Recipe {
        name: "container_k8s",
        program: "container",
        create: &["k8s", "create", "--name", "NAME"],
        delete: &["k8s", "delete", "--name", "NAME"],
    },
];

/// One of these programs, on this machine.
pub(super) struct External {
    recipe: &'static Recipe,
    program: Option<PathBuf>,
    kubeconfig: PathBuf,
}

impl External {
    /// All known programs, installed or not. Their files go to `directory`.
    pub(super) fn all(directory: &Path) -> Vec<Self> {
        let find = |recipe: &'static Recipe| Self {
            recipe,
            program: find_program(recipe.program, None),
            kubeconfig: directory.join(format!("{}.kubeconfig", recipe.name)),
        };
        RECIPES.iter().map(find).collect()
    }

    pub(super) fn name(&self) -> &'static str {
        self.recipe.name
    }

    /// Makes a cluster, asks it once, deletes it.
    pub(super) async fn first_list(&self) -> anyhow::Result<Sample> {
        let start = Instant::now();
        let listed = async {
            self.run(self.recipe.create, CREATE_TIMEOUT).await?;
            wait_first_list(&self.kubeconfig).await?;
            anyhow::Ok(since_ms(start))
        };
        let listed = listed.await;
        // Even a half-made cluster is deleted.
        let deleted = match &self.program {
            Some(_) => self.run(self.recipe.delete, DELETE_TIMEOUT).await,
            None => Ok(()),
        };
        let first_list_ms = listed?;
        deleted?;
        Ok(Sample { first_list_ms, whole_ms: since_ms(start) })
    }

    async fn run(&self, arguments: &[&str], timeout: Duration) -> anyhow::Result<()> {
        let program = self.program.as_ref().with_context(|| format!("no `{}` is on PATH", self.recipe.program))?;
        let cluster = format!("kina-bench-{}", std::process::id());
        let arguments: Vec<_> =
            arguments.iter().map(|argument| if *argument == "NAME" { cluster.as_str() } else { argument }).collect();
        let shown = || format!("`{} {}`", self.recipe.program, arguments.join(" "));
        let output = Command::new(program)
            .args(&arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let Ok(output) = tokio::time::timeout(timeout, output).await else {
            bail!("{} had not ended after {} s", shown(), timeout.as_secs());
        };
        let output = output.with_context(|| format!("starting {} failed", shown()))?;
        if !output.status.success() {
            bail!("{} failed ({}):\n{}", shown(), output.status, last_lines(&output.stderr));
        }
        Ok(())
    }
}

/// Lists the namespaces of the cluster of this kubeconfig as soon as it answers.
pub(super) async fn wait_first_list(kubeconfig: &Path) -> anyhow::Result<()> {
    let read = Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let namespaces: Api<Namespace> = Api::all(kube::Client::try_from(config)?);
    let start = Instant::now();
    loop {
        match namespaces.list(&ListParams::default()).await {
            Ok(_) => return Ok(()),
            Err(error) if ANSWER_TIMEOUT < start.elapsed() => {
                return Err(error).context("the cluster was made, and does not answer");
            }
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn external(directory: &Path, script: Option<&str>) -> External {
        let program = script.map(|script| {
            let program = directory.join("kind");
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("allowed");
            program
        });
        External { recipe: &RECIPES[0], program, kubeconfig: directory.join("kubeconfig") }
    }

    #[tokio::test]
    async fn who_is_not_there_says_so() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let error = external(directory.path(), None).first_list().await.expect_err("there is no program");
        assert_eq!(format!("{error:#}"), "no `kind` is on PATH");
    }

    #[tokio::test]
    async fn who_fails_says_why_and_is_cleaned_up_after() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("log");
        let script = format!(
            "echo \"$1 $4 $KUBECONFIG\" >> {}; [ \"$1\" = delete ] || {{ echo 'no runtime' >&2; exit 3; }}",
            log.display()
        );
        let error = external(directory.path(), Some(&script)).first_list().await.expect_err("it fails");
        let text = format!("{error:#}");
        assert!(text.contains("kind create cluster") && text.ends_with("no runtime"), "{text}");
        let name = format!("kina-bench-{}", std::process::id());
        let kubeconfig = directory.path().join("kubeconfig");
        let said = std::fs::read_to_string(log).expect("it was called");
        assert_eq!(said, format!("create {name} {0}\ndelete {name} {0}\n", kubeconfig.display()));
    }
}
