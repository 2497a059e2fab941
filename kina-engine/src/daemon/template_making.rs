//! Making a template: on a bare cluster that is leased for it.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::connection::Engine;
use super::dispatcher::{Message, NotTaken};
use super::lease::Lease;
use super::templates::TemplateRequest;
use crate::error_text::with_causes;
use crate::fixtures::{self, ApplyOptions, FixtureSet, Graph};
use crate::gateway::GatewayCredentials;
use crate::pool::{SlotKey, TemplateName, WaiterId};
use crate::protocol::{Refusal, RefusalKind};
use crate::rewind::{ExpectedKeys, Template};
use crate::template_intake::Admitted;
use crate::timings::Asker;

/// The number of clusters to try, if something else writes to them.
const CLUSTERS_MAX: usize = 3;

/// The reason why a cluster did not become a template.
enum Failure {
    Refused(Refusal),
    /// Something else wrote to it: the message names the key.
    Intruder(String),
}

/// Applies the content to a bare cluster and has the difference taken. A cluster that something else wrote to is given
/// up, and another one is tried.
pub(super) async fn make(
    engine: Arc<Engine>,
    request: TemplateRequest,
    content: Admitted<FixtureSet>,
) -> Result<(SlotKey, Arc<Template>), Refusal> {
    let graph = content.read(&engine.template_reader, |content| content.try_map(Graph::consume)).await;
    let graph = graph.map_err(|error| engine_error(&with_causes(&error)))?;
    let graph = graph.map_err(|errors| user_error(&with_causes(&errors)))?;
    let (graph, request) = (Arc::new(graph), Arc::new(request));
    let mut intruder = String::new();
    for number in 1..=CLUSTERS_MAX {
        let waiter = engine.numbers.next_waiter();
        let making = {
            let (engine, request, graph) = (Arc::clone(&engine), Arc::clone(&request), Arc::clone(&graph));
            tokio::spawn(async move { make_on_one(&engine, waiter, &request, &graph.content).await })
        };
        // A panic must neither keep the lease nor let all others wait.
        let made = making.await.unwrap_or_else(|_| Err(Failure::Refused(engine_error("the engine panicked"))));
        // An engine that is ending takes back all leases by itself.
        let _ = engine.tell(Message::Left { waiter }).await;
        match made {
            Ok(template) => return Ok((request.kind.clone(), template)),
            Err(Failure::Refused(refusal)) => return Err(refusal),
            Err(Failure::Intruder(message)) => {
                tracing::warn!(message, number, "a cluster on which a template was made is given up");
                intruder = message;
            }
        }
    }
    Err(engine_error(&format!(
        "on each of {CLUSTERS_MAX} clusters something else was written; on the last, {intruder}"
    )))
}

async fn make_on_one(
    engine: &Engine,
    waiter: WaiterId,
    request: &TemplateRequest,
    graph: &Graph,
) -> Result<Arc<Template>, Failure> {
    let TemplateRequest { kind, spec, name, client, timeout_ms, .. } = request;
    let (reply, answer) = oneshot::channel();
    let asker = Asker::internal(&format!("(makes template {:.12})", name.0));
    let (key, spec, client, timeout_ms) = (kind.clone(), Arc::clone(spec), *client, *timeout_ms);
    let message = Message::Acquire { waiter, client, key, spec, template: None, timeout_ms, asker, reply };
    engine.tell(message).await.map_err(|_| ending())?;
    match answer.await {
        Ok(Ok(lease)) => fill(engine, waiter, &lease, graph, name).await,
        Ok(Err(refusal)) => Err(Failure::Refused(refusal)),
        Err(_) => Err(ending()),
    }
}

async fn fill(
    engine: &Engine,
    waiter: WaiterId,
    lease: &Lease,
    graph: &Graph,
    name: &TemplateName,
) -> Result<Arc<Template>, Failure> {
    let client = client_of(lease)
        .map_err(|error| Failure::Refused(engine_error(&format!("no client for a template's cluster: {error}"))))?;
    let report = fixtures::apply(&client, graph, &ApplyOptions::default()).await;
    let report = report.map_err(|error| match error.is_user_error() {
        true => Failure::Refused(user_error(&with_causes(&error))),
        false => Failure::Refused(engine_error(&with_causes(&error))),
    })?;
    tracing::info!(
        template = %name.0, applied = report.applied, warnings = ?report.warnings, phases = ?report.phases,
        "a template was applied"
    );
    drop(client);
    let expected = ExpectedKeys::of_paths(report.paths.iter().map(String::as_str));
    let (reply, answer) = oneshot::channel();
    engine.tell(Message::TakeTemplate { waiter, name: name.clone(), expected, reply }).await.map_err(|_| ending())?;
    match answer.await {
        Ok(Ok(template)) => Ok(template),
        Ok(Err(NotTaken { message, is_intruder: true })) => Err(Failure::Intruder(message)),
        Ok(Err(NotTaken { message, .. })) => Err(Failure::Refused(engine_error(&message))),
        Err(_) => Err(ending()),
    }
}

fn client_of(lease: &Lease) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
    let GatewayCredentials { address, ca_pem, client } = &lease.credentials;
    let who = crate::client::auth_info(&client.certificate_pem, &client.key_pem);
    Ok(kube::Client::try_from(crate::client::kube_config(*address, ca_pem, who)?)?)
}

fn user_error(message: &str) -> Refusal {
    Refusal { kind: RefusalKind::User, message: format!("the template could not be made: {message}") }
}

fn engine_error(message: &str) -> Refusal {
    Refusal { kind: RefusalKind::Engine, message: format!("the template could not be made: {message}") }
}

fn ending() -> Failure {
    Failure::Refused(engine_error("the engine is ending"))
}
