//! The state of a container, and its end.

use std::time::Duration;

use container_command_line::{Code, Failure, messages};
use rustix::process::Signal;

use super::dispatch::{Call, Outcome};
use super::processes;
use super::runtime::Runtime;
use super::store::Record;

/// Time limit for the end of a machine after SIGKILL.
const END: Duration = Duration::from_secs(20);
/// Number of times that a container is ended while other calls start it.
const DELETES: usize = 10;
/// Containers with this label belong to `container machine`, which hides them.
const PLUGIN: (&str, &str) = ("com.apple.container.plugin", "machine");

/// The state of a container as the service sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing runs, or it is booting.
    Stopped,
    /// It runs.
    Running,
    /// It runs, but the service forgot it in a crash and lists it as stopped.
    Forgotten,
}

impl Call {
    /// Returns the machine of a container, if one lives, even if it is booting.
    pub(crate) fn runtime_of(&self, id: &str) -> Result<Option<Runtime>, Failure> {
        self.store.runtime_of(id)
    }

    /// Returns the state of a container as the service sees it.
    pub(crate) fn state(&self, record: &Record) -> Result<State, Failure> {
        let runtime = self.runtime_of(&record.configuration.id)?;
        Ok(match runtime {
            Some(_) if record.forgotten => State::Forgotten,
            Some(runtime) if runtime.init.is_some() => State::Running,
            _ => State::Stopped,
        })
    }

    /// Returns true if lists, `--all` and `prune` leave a container out.
    pub(crate) fn hidden(&self, record: &Record) -> bool {
        record.configuration.labels.get(PLUGIN.0).is_some_and(|plugin| plugin == PLUGIN.1)
    }

    /// Ends the machine of a container: with a signal and a grace, or at once. Returns true if it is gone.
    pub(crate) fn end(&self, record: &Record, grace: Option<Duration>) -> Result<bool, Failure> {
        let Some(runtime) = self.runtime_of(&record.configuration.id)? else { return Ok(true) };
        if let (Some(init), Some(grace)) = (runtime.init, grace) {
            let name = record.configuration.stop_signal.as_deref().unwrap_or("SIGTERM");
            init.signal(processes::signal(name).unwrap_or(Signal::TERM));
            init.wait(grace);
        }
        match runtime.init {
            Some(init) => init.signal(Signal::KILL),
            None => runtime.helper.signal(Signal::KILL),
        };
        // The helper notices the end of PID 1 and cleans up. If it does not, it is ended too.
        if !runtime.helper.wait(END / 2) {
            runtime.helper.signal(Signal::KILL);
        }
        Ok(runtime.helper.wait(END / 2) && runtime.init.is_none_or(|init| init.wait(END / 2)))
    }

    /// Removes all files of a container from the disk.
    pub(crate) fn remove_bundle(&self, id: &str) -> Result<(), Failure> {
        self.store.remove_bundle(id)
    }

    /// `delete`: fails for a running container without `-f`, unless the service has forgotten it in a crash.
    pub(crate) fn delete(&self, force: bool, all: bool, ids: Vec<String>) -> Outcome {
        let ids = match all {
            true => {
                let records = self.store.containers()?;
                records
                    .into_iter()
                    .filter(|record| !self.hidden(record))
                    .map(|record| record.configuration.id)
                    .collect()
            }
            false => ids,
        };
        self.each(&ids, |id| self.delete_one(force, id))
    }

    fn delete_one(&self, force: bool, id: &str) -> Result<(), Failure> {
        let record = self.store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
        if self.state(&record)? == State::Running && !force {
            return Err(messages::delete_running(id));
        }
        let _boot = self.store.boot_lock()?;
        for _ in 0..DELETES {
            if !self.end(&record, None)? {
                break;
            }
            let _lock = self.store.lock()?;
            // Another call may have started it again in between.
            if self.runtime_of(id)?.is_none() {
                return self.remove_bundle(id);
            }
        }
        Err(Failure::runtime(Code::Timeout, format!("container {id} did not end")))
    }

    /// Acts on each of several containers, and prints the ids of those for which that succeeded.
    pub(crate) fn each(&self, ids: &[String], act: impl Fn(&str) -> Result<(), Failure> + Sync) -> Outcome {
        let outcomes: Vec<(&String, Result<(), Failure>)> = std::thread::scope(|scope| {
            let threads: Vec<_> = ids.iter().map(|id| (id, scope.spawn(|| act(id)))).collect();
            let crashed = || Err(Failure::runtime(Code::InternalError, "emulator: a thread panicked"));
            threads.into_iter().map(|(id, thread)| (id, thread.join().unwrap_or_else(|_| crashed()))).collect()
        });
        let good = outcomes.iter().filter(|(_, outcome)| outcome.is_ok());
        let printed: String = good.map(|(id, _)| format!("{id}\n")).collect();
        let bad: Vec<String> =
            outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err().map(Failure::prefixed)).collect();
        if bad.is_empty() {
            return Ok(printed);
        }
        print!("{printed}");
        Err(Failure::Prefixed(bad.join("\n")))
    }

    /// `prune`: deletes every stopped container of any owner.
    pub(crate) fn prune(&self) -> Outcome {
        let _lock = self.store.lock()?;
        let mut printed = String::new();
        for record in self.store.containers()? {
            let id = &record.configuration.id;
            if !self.hidden(&record) && self.runtime_of(id)?.is_none() {
                self.remove_bundle(id)?;
                printed.push_str(&format!("{id}\n"));
            }
        }
        Ok(printed)
    }

    /// Deletes one stopped container, chosen by chance, as a user's `prune` would.
    pub(crate) fn prune_one(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let mut stopped = Vec::new();
        for record in self.store.containers()? {
            if !self.hidden(&record) && self.runtime_of(&record.configuration.id)?.is_none() {
                stopped.push(record.configuration.id);
            }
        }
        stopped.sort();
        self.decision.shuffle(&mut stopped);
        stopped.first().map_or(Ok(()), |id| self.remove_bundle(id))
    }
}
