//! Making a template: on a bare cluster that is leased for it.

use std::sync::Arc;

use super::cache::{Lookup, Made, TemplateCache, Unfinished};
use crate::daemon::boot::SlotSpec;
use crate::daemon::lease::Lease;
use crate::daemon::message::{DispatcherSender, Ending, Message, NotTaken};
use crate::daemon::numbers::Numbers;
use crate::error_text::with_causes;
use crate::fixtures::apply::{ApplyOptions, apply};
use crate::fixtures::{FixtureSet, Graph};
use crate::gateway::GatewayCredentials;
use crate::pool::{ClientId, SlotKey, TemplateName, WaiterId};
use crate::protocol::{Refusal, RefusalKind};
use crate::raw_client::{NoClient, RawClient};
use crate::rewind::{ExpectedKeys, Template};
use crate::template_intake::{Admitted, TemplateReader};
use crate::timings::Asker;

/// The number of clusters to try, if something else writes to them.
const CLUSTERS_MAX: usize = 3;

/// Makes templates.
#[derive(Clone)]
pub(in crate::daemon) struct TemplateMaker {
    pub(in crate::daemon) cache: Arc<TemplateCache>,
    pub(in crate::daemon) reader: TemplateReader,
    pub(in crate::daemon) dispatcher: DispatcherSender,
    pub(in crate::daemon) numbers: Arc<Numbers>,
}

/// A request to make a template.
pub(in crate::daemon) struct TemplateRequest {
    pub(in crate::daemon) kind: SlotKey,
    pub(in crate::daemon) spec: Arc<SlotSpec>,
    pub(in crate::daemon) name: TemplateName,
    /// The length of its content, in bytes.
    pub(in crate::daemon) bytes: u64,
    pub(in crate::daemon) client: ClientId,
    pub(in crate::daemon) timeout_ms: u64,
}

/// The reason why a cluster did not become a template.
enum Failure {
    Refused(Refusal),
    /// Something else wrote to it: the message names the key.
    Intruder(String),
}

impl TemplateMaker {
    /// Has a template made from its content, unless another client was faster. It is made even if the client goes.
    pub(in crate::daemon) fn make(&self, request: TemplateRequest, content: Admitted<FixtureSet>) -> Lookup {
        match self.cache.begin(&request.kind, &request.name) {
            Err(found) => found,
            Ok((unfinished, making)) => {
                tokio::spawn(finish_in_any_case(unfinished, self.clone().make_now(request, content)));
                Lookup::Making(making)
            }
        }
    }

    /// Applies the content to a bare cluster and has the difference taken. A cluster that something else wrote to is
    /// given up, and another one is tried.
    async fn make_now(self, request: TemplateRequest, content: Admitted<FixtureSet>) -> Made {
        let graph = content.read(&self.reader, |content| content.try_map(Graph::consume)).await;
        let graph = graph.map_err(|error| engine_error(&with_causes(&error)))?;
        let graph = graph.map_err(|errors| user_error(&with_causes(&errors)))?;
        let (graph, request) = (Arc::new(graph), Arc::new(request));
        let mut intruder = String::new();
        for number in 1..=CLUSTERS_MAX {
            let waiter = self.numbers.next_waiter();
            let making = {
                let (maker, request, graph) = (self.clone(), Arc::clone(&request), Arc::clone(&graph));
                tokio::spawn(async move { maker.make_on_one(waiter, &request, &graph.content).await })
            };
            // A panic must not keep the lease.
            let made = making.await.unwrap_or_else(|_| Err(Failure::Refused(panicked())));
            // An engine that is ending takes back all leases by itself.
            let _ = self.dispatcher.tell(Message::Left { waiter }).await;
            match made {
                Ok(template) => return Ok(template),
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
        &self,
        waiter: WaiterId,
        request: &TemplateRequest,
        graph: &Graph,
    ) -> Result<Arc<Template>, Failure> {
        let TemplateRequest { kind, spec, name, client, timeout_ms, .. } = request;
        let asker = Asker::internal(&format!("(makes template {:.12})", name.0));
        let (key, spec, client, timeout_ms) = (kind.clone(), Arc::clone(spec), *client, *timeout_ms);
        let template = None;
        let acquiring = self.dispatcher.ask(|reply| Message::Acquire {
            waiter,
            client,
            key,
            spec,
            template,
            timeout_ms,
            asker,
            reply,
        });
        match acquiring.await {
            Ok(Ok(lease)) => self.fill(waiter, &lease, graph, name).await,
            Ok(Err(refusal)) => Err(Failure::Refused(refusal)),
            Err(Ending) => Err(ending()),
        }
    }

    async fn fill(
        &self,
        waiter: WaiterId,
        lease: &Lease,
        graph: &Graph,
        name: &TemplateName,
    ) -> Result<Arc<Template>, Failure> {
        let client = client_of(lease)
            .map_err(|error| Failure::Refused(engine_error(&format!("no client for a template's cluster: {error}"))))?;
        let report = apply(&client, graph, &ApplyOptions::default()).await;
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
        let taking = self.dispatcher.ask(|reply| Message::TakeTemplate { waiter, name: name.clone(), expected, reply });
        match taking.await {
            Ok(Ok(template)) => Ok(template),
            Ok(Err(NotTaken { message, is_intruder: true })) => Err(Failure::Intruder(message)),
            Ok(Err(NotTaken { message, .. })) => Err(Failure::Refused(engine_error(&message))),
            Err(Ending) => Err(ending()),
        }
    }
}

/// Makes a template to its end, which a panic is as well: otherwise all clients that want it would wait for ever.
async fn finish_in_any_case(unfinished: Unfinished, making: impl Future<Output = Made> + Send + 'static) {
    let made = tokio::spawn(making).await;
    unfinished.finish(made.unwrap_or_else(|_| Err(panicked())));
}

fn client_of(lease: &Lease) -> Result<RawClient, NoClient> {
    let GatewayCredentials { address, ca_pem, client, .. } = &lease.credentials;
    RawClient::new(*address, ca_pem, Some(client.into()))
}

fn user_error(message: &str) -> Refusal {
    Refusal { kind: RefusalKind::User, message: format!("the template could not be made: {message}") }
}

fn engine_error(message: &str) -> Refusal {
    Refusal { kind: RefusalKind::Engine, message: format!("the template could not be made: {message}") }
}

fn panicked() -> Refusal {
    engine_error("the engine panicked")
}

fn ending() -> Failure {
    Failure::Refused(engine_error("the engine is ending"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::templates::TemplateStore;

    #[tokio::test]
    async fn after_a_panic_the_client_is_refused_and_the_next_one_tries_anew() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let store = TemplateStore::new(directory.path().join("templates"), directory.path().join("values"));
        let cache = Arc::new(TemplateCache::new(store));
        let (kind, name) = (SlotKey("any".into()), TemplateName("t".into()));
        let Ok((unfinished, making)) = cache.begin(&kind, &name) else { panic!("another client was faster") };
        finish_in_any_case(unfinished, async { panic!("on purpose") }).await;
        let made = making.borrow().clone().expect("a result");
        let refusal = made.expect_err("no template");
        assert_eq!(refusal.kind, RefusalKind::Engine);
        assert!(refusal.message.contains("panicked"), "{}", refusal.message);
        assert!(matches!(cache.look_up(&kind, &name).await, Lookup::Unknown));
    }
}
