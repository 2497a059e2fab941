//! All command lines of `container` that kina uses, with their deadlines.
//!
//! Options come before names, since everything after a name is passed through.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::guest;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) arguments: Vec<OsString>,
    pub(super) deadline: Duration,
    /// Set if it boots something, so that it has to wait for its turn.
    pub(super) boots: bool,
}

/// Deadline of a query. The service's own limit for a list is ten seconds.
const LOOK_DEADLINE: Duration = Duration::from_secs(12);
/// Deadline of a create, which writes a configuration as soon as it has the service's one lock. Deletions, the ends of
/// stops, `system df` and the calls of other clients hold that too, so it leaves room for five deletions of ten seconds,
/// and is longer than the service's own limit of 60 s, which counts the wait as well. A create that waits for something
/// else is given up earlier, by [`DOUBT_AFTER`].
const CREATE_DEADLINE: Duration = Duration::from_secs(75);
/// Deadline of a start, which boots a virtual machine in about a second, after the same wait. The first start of an
/// image copies its file system.
const START_DEADLINE: Duration = Duration::from_secs(100);
/// Time after which a create or a start that still runs is doubted: it is given up if it has had its effect, or cannot
/// have it any more.
pub(super) const DOUBT_AFTER: Duration = Duration::from_secs(30);
const SIGNAL_DEADLINE: Duration = Duration::from_secs(12);
const DELETE_DEADLINE: Duration = Duration::from_secs(30);
/// Deadline of a load, which reads 200 MB and makes a file system of them.
const IMAGE_LOAD_DEADLINE: Duration = Duration::from_secs(300);
/// Time for the service to come up.
const SERVICE_START_SECONDS: u64 = 60;
/// Deadline of the whole call, which downloads a kernel the first time.
const SERVICE_START_DEADLINE: Duration = Duration::from_secs(600);
/// Time for etcd to end by itself. It needs some milliseconds; the rest is for a busy machine.
const STOP_SECONDS: u64 = 10;
/// Deadline of a stop: after `STOP_SECONDS`, `container` kills, unmounts and turns the machine off.
const STOP_DEADLINE: Duration = Duration::from_secs(STOP_SECONDS + 20);
/// Lines of a container's log in a message.
const LOG_LINES: u64 = 40;

/// The description of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerSpec {
    pub(super) name: String,
    pub(super) labels: [(&'static str, String); 3],
    pub(super) cpus: u32,
    pub(super) memory_bytes: u64,
    /// Ports of this machine's loopback for the API server and for etcd.
    pub(super) api_port: u16,
    pub(super) etcd_port: u16,
    /// Mounted read-only at [`guest::CLUSTER_DIRECTORY`].
    pub(super) cluster_directory: PathBuf,
    /// Mounted at [`guest::LOG_DIRECTORY`].
    pub(super) log_directory: PathBuf,
    pub(super) image: String,
}

/// A signal to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GuestSignal {
    /// The initial state is loaded.
    StateLoaded,
    /// Restart kube-apiserver.
    RestartApiServer,
}

impl GuestSignal {
    /// Returns the signal's number on Linux. A name would be ambiguous: SIGUSR1 is 10 on Linux and 30 on macOS, and
    /// versions of `container` differ in the table that they use. All of them pass a number on unchanged.
    fn number(self) -> &'static str {
        match self {
            Self::StateLoaded => "10",
            Self::RestartApiServer => "1",
        }
    }

    /// Returns the event by which the supervisor tells that it has acted.
    pub(super) fn event(self) -> &'static str {
        match self {
            Self::StateLoaded => guest::STATE_COMPLETE,
            Self::RestartApiServer => guest::API_SERVER_RESTARTED,
        }
    }
}

pub(super) fn version() -> Command {
    look(["--version"])
}

pub(super) fn system_status() -> Command {
    look(["system", "status", "--format", "json"])
}

pub(super) fn system_version() -> Command {
    look(["system", "version", "--format", "json"])
}

pub(super) fn system_disk_usage() -> Command {
    look(["system", "df", "--format", "json"])
}

/// Starts the service. Without the option about the kernel, the call would ask a question.
pub(super) fn system_start() -> Command {
    let timeout = SERVICE_START_SECONDS.to_string();
    command(["system", "start", "--enable-kernel-install", "--timeout", &timeout], SERVICE_START_DEADLINE)
}

/// Asks about one image. The list in JSON would fail as a whole if any image had a damaged blob.
pub(super) fn image_inspect(reference: &str) -> Command {
    look(["image", "inspect", reference])
}

/// Lists the names of all images, without reading the images.
pub(super) fn image_names() -> Command {
    look(["image", "list", "-q"])
}

pub(super) fn image_load(archive: &Path) -> Command {
    let mut command = command(["image", "load", "-i"], IMAGE_LOAD_DEADLINE);
    command.arguments.push(archive.into());
    command
}

pub(super) fn list() -> Command {
    look(["list", "-a", "--format", "json"])
}

pub(super) fn inspect(name: &str) -> Command {
    look(["inspect", name])
}

pub(super) fn log_tail(name: &str) -> Command {
    look(["logs", "-n", &LOG_LINES.to_string(), name])
}

/// Returns all output of the first process since the last start.
pub(super) fn output(name: &str) -> Command {
    look(["logs", name])
}

pub(super) fn create(spec: &ContainerSpec) -> Command {
    let mut arguments: Vec<OsString> = vec!["create".into(), "--name".into(), (&spec.name).into()];
    for (key, value) in &spec.labels {
        arguments.extend(["--label".into(), format!("{key}={value}").into()]);
    }
    // A bare number of bytes would do as well, but not every version rounds it.
    let memory = format!("{}m", spec.memory_bytes >> 20);
    arguments.extend(["--cpus".into(), spec.cpus.to_string().into(), "--memory".into(), memory.into()]);
    for (port, guest_port) in [(spec.api_port, guest::API_PORT), (spec.etcd_port, guest::ETCD_PORT)] {
        // Without an address it would listen on all addresses.
        arguments.extend(["--publish".into(), format!("127.0.0.1:{port}:{guest_port}").into()]);
    }
    let mounts = [
        (&spec.cluster_directory, guest::CLUSTER_DIRECTORY, ",readonly"),
        (&spec.log_directory, guest::LOG_DIRECTORY, ""),
    ];
    for (source, target, options) in mounts {
        let mut mount = OsString::from("type=bind,source=");
        mount.push(source);
        mount.push(format!(",target={target}{options}"));
        arguments.extend(["--mount".into(), mount]);
    }
    arguments.push((&spec.image).into());
    Command { arguments, deadline: CREATE_DEADLINE, boots: true }
}

pub(super) fn start(name: &str) -> Command {
    Command { boots: true, ..command(["start", name], START_DEADLINE) }
}

pub(super) fn stop(name: &str) -> Command {
    command(["stop", "-t", &STOP_SECONDS.to_string(), name], STOP_DEADLINE)
}

pub(super) fn signal(name: &str, signal: GuestSignal) -> Command {
    command(["kill", "-s", signal.number(), name], SIGNAL_DEADLINE)
}

pub(super) fn delete(name: &str) -> Command {
    command(["delete", "-f", name], DELETE_DEADLINE)
}

fn look<const COUNT: usize>(arguments: [&str; COUNT]) -> Command {
    command(arguments, LOOK_DEADLINE)
}

fn command<const COUNT: usize>(arguments: [&str; COUNT], deadline: Duration) -> Command {
    Command { arguments: arguments.map(OsString::from).into(), deadline, boots: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ContainerSpec {
        ContainerSpec {
            name: "kina-a1".to_owned(),
            labels: [
                ("dev.kina.realm", "r1".to_owned()),
                ("dev.kina.engine", "e1".to_owned()),
                ("dev.kina.cluster", "c1".to_owned()),
            ],
            cpus: 2,
            memory_bytes: 1 << 30,
            api_port: 36443,
            etcd_port: 32379,
            cluster_directory: "/state/a b/c1/cluster".into(),
            log_directory: "/logs/c1".into(),
            image: "kina.local/cluster:1.37.1-arm64-0123456789ab".to_owned(),
        }
    }

    /// Compares every command line of `container` that kina uses, word by word, and names the section of the reference
    /// that it relies on.
    #[test]
    fn golden_transcripts() {
        let create = "create\n--name\nkina-a1\n--label\ndev.kina.realm=r1\n--label\ndev.kina.engine=e1\n\
                      --label\ndev.kina.cluster=c1\n--cpus\n2\n--memory\n1024m\n\
                      --publish\n127.0.0.1:36443:6443\n--publish\n127.0.0.1:32379:2379\n\
                      --mount\ntype=bind,source=/state/a b/c1/cluster,target=/kina/cluster,readonly\n\
                      --mount\ntype=bind,source=/logs/c1,target=/kina/log\n\
                      kina.local/cluster:1.37.1-arm64-0123456789ab";
        let transcripts = [
            ("2, general rules", version(), "--version", false),
            ("2.1, trap 8", system_status(), "system\nstatus\n--format\njson", false),
            ("2.1, trap 18", system_version(), "system\nversion\n--format\njson", false),
            ("2.1", system_disk_usage(), "system\ndf\n--format\njson", false),
            ("2.1, trap 8", system_start(), "system\nstart\n--enable-kernel-install\n--timeout\n60", false),
            ("corrections, 2", image_inspect("kina.local/c:1"), "image\ninspect\nkina.local/c:1", false),
            ("corrections, 2", image_names(), "image\nlist\n-q", false),
            ("2.6", image_load(Path::new("/cache/a b.tar")), "image\nload\n-i\n/cache/a b.tar", false),
            ("2.2, 1.4, trap 12", create_spec(), create, true),
            ("2.3, trap 3", start("kina-a1"), "start\nkina-a1", true),
            ("2.3", stop("kina-a1"), "stop\n-t\n10\nkina-a1", false),
            ("2.3", signal("kina-a1", GuestSignal::StateLoaded), "kill\n-s\n10\nkina-a1", false),
            ("2.3", signal("kina-a1", GuestSignal::RestartApiServer), "kill\n-s\n1\nkina-a1", false),
            ("2.3, trap 4", delete("kina-a1"), "delete\n-f\nkina-a1", false),
            ("2.4", list(), "list\n-a\n--format\njson", false),
            ("2.4", inspect("kina-a1"), "inspect\nkina-a1", false),
            ("2.5", log_tail("kina-a1"), "logs\n-n\n40\nkina-a1", false),
            ("1.5, 2.5", output("kina-a1"), "logs\nkina-a1", false),
        ];
        for (section, command, expected, boots) in transcripts {
            let arguments: Vec<_> = command.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
            assert_eq!(arguments.join("\n"), expected, "reference, section {section}");
            assert_eq!(command.boots, boots, "reference, section {section}");
        }
    }

    fn create_spec() -> Command {
        create(&spec())
    }

    #[test]
    fn deadlines_are_longer_than_the_limits_that_the_calls_set() {
        assert!(Duration::from_secs(STOP_SECONDS) < stop("a").deadline);
        assert!(Duration::from_secs(SERVICE_START_SECONDS) < system_start().deadline);
        // Otherwise the service's own message would never be seen.
        assert!(Duration::from_secs(10) < list().deadline);
        assert!(Duration::from_secs(60) < create_spec().deadline);
    }

    /// The service's one lock may be held by others (corrections, 6).
    #[test]
    fn five_deletions_in_front_of_a_create_or_a_start_do_not_end_it() {
        for command in [create_spec(), start("a")] {
            assert!(DOUBT_AFTER + Duration::from_secs(10) < command.deadline);
            assert!(5 * Duration::from_secs(10) + Duration::from_secs(20) < command.deadline);
        }
    }
}
