//! The connection of one client: messages in both directions, and waits that the client can end by leaving.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;

use super::message::Ending;
use super::process_watch;
use super::steps::Steps;
use crate::passed_descriptor;
use crate::pool::ClientId;
use crate::protocol::{ClientMessage, EngineMessage, LINE_BYTES_MAX, Refusal, RefusalKind};
use crate::template_intake::NotReceived;

/// Time limit for a client to send its request, or to read an answer.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time without a message to a waiting client, if only that the engine is still there.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);

pub(super) struct ClientStream {
    pub(super) reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    process_id: Option<Pid>,
    steps: Steps,
}

/// A connection that ended against the client's will.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("reading from or writing to the client failed")]
    Socket(#[from] std::io::Error),
    #[error("the client is of another user ({0})")]
    ForeignUser(u32),
    #[error("the client took too long")]
    TooSlow(#[from] tokio::time::error::Elapsed),
    #[error("the client said something that makes no sense here")]
    Message(#[from] serde_json::Error),
    #[error(transparent)]
    Ending(#[from] Ending),
    #[error("the client's template could not be taken")]
    Template(#[from] NotReceived),
}

impl ClientStream {
    /// Takes over a connection of this user. Returns an error for other users.
    pub(super) fn new(stream: UnixStream) -> Result<Self, ConnectionError> {
        let peer = stream.peer_cred()?;
        if peer.uid() != rustix::process::getuid().as_raw() {
            return Err(ConnectionError::ForeignUser(peer.uid()));
        }
        let process_id = peer.pid().and_then(Pid::from_raw);
        let (reader, writer) = stream.into_split();
        Ok(Self { reader: BufReader::new(reader), writer, process_id, steps: Steps::default() })
    }

    /// The process that made the connection; 0 if the system does not tell.
    pub(super) fn client_id(&self) -> ClientId {
        ClientId(self.process_id.map_or(0, |id| u64::from(id.as_raw_nonzero().get().unsigned_abs())))
    }

    pub(super) async fn receive(&mut self) -> Result<Option<ClientMessage>, ConnectionError> {
        let mut line = String::new();
        let mut reader = (&mut self.reader).take(LINE_BYTES_MAX);
        let read = reader.read_line(&mut line);
        match tokio::time::timeout(CLIENT_TIMEOUT, read).await?? {
            0 => Ok(None),
            _ => Ok(Some(serde_json::from_str(&line)?)),
        }
    }

    pub(super) async fn send(&mut self, message: &EngineMessage) -> Result<(), ConnectionError> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        Ok(tokio::time::timeout(CLIENT_TIMEOUT, self.writer.write_all(&line)).await??)
    }

    /// Sends a message, and a descriptor with its first byte. That is closed here in any case.
    pub(super) async fn send_with_descriptor(
        &mut self,
        message: &EngineMessage,
        descriptor: OwnedFd,
    ) -> Result<(), ConnectionError> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        let send = async {
            let sent = passed_descriptor::send(self.writer.as_ref(), &line, descriptor.as_fd()).await?;
            self.writer.write_all(&line[sent..]).await
        };
        Ok(tokio::time::timeout(CLIENT_TIMEOUT, send).await??)
    }

    pub(super) async fn tell_step(&mut self, step: &str) -> Result<(), ConnectionError> {
        let message = self.steps.message(step);
        self.send(&message).await
    }

    pub(super) async fn refuse(&mut self, kind: RefusalKind, message: String) -> Result<(), ConnectionError> {
        self.send(&EngineMessage::Refused(Refusal { kind, message })).await
    }

    /// Waits for an answer of the dispatcher; `None` if the client goes first.
    pub(super) async fn wait_with_heartbeat<Answer>(
        &mut self,
        answer: oneshot::Receiver<Answer>,
        doing: &str,
    ) -> Result<Option<Answer>, ConnectionError> {
        let answered = self.wait_and_tell(answer, doing).await?;
        answered.transpose().map_err(|_| Ending.into())
    }

    /// Waits for an event, and now and then tells the client what for; `None` if the client goes first.
    pub(super) async fn wait_and_tell<Event>(
        &mut self,
        event: impl Future<Output = Event>,
        doing: &str,
    ) -> Result<Option<Event>, ConnectionError> {
        tokio::pin!(event);
        let mut heartbeat = heartbeat();
        let mut byte = [0];
        loop {
            tokio::select! {
                biased;
                event = &mut event => return Ok(Some(event)),
                // Clients say nothing while they wait: anything to read is their end.
                _ = self.reader.read(&mut byte) => return Ok(None),
                _ = heartbeat.tick() => {
                    self.tell_step(doing).await?;
                }
            }
        }
    }

    /// Waits until the client has closed its connection, or has ended with a copy of it left in a forked child.
    pub(super) async fn wait_gone(&mut self) {
        let mut byte = [0];
        let process_ended = async {
            match self.process_id {
                Some(process_id) => process_watch::wait_ended(process_id).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.reader.read(&mut byte) => {}
            () = process_ended => {}
        }
    }
}

/// Ticks whenever a waiting client is due a message.
pub(super) fn heartbeat() -> tokio::time::Interval {
    tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL)
}
