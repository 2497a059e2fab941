//! The layout below the root directory. The engine's module `image::layout` has the same names.

use std::path::{Path, PathBuf};

/// The program etcd.
pub const ETCD: &str = "kina/etcd";
/// The program kube-apiserver.
pub const KUBE_API_SERVER: &str = "kina/kube-apiserver";
/// The directory of command lines.
pub const CLUSTER_DIRECTORY: &str = "kina/cluster";
/// The directory of logs.
pub const LOG_DIRECTORY: &str = "kina/log";
/// The state that a cluster keeps from one start to the next.
pub const STATE_DIRECTORY: &str = "kina/state";
/// etcd's data.
pub const ETCD_DIRECTORY: &str = "kina/state/etcd";
/// The marker of a loaded initial state.
pub const COMPLETE_MARKER: &str = "kina/state/complete";
/// The socket on which etcd reports that it serves.
pub const READINESS_SOCKET: &str = "kina/state/readiness.socket";
/// etcd's arguments, in the directory of command lines.
pub const ETCD_ARGUMENTS: &str = "etcd.arguments";
/// kube-apiserver's arguments, in the directory of command lines.
pub const API_SERVER_ARGUMENTS: &str = "kube-apiserver.arguments";
/// etcd's log, in the directory of logs.
pub const ETCD_LOG: &str = "etcd.log";
/// kube-apiserver's log, in the directory of logs.
pub const API_SERVER_LOG: &str = "kube-apiserver.log";
/// The supervisor's events, in the directory of logs.
pub const SUPERVISOR_LOG: &str = "supervisor.log";
/// The lines that a probe appends, in the directory of logs.
pub const PROBE_LOG: &str = "probe.log";
/// The same of lines that it syncs.
pub const PROBE_SYNCED_LOG: &str = "probe-synced.log";
/// The port of kube-apiserver, and of a probe.
pub const API_PORT: u16 = 6443;

/// The root directory: that of the image, or the one that a test names.
#[derive(Clone, Debug)]
pub struct Root(pub PathBuf);

impl Root {
    /// The path of a file or directory of the image.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.0.join(relative)
    }

    /// A file in the directory of command lines.
    pub fn cluster_file(&self, name: &str) -> PathBuf {
        self.path(CLUSTER_DIRECTORY).join(name)
    }

    /// A file in the directory of logs.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.path(LOG_DIRECTORY).join(name)
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }
}
