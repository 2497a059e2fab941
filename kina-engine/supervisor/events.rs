//! Events for the engine: one JSON object a line, to standard output and to the log.
//!
//! The log is in a directory of the host. It is synced after each event, because the host may see an append only after
//! that. If it does not even then, the engine reads the output.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::time::Instant;

use crate::layout::{Root, SUPERVISOR_LOG};

/// An event in the life of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// etcd was started.
    EtcdStarted,
    /// etcd answers.
    EtcdServing,
    /// The initial state was loaded, and this has been recorded.
    StateComplete,
    /// kube-apiserver was started.
    KubeApiServerStarted,
    /// kube-apiserver was ended and started again.
    KubeApiServerRestarted,
    /// The end of the log of a component that is about to be reported as ended.
    ComponentLog,
    /// A component ended without being asked to.
    ComponentEnded,
    /// A signal came at a time at which it has no meaning.
    SignalIgnored,
    /// Everything is being ended.
    Stopping,
    /// Everything has ended.
    Stopped,
}

/// The destinations of events.
pub struct Events {
    start: Instant,
    log: Option<File>,
}

impl Event {
    fn name(self) -> &'static str {
        match self {
            Self::EtcdStarted => "etcd_started",
            Self::EtcdServing => "etcd_serving",
            Self::StateComplete => "state_complete",
            Self::KubeApiServerStarted => "kube_apiserver_started",
            Self::KubeApiServerRestarted => "kube_apiserver_restarted",
            Self::ComponentLog => "component_log",
            Self::ComponentEnded => "component_ended",
            Self::SignalIgnored => "signal_ignored",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

impl Events {
    /// Events with times since `start`, also written to the log below `root` if that is possible.
    pub fn new(root: &Root, start: Instant) -> Self {
        let log = File::options().create(true).append(true).open(root.log_file(SUPERVISOR_LOG)).ok();
        Self { start, log }
    }

    /// Reports an event.
    pub fn tell(&mut self, event: Event, detail: &str) {
        let line = self.print(event, detail);
        if let Some(log) = &mut self.log {
            let _ = log.write_all(line.as_bytes()).and_then(|()| log.sync_data());
        }
    }

    /// Reports an event to standard output alone, and returns the line.
    pub fn print(&self, event: Event, detail: &str) -> String {
        let line = line(self.start.elapsed().as_millis(), event, detail);
        // Failures are ignored: the output may be closed or the disk full, and the cluster matters more than its log.
        let _ = std::io::stdout().write_all(line.as_bytes());
        line
    }
}

fn line(since_start_ms: u128, event: Event, detail: &str) -> String {
    let mut line = format!("{{\"since_start_ms\":{since_start_ms},\"event\":\"{}\",\"detail\":\"", event.name());
    for character in detail.chars() {
        match character {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            control if control.is_control() => {
                // Writing into a string cannot fail.
                let _ = write!(line, "\\u{:04x}", u32::from(control));
            }
            plain => line.push(plain),
        }
    }
    line.push_str("\"}\n");
    line
}
