//! Errors of the program `container`, as kinds that can be acted on.
//!
//! It prints `Error: …` with causes nested in parentheses, and its wording changes with its version. So errors are
//! recognised by phrases anywhere in a message, never by a whole line.

use std::time::Duration;

use super::call::{Answer, CallFailure, CallOutcome};

/// Length of the part of an answer that a message shows.
const SHOWN_CHARACTERS_MAX: usize = 1_500;

/// A failed call of the program `container`.
#[derive(Debug, thiserror::Error)]
#[error("`{call}` {answer}: {kind}; {advice}", advice = kind.advice())]
pub struct ContainerError {
    /// The kind, which determines the remedy.
    pub kind: ContainerErrorKind,
    /// The command line.
    pub call: String,
    /// The exit status, and the end of the output.
    pub answer: String,
    /// The system's error, if the program gave no answer.
    #[source]
    pub source: Option<std::io::Error>,
}

/// A kind of error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerErrorKind {
    /// There is no such program.
    #[error("there is no usable program `container`")]
    NoProgram,
    /// It is too old for kina.
    #[error("it is too old for kina")]
    TooOld,
    /// The service is not registered, or not running.
    #[error("the service of `container` is not running")]
    ServiceDown,
    /// The service died during the call; the outcome is not known.
    #[error("the service of `container` died in the middle of the call")]
    ServiceInterrupted,
    /// The service did not answer within its own time limit.
    #[error("the service of `container` did not answer")]
    ServiceHung,
    /// The call did not end within kina's time limit, and was killed.
    #[error("the call hung and was killed")]
    TimedOut,
    /// Too many calls that boot were waiting.
    #[error("the calls before it took too long")]
    QueueTooSlow,
    /// No container of this name.
    #[error("the container is gone")]
    Missing,
    /// The name is taken.
    #[error("a container of this name exists")]
    Exists,
    /// It does not run.
    #[error("the container does not run")]
    NotRunning,
    /// It runs, so it cannot be deleted.
    #[error("the container still runs")]
    StillRunning,
    /// It is listed as stopped but its ports still answer, or the other way round.
    #[error("the container is not in the state that the service reports")]
    Mismatch,
    /// It is not kina's, or not this cluster's.
    #[error("the container is not this cluster's")]
    Foreign,
    /// It was made from another image.
    #[error("the container was made from another image")]
    OtherImage,
    /// It keeps the kernel and the init of the version of the service that made it, and another one runs now.
    #[error("the container was made by another version of `container`")]
    OtherVersion,
    /// A name that is not allowed.
    #[error("the name is not allowed")]
    BadName,
    /// A directory to be mounted does not exist, or has a path that cannot be passed on.
    #[error("a directory of the cluster cannot be mounted")]
    BadMount,
    /// No such image.
    #[error("the image is not loaded")]
    ImageMissing,
    /// The image is not for this processor.
    #[error("the image is not for this processor")]
    PlatformMissing,
    /// No Linux kernel is installed.
    #[error("`container` has no Linux kernel")]
    NoKernel,
    /// The machine cannot run virtual machines.
    #[error("this machine cannot run virtual machines")]
    NoVirtualization,
    /// Less memory than `container` allows.
    #[error("the memory of a cluster is too small")]
    MemoryTooSmall,
    /// Another program has the port.
    #[error("a port is taken")]
    PortTaken,
    /// Only root may listen on the port.
    #[error("a port is privileged: only root may listen on it")]
    PortPrivileged,
    /// A network does not exist, or macOS does not provide it.
    #[error("the network is missing")]
    NetworkMissing,
    /// Its components serve, but cannot be reached through their published ports.
    #[error("the container works, but its published ports let nothing through")]
    Unreachable,
    /// The program that the image should run is not in it.
    #[error("the program in the image cannot be found")]
    BadExecutable,
    /// The runtime helper asks for a limit of 65536 open files, and launchd's hard limit is lower.
    #[error("the runtime helper of `container` was not permitted to raise its limit of open files")]
    NotPermitted,
    /// The program does not understand the command line.
    #[error("it does not understand the command line")]
    Usage,
    /// The output cannot be understood.
    #[error("its output cannot be understood")]
    Unreadable,
    /// Anything else.
    #[error("it failed")]
    Other,
}

use ContainerErrorKind as Kind;

/// Phrases of section 3 of the reference, the more specific ones first: a message can contain several.
const PHRASES: &[(&str, ContainerErrorKind)] = &[
    ("default kernel not configured for architecture", Kind::NoKernel),
    ("Virtualization is not available on this hardware", Kind::NoVirtualization),
    ("virtualization is not supported", Kind::NoVirtualization),
    ("minimum memory amount allowed", Kind::MemoryTooSmall),
    ("Address already in use", Kind::PortTaken),
    ("errno: 48", Kind::PortTaken),
    ("Binding to ports below 1024", Kind::PortPrivileged),
    ("failed to find target executable", Kind::BadExecutable),
    ("Connection interrupted", Kind::ServiceInterrupted),
    ("XPC timeout for request to", Kind::ServiceHung),
    ("XPC connection error", Kind::ServiceDown),
    ("Connection invalid", Kind::ServiceDown),
    ("Ensure container system service has been started with", Kind::ServiceDown),
    ("failed to get a response from apiserver", Kind::ServiceDown),
    ("failed to get a response from machine API server", Kind::ServiceDown),
    ("is running and can not be deleted", Kind::StillRunning),
    ("no runtime client exists", Kind::NotRunning),
    ("cannot exec: container is not running", Kind::NotRunning),
    ("is not a valid container ID", Kind::BadName),
    ("container already exists", Kind::Exists),
    ("hostname(s) already exist", Kind::Exists),
    ("no such container", Kind::Missing),
    ("container not found", Kind::Missing),
    ("image with reference", Kind::ImageMissing),
    ("image not found", Kind::ImageMissing),
    ("failed with response: 4", Kind::ImageMissing),
    ("has no content for platform", Kind::PlatformMissing),
    ("no network for id", Kind::NetworkMissing),
    ("builtin network is not present", Kind::NetworkMissing),
    ("failed to get plugin for network", Kind::NetworkMissing),
    ("failed to create vmnet network with status", Kind::NetworkMissing),
    ("Operation not permitted", Kind::NotPermitted),
];

/// Phrases with a name in the middle: both parts must occur, in this order.
const PHRASES_AROUND_A_NAME: &[(&str, &str, ContainerErrorKind)] = &[
    ("container with id ", " already exists", Kind::Exists),
    ("container with id ", " not found", Kind::Missing),
    ("get failed: container ", " not found", Kind::Missing),
    ("container ", " is not running", Kind::NotRunning),
    ("unsupported", "platform linux/", Kind::PlatformMissing),
    ("network ", " not found", Kind::NetworkMissing),
];

impl ContainerErrorKind {
    /// Returns the kind of error that a message of the program reports.
    pub(super) fn of_message(message: &str) -> Self {
        let lower = message.to_lowercase();
        let has = |phrase: &str| lower.contains(&phrase.to_lowercase());
        if let Some((_, kind)) = PHRASES.iter().find(|(phrase, _)| has(phrase)) {
            return *kind;
        }
        let has_both = |before: &str, after: &str| {
            let after = after.to_lowercase();
            lower.split_once(&before.to_lowercase()).is_some_and(|(_, rest)| rest.contains(&after))
        };
        let found = PHRASES_AROUND_A_NAME.iter().find(|(before, after, _)| has_both(before, after));
        found.map_or(Self::Other, |(_, _, kind)| *kind)
    }

    /// Returns true if the call may have been carried out nevertheless, in part or in whole, or may succeed the next
    /// time, so that only the state shows the outcome. This includes unknown errors, since calls have reported a
    /// failure after doing their work.
    pub(super) fn leaves_open_what_happened(self) -> bool {
        matches!(self, Self::ServiceDown | Self::ServiceInterrupted | Self::ServiceHung | Self::TimedOut | Self::Other)
    }

    /// Returns true if only the user can repair the cause, so that trying again before that is no use.
    pub fn is_user_error(self) -> bool {
        matches!(
            self,
            Self::NoProgram
                | Self::TooOld
                | Self::NoKernel
                | Self::NoVirtualization
                | Self::MemoryTooSmall
                | Self::BadMount
                | Self::NetworkMissing
                | Self::NotPermitted
                | Self::Unreachable
        )
    }

    fn advice(self) -> &'static str {
        match self {
            Self::NoProgram => {
                "install Apple's `container` 1.0.0 or newer (macOS 26 on Apple silicon), or set KINA_CONTAINER_CLI to \
                 the path of the program"
            }
            Self::TooOld => {
                "install `container` 1.0.0 or newer, then run `container system stop` and `container system start`"
            }
            Self::ServiceDown => {
                "run `container system start --enable-kernel-install` (in a desktop session if the service stays \
                 unregistered), or let kina start it"
            }
            Self::ServiceInterrupted | Self::ServiceHung | Self::TimedOut => {
                "if it happens again, run `container system stop` and `container system start`; \
                 `container system logs --last 5m` shows more"
            }
            Self::QueueTooSlow => "boot fewer clusters at a time (KINA_BOOTS_MAX)",
            Self::Missing => "it was pruned or deleted outside of kina, which replaces it",
            Self::Exists => "kina chooses another name",
            Self::NotRunning | Self::StillRunning | Self::Mismatch => "kina deletes it and makes another",
            Self::OtherVersion => "kina deletes it and makes another with the present kernel and init",
            Self::Foreign | Self::OtherImage => "kina leaves it alone and makes another of its own",
            Self::BadName => "this is a bug in kina: please report it",
            Self::BadMount => {
                "set the variable to a directory whose path has no comma, quotation mark or `=`, on a volume that macOS \
                 can share, then run `cargo kina stop`"
            }
            Self::ImageMissing => "kina loads it again",
            Self::PlatformMissing => "the binaries of the cluster must be for Linux and for this machine's processor",
            Self::NoKernel => "run `container system kernel set --recommended`",
            Self::NoVirtualization => {
                "`container` needs Apple silicon and does not run inside of a virtual machine: use another provider here"
            }
            Self::MemoryTooSmall => "`container` requires at least 200 MiB: give clusters more memory",
            Self::PortTaken => "kina tries another",
            Self::PortPrivileged => "this is a bug in kina, which needs no such port: please report it",
            Self::NetworkMissing => {
                "run `container system stop` and `container system start`; if the network stays missing, move \
                 `container` out of Desktop and Documents, where macOS keeps its helpers from the network"
            }
            Self::Unreachable => {
                "allow `container-runtime-linux` under Privacy & Security, Local Network, then run \
                 `container system stop` and `container system start`"
            }
            Self::BadExecutable => {
                "the image is damaged: remove it with `container image delete`, and kina loads it again"
            }
            Self::NotPermitted => {
                "`launchctl limit maxfiles` shows launchd's limits, of which the second must be 65536 or more, and which \
                 `ulimit` in a shell does not change: run `sudo launchctl limit maxfiles 65536 524288`, then \
                 `container system stop` and `container system start`"
            }
            Self::Usage => "this version of `container` may be too new for kina: please report it",
            Self::Unreadable | Self::Other => "`container system logs --last 5m` shows more",
        }
    }
}

impl ContainerError {
    pub(super) fn new(kind: ContainerErrorKind, call: impl Into<String>, answer: impl Into<String>) -> Self {
        Self { kind, call: call.into(), answer: answer.into(), source: None }
    }

    /// Returns the same error with a more precise kind.
    pub(super) fn with_kind(self, kind: ContainerErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Makes the error of an answer that reports a failure.
    pub(super) fn of_answer(call: String, answer: &Answer) -> Self {
        let kind = match answer.outcome {
            CallOutcome::Exited(64) => Kind::Usage,
            _ => Kind::of_message(&answer.messages),
        };
        Self::new(kind, call, format!("{}{}", answer.outcome, shown(&answer.messages)))
    }

    /// Makes the error of a call that gave no answer.
    pub(super) fn of_failure(call: String, failure: CallFailure) -> Self {
        match failure {
            CallFailure::Spawn(source) => {
                let kind = match source.kind() {
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => Kind::NoProgram,
                    _ => Kind::Other,
                };
                Self { kind, call, answer: "could not be run".to_owned(), source: Some(source) }
            }
            CallFailure::TimedOut { deadline, messages } => {
                // Its messages help a reader, but do not determine the kind: the call hung after them.
                let answer = format!("did not end within {}{}", seconds(deadline), shown(&messages));
                Self::new(Kind::TimedOut, call, answer)
            }
            CallFailure::TooMuchOutput { bytes_max } => {
                Self::new(Kind::Unreadable, call, format!("printed more than {bytes_max} bytes"))
            }
            CallFailure::Io(source) => {
                Self { kind: Kind::Other, call, answer: "could not be watched".to_owned(), source: Some(source) }
            }
        }
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Quotes the end of the messages; empty if there are none.
fn shown(messages: &str) -> String {
    let text = messages.trim();
    let surplus = text.chars().count().saturating_sub(SHOWN_CHARACTERS_MAX);
    let tail: String = text.chars().skip(surplus).collect();
    match (tail.is_empty(), surplus) {
        (true, _) => String::new(),
        (false, 0) => format!(" and printed \"{tail}\""),
        (false, _) => format!(" and printed at its end \"…{tail}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tries a message for each row of the reference's table (section 3), wrapped as `container` wraps them.
    #[test]
    fn the_table_of_the_reference_is_understood() {
        let cases = [
            ("Error: interrupted: \"XPC connection error: Connection invalid\"", Kind::ServiceDown),
            (
                "Error: internalError: \"failed\" (cause: \"XPC connection error: Connection interrupted\")",
                Kind::ServiceInterrupted,
            ),
            ("Ensure container system service has been started with `container system start`.", Kind::ServiceDown),
            ("Error: XPC timeout for request to com.apple.container.apiserver/ping", Kind::ServiceHung),
            ("Error: failed to get a response from apiserver: timeout", Kind::ServiceDown),
            ("Error: exists: \"container with id kina-a already exists\"", Kind::Exists),
            ("Error: container already exists: kina-a", Kind::Exists),
            ("Error: hostname(s) already exist: [\"kina-a\"]", Kind::Exists),
            ("Error: get failed: container kina-a not found", Kind::Missing),
            ("Error: notFound: \"container with ID kina-a not found\"", Kind::Missing),
            ("Error: container not found: kina-a", Kind::Missing),
            ("Error: no such container: kina-a", Kind::Missing),
            ("Error: container kina-a is not running", Kind::NotRunning),
            ("Error: invalidState: \"no runtime client exists: container is stopped\"", Kind::NotRunning),
            ("Error: invalidState: \"container kina-a is running and can not be deleted\"", Kind::StillRunning),
            ("Error: a is not a valid container ID", Kind::BadName),
            ("Error: notFound: \"image with reference kina.local/cluster:1\"", Kind::ImageMissing),
            ("Error: image not found: kina.local/cluster:1", Kind::ImageMissing),
            ("Error: HTTP request to … failed with response: 404 Not Found", Kind::ImageMissing),
            ("Error: kina.local/cluster:1 has no content for platform linux/arm64", Kind::PlatformMissing),
            ("Error: unsupported: \"platform linux/arm64\"", Kind::PlatformMissing),
            ("Error: notFound: \"default kernel not configured for architecture arm64\"", Kind::NoKernel),
            ("Error: network default not found", Kind::NetworkMissing),
            ("Error: no network for id default", Kind::NetworkMissing),
            ("Error: invalidState: \"builtin network is not present\"", Kind::NetworkMissing),
            ("Error: internalError: \"failed to get plugin for network default\"", Kind::NetworkMissing),
            (
                "Error: unsupported: \"failed to create vmnet network with status vmnet_return_t(rawValue: 1001)\"",
                Kind::NetworkMissing,
            ),
            (
                "Error: internalError: \"failed to start\" (cause: \"POSIXErrorCode(rawValue: 1): Operation not permitted\")",
                Kind::NotPermitted,
            ),
            ("Error: failed to bootstrap (cause: \"bind(…): Address already in use (errno: 48)\")", Kind::PortTaken),
            ("Error: Binding to ports below 1024 needs root", Kind::PortPrivileged),
            ("Error: minimum memory amount allowed is 200 MiB", Kind::MemoryTooSmall),
            (
                "Error Domain=VZErrorDomain Code=2 \"Virtualization is not available on this hardware.\"",
                Kind::NoVirtualization,
            ),
            ("Error: nested virtualization is not supported on the platform", Kind::NoVirtualization),
            ("Error: failed to find target executable /kina/supervisor", Kind::BadExecutable),
            ("Error: something new", Kind::Other),
            ("", Kind::Other),
        ];
        for (message, kind) in cases {
            assert_eq!(Kind::of_message(message), kind, "{message}");
        }
    }

    #[test]
    fn a_limit_of_launchd_is_not_repaired_in_a_shell() {
        let error = ContainerError::new(Kind::NotPermitted, "container start kina-a", "ended with exit code 1");
        let text = error.to_string();
        for part in ["launchctl limit maxfiles", "65536", "container system stop", "container system start"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("ulimit -n"), "{text}");
    }

    #[test]
    fn a_message_names_the_call_its_answer_and_a_remedy() {
        let answer = Answer {
            outcome: CallOutcome::Exited(1),
            output: Vec::new(),
            messages: format!("{}Error: default kernel not configured for architecture arm64\n", "x".repeat(100_000)),
        };
        let text = ContainerError::of_answer("container start kina-a".to_owned(), &answer).to_string();
        for part in ["container start kina-a", "exit code 1", "default kernel not", "kernel set --recommended"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.len() < 2 * SHOWN_CHARACTERS_MAX, "{} bytes", text.len());
    }
}
