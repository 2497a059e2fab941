//! One client of the engine.

use std::sync::Arc;

use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::boot::SlotSpec;
use super::client_stream::{ClientStream, ConnectionError, heartbeat};
use super::engine::Engine;
use super::in_force;
use super::lease::{Lease, LeaseOwner};
use super::message::{Ending, Message};
use super::namespaces::NamespaceRequest;
use super::template_upload;
use super::templates::TemplateRequest;
use crate::gateway::{GatewayCredentials, NetworkError};
use crate::pool::{SlotKey, TemplateName};
use crate::protocol::{
    AcquireRequest, ClientMessage, EngineMessage, Isolation, LeaseGrant, MetricsText, NetworkChange, PROTOCOL, Profile,
    Refusal, RefusalKind,
};
use crate::timings::{Asker, NamespaceNews, WaitEnd};

/// Far below what fits into one line, however long the names of tests are.
const TIMING_LINES_AT_ONCE: usize = 500;

/// Serves one client until it is gone.
pub(super) async fn serve(stream: UnixStream, engine: Arc<Engine>) -> Result<(), ConnectionError> {
    let mut client = ClientStream::new(stream)?;
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
            client.send(&EngineMessage::Status(Box::new(engine.status(with_memory).await?))).await
        }
        Some(ClientMessage::Metrics) => {
            let text = engine.metrics_text().await?;
            client.send(&EngineMessage::Metrics(MetricsText { text, address: engine.metrics_address })).await
        }
        Some(ClientMessage::StopIdleClusters) => {
            engine.namespaces.release_idle().await;
            engine.dispatcher.ask(|reply| Message::StopIdle { reply }).await?;
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
            engine.stop.send(reply).await.map_err(|_| Ending)?;
            // An error means that it has ended already.
            let _ = done.await;
            client.send(&EngineMessage::Done).await
        }
        Some(ClientMessage::Hello { .. } | ClientMessage::Template { .. }) | None => Ok(()),
    }
}

async fn acquire(mut client: ClientStream, engine: &Engine, request: &AcquireRequest) -> Result<(), ConnectionError> {
    let asker = Asker::client(&request.test, request.timing_log.as_deref());
    let (key, spec) = match find_binaries(&mut client, engine, request).await? {
        Ok(found) => found,
        Err(refusal) => return client.send(&EngineMessage::Refused(refusal)).await,
    };
    let client_id = client.client_id();
    let timeout_ms = request.timeout_ms;
    let template = match &request.template {
        None => None,
        Some(name) => {
            let name = TemplateName(name.as_str().into());
            let (kind, spec) = (key.clone(), Arc::clone(&spec));
            let bytes = request.template_bytes;
            let wanted = TemplateRequest { kind, spec, name, bytes, client: client_id, timeout_ms };
            match template_upload::find(&mut client, engine, wanted).await? {
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
            engine.dispatcher.tell(message).await?;
            "waiting for a cluster to become free"
        }
        Isolation::Namespace => {
            engine.dispatcher.tell(Message::Namespace { waiter, news: NamespaceNews::Asked(asker) }).await?;
            let awaits_service_account = request.profile == Profile::Controllers;
            let client = client_id;
            let wanted =
                NamespaceRequest { waiter, client, key, spec, template, timeout_ms, awaits_service_account, reply };
            engine.namespaces.acquire(wanted).await?;
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
                engine.dispatcher.tell(Message::Namespace { waiter, news }).await?;
            }
            let first_connection = lease.unix_entry.open()?;
            let granted = EngineMessage::Leased(to_grant(lease, engine.shares_loopback));
            match client.send_with_descriptor(&granted, first_connection.into()).await {
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
        Isolation::Cluster => engine.dispatcher.tell(Message::Left { waiter }).await?,
        Isolation::Namespace => {
            let news = NamespaceNews::Left(if was_refused { WaitEnd::Refused } else { WaitEnd::Left });
            engine.dispatcher.tell(Message::Namespace { waiter, news }).await?;
            engine.namespaces.left(waiter).await?;
        }
    }
    served
}

/// Puts a lease into the form of the protocol.
fn to_grant(lease: Lease, shares_loopback: bool) -> Box<LeaseGrant> {
    let Lease { number, owner, cluster, credentials, directory, .. } = lease;
    let GatewayCredentials { address, ca_pem, client, secret } = credentials;
    Box::new(LeaseGrant {
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
        shares_loopback,
        connection_secret: secret.as_str().to_owned(),
    })
}

/// In parts, because no line is longer than a client accepts.
async fn timings(mut client: ClientStream, engine: &Engine) -> Result<(), ConnectionError> {
    let notes = engine.dispatcher.ask(|reply| Message::Timings { reply }).await?;
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
    mut client: ClientStream,
    engine: &Engine,
    count: usize,
    request: &AcquireRequest,
) -> Result<(), ConnectionError> {
    let (key, spec) = match find_binaries(&mut client, engine, request).await? {
        Ok(found) => found,
        Err(refusal) => return client.send(&EngineMessage::Refused(refusal)).await,
    };
    let asker = Asker::client(&request.test, request.timing_log.as_deref());
    let (reply, answer) = oneshot::channel();
    engine.dispatcher.tell(Message::Warm { key, spec, count, asker, reply }).await?;
    match client.wait_with_heartbeat(answer, "booting clusters").await? {
        Some(Ok(())) => client.send(&EngineMessage::Done).await,
        Some(Err(refusal)) => client.send(&EngineMessage::Refused(refusal)).await,
        None => Ok(()),
    }
}

async fn change_network(
    mut client: ClientStream,
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

async fn find_binaries(
    client: &mut ClientStream,
    engine: &Engine,
    request: &AcquireRequest,
) -> Result<Result<(SlotKey, Arc<SlotSpec>), Refusal>, ConnectionError> {
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
        client.tell_step(&text).await?;
    }
}
