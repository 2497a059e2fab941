//! The layout of the image: the contract between its builder, the supervisor in it, and its runner.
//!
//! The supervisor is compiled separately, so it repeats these names in `supervisor/layout.rs`; a test keeps both the
//! same.

/// The supervisor, which is the image's entry point.
pub const SUPERVISOR: &str = "/kina/supervisor";
/// The program etcd.
pub const ETCD: &str = "/kina/etcd";
/// The program kube-apiserver.
pub const KUBE_API_SERVER: &str = "/kina/kube-apiserver";
/// The mount point of certificates and command lines, read-only.
pub const CLUSTER_DIRECTORY: &str = "/kina/cluster";
/// The mount point of the host's directory for logs.
pub const LOG_DIRECTORY: &str = "/kina/log";
/// The state that a cluster keeps from one start to the next, in the root file system.
pub const STATE_DIRECTORY: &str = "/kina/state";
/// etcd's data.
pub const ETCD_DIRECTORY: &str = "/kina/state/etcd";
/// The marker of a loaded initial state: a cluster with it starts by itself.
pub const COMPLETE_MARKER: &str = "/kina/state/complete";
/// etcd's arguments, one a line, in [`CLUSTER_DIRECTORY`].
pub const ETCD_ARGUMENTS: &str = "etcd.arguments";
/// kube-apiserver's arguments, one a line, in [`CLUSTER_DIRECTORY`].
pub const API_SERVER_ARGUMENTS: &str = "kube-apiserver.arguments";
/// etcd's log, in [`LOG_DIRECTORY`].
pub const ETCD_LOG: &str = "etcd.log";
/// kube-apiserver's log, in [`LOG_DIRECTORY`].
pub const API_SERVER_LOG: &str = "kube-apiserver.log";
/// The supervisor's events, one JSON object a line, in [`LOG_DIRECTORY`].
pub const SUPERVISOR_LOG: &str = "supervisor.log";
/// The lines that a probe appends, in [`LOG_DIRECTORY`].
pub const PROBE_LOG: &str = "probe.log";
/// The same of lines that it syncs.
pub const PROBE_SYNCED_LOG: &str = "probe-synced.log";
/// The argument with which the supervisor answers questions about the machine, and runs no cluster.
pub const PROBE_ARGUMENT: &str = "probe";
/// kube-apiserver's port, and that of a probe.
pub const API_PORT: u16 = 6443;
/// etcd's port.
pub const ETCD_PORT: u16 = 2379;

/// All directories of the image with their modes, parents first.
pub(super) const DIRECTORIES: [(&str, u32); 12] = [
    ("/dev", 0o755),
    ("/etc", 0o755),
    ("/kina", 0o755),
    (CLUSTER_DIRECTORY, 0o755),
    (LOG_DIRECTORY, 0o755),
    (STATE_DIRECTORY, 0o700),
    ("/proc", 0o555),
    ("/root", 0o700),
    ("/run", 0o755),
    ("/sys", 0o555),
    ("/tmp", 0o1777),
    ("/var", 0o755),
];

/// The few files that programs expect; the runtime replaces some of them at each start.
pub(super) const FILES: [(&str, &str); 3] = [
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/passwd", "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/:/sbin/nologin\n"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_supervisor_knows_the_same_names() {
        let source = include_str!("../../supervisor/layout.rs");
        let relative = |path: &'static str| path.trim_start_matches('/');
        for (name, value) in [
            ("ETCD", relative(ETCD)),
            ("KUBE_API_SERVER", relative(KUBE_API_SERVER)),
            ("CLUSTER_DIRECTORY", relative(CLUSTER_DIRECTORY)),
            ("LOG_DIRECTORY", relative(LOG_DIRECTORY)),
            ("STATE_DIRECTORY", relative(STATE_DIRECTORY)),
            ("ETCD_DIRECTORY", relative(ETCD_DIRECTORY)),
            ("COMPLETE_MARKER", relative(COMPLETE_MARKER)),
            ("ETCD_ARGUMENTS", ETCD_ARGUMENTS),
            ("API_SERVER_ARGUMENTS", API_SERVER_ARGUMENTS),
            ("ETCD_LOG", ETCD_LOG),
            ("API_SERVER_LOG", API_SERVER_LOG),
            ("SUPERVISOR_LOG", SUPERVISOR_LOG),
            ("PROBE_LOG", PROBE_LOG),
            ("PROBE_SYNCED_LOG", PROBE_SYNCED_LOG),
        ] {
            let line = format!("pub const {name}: &str = \"{value}\";");
            assert!(source.lines().any(|candidate| candidate == line), "`{line}` is missing");
        }
        let line = format!("pub const API_PORT: u16 = {API_PORT};");
        assert!(source.lines().any(|candidate| candidate == line), "`{line}` is missing");
        let main = include_str!("../../supervisor/main.rs");
        assert!(main.contains(&format!("word == \"{PROBE_ARGUMENT}\"")), "the supervisor knows no `{PROBE_ARGUMENT}`");
    }

    #[test]
    fn directories_come_after_their_parents_and_hold_every_file() {
        let known: Vec<&str> = DIRECTORIES.iter().map(|(path, _)| *path).collect();
        assert!(known.is_sorted());
        let parent =
            |path: &'static str| path.rsplit_once('/').map(|(parent, _)| parent).filter(|text| !text.is_empty());
        for (position, path) in known.iter().enumerate() {
            assert!(parent(path).is_none_or(|parent| known[..position].contains(&parent)), "{path}");
        }
        for path in FILES.map(|(path, _)| path).into_iter().chain([SUPERVISOR, ETCD, KUBE_API_SERVER]) {
            assert!(parent(path).is_some_and(|parent| known.contains(&parent)), "{path}");
        }
    }
}
