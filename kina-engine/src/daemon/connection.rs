//! One client of the engine.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};

use super::binaries::Binaries;
use super::dispatcher::Message;
use super::in_force;
use super::lease::{HeldLeases, Lease, LeaseOwner};
use super::metrics::{self, MetricsSource, TemplateFrom};
use super::namespaces::{NamespaceRequest, Namespaces};
use super::numbers::Numbers;
use super::process_watch;
use super::status::StatusSource;
use super::steps::Steps;
use super::templates::{Lookup, Making, TemplateMaker, TemplateRequest};
use crate::gateway::{GatewayCredentials, NetworkError};
use crate::pool::{ClientId, TemplateName};
use crate::protocol::{
    AcquireRequest, ClientMessage, EngineMessage, Isolation, LINE_BYTES_MAX, LeaseGrant, MetricsText, NetworkChange,
    PROTOCOL, Profile, Refusal, RefusalKind,
};
use crate::rewind::Template;
use crate::template_intake::{NotReceived, TemplateRoom};
use crate::timings::{Asker, NamespaceNews, Outcome as TimingOutcome};

/// Time limit for a client to send its request, or to read an answer.
pub(super) const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest time without a message to a waiting client, if only that the engine is still there.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// Far below what fits into one line, however long the names of tests are.
const TIMING_LINES_AT_ONCE: usize = 500;

/// The parts that all connections share.
pub(super) struct Engine {
    pub(super) messages: mpsc::Sender<Message>,
    pub(super) namespaces: Namespaces,
    pub(super) binaries: Binaries,
    pub(super) template_maker: TemplateMaker,
    pub(super) template_room: TemplateRoom,
    pub(super) status_source: StatusSource,
    pub(super) metrics_source: MetricsSource,
    /// The address at which the metrics can be scraped.
    pub(super) metrics_address: Option<SocketAddr>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) held_leases: Arc<HeldLeases>,
    /// Asks the server to end. The inner sender gets its answer when everything is gone.
    pub(super) stop: mpsc::Sender<oneshot::Sender<()>>,
}

pub(super) struct Client {
    pub(super) reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    process_id: Option<rustix::process::Pid>,
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
    #[error("the engine is ending")]
    Ending,
    #[error("the client's template could not be taken")]
    Template(#[from] NotReceived),
}

/// Serves one client until it is gone.
pub(super) async fn serve(stream: UnixStream, engine: Arc<Engine>) -> Result<(), ConnectionError> {
    let peer = stream.peer_cred()?;
    if peer.uid() != rustix::process::getuid().as_raw() {
        return Err(ConnectionError::ForeignUser(peer.uid()));
    }
    let process_id = peer.pid().and_then(rustix::process::Pid::from_raw);
    let (reader, writer) = stream.into_split();
    let mut client = Client { reader: BufReader::new(reader), writer, process_id, steps: Steps::default() };
    let Some(ClientMessage::Hello { protocol }) = client.receive().await? else { return Ok(()) };
    if protocol != PROTOCOL {
        // The socket's name holds the protocol, so this takes a client that was made to do it.
        return client
            .refuse(RefusalKind::User, format!("this engine speaks protocol {PROTOCOL}, not {protocol}"))
            .await;
    }
    match client.receive().await? {
        Some(ClientMessage::Acquire(request)) => acquire(client, &engine, &request).await,
        Some(ClientMessage::Warm { count, request }) => warm(client, &engine, count, &request).await,
        Some(ClientMessage::Status { with_memory }) => {
            let status = engine.status_source.read(&engine.messages, &engine.namespaces, with_memory).await;
            let status = status.ok_or(ConnectionError::Ending)?;
            client.send(&EngineMessage::Status(Box::new(status))).await
        }
        Some(ClientMessage::Metrics) => {
            let text = metrics::text(&engine).await.ok_or(ConnectionError::Ending)?;
            client.send(&EngineMessage::Metrics(MetricsText { text, address: engine.metrics_address })).await
        }
        Some(ClientMessage::StopIdleClusters) => {
            engine.namespaces.release_idle().await;
            let (reply, done) = oneshot::channel();
            engine.tell(Message::StopIdle { reply }).await?;
            done.await.map_err(|_| ConnectionError::Ending)?;
            client.send(&EngineMessage::Done).await
        }
        Some(ClientMessage::Network { lease, cluster, change }) => {
            change_network(client, &engine, lease, &cluster, change).await
        }
        Some(ClientMessage::InForce { lease, cluster, kinds }) => {
            let answer = in_force::start(&engine.held_leases, lease, cluster, kinds);
            match client.wait_with_heartbeat(answer, "waiting until rules are in force").await? {
                Some(Ok(())) => client.send(&EngineMessage::Done).await,
                Some(Err(refusal)) => client.send(&EngineMessage::Refused(refusal)).await,
                None => Ok(()),
            }
        }
        Some(ClientMessage::Timings) => timings(client, &engine).await,
        Some(ClientMessage::Stop) => {
            let (reply, done) = oneshot::channel();
            engine.stop.send(reply).await.map_err(|_| ConnectionError::Ending)?;
            // An error means that it has ended already.
            let _ = done.await;
            client.send(&EngineMessage::Done).await
        }
        Some(ClientMessage::Hello { .. } | ClientMessage::Template { .. }) | None => Ok(()),
    }
}

async fn acquire(mut client: Client, engine: &Arc<Engine>, request: &AcquireRequest) -> Result<(), ConnectionError> {
    let asker = Asker::client(request);
    let (key, spec) = match client.find_binaries(engine, request).await? {
        Ok(found) => found,
        Err(refusal) => return client.send(&EngineMessage::Refused(refusal)).await,
    };
    let client_id = ClientId(client.process_id.map_or(0, |id| u64::from(id.as_raw_nonzero().get().unsigned_abs())));
    let timeout_ms = request.timeout_ms;
    let template = match &request.template {
        None => None,
        Some(name) => {
            let name = TemplateName(name.as_str().into());
            let (kind, spec) = (key.clone(), Arc::clone(&spec));
            let bytes = request.template_bytes;
            let wanted = TemplateRequest { kind, spec, name, bytes, client: client_id, timeout_ms };
            match client.find_template(engine, wanted).await? {
                Some(Ok(template)) => Some(template),
                Some(Err(refusal)) => return client.send(&EngineMessage::Refused(refusal)).await,
                // The client is gone.
                None => return Ok(()),
            }
        }
    };
    let waiter = engine.numbers.next_waiter();
    let visit = engine.status_source.clients.enter(waiter, client_id, &request.test);
    let (reply, answer) = oneshot::channel();
    let doing = match request.isolation {
        Isolation::Cluster => {
            let client = client_id;
            let message = Message::Acquire { waiter, client, key, spec, template, timeout_ms, asker, reply };
            engine.tell(message).await?;
            "waiting for a cluster to become free"
        }
        Isolation::Namespace => {
            engine.tell(Message::Namespace { waiter, news: NamespaceNews::Asked(asker) }).await?;
            let awaits_service_account = request.profile == Profile::Controllers;
            let client = client_id;
            let wanted =
                NamespaceRequest { waiter, client, key, spec, template, timeout_ms, awaits_service_account, reply };
            engine.namespaces.acquire(wanted).await.map_err(|()| ConnectionError::Ending)?;
            "waiting for a namespace to become free"
        }
    };
    let waited = client.wait_with_heartbeat(answer, doing).await;
    let was_refused = matches!(waited, Ok(Some(Err(_))));
    let served = match waited {
        Ok(Some(Ok(lease))) => {
            tracing::debug!(lease = lease.number, cluster = lease.cluster.name(), test = request.test, "leased");
            visit.leased(lease.number);
            let _held = engine.held_leases.hold(&lease);
            if let LeaseOwner::Namespaces { .. } = &lease.owner {
                let news = NamespaceNews::Granted { lease: lease.number, cluster: lease.cluster.name().to_owned() };
                engine.tell(Message::Namespace { waiter, news }).await?;
            }
            match client.send(&EngineMessage::Leased(Box::new(grant(lease)))).await {
                Ok(()) => {
                    client.wait_gone().await;
                    Ok(())
                }
                Err(error) => Err(error),
            }
        }
        Ok(Some(Err(refusal))) => client.send(&EngineMessage::Refused(refusal)).await,
        // The client left the queue.
        Ok(None) => Ok(()),
        Err(error) => Err(error),
    };
    // In any case the lease, if there is one, ends here.
    match request.isolation {
        Isolation::Cluster => engine.tell(Message::Left { waiter }).await?,
        Isolation::Namespace => {
            let news = NamespaceNews::Left(if was_refused { TimingOutcome::Refused } else { TimingOutcome::Left });
            engine.tell(Message::Namespace { waiter, news }).await?;
            engine.namespaces.left(waiter).await.map_err(|()| ConnectionError::Ending)?;
        }
    }
    served
}

/// Puts a lease into the form of the protocol.
fn grant(lease: Lease) -> LeaseGrant {
    let Lease { number, owner, cluster, credentials, directory, .. } = lease;
    let GatewayCredentials { address, ca_pem, client } = credentials;
    LeaseGrant {
        lease: number,
        cluster: cluster.name().to_owned(),
        address,
        ca_pem,
        client_certificate_pem: client.certificate_pem,
        client_key_pem: client.key_pem,
        kubernetes: cluster.kubernetes().to_owned(),
        lease_directory: directory,
        log_directory: cluster.log_directory(),
        namespace: match owner {
            LeaseOwner::Dispatcher => None,
            LeaseOwner::Namespaces { namespace } => Some(namespace),
        },
    }
}

/// In parts, because no line is longer than a client accepts.
async fn timings(mut client: Client, engine: &Engine) -> Result<(), ConnectionError> {
    let (reply, answer) = oneshot::channel();
    engine.tell(Message::Timings { reply }).await?;
    let notes = answer.await.map_err(|_| ConnectionError::Ending)?;
    let mut all = notes.lines().peekable();
    loop {
        let lines: Vec<_> = all.by_ref().take(TIMING_LINES_AT_ONCE).collect();
        let is_last = all.peek().is_none();
        client.send(&EngineMessage::Timings { lines, is_last }).await?;
        if is_last {
            return Ok(());
        }
    }
}

async fn warm(
    mut client: Client,
    engine: &Engine,
    count: usize,
    request: &AcquireRequest,
) -> Result<(), ConnectionError> {
    let (key, spec) = match client.find_binaries(engine, request).await? {
        Ok(found) => found,
        Err(refusal) => return client.send(&EngineMessage::Refused(refusal)).await,
    };
    let asker = Asker::client(request);
    let (reply, answer) = oneshot::channel();
    engine.tell(Message::Warm { key, spec, count, asker, reply }).await?;
    match client.wait_with_heartbeat(answer, "booting clusters").await? {
        Some(Ok(())) => client.send(&EngineMessage::Done).await,
        Some(Err(refusal)) => client.send(&EngineMessage::Refused(refusal)).await,
        None => Ok(()),
    }
}

async fn change_network(
    mut client: Client,
    engine: &Engine,
    lease: u64,
    cluster: &str,
    change: NetworkChange,
) -> Result<(), ConnectionError> {
    let changed = match engine.held_leases.find(lease, cluster) {
        Some((network, _)) => network.apply(change).await,
        None => Err(NetworkError::LeaseEnded),
    };
    match changed {
        Ok(()) => client.send(&EngineMessage::Done).await,
        Err(error @ NetworkError::DelayTooLong { .. }) => client.refuse(RefusalKind::User, error.to_string()).await,
        Err(NetworkError::LeaseEnded) => {
            let message = format!(
                "the network of lease {lease} on {cluster} cannot be changed: this engine has no such lease. It has \
                 ended; change the network while the test or its `kina::Cluster` still holds it"
            );
            client.refuse(RefusalKind::User, message).await
        }
    }
}

impl Engine {
    pub(super) async fn tell(&self, message: Message) -> Result<(), ConnectionError> {
        self.messages.send(message).await.map_err(|_| ConnectionError::Ending)
    }
}

impl Client {
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

    pub(super) async fn tell_step(&mut self, step: &str) -> Result<(), ConnectionError> {
        let message = self.steps.message(step);
        self.send(&message).await
    }

    async fn refuse(&mut self, kind: RefusalKind, message: String) -> Result<(), ConnectionError> {
        self.send(&EngineMessage::Refused(Refusal { kind, message })).await
    }

    async fn find_binaries(
        &mut self,
        engine: &Engine,
        request: &AcquireRequest,
    ) -> Result<Result<(crate::pool::SlotKey, Arc<super::boot::SlotSpec>), Refusal>, ConnectionError> {
        let (steps, mut told) = mpsc::channel(16);
        let find = engine.binaries.find(request, steps);
        tokio::pin!(find);
        let mut heartbeat = heartbeat();
        let mut last_step = "looking for the Kubernetes binaries".to_owned();
        loop {
            let text = tokio::select! {
                biased;
                found = &mut find => return Ok(found),
                Some(step) = told.recv() => {
                    last_step.clone_from(&step);
                    step
                }
                _ = heartbeat.tick() => last_step.clone(),
            };
            self.tell_step(&text).await?;
        }
    }

    /// The template that the client wants; if it is not known yet, it is made from its content, for which the client is
    /// asked. `None` if the client goes first.
    async fn find_template(
        &mut self,
        engine: &Arc<Engine>,
        wanted: TemplateRequest,
    ) -> Result<Option<Result<Arc<Template>, Refusal>>, ConnectionError> {
        let lookup = engine.template_maker.cache.look_up(&wanted.kind, &wanted.name).await;
        engine.metrics_source.metrics.looked_for_template(match &lookup {
            Lookup::Found { is_from_disk: false, .. } => TemplateFrom::Memory,
            Lookup::Found { is_from_disk: true, .. } => TemplateFrom::Disk,
            Lookup::Making(_) => TemplateFrom::Making,
            Lookup::Unknown => TemplateFrom::Nowhere,
        });
        let lookup = match lookup {
            Lookup::Unknown => match self.take_template_in(engine, wanted).await? {
                Some(Ok(lookup)) => lookup,
                Some(Err(refusal)) => return Ok(Some(Err(refusal))),
                None => return Ok(None),
            },
            lookup => lookup,
        };
        match lookup {
            Lookup::Found { template, .. } => Ok(Some(Ok(template))),
            Lookup::Making(making) => self.wait_template(making).await,
            Lookup::Unknown => Err(ConnectionError::Ending),
        }
    }

    async fn wait_template(
        &mut self,
        mut making: Making,
    ) -> Result<Option<Result<Arc<Template>, Refusal>>, ConnectionError> {
        match self.wait_and_tell(made(&mut making), "making the template").await? {
            Some(made) => Ok(Some(made.ok_or(ConnectionError::Ending)?)),
            None => Ok(None),
        }
    }

    /// Waits for an answer of the dispatcher; `None` if the client goes first.
    async fn wait_with_heartbeat<Answer>(
        &mut self,
        answer: oneshot::Receiver<Answer>,
        doing: &str,
    ) -> Result<Option<Answer>, ConnectionError> {
        let answered = self.wait_and_tell(answer, doing).await?;
        answered.transpose().map_err(|_| ConnectionError::Ending)
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
    async fn wait_gone(&mut self) {
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

/// The result of making a template; `None` if the engine ends.
async fn made(making: &mut Making) -> Option<Result<Arc<Template>, Refusal>> {
    making.wait_for(Option::is_some).await.ok()?.clone()
}

fn heartbeat() -> tokio::time::Interval {
    tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT_INTERVAL, HEARTBEAT_INTERVAL)
}
