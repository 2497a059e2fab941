//! One component: its command line, its log, its process.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::layout::{
    API_SERVER_ARGUMENTS, API_SERVER_LOG, ETCD, ETCD_ARGUMENTS, ETCD_LOG, KUBE_API_SERVER, READINESS_SOCKET, Root,
};
use crate::system;

/// The length of the end of a log that is reported.
const LOG_TAIL_BYTES: u64 = 2_000;

/// A component to watch over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The database.
    Etcd,
    /// The API server.
    KubeApiServer,
}

impl Component {
    /// Its usual name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiServer => "kube-apiserver",
        }
    }

    /// Returns the end of its log; the error if it cannot be read.
    pub fn log_tail(self, root: &Root) -> String {
        let path = root.log_file(self.log());
        let read = || {
            let mut file = File::open(&path)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut tail = Vec::new();
            file.take(LOG_TAIL_BYTES).read_to_end(&mut tail)?;
            io::Result::Ok(tail)
        };
        match read() {
            Ok(tail) => String::from_utf8_lossy(&tail).trim_end().to_owned(),
            Err(error) => format!("reading {} failed: {error}", path.display()),
        }
    }

    /// Starts it with the current arguments in its file, and returns its process id.
    ///
    /// # Errors
    /// A message with the operation that failed.
    pub fn start(self, root: &Root) -> Result<u32, String> {
        let (program, arguments) = match self {
            Self::Etcd => (ETCD, ETCD_ARGUMENTS),
            Self::KubeApiServer => (KUBE_API_SERVER, API_SERVER_ARGUMENTS),
        };
        let (program, arguments, log) = (root.path(program), root.cluster_file(arguments), root.log_file(self.log()));
        let failed = |what: &str, path: &Path, error: io::Error| format!("{what} {} failed: {error}", path.display());
        let arguments = std::fs::read_to_string(&arguments).map_err(|error| failed("reading", &arguments, error))?;
        let open_log = || File::options().create(true).append(true).open(&log);
        let output = open_log().map_err(|error| failed("opening", &log, error))?;
        let error_output = open_log().map_err(|error| failed("opening", &log, error))?;
        let mut command = Command::new(&program);
        command
            .args(arguments.lines().filter(|line| !line.is_empty()))
            .current_dir(root.directory())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(error_output)
            // A group of its own, so that all of it can be ended.
            .process_group(0);
        if self == Self::Etcd {
            command.env("NOTIFY_SOCKET", root.path(READINESS_SOCKET));
        }
        let supervisor = std::process::id();
        let prepare = move || {
            system::hold_nothing_back()?;
            system::die_with_parent()?;
            // The death of a parent that has died before that call would never be noticed.
            if parent_id() == supervisor { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        };
        #[expect(unsafe_code, reason = "the child would inherit the signals that are blocked here")]
        // SAFETY: makes only system calls, and touches neither a lock nor memory that is not its own.
        unsafe {
            command.pre_exec(prepare);
        }
        command.spawn().map(|child| child.id()).map_err(|error| failed("starting", &program, error))
    }

    fn log(self) -> &'static str {
        match self {
            Self::Etcd => ETCD_LOG,
            Self::KubeApiServer => API_SERVER_LOG,
        }
    }
}
