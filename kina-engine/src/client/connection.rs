use std::io::{self, Read as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::UnknownProvider;
use crate::paths::{EnginePaths, PathsError};
use crate::protocol::{ClientMessage, EngineMessage, LINE_BYTES_MAX, LeaseGrant, PROTOCOL, RefusalKind};
use crate::settings::SettingsError;

/// The engine says something at least every 10 s to who waits.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection to the engine.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    greeted: bool,
    paths: EnginePaths,
}

/// A lease. It ends when this value is dropped, or when the process ends, however it does.
#[derive(Debug)]
pub struct Lease {
    /// How to reach the cluster.
    pub grant: LeaseGrant,
    stream: StdUnixStream,
}

/// Why the engine could not be asked, or did not give what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No private directory for the socket.
    #[error("no engine can be reached")]
    Paths(#[from] PathsError),
    /// A setting makes no sense.
    #[error("the settings make no sense")]
    Settings(#[from] SettingsError),
    /// There is no such provider.
    #[error("no engine can be asked")]
    Provider(#[from] UnknownProvider),
    /// This process should have become the engine.
    #[error(
        "this executable was started to become kina's engine, but the constructor that does it is missing: the linker \
         dropped it. Install the engine with `cargo install kina-engine`, or name one in KINA_ENGINE"
    )]
    ConstructorMissing,
    /// There is no program to start as the engine.
    #[error(
        "no engine is running and none is installed: tried KINA_ENGINE (not set) and `cargo-kina` {version} on PATH. \
         Install it with `cargo install kina-engine`, or enable the feature `embedded` of kina-test"
    )]
    NoProgram {
        /// The version looked for.
        version: &'static str,
    },
    /// What the engine does cannot be written where it was asked for.
    #[error("no timings can be written to {path}: make its directory, or name another file in KINA_TIMING_LOG")]
    TimingLog {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program could not be started.
    #[error("starting the engine from {program} failed")]
    Start {
        /// The program.
        program: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The program ended instead of becoming the engine.
    #[error(
        "{program} was started to become the engine but ended ({status}) without opening its socket. If this is a \
         test executable, the linker dropped kina's constructor: install the engine with `cargo install kina-engine`. \
         The engine's log {log} ends with:\n{log_tail}"
    )]
    NotAnEngine {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: String,
        /// The engine's log.
        log: PathBuf,
        /// Its last lines.
        log_tail: String,
    },
    /// The socket did not appear, or the engine did not go, in time.
    #[error("{what} took more than {waited_seconds} s; the engine's log is {log}")]
    TooSlow {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited_seconds: u64,
        /// The engine's log.
        log: PathBuf,
    },
    /// A lock file could not be used.
    #[error("locking {path} failed")]
    Lock {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The socket could not be used.
    #[error("talking to the engine at {socket} failed; its log is {log}")]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// The engine's log.
        log: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The engine went away while it was asked.
    #[error("the engine closed the connection without an answer; its log is {log}")]
    Closed {
        /// The engine's log.
        log: PathBuf,
    },
    /// The engine that gave a lease has ended, and the lease with it.
    #[error("no engine is running any more: it has ended, and every lease with it; its log is {log}")]
    EngineEnded {
        /// The engine's log.
        log: PathBuf,
    },
    /// The engine said something that is no answer to the question.
    #[error("the engine gave an answer that makes no sense here ({answer}); its log is {log}")]
    Unexpected {
        /// What it said.
        answer: String,
        /// The engine's log.
        log: PathBuf,
    },
    /// What was asked for cannot be had as it was asked for.
    #[error("{message}")]
    UserError {
        /// What was tried, what happened, what to do.
        message: String,
    },
    /// No cluster became free in time.
    #[error("{message}")]
    Timeout {
        /// What the queue looked like.
        message: String,
    },
    /// There can never be so many clusters at the same time.
    #[error(
        "{count} clusters were asked for at the same time, but the engine may have {slots_max}: raise `slots_max` in your \
         own kina.toml, or KINA_SLOTS_MAX, and run `cargo kina stop`, or take fewer"
    )]
    TooManyClusters {
        /// How many were asked for.
        count: usize,
        /// How many there may be.
        slots_max: usize,
    },
    /// Others who want several clusters took too long to get theirs.
    #[error(
        "several clusters were asked for, but others who did the same took more than {waited_seconds} s to get theirs: \
         raise `slots_max` if the machine has room for more clusters, or `acquire_timeout_seconds`"
    )]
    NoTicket {
        /// How long this client waited.
        waited_seconds: u64,
    },
    /// Something in the engine failed that should not.
    #[error("{message}; the engine's log is {log}")]
    Engine {
        /// What failed.
        message: String,
        /// The engine's log.
        log: PathBuf,
    },
}

impl Connection {
    /// Connects to a running engine; `None` where there is none.
    pub(super) async fn open_running(paths: &EnginePaths) -> Result<Option<Self>, ClientError> {
        match UnixStream::connect(&paths.socket).await {
            Ok(stream) => Ok(Some(Self { stream: BufReader::new(stream), greeted: false, paths: paths.clone() })),
            Err(error) if is_absence(&error) => Ok(None),
            Err(source) => Err(socket_error(paths, source)),
        }
    }

    /// Sends one message, after a greeting if it is the first.
    pub(super) async fn send(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.greeted, true) {
            push_line(&mut lines, &ClientMessage::Hello { protocol: PROTOCOL });
        }
        push_line(&mut lines, message);
        let written = self.stream.get_mut().write_all(&lines).await;
        written.map_err(|source| self.lost(source))
    }

    /// Waits for an answer that is no progress.
    pub(super) async fn receive(
        &mut self,
        progress: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<EngineMessage, ClientError> {
        loop {
            let mut line = String::new();
            let read = (&mut self.stream).take(LINE_BYTES_MAX).read_line(&mut line).await_within(SILENCE_MAX).await;
            match read {
                Some(Ok(0)) => return Err(ClientError::Closed { log: self.paths.log.clone() }),
                Some(Ok(_)) => {}
                Some(Err(source)) => return Err(self.lost(source)),
                None => {
                    return Err(ClientError::TooSlow {
                        what: "the engine's next word",
                        waited_seconds: SILENCE_MAX.as_secs(),
                        log: self.paths.log.clone(),
                    });
                }
            }
            match serde_json::from_str(&line) {
                Ok(EngineMessage::Progress { text }) => progress(&text),
                Ok(EngineMessage::Refused(refusal)) => {
                    let message = refusal.message;
                    return Err(match refusal.kind {
                        RefusalKind::User => ClientError::UserError { message },
                        RefusalKind::Timeout => ClientError::Timeout { message },
                        RefusalKind::Engine => ClientError::Engine { message, log: self.paths.log.clone() },
                    });
                }
                Ok(message) => return Ok(message),
                Err(error) => {
                    return Err(ClientError::Unexpected { answer: error.to_string(), log: self.paths.log.clone() });
                }
            }
        }
    }

    pub(super) fn into_lease(self, grant: LeaseGrant) -> Result<Lease, ClientError> {
        let paths = self.paths;
        // Off this runtime: the lease may outlive it, and nothing is read any more.
        let stream = self.stream.into_inner().into_std().map_err(|source| socket_error(&paths, source))?;
        Ok(Lease { grant, stream })
    }

    fn lost(&self, source: io::Error) -> ClientError {
        match source.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                ClientError::Closed { log: self.paths.log.clone() }
            }
            _ => socket_error(&self.paths, source),
        }
    }
}

impl Lease {
    /// Whether the engine has ended the lease: it is not there any more, or was asked to end.
    pub fn has_ended(&self) -> bool {
        // Nothing is ever said on it: what can be read is its end.
        let read = (&self.stream).read(&mut [0]);
        !read.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
    }

    /// Ends the lease now, also where copies of the connection exist in forked children.
    pub fn release(&self) {
        // Fails only where the engine has closed it already.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.release();
    }
}

impl ClientError {
    pub(super) fn unexpected(paths: &EnginePaths, answer: &EngineMessage) -> Self {
        Self::Unexpected { answer: format!("{answer:?}"), log: paths.log.clone() }
    }

    /// Whether the user can do something about it, rather than the engine's makers.
    pub fn is_user_error(&self) -> bool {
        matches!(
            self,
            Self::Paths(_)
                | Self::Settings(_)
                | Self::Provider(_)
                | Self::NoProgram { .. }
                | Self::TimingLog { .. }
                | Self::UserError { .. }
                | Self::Timeout { .. }
                | Self::TooManyClusters { .. }
                | Self::NoTicket { .. }
        )
    }
}

/// No engine: no socket, or one that nobody listens at any more.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn socket_error(paths: &EnginePaths, source: io::Error) -> ClientError {
    ClientError::Socket { socket: paths.socket.clone(), log: paths.log.clone(), source }
}

fn push_line(lines: &mut Vec<u8>, message: &ClientMessage) {
    // Messages are plain data: there is no map with keys that are no strings, nothing else can fail.
    serde_json::to_writer(&mut *lines, message).expect("client messages can be written as JSON");
    lines.push(b'\n');
}

trait AwaitWithin: Future + Sized {
    async fn await_within(self, duration: Duration) -> Option<Self::Output> {
        tokio::time::timeout(duration, self).await.ok()
    }
}

impl<F: Future> AwaitWithin for F {}
