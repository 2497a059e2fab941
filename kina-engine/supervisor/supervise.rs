//! The life of a cluster, from the first start of etcd to the end of everything.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::component::Component;
use crate::events::{Event, Events};
use crate::layout::{COMPLETE_MARKER, ETCD_DIRECTORY, READINESS_SOCKET, Root, STATE_DIRECTORY};
use crate::system::{self, EndStatus, Signal, Signals};

/// etcd usually serves after a fraction of a second; the rest is for a busy machine.
const ETCD_SERVING_TIMEOUT: Duration = Duration::from_secs(60);
/// Time limit of loading the initial state. Without it, an abandoned machine would run for ever.
const STATE_TIMEOUT: Duration = Duration::from_secs(600);
/// Time limit of etcd's orderly end.
const ETCD_END_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit of the end of a killed process.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const READINESS_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The wait when only signals matter; each signal ends it.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);
/// The number of processes reaped in one go; the rest is left for the next turn.
const REAPED_MAX: usize = 1000;
const READY: &[u8] = b"READY=1";

/// The reason for the end of the cluster.
enum End {
    /// A signal asked for it.
    Asked(Signal),
    /// An unexpected failure.
    Failed(String),
}

/// The progress of a start.
enum Phase {
    /// etcd was started at this time.
    EtcdStarting(Instant),
    /// etcd has served since this time, and the initial state is being loaded from outside.
    StateLoading(Instant),
    /// Everything runs.
    Running,
}

/// The cluster.
struct Cluster<'a> {
    root: &'a Root,
    signals: Signals,
    events: Events,
    readiness: UnixDatagram,
    phase: Phase,
    /// Set once the signal has come that the state is loaded.
    is_state_loaded: bool,
    etcd: Option<u32>,
    api_server: Option<u32>,
}

/// Runs the cluster below `root` to its end.
pub fn run(root: &Root, start: Instant) -> ExitCode {
    let mut events = Events::new(root, start);
    let prepared = Signals::hold_back().and_then(|signals| {
        system::adopt_orphans()?;
        Ok((signals, listen(root)?))
    });
    let (signals, readiness) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            let problem = format!("preparing {} failed: {error}", root.path(STATE_DIRECTORY).display());
            events.tell(Event::Stopped, &problem);
            return ExitCode::FAILURE;
        }
    };
    let phase = Phase::EtcdStarting(Instant::now());
    let mut cluster =
        Cluster { root, signals, events, readiness, phase, is_state_loaded: false, etcd: None, api_server: None };
    let end = cluster.live();
    let (detail, code) = match end {
        End::Asked(signal) => (format!("signal {signal}"), ExitCode::SUCCESS),
        End::Failed(problem) => (problem, ExitCode::FAILURE),
    };
    cluster.events.tell(Event::Stopping, &detail);
    cluster.end_everything();
    code
}

impl Cluster<'_> {
    /// Starts the components, and returns when there is a reason to end.
    fn live(&mut self) -> End {
        if let Err(problem) = self.start() {
            return End::Failed(problem);
        }
        loop {
            let turn = self.wait_signal().map_err(End::Failed).and_then(|signal| self.turn(signal));
            if let Err(end) = turn {
                return end;
            }
        }
    }

    fn start(&mut self) -> Result<(), String> {
        let is_complete = self.root.path(COMPLETE_MARKER).exists();
        let data = self.root.path(ETCD_DIRECTORY);
        if !is_complete {
            // The state that an earlier run has loaded is incomplete.
            match std::fs::remove_dir_all(&data) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(format!("removing the incomplete {} failed: {error}", data.display()));
                }
                _ => {}
            }
        }
        let etcd = Component::Etcd.start(self.root)?;
        self.etcd = Some(etcd);
        self.phase = Phase::EtcdStarting(Instant::now());
        self.events.tell(Event::EtcdStarted, &format!("process {etcd}"));
        if is_complete { self.start_api_server(Event::KubeApiServerStarted) } else { Ok(()) }
    }

    fn start_api_server(&mut self, event: Event) -> Result<(), String> {
        let process = Component::KubeApiServer.start(self.root)?;
        self.api_server = Some(process);
        self.events.tell(event, &format!("process {process}"));
        Ok(())
    }

    /// Waits for the next signal; `None` when it is time for other checks.
    fn wait_signal(&self) -> Result<Option<Signal>, String> {
        let timeout = match self.phase {
            Phase::EtcdStarting(_) => READINESS_POLL_INTERVAL,
            Phase::StateLoading(since) => STATE_TIMEOUT.saturating_sub(since.elapsed()),
            Phase::Running => IDLE_INTERVAL,
        };
        self.signals.wait(timeout).map_err(|error| format!("waiting for signals failed: {error}"))
    }

    /// Handles a signal, then the effects of passing time.
    fn turn(&mut self, signal: Option<Signal>) -> Result<(), End> {
        match signal {
            Some(signal @ (system::TERMINATE | system::INTERRUPT)) => return Err(End::Asked(signal)),
            Some(system::HANGUP) => self.restart_api_server().map_err(End::Failed)?,
            Some(system::USER_1) if self.is_waiting_for_state() => self.is_state_loaded = true,
            Some(system::USER_1) => {
                self.events.tell(Event::SignalIgnored, "USR1: the initial state was loaded before");
            }
            _ => {}
        }
        // Always, because one CHILD signal may stand for several children, and another signal may hide it.
        self.reap_and_check().map_err(End::Failed)?;
        self.advance().map_err(End::Failed)
    }

    /// Goes on to the next phase if the condition for it is met.
    fn advance(&mut self) -> Result<(), String> {
        if let Phase::EtcdStarting(since) = self.phase {
            if self.is_etcd_serving()? {
                self.events.tell(Event::EtcdServing, "");
                let is_loading = self.api_server.is_none();
                self.phase = if is_loading { Phase::StateLoading(Instant::now()) } else { Phase::Running };
            } else if since.elapsed() > ETCD_SERVING_TIMEOUT {
                return Err(format!("etcd did not serve within {} s: see etcd.log", ETCD_SERVING_TIMEOUT.as_secs()));
            }
        }
        if let Phase::StateLoading(since) = self.phase {
            if self.is_state_loaded {
                self.mark_complete()?;
                self.events.tell(Event::StateComplete, "");
                self.start_api_server(Event::KubeApiServerStarted)?;
                self.phase = Phase::Running;
            } else if since.elapsed() >= STATE_TIMEOUT {
                return Err(format!(
                    "the initial state was not reported as loaded within {} s",
                    STATE_TIMEOUT.as_secs()
                ));
            }
        }
        Ok(())
    }

    fn is_waiting_for_state(&self) -> bool {
        !self.is_state_loaded && self.api_server.is_none()
    }

    /// Returns true if etcd has reported that it serves.
    fn is_etcd_serving(&self) -> Result<bool, String> {
        let mut message = [0; 64];
        match self.readiness.recv(&mut message) {
            Ok(length) => Ok(message[..length].split(|byte| *byte == b'\n').any(|line| line == READY)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(format!("listening for etcd failed: {error}")),
        }
    }

    /// Records durably that the state is loaded.
    fn mark_complete(&self) -> Result<(), String> {
        let marker = self.root.path(COMPLETE_MARKER);
        File::create(&marker)
            .and_then(|file| file.sync_all())
            .and_then(|()| File::open(self.root.path(STATE_DIRECTORY))?.sync_all())
            .map_err(|error| format!("writing {} failed: {error}", marker.display()))
    }

    fn restart_api_server(&mut self) -> Result<(), String> {
        let Some(process) = self.api_server else {
            self.events.tell(Event::SignalIgnored, "HUP: kube-apiserver has not been started yet");
            return Ok(());
        };
        kill_group(process);
        self.wait_ended(KILL_TIMEOUT, |cluster| cluster.api_server.is_none())?;
        if self.api_server.is_some() {
            return Err(format!("kube-apiserver was killed and did not end within {} s", KILL_TIMEOUT.as_secs()));
        }
        if self.etcd.is_none() {
            let detail = "etcd ended while kube-apiserver was restarted";
            self.events.tell(Event::ComponentEnded, detail);
            return Err(detail.to_owned());
        }
        self.start_api_server(Event::KubeApiServerRestarted)
    }

    /// Reaps everything that has ended; an error if a component is among it.
    fn reap_and_check(&mut self) -> Result<(), String> {
        match self.reap()? {
            Some((component, status)) => {
                // The host may never see the log itself.
                self.events.print(Event::ComponentLog, &component.log_tail(self.root));
                let detail = format!("{} ended ({status})", component.name());
                self.events.tell(Event::ComponentEnded, &detail);
                Err(detail)
            }
            None => Ok(()),
        }
    }

    /// Reaps everything that has ended, and returns the first component among it.
    fn reap(&mut self) -> Result<Option<(Component, String)>, String> {
        let mut first = None;
        for _ in 0..REAPED_MAX {
            let ended = system::reap().map_err(|error| format!("reaping processes failed: {error}"))?;
            let Some(ended) = ended else { return Ok(first) };
            let component = match Some(ended.process) {
                process if process == self.etcd => {
                    self.etcd = None;
                    Component::Etcd
                }
                process if process == self.api_server => {
                    self.api_server = None;
                    Component::KubeApiServer
                }
                _ => continue,
            };
            let status = match ended.status {
                EndStatus::Code(code) => format!("exit code {code}"),
                EndStatus::Signal(signal) => format!("signal {signal}"),
            };
            first.get_or_insert((component, status));
        }
        Ok(first)
    }

    /// Reaps processes until `is_over`, or until `timeout`.
    fn wait_ended(&mut self, timeout: Duration, is_over: impl Fn(&Self) -> bool) -> Result<(), String> {
        let since = Instant::now();
        while since.elapsed() < timeout {
            self.reap()?;
            if is_over(self) {
                return Ok(());
            }
            // A short sleep instead of a wait for signals: other signals must stay pending.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends everything: first kube-apiserver, which is only etcd's client, at once; then etcd, in order.
    fn end_everything(&mut self) {
        if let Some(process) = self.api_server {
            kill_group(process);
        }
        let mut problems = Vec::new();
        if let Some(process) = self.etcd {
            // Fails only if the process has ended.
            let _ = system::send(process, system::TERMINATE);
            problems.extend(self.wait_ended(ETCD_END_TIMEOUT, |cluster| cluster.etcd.is_none()).err());
        }
        if let Some(process) = self.etcd {
            problems.push(format!("etcd was killed after {} s", ETCD_END_TIMEOUT.as_secs()));
            kill_group(process);
        }
        let is_over = |cluster: &Self| cluster.etcd.is_none() && cluster.api_server.is_none();
        problems.extend(self.wait_ended(KILL_TIMEOUT, is_over).err());
        for (process, component) in [(self.api_server, Component::KubeApiServer), (self.etcd, Component::Etcd)] {
            problems.extend(process.map(|process| format!("{} (process {process}) did not end", component.name())));
        }
        // Fails if the socket was never made.
        let _ = std::fs::remove_file(self.root.path(READINESS_SOCKET));
        self.events.tell(Event::Stopped, &problems.join("; "));
    }
}

/// Listens for etcd's report that it serves.
///
/// etcd reports it like a service to its service manager, by a message to the socket that a variable names, once it has
/// a leader. Its port accepts connections well before that, and a request to it would need TLS.
fn listen(root: &Root) -> io::Result<UnixDatagram> {
    std::fs::create_dir_all(root.path(STATE_DIRECTORY))?;
    let path = root.path(READINESS_SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = UnixDatagram::bind(&path)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Kills a component and everything that it started.
fn kill_group(process: u32) {
    // Fails only if the process has ended.
    let _ = system::send_to_group(process, system::KILL);
}
