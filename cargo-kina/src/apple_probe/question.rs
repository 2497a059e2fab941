//! The questions, and the consequence of each answer.

use std::time::Duration;

/// The open files that the runtime helper of `container` asks for.
const OPEN_FILES_ASKED_FOR: f64 = 65_536.0;
/// The part of the freed memory, in megabytes, from which on it counts as returned.
const RETURNED_MB_MIN: f64 = 256.0;
/// The time, in milliseconds, up to which a line counts as visible at once.
const AT_ONCE_MS_MAX: f64 = 100.0;

/// A question, in the order in which they are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// The time in which a connection to a port that is bound and silent is refused.
    SilentPortMs,
    /// The open files that a job of launchd may have.
    OpenFilesMax,
    /// The time of `container start`.
    StartMs,
    /// The answer of a program in the machine through a published port.
    PortReachable,
    /// The time until the host sees a line that the guest appends to a file in a mounted directory.
    AppendVisibleMs,
    /// The same if the guest syncs the file.
    SyncedAppendVisibleMs,
    /// The memory that the host has back after the guest freed 512 MB.
    MemoryReturnedMb,
    /// The time of `container stop`.
    StopMs,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Finding {
    /// A number in the question's unit.
    Number(f64),
    /// Yes or no.
    Flag(bool),
    /// It did not happen within the time limit.
    Never,
    /// It could not be found out, for this reason.
    Unknown(String),
}

impl Finding {
    pub(super) fn milliseconds(duration: Duration) -> Self {
        Self::Number(duration.as_secs_f64() * 1000.0)
    }
}

impl Question {
    pub(super) const ALL: [Self; 8] = [
        Self::SilentPortMs,
        Self::OpenFilesMax,
        Self::StartMs,
        Self::PortReachable,
        Self::AppendVisibleMs,
        Self::SyncedAppendVisibleMs,
        Self::MemoryReturnedMb,
        Self::StopMs,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SilentPortMs => "silent_port_ms",
            Self::OpenFilesMax => "open_files_max",
            Self::StartMs => "start_ms",
            Self::PortReachable => "port_reachable",
            Self::AppendVisibleMs => "append_visible_ms",
            Self::SyncedAppendVisibleMs => "synced_append_visible_ms",
            Self::MemoryReturnedMb => "memory_returned_mb",
            Self::StopMs => "stop_ms",
        }
    }

    /// The behaviour of kina in this case.
    pub(super) fn consequence(self, finding: &Finding) -> String {
        match finding {
            Finding::Number(value) => self.if_number(*value).to_owned(),
            Finding::Flag(true) => {
                "the engine reaches etcd and the API server through published ports on loopback".to_owned()
            }
            Finding::Flag(false) => "no cluster of `apple` boots here: each boot fails, and names the permission of \
                                     `container-runtime-linux` under Privacy & Security, Local Network"
                .to_owned(),
            Finding::Never => self.if_never().to_owned(),
            Finding::Unknown(reason) => format!("not known ({reason}): {}", self.if_unknown()),
        }
    }

    fn if_number(self, value: f64) -> &'static str {
        match self {
            Self::SilentPortMs => {
                "silent ports refuse: `process` starts kube-apiserver beside etcd, and polls both as often as it likes"
            }
            Self::OpenFilesMax if value < OPEN_FILES_ASKED_FOR => {
                "machines fail with `Operation not permitted`, because the runtime helper asks for 65536 open files: run \
                 `sudo launchctl limit maxfiles 65536 200000`, then `container system stop` and `container system start`"
            }
            Self::OpenFilesMax => "the runtime helper gets the 65536 open files that it asks for",
            Self::StartMs => {
                "each boot, and each start of a stopped cluster, takes at least so long; others wait for it"
            }
            Self::PortReachable => "bug: the answer is not a number",
            Self::AppendVisibleMs | Self::SyncedAppendVisibleMs if AT_ONCE_MS_MAX < value => {
                "each wait for an event of the supervisor takes so long, unless the second channel is faster"
            }
            Self::AppendVisibleMs => "the engine sees the events of the supervisor in the mounted log at once",
            Self::SyncedAppendVisibleMs => {
                "the engine sees the events of the supervisor at once, because the supervisor syncs its log"
            }
            Self::MemoryReturnedMb if value < RETURNED_MB_MIN => {
                "memory that a cluster has used stays taken until it stops: kina counts each running cluster with all \
                 that it may take, and stops idle ones, the largest first"
            }
            Self::MemoryReturnedMb => {
                "freed memory comes back: kina still counts each running cluster with all that it may take, so more is free \
                 than it says"
            }
            Self::StopMs => "stopping an idle cluster takes at least so long, in the background",
        }
    }

    fn if_never(self) -> &'static str {
        match self {
            Self::SilentPortMs => {
                "silent ports do not answer: `process` gives up each connection after 100 ms, and starts kube-apiserver \
                 once etcd answers"
            }
            Self::OpenFilesMax => {
                "the system does not tell: if machines fail with `Operation not permitted`, this is why"
            }
            Self::StartMs => {
                "no cluster of `apple` boots here: kina ends a start that takes too long, looks at the list of containers, \
                 and reports it after the last try"
            }
            Self::PortReachable => "no cluster of `apple` boots here: the published port accepts nothing",
            Self::AppendVisibleMs => {
                "lines that are only appended are not seen: what counts is synced_append_visible_ms, because the \
                 supervisor syncs its log"
            }
            Self::SyncedAppendVisibleMs => {
                "the mounted log is of no use while a cluster runs: the engine learns the events of the supervisor by its \
                 second channel, and waits longer for each"
            }
            Self::MemoryReturnedMb => "nothing is known about returned memory: kina counts with none",
            Self::StopMs => {
                "kina ends a stop that takes too long, and looks at the list of containers: one that still runs is deleted"
            }
        }
    }

    fn if_unknown(self) -> &'static str {
        match self {
            Self::SilentPortMs => "`process` finds it out for itself, and else starts kube-apiserver once etcd answers",
            Self::OpenFilesMax => "if machines fail with `Operation not permitted`, the limit is below 65536",
            Self::StartMs | Self::PortReachable => "a cluster of `apple` would fail for the same reason",
            Self::AppendVisibleMs | Self::SyncedAppendVisibleMs => {
                "the engine uses the mounted log and its second channel, whichever is first"
            }
            Self::MemoryReturnedMb => "kina counts each running cluster with all the memory that it may take",
            Self::StopMs => "kina ends a stop that takes too long, and looks at the list of containers",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_a_consequence_and_different_answers_have_different_ones() {
        for question in Question::ALL {
            let possible = match question {
                Question::PortReachable => vec![Finding::Flag(true), Finding::Flag(false)],
                _ => vec![Finding::Number(1.0), Finding::Never],
            };
            let possible = [possible, vec![Finding::Unknown("a reason".to_owned())]].concat();
            let consequences: Vec<_> = possible.iter().map(|finding| question.consequence(finding)).collect();
            for consequence in &consequences {
                assert!(10 < consequence.len() && !consequence.contains("bug"), "{question:?}: {consequence}");
            }
            let distinct: std::collections::BTreeSet<_> = consequences.iter().collect();
            assert_eq!(distinct.len(), consequences.len(), "{question:?}: {consequences:?}");
        }
    }

    #[test]
    fn numbers_are_judged_where_that_matters() {
        let differ = |question: Question, one: f64, other: f64| {
            let [one, other] = [one, other].map(|value| question.consequence(&Finding::Number(value)));
            one != other
        };
        assert!(differ(Question::OpenFilesMax, 10_240.0, 65_536.0));
        assert!(differ(Question::MemoryReturnedMb, 0.0, 512.0));
        assert!(differ(Question::AppendVisibleMs, 3.0, 4000.0));
        assert!(differ(Question::SyncedAppendVisibleMs, 3.0, 4000.0));
        assert!(!differ(Question::StartMs, 3.0, 4000.0));
    }

    #[test]
    fn all_questions_have_different_names() {
        let names: std::collections::BTreeSet<_> = Question::ALL.iter().map(|question| question.name()).collect();
        assert_eq!(names.len(), Question::ALL.len());
    }
}
