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

/// etcd serves after a fraction of a second; this is for a machine that is busy with everything else.
const ETCD_SERVING_TIMEOUT: Duration = Duration::from_secs(60);
/// How long somebody may take to load the initial state. Without a bound, a machine would run for nobody for ever.
const STATE_TIMEOUT: Duration = Duration::from_secs(600);
/// How long etcd may take to end in order.
const ETCD_END_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the system may take to end what it was told to kill.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
const READINESS_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// While nothing is waited for but signals, each of which ends the wait.
const IDLE_INTERVAL: Duration = Duration::from_secs(3600);
/// More at once than this are left for the next round.
const REAPED_MAX: usize = 1000;
const READY: &[u8] = b"READY=1";

/// Why the cluster ends.
enum End {
    /// Somebody asked for it.
    Asked(Signal),
    /// Something happened that should not.
    Failed(String),
}

/// How far it has come.
enum Phase {
    /// etcd was started at that time.
    EtcdStarting(Instant),
    /// etcd serves since that time, and somebody is loading the initial state.
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
    /// Somebody said that the state is loaded.
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
    /// Starts what is to run, and stays until there is a reason to end.
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
            // Whatever an earlier run loaded is not all of it.
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

    /// The next signal, or nothing when it is time to look at something else.
    fn wait_signal(&self) -> Result<Option<Signal>, String> {
        let timeout = match self.phase {
            Phase::EtcdStarting(_) => READINESS_POLL_INTERVAL,
            Phase::StateLoading(since) => STATE_TIMEOUT.saturating_sub(since.elapsed()),
            Phase::Running => IDLE_INTERVAL,
        };
        self.signals.wait(timeout).map_err(|error| format!("waiting for signals failed: {error}"))
    }

    /// Deals with a signal, and with what time has brought.
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
        // Of several children that end at once the system tells but once, and of none while another signal is looked at.
        self.reap_and_check().map_err(End::Failed)?;
        self.advance().map_err(End::Failed)
    }

    /// Goes on to the next phase if what this one waits for has come.
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
                return Err(format!("nobody said within {} s that the state is loaded", STATE_TIMEOUT.as_secs()));
            }
        }
        Ok(())
    }

    fn is_waiting_for_state(&self) -> bool {
        !self.is_state_loaded && self.api_server.is_none()
    }

    /// Whether etcd has said that it serves.
    fn is_etcd_serving(&self) -> Result<bool, String> {
        let mut message = [0; 64];
        match self.readiness.recv(&mut message) {
            Ok(length) => Ok(message[..length].split(|byte| *byte == b'\n').any(|line| line == READY)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(format!("listening for etcd failed: {error}")),
        }
    }

    /// Notes down, in a way that outlives a power cut, that the state is loaded.
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

    /// Takes leave of everything that has ended; an error if that was a component.
    fn reap_and_check(&mut self) -> Result<(), String> {
        match self.reap()? {
            Some((component, status)) => {
                let detail = format!("{} ended ({status})", component.name());
                self.events.tell(Event::ComponentEnded, &detail);
                Err(detail)
            }
            None => Ok(()),
        }
    }

    /// Takes leave of everything that has ended, and gives the first component among it.
    fn reap(&mut self) -> Result<Option<(Component, String)>, String> {
        let mut first = None;
        for _ in 0..REAPED_MAX {
            let ended = system::reap().map_err(|error| format!("taking leave of processes failed: {error}"))?;
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

    /// Takes leave of what ends, until `is_over` or until `timeout`.
    fn wait_ended(&mut self, timeout: Duration, is_over: impl Fn(&Self) -> bool) -> Result<(), String> {
        let since = Instant::now();
        while since.elapsed() < timeout {
            self.reap()?;
            if is_over(self) {
                return Ok(());
            }
            // Short, and not held back by signals that mean something else: they stay pending until somebody asks.
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Ends what runs: first who asks, at once, then who answers, in order.
    fn end_everything(&mut self) {
        if let Some(process) = self.api_server {
            kill_group(process);
        }
        let mut problems = Vec::new();
        if let Some(process) = self.etcd {
            // That it has ended is the only way in which this can fail.
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
        // It fails where nobody has listened.
        let _ = std::fs::remove_file(self.root.path(READINESS_SOCKET));
        self.events.tell(Event::Stopped, &problems.join("; "));
    }
}

/// Listens for etcd to say that it serves.
///
/// It says so as services tell a service manager, by a message to the socket that a variable names, and only once it has a
/// leader. A connection to its port would not tell: that is accepted well before. To ask it anything would take TLS.
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

/// Kills a component, and all that it started.
fn kill_group(process: u32) {
    // That it has ended is the only way in which this can fail.
    let _ = system::send_to_group(process, system::KILL);
}
