use std::io::{self, Read as _};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, BufWriter};
use tokio::net::UnixStream;

use crate::choice::UnknownChoice;
use crate::fixtures::FixtureSet;
use crate::lease_connector::LeaseConnector;
use crate::passed_descriptor::DescriptorStream;
use crate::paths::{EnginePaths, PathsError};
use crate::protocol::{ClientMessage, EngineMessage, LINE_BYTES_MAX, LeaseGrant, PROTOCOL, RefusalKind};
use crate::provider_name::ProviderNotBuilt;
use crate::settings::SettingsError;

/// The engine sends a message at least every 10 s to a waiting client.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// A connection to the engine.
pub(super) struct Connection {
    stream: BufReader<DescriptorStream>,
    greeted: bool,
    paths: EnginePaths,
}

/// A lease. It ends when this value is dropped, or when the process ends in any way.
#[derive(Debug)]
pub struct Lease {
    /// The cluster's address and credentials.
    pub grant: LeaseGrant,
    stream: StdUnixStream,
    connector: LeaseConnector,
}

/// The reason that a request to the engine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// There is no private directory for the socket.
    #[error("no engine can be reached")]
    Paths(#[from] PathsError),
    /// A setting is not valid.
    #[error("the settings are not valid")]
    Settings(#[from] SettingsError),
    /// The provider does not exist.
    #[error("no engine can be chosen")]
    Provider(#[from] UnknownChoice),
    /// An engine of this build would not have the provider.
    #[error("no engine can be started")]
    ProviderNotBuilt(#[from] ProviderNotBuilt),
    /// This process should have become the engine.
    #[error(
        "this executable was started to become kina's engine, but the constructor that does it is missing: the linker \
         dropped it. Install the engine with `cargo install cargo-kina`, or name one in KINA_ENGINE"
    )]
    ConstructorMissing,
    /// There is no program to start as the engine.
    #[error(
        "no engine is running and none is installed: tried KINA_ENGINE (not set) and `cargo-kina` {version} on PATH. \
         Install it with `cargo install cargo-kina`, or enable the feature `embedded` of kina-test"
    )]
    NoProgram {
        /// The version looked for.
        version: &'static str,
    },
    /// The engine cannot write its timing log.
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
         test executable, the linker dropped kina's constructor: install the engine with `cargo install cargo-kina`. \
         The engine's log {log} ends with:\n{log_tail}"
    )]
    NotAnEngine {
        /// The program.
        program: PathBuf,
        /// Its exit status.
        status: String,
        /// The engine's log.
        log: PathBuf,
        /// Its last lines.
        log_tail: String,
    },
    /// The socket did not appear, or the engine did not end, in time.
    #[error("{what} took more than {waited_seconds} s; the engine's log is {log}")]
    TooSlow {
        /// The expected event.
        what: &'static str,
        /// The time waited, in seconds.
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
    /// The engine closed the connection before it answered.
    #[error("the engine closed the connection without an answer; its log is {log}")]
    Closed {
        /// The engine's log.
        log: PathBuf,
    },
    /// The engine that granted a lease has ended, and the lease with it.
    #[error("the engine has ended, and every lease with it; its log is {log}")]
    EngineEnded {
        /// The engine's log.
        log: PathBuf,
    },
    /// The engine's answer does not fit the request.
    #[error("the engine's answer does not fit the request ({answer}); its log is {log}")]
    Unexpected {
        /// The answer.
        answer: String,
        /// The engine's log.
        log: PathBuf,
    },
    /// The request cannot be fulfilled in this form.
    #[error("{message}")]
    UserError {
        /// The text: the attempt, the failure, and a remedy.
        message: String,
    },
    /// No cluster became free in time.
    #[error("{message}")]
    Timeout {
        /// The text, which describes the queue.
        message: String,
    },
    /// The engine never runs this many clusters at once.
    #[error(
        "{count} clusters were requested at the same time, but the engine runs {slots_max} at most: raise `slots_max` in \
         your own kina.toml, or KINA_SLOTS_MAX, and run `cargo kina stop`, or take fewer"
    )]
    TooManyClusters {
        /// The requested number.
        count: usize,
        /// The engine's limit.
        slots_max: usize,
    },
    /// Other clients that request several clusters took too long to get theirs.
    #[error(
        "several clusters were requested, but other clients that did the same took more than {waited_seconds} s to get \
         theirs: raise `slots_max` if the machine has room for more clusters, or `acquire_timeout_seconds`"
    )]
    NoTicket {
        /// The time this client waited, in seconds.
        waited_seconds: u64,
    },
    /// An unexpected failure in the engine.
    #[error("{message}; the engine's log is {log}")]
    Engine {
        /// The failure.
        message: String,
        /// The engine's log.
        log: PathBuf,
    },
}

impl Connection {
    /// Connects to a running engine; `None` if there is none.
    pub(super) async fn open_running(paths: &EnginePaths) -> Result<Option<Self>, ClientError> {
        match UnixStream::connect(&paths.socket).await {
            Ok(stream) => {
                let stream = BufReader::new(DescriptorStream::new(stream));
                Ok(Some(Self { stream, greeted: false, paths: paths.clone() }))
            }
            Err(error) if is_absence(&error) => Ok(None),
            Err(source) => Err(socket_error(paths, source)),
        }
    }

    /// Sends one message, after a greeting if it is the first.
    pub(super) async fn send(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let mut lines = Vec::new();
        if !std::mem::replace(&mut self.greeted, true) {
            ClientMessage::Hello { protocol: PROTOCOL }.append_line(&mut lines);
        }
        message.append_line(&mut lines);
        let written = self.stream.get_mut().stream_mut().write_all(&lines).await;
        written.map_err(|source| self.lost(source))
    }

    /// Sends the content of a template, straight from where it is.
    pub(super) async fn send_template(&mut self, template: &FixtureSet) -> Result<(), ClientError> {
        self.send(&ClientMessage::Template { bytes: template.content_bytes() }).await?;
        let stream = self.stream.get_mut().stream_mut();
        let write = async {
            // The many short parts in few writes.
            let mut writer = BufWriter::new(stream);
            for part in template.parts() {
                writer.write_all(part.bytes()).await?;
            }
            writer.flush().await
        };
        write.await.map_err(|source| self.lost(source))
    }

    /// Waits for an answer, and passes progress on meanwhile.
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
                        what: "the engine's next message",
                        waited_seconds: SILENCE_MAX.as_secs(),
                        log: self.paths.log.clone(),
                    });
                }
            }
            match serde_json::from_str(&line) {
                Ok(EngineMessage::Progress { text }) => progress(&text),
                Ok(EngineMessage::Alive) => {}
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
        // Detached from this runtime: the lease may outlive it, and no more messages are read.
        let (stream, first_connection) = self.stream.into_inner().into_parts();
        let stream = stream.into_std().map_err(|source| socket_error(&paths, source))?;
        let secret = grant.connection_secret.clone();
        let connector = LeaseConnector::new(paths.lease_socket, secret, first_connection.map(StdUnixStream::from));
        Ok(Lease { grant, stream, connector })
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
    /// Connects HTTP clients to the lease's API server, as its administrator.
    pub fn connector(&self) -> &LeaseConnector {
        &self.connector
    }

    /// Returns true if the lease has ended: by the engine's end, or at the engine's or the client's request.
    pub fn has_ended(&self) -> bool {
        // The engine sends nothing more on it, so the only thing to read is its end.
        let read = (&self.stream).read(&mut [0]);
        !read.is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
    }

    /// Ends the lease now, even if forked children hold copies of the connection.
    pub fn release(&self) {
        // Fails only if the engine has closed it already.
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

    /// Returns true if the user can fix it, false if it is a bug in kina.
    pub fn is_user_error(&self) -> bool {
        matches!(
            self,
            Self::Paths(_)
                | Self::Settings(_)
                | Self::Provider(_)
                | Self::ProviderNotBuilt(_)
                | Self::NoProgram { .. }
                | Self::TimingLog { .. }
                | Self::UserError { .. }
                | Self::Timeout { .. }
                | Self::TooManyClusters { .. }
                | Self::NoTicket { .. }
        )
    }
}

/// Returns true if no engine runs: there is no socket, or no process listens on it any more.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

fn socket_error(paths: &EnginePaths, source: io::Error) -> ClientError {
    ClientError::Socket { socket: paths.socket.clone(), log: paths.log.clone(), source }
}

trait AwaitWithin: Future + Sized {
    async fn await_within(self, duration: Duration) -> Option<Self::Output> {
        tokio::time::timeout(duration, self).await.ok()
    }
}

impl<F: Future> AwaitWithin for F {}
