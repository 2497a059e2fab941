//! The layout inside of a cluster's virtual machine, and the events that its first process logs.

use std::path::Path;

use serde::Deserialize;

pub(super) use crate::image::layout::{
    API_PORT, API_SERVER_ARGUMENTS, CLUSTER_DIRECTORY, ETCD_ARGUMENTS, ETCD_DIRECTORY as ETCD_DATA_DIRECTORY, ETCD_LOG,
    ETCD_PORT, LOG_DIRECTORY, SUPERVISOR_LOG,
};

/// Length of the supervisor's log that is read. A longer log means that it restarts things in circles.
const SUPERVISOR_LOG_BYTES_MAX: u64 = 4 << 20;

/// The supervisor's names of the components; each writes a log of that name.
const COMPONENTS: [&str; 2] = ["etcd", "kube-apiserver"];

pub(super) const ETCD_SERVING: &str = "etcd_serving";
pub(super) const STATE_COMPLETE: &str = "state_complete";
pub(super) const API_SERVER_RESTARTED: &str = "kube_apiserver_restarted";
pub(super) const COMPONENT_LOG: &str = "component_log";
pub(super) const COMPONENT_ENDED: &str = "component_ended";

/// One line of the supervisor's log.
#[derive(Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) event: String,
    #[serde(default)]
    pub(super) detail: serde_json::Value,
}

impl Event {
    /// Returns the detail as text for people.
    pub(super) fn detail_text(&self) -> String {
        match &self.detail {
            serde_json::Value::Null => String::new(),
            serde_json::Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Reads the events that the supervisor has logged, over all starts. Lines that are torn, or that are no events, are
/// left out; a log that cannot be read has no events.
pub(super) fn events(log_directory: &Path) -> Vec<Event> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(log_directory.join(SUPERVISOR_LOG))
        .and_then(|file| file.take(SUPERVISOR_LOG_BYTES_MAX).read_to_end(&mut bytes));
    match read {
        Ok(_) => parse(&bytes),
        Err(_) => Vec::new(),
    }
}

/// Reads events, one a line, leaving out what is none.
pub(super) fn parse(bytes: &[u8]) -> Vec<Event> {
    bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

/// Returns the first end of a component among these events: the component, if known, and the logged text.
pub(super) fn end_among(events: &[Event]) -> Option<(Option<&'static str>, String)> {
    let how = events.iter().find(|said| said.event == COMPONENT_ENDED)?.detail_text();
    let component = COMPONENTS.into_iter().find(|component| how.split([' ', ':']).next() == Some(*component));
    Some((component, how))
}

/// Returns the end of the log of the first component that has ended.
pub(super) fn log_tail_among(events: &[Event]) -> Option<String> {
    events.iter().find(|said| said.event == COMPONENT_LOG).map(Event::detail_text)
}

/// Counts the events of this name.
pub(super) fn count_of(events: &[Event], event: &str) -> usize {
    events.iter().filter(|said| said.event == event).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_whatever_else_is_in_the_log() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(events(directory.path()), []);
        let log = "{\"since_start_ms\":3,\"event\":\"state_complete\",\"detail\":null,\"more\":1}\nnoise\n\
                   {\"event\":\"component_ended\",\"detail\":\"etcd: exit code 1\"}\n{\"event\":\"state_com";
        std::fs::write(directory.path().join(SUPERVISOR_LOG), log).expect("written");
        let read = events(directory.path());
        assert_eq!((read.len(), count_of(&read, STATE_COMPLETE)), (2, 1));
        assert_eq!(end_among(&read), Some((Some("etcd"), "etcd: exit code 1".to_owned())));
        assert_eq!(end_among(&read[..1]), None);
        let ended = &read[1];
        assert_eq!((ended.event.as_str(), ended.detail_text().as_str()), (COMPONENT_ENDED, "etcd: exit code 1"));
    }
}
