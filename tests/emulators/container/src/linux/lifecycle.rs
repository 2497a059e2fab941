//! `start`, `run`, `stop` and `kill`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Duration;

use container_command_line::command::Create;
use container_command_line::{Code, Failure, messages};
use rustix::process::Signal;

use super::containers::State;
use super::create;
use super::dispatch::{Call, Outcome};
use super::exec;
use super::faults::Fault;
use super::late::View;
use super::processes;
use super::runtime::Report;
use super::store::{Record, broken};

impl Call {
    /// `start`: succeeds for a running container, unless the call wants to attach.
    pub(crate) fn start(&self, attach: bool, id: &str) -> Outcome {
        let record = self.store.container(id)?.ok_or_else(|| messages::get_failed(id))?;
        match self.state(&record)? {
            State::Running if attach => {
                return Err(Failure::runtime(Code::InvalidState, format!("container {id} is already running")));
            }
            State::Running => return Ok(format!("{id}\n")),
            // The behaviour of the real service in this case is not known.
            State::Forgotten => {
                let text = format!(
                    "failed to bootstrap container {id} (cause: \"invalidState: \"a machine exists already\"\")"
                );
                return Err(Failure::runtime(Code::InvalidState, text));
            }
            State::Stopped => {}
        }
        let reports = self.boot(&record)?;
        if attach { self.attach(id, reports) } else { Ok(format!("{id}\n")) }
    }

    /// `run`: deletes a container that cannot start.
    pub(crate) fn run_container(&self, detach: bool, create: &Create) -> Outcome {
        if create.process.interactive && !detach {
            return Err(self.not_emulated("an attached container that reads stdin"));
        }
        let printed = self.create(create)?;
        let id = printed.trim_end();
        match self.start(!detach, id) {
            Err(failure @ Failure::Exit(_)) => Err(failure),
            Err(failure) => {
                let _lock = self.store.lock()?;
                if self.runtime_of(id)?.is_none() {
                    self.remove_bundle(id)?;
                }
                Err(failure)
            }
            Ok(_) if detach => Ok(printed),
            Ok(_) => Ok(String::new()),
        }
    }

    /// Starts the helper and waits for its first report. The helper goes on if this call is killed.
    fn boot(&self, record: &Record) -> Result<BufReader<ChildStdout>, Failure> {
        let id = &record.configuration.id;
        self.need_kernel()?;
        if record.machine.virtualization {
            return Err(messages::no_nested_virtualization());
        }
        for mount in &record.machine.mounts {
            if let Some(source) = mount.source.as_ref().filter(|source| !source.exists()) {
                return Err(create::no_source(source));
            }
        }
        if self.decision.has(Fault::NetworkGone) && record.machine.networked {
            return Err(match self.decision.coin(21) {
                true => messages::no_network_plugin(&record.network()),
                false => messages::no_vmnet_network(),
            });
        }
        if self.decision.has(Fault::PortTaken) && !record.configuration.published_ports.is_empty() {
            return Err(messages::port_taken(id));
        }
        let failed = |why: &dyn std::fmt::Display| {
            let text = format!("failed to bootstrap container {id} (cause: \"unknown: \"{why}\"\")");
            Failure::runtime(Code::InternalError, text)
        };
        let log = self.store.bundle(id).join("boot.log");
        let log = File::options().create(true).append(true).open(&log).map_err(|error| broken(&log, &error))?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let mut helper = Command::new(program)
            .arg(super::RUNTIME)
            .arg(&self.settings.root)
            .arg(id)
            .arg(self.settings.boot_delay.as_millis().to_string())
            .arg(if self.settings.faults.has(Fault::NoNftables) { "old" } else { "new" })
            .arg(self.view().text())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|error| failed(&error))?;
        let stdout = helper.stdout.take().ok_or_else(|| failed(&"no pipe"))?;
        let mut reports = BufReader::new(stdout);
        match report(&mut reports) {
            Some(Report::Started) => Ok(reports),
            Some(Report::Failed { text }) => Err(Failure::runtime(Code::InternalError, text)),
            Some(Report::Exited { .. }) | None => Err(failed(&"the runtime helper went away")),
        }
    }

    /// Returns the view that the host gets of the mounts of a machine that this call starts.
    fn view(&self) -> View {
        if self.decision.has(Fault::MountNever) {
            View::Never
        } else if self.decision.has(Fault::MountLag) {
            View::Late(Duration::from_millis(self.settings.faults.mount_lag_ms))
        } else {
            View::Direct
        }
    }

    /// Shows the output of the container until it ends, and returns its code.
    fn attach(&self, id: &str, mut reports: BufReader<ChildStdout>) -> Outcome {
        let path = self.store.bundle(id).join("container.log");
        let mut log = File::open(&path).map_err(|error| broken(&path, &error))?;
        let signals = exec::signals()?;
        let init = self.runtime_of(id)?.and_then(|runtime| runtime.init);
        let waiting = std::thread::spawn(move || report(&mut reports));
        let mut stdout = io::stdout().lock();
        loop {
            let ended = waiting.is_finished();
            let mut text = Vec::new();
            log.read_to_end(&mut text).map_err(|error| broken(&path, &error))?;
            // The reader may be gone, which does not matter to the container.
            let _ = stdout.write_all(&text).and_then(|()| stdout.flush());
            if ended {
                break;
            }
            for (signal, wanted) in [(Signal::TERM, &signals.0), (Signal::INT, &signals.1)] {
                if wanted.swap(0, Ordering::SeqCst) > 0 {
                    init.map(|init| init.signal(signal));
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match waiting.join() {
            Ok(Some(Report::Exited { code: 0 })) => Ok(String::new()),
            Ok(Some(Report::Exited { code })) => Err(Failure::Exit(code)),
            _ => Err(Failure::runtime(Code::Interrupted, format!("container {id} went away"))),
        }
    }

    /// `stop`: succeeds for a stopped container, and for one that the service has forgotten in a crash.
    pub(crate) fn stop(&self, grace_seconds: u32, signal: Option<&str>, ids: &[String]) -> Outcome {
        let signal = signal.map(processes::signal).transpose()?;
        self.each(ids, |id| {
            let mut record = self.store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
            if self.state(&record)? != State::Running {
                return Ok(());
            }
            if let Some(signal) = signal {
                record.configuration.stop_signal = Some(signal.as_raw().to_string());
            }
            let has_ended = self.end(&record, Some(Duration::from_secs(grace_seconds.into())))?;
            let _boot = self.store.boot_lock()?;
            match has_ended {
                true => Ok(()),
                false => Err(Failure::runtime(Code::Timeout, format!("container {id} did not stop"))),
            }
        })
    }

    /// `kill`: waits for the end after KILL; fails for a stopped container.
    pub(crate) fn kill(&self, signal: &str, ids: &[String]) -> Outcome {
        let signal = processes::signal(signal)?;
        self.each(ids, |id| {
            let record = self.store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
            let runtime = self.runtime_of(id)?.filter(|_| !record.forgotten);
            let Some((runtime, init)) = runtime.and_then(|runtime| runtime.init.map(|init| (runtime, init))) else {
                return Err(messages::no_runtime_client());
            };
            if !init.signal(signal) {
                return Err(messages::no_runtime_client());
            }
            if signal == Signal::KILL && !runtime.helper.wait(Duration::from_secs(20)) {
                return Err(Failure::runtime(Code::Timeout, format!("container {id} did not end")));
            }
            Ok(())
        })
    }

    /// Returns the text of a log from this byte on.
    pub(crate) fn log_text(&self, id: &str, name: &str, from: u64) -> Result<Vec<u8>, Failure> {
        let path = self.store.bundle(id).join(name);
        let read = || -> io::Result<Vec<u8>> {
            let mut text = Vec::new();
            let mut file = File::open(&path)?;
            file.seek(SeekFrom::Start(from))?;
            file.read_to_end(&mut text)?;
            Ok(text)
        };
        read().map_err(|error| broken(&path, &error))
    }
}

fn report(reports: &mut BufReader<ChildStdout>) -> Option<Report> {
    let mut line = String::new();
    reports.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}
