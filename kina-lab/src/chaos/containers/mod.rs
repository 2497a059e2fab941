//! Containers that clusters are made of: the program that makes them, called by hand, and all that is known of them
//! from outside.
//!
//! - `faults`: faults of the emulator on purpose.
//! - `foreign`: containers that are not kina's and must stay unchanged.

mod faults;
mod foreign;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kina_engine::lab::provider::apple::{self, Container, Owner};

pub(super) use self::faults::{FaultPlan, costs_boots, costs_leases};
pub(super) use self::foreign::Foreign;
use super::processes::{self, Process};

/// Longer than any undisturbed call takes.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit for a new engine to delete the containers of the one before it.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The directory of the emulator's state and faults.
const ROOT_VARIABLE: &str = "KINA_EMULATOR_ROOT";
const FAULTS_VARIABLE: &str = "KINA_EMULATOR_FAULTS";

/// The private engine's containers.
pub(super) struct Containers {
    program: PathBuf,
    /// The directory of all files about them.
    directory: PathBuf,
    /// The directory of the emulator's state; `None` if the program is not the emulator.
    root: Option<PathBuf>,
    /// A log of the engine's calls, one a line.
    calls: PathBuf,
    fault_plan: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    owner: Owner,
}

impl Containers {
    /// Finds the program. All its files are kept below `directory`; `journals` is where engines record that they live.
    pub(super) async fn prepare(directory: &Path, journals: &Path) -> anyhow::Result<Self> {
        let variable = |name| std::env::var_os(name);
        let program = apple::find_program(variable(apple::PROGRAM_VARIABLE).as_deref(), variable("PATH").as_deref());
        let program = program.with_context(|| format!("there is no `container`: set {}", apple::PROGRAM_VARIABLE))?;
        let program = std::path::absolute(program)?;
        let own_directory = directory.join("containers");
        let [recorder, calls, fault_plan] = ["container", "calls", "faults"].map(|name| own_directory.join(name));
        std::fs::create_dir_all(&own_directory)?;
        std::fs::create_dir_all(journals)?;
        for file in [&calls, &fault_plan] {
            std::fs::write(file, "")?;
        }
        // The script becomes the program itself, so that a kill of it kills the call.
        let script =
            format!("#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\nexec '{}' \"$@\"\n", calls.display(), program.display());
        std::fs::write(&recorder, script)?;
        std::fs::set_permissions(&recorder, std::fs::Permissions::from_mode(0o700))?;
        let mut containers = Self {
            program,
            directory: own_directory,
            root: None,
            calls,
            environment: vec![(apple::PROGRAM_VARIABLE, recorder.into())],
            owner: Owner::new(journals, "chaos"),
            fault_plan,
        };
        let version = containers.call(&["--version"]).await?;
        if apple::is_emulator(&String::from_utf8_lossy(&version.stdout)) {
            let root = directory.join("emulator");
            containers.environment.push((ROOT_VARIABLE, root.clone().into()));
            let mut plan = OsString::from("@");
            plan.push(&containers.fault_plan);
            containers.environment.push((FAULTS_VARIABLE, plan));
            containers.root = Some(root);
        }
        Ok(containers)
    }

    /// Environment variables for the private engine.
    pub(super) fn environment(&self) -> &[(&'static str, OsString)] {
        &self.environment
    }

    /// Returns true if the program is kina's emulator. Only the emulator fails on demand and lists the processes of its
    /// machines.
    pub(super) fn is_emulator(&self) -> bool {
        self.root.is_some()
    }

    /// Makes calls fail by this plan from now on.
    pub(super) fn inject(&self, plan: &FaultPlan) -> anyhow::Result<()> {
        self.put_plan(&plan.text())
    }

    /// Ends all faults.
    pub(super) fn heal(&self) -> anyhow::Result<()> {
        self.put_plan("")
    }

    fn put_plan(&self, text: &str) -> anyhow::Result<()> {
        // Replaced in one step, since calls may read it at any time.
        let new = self.fault_plan.with_extension("new");
        std::fs::write(&new, text)?;
        Ok(std::fs::rename(new, &self.fault_plan)?)
    }

    /// The number of times that each fault has happened so far.
    pub(super) fn fault_counts(&self) -> BTreeMap<&'static str, u64> {
        let service = self.root.as_ref().and_then(|root| std::fs::read(root.join("service.json")).ok());
        service.map(|service| faults::counts(&service)).unwrap_or_default()
    }

    /// Runs the program without faults. Fails if it does.
    pub(super) async fn run(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let output = self.call(arguments).await?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            bail!("`container {}` failed ({}): {said}", arguments.join(" "), output.status);
        }
        Ok(output)
    }

    async fn call(&self, arguments: &[&str]) -> anyhow::Result<Output> {
        let mut command = tokio::process::Command::new(&self.program);
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).env_remove(FAULTS_VARIABLE);
        if let Some(root) = &self.root {
            command.env(ROOT_VARIABLE, root);
        }
        let asked = || format!("`container {}`", arguments.join(" "));
        let output = tokio::time::timeout(CALL_TIMEOUT, command.output()).await;
        output.with_context(|| format!("{}: no end after {} s", asked(), CALL_TIMEOUT.as_secs()))?.with_context(asked)
    }

    /// All containers, including foreign ones.
    pub(super) async fn list(&self) -> anyhow::Result<Vec<Container>> {
        let output = self.run(&["list", "-a", "--format", "json"]).await?;
        apple::read_containers(&output.stdout).context("the list of containers cannot be read")
    }

    /// The containers of the private engine and of the engines before it.
    pub(super) async fn list_own(&self) -> anyhow::Result<Vec<Container>> {
        let mut containers = self.list().await?;
        containers.retain(|container| self.owner.is_of_realm(&container.labels));
        Ok(containers)
    }

    /// The container of a cluster.
    pub(super) async fn find(&self, cluster: &str) -> anyhow::Result<Option<Container>> {
        let is_its = |container: &Container| container.labels.get(apple::CLUSTER_LABEL).is_some_and(|of| of == cluster);
        Ok(self.list_own().await?.into_iter().find(is_its))
    }

    /// The processes of a container's machine, as this machine sees them. `None` if they are unknown.
    pub(super) fn machine(&self, container: &str) -> Option<BTreeSet<Process>> {
        self.root.as_ref()?;
        let living = self.living_machines();
        Some(processes::with_descendants(living.into_iter().filter(|(_, id)| id == container).map(|(init, _)| init)))
    }

    /// The living processes of machines, each with its container's name.
    fn living_machines(&self) -> Vec<(Process, String)> {
        let Some(root) = &self.root else { return Vec::new() };
        let lines = std::fs::read_to_string(root.join("processes")).unwrap_or_default();
        let machine = |line: &str| {
            let mut words = line.split(' ');
            let process = Process::new(words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            // The kind of process does not matter.
            Some((process, words.nth(1)?.to_owned())).filter(|(process, _)| process.is_alive())
        };
        lines.lines().filter_map(machine).collect()
    }

    /// Waits until the only containers of this realm are those of the engine of this process id.
    pub(super) async fn wait_swept(&self, engine: u32) -> anyhow::Result<()> {
        let (start, prefix) = (Instant::now(), format!("{engine}-"));
        loop {
            let others = self.list_own().await?.into_iter().filter(|container| {
                !container.labels.get(apple::ENGINE_LABEL).is_some_and(|label| label.starts_with(&prefix))
            });
            // Remains after that are found again when everything has ended, and are counted then.
            if others.count() == 0 || SWEEP_TIMEOUT < start.elapsed() {
                return Ok(());
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Remains of the private engines after their end.
    pub(super) async fn leftovers(&self, foreign: &Foreign) -> anyhow::Result<Vec<String>> {
        let start = Instant::now();
        loop {
            let listed = self.list_own().await?.into_iter().map(|container| format!("container {}", container.id));
            let living = self.living_machines().into_iter().filter(|(_, id)| !foreign.is_one(id));
            let living = living.map(|(process, id)| format!("process {} of {id}", process.process_id));
            let left: Vec<_> = listed.chain(living).collect();
            if left.is_empty() || SWEEP_TIMEOUT < start.elapsed() {
                return Ok(left);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Ends the emulator and all that runs on it. With any other program, deletes the remains of this realm.
    pub(super) async fn end(&self, foreign: &Foreign) -> anyhow::Result<()> {
        if self.is_emulator() {
            return self.run(&["system", "stop"]).await.map(drop);
        }
        let own = self.list_own().await?.into_iter().map(|container| container.id);
        for name in own.chain(foreign.names().map(str::to_owned)) {
            self.run(&["delete", "-f", &name]).await?;
        }
        Ok(())
    }

    /// The same for the emulator, without waiting for anything else.
    pub(super) fn end_now(&self) {
        if let Some(root) = &self.root {
            let mut command = std::process::Command::new(&self.program);
            command.args(["system", "stop"]).env_remove(FAULTS_VARIABLE).env(ROOT_VARIABLE, root);
            let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }

    /// Calls of the engines so far, one a line.
    fn recorded_calls(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.calls).context("reading the recorded calls failed")
    }
}
