//! The layout inside of a cluster's virtual machine, and the events that its first process logs.

use std::path::Path;

use serde::Deserialize;

pub(super) use crate::image::layout::{
    API_PORT, API_SERVER_ARGUMENTS, CLUSTER_DIRECTORY, ETCD_ARGUMENTS, ETCD_DIRECTORY as ETCD_DATA_DIRECTORY,
    ETCD_PORT, LOG_DIRECTORY, SUPERVISOR_LOG,
};

/// Length of the supervisor's log that is read. A longer log means that it restarts things in circles.
const SUPERVISOR_LOG_BYTES_MAX: u64 = 4 << 20;

/// The supervisor's names of the components; each writes a log of that name.
const COMPONENTS: [&str; 2] = ["etcd", "kube-apiserver"];

pub(super) const ETCD_SERVING: &str = "etcd_serving";
pub(super) const STATE_COMPLETE: &str = "state_complete";
pub(super) const API_SERVER_RESTARTED: &str = "kube_apiserver_restarted";
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
        Ok(_) => bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect(),
        Err(_) => Vec::new(),
    }
}

/// Returns the first end of a component after so many earlier ones: the component, if known, and the logged text.
pub(super) fn end_after(log_directory: &Path, ended_before: usize) -> Option<(Option<&'static str>, String)> {
    let mut ends = events(log_directory).into_iter().filter(|said| said.event == COMPONENT_ENDED);
    let how = ends.nth(ended_before)?.detail_text();
    let component = COMPONENTS.into_iter().find(|component| how.split([' ', ':']).next() == Some(*component));
    Some((component, how))
}

/// Counts the events of this name in the supervisor's log.
pub(super) fn event_count(log_directory: &Path, event: &str) -> usize {
    events(log_directory).iter().filter(|said| said.event == event).count()
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
        assert_eq!(event_count(directory.path(), STATE_COMPLETE), 1);
        let ended = events(directory.path()).pop().expect("two events");
        assert_eq!(end_after(directory.path(), 0), Some((Some("etcd"), "etcd: exit code 1".to_owned())));
        assert_eq!(end_after(directory.path(), 1), None);
        assert_eq!((ended.event.as_str(), ended.detail_text().as_str()), (COMPONENT_ENDED, "etcd: exit code 1"));
    }
}
