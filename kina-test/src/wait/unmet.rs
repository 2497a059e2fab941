use std::fmt::{Display, Formatter, Write};
use std::time::Duration;

use super::history::{History, resource_version};
use super::yaml;

/// The known state of an object at the deadline.
#[derive(Debug)]
pub struct Unmet {
    object: String,
    goal: String,
    timeout: Duration,
    problems: Vec<String>,
    last_seen: Option<serde_json::Value>,
    /// The state of the object, as a sentence.
    state: String,
    interruption: Option<String>,
    events: Result<Vec<String>, String>,
}

impl Unmet {
    pub(super) fn new(
        object: &str,
        goal: String,
        problems: Vec<String>,
        timeout: Duration,
        history: &History,
        events: Result<Vec<String>, String>,
    ) -> Self {
        let interruption = history.last_interruption.as_ref().map(|last| {
            let times = times(history.interruptions);
            format!("the server could not be reached {times}, the last time because: {last}")
        });
        Self {
            object: object.to_owned(),
            goal,
            timeout,
            problems,
            last_seen: history.last().map(yaml::without_noise),
            state: state(history),
            interruption,
            events,
        }
    }

    /// The parts of the goal that were not met, with their values. Empty if the object did not exist.
    pub fn problems(&self) -> &[String] {
        &self.problems
    }

    /// The last seen version of the object, without `managedFields`.
    pub fn last_seen(&self) -> Option<&serde_json::Value> {
        self.last_seen.as_ref()
    }

    /// The newest events about the object, one per line. Empty if they could not be read.
    pub fn events(&self) -> &[String] {
        self.events.as_deref().unwrap_or_default()
    }
}

impl Display for Unmet {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> std::fmt::Result {
        let seconds = self.timeout.as_secs_f64();
        write!(formatter, "timed out after {seconds} s waiting for {}: {}", self.object, self.goal)?;
        for problem in &self.problems {
            write!(formatter, "\n{problem}")?;
        }
        self.interruption.iter().try_for_each(|text| write!(formatter, "\n{text}"))?;
        write!(formatter, "\n{}", self.state)?;
        let Some(object) = &self.last_seen else { return Ok(()) };
        write!(formatter, "; version {} of it:", resource_version(object))?;
        for line in yaml::lines(object) {
            write!(formatter, "\n  {line}")?;
        }
        match &self.events {
            Ok(events) if events.is_empty() => formatter.write_str("\nthere are no events about it"),
            Ok(events) => {
                formatter.write_str("\nevents about it:")?;
                events.iter().try_for_each(|event| write!(formatter, "\n  {event}"))
            }
            Err(error) => write!(formatter, "\nits events could not be read: {error}"),
        }
    }
}

impl std::error::Error for Unmet {}

fn state(history: &History) -> String {
    let mut state = String::new();
    // Writing to a string cannot fail.
    let _ = match (history.last(), history.present()) {
        (None, _) => write!(state, "no such object was seen"),
        (Some(_), None) => write!(state, "it is gone, seen in {}", versions(history.versions)),
        (Some(_), Some(_)) => write!(state, "it exists, seen in {}", versions(history.versions)),
    };
    if 1 < history.objects {
        let _ = write!(state, " of {} objects, one after the other", history.objects);
    }
    state
}

fn versions(count: usize) -> String {
    if count == 1 { "one version".to_owned() } else { format!("{count} versions") }
}

fn times(count: usize) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
