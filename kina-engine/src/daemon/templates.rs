//! Templates: made once, by whoever is the first to want one, and then shared.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{oneshot, watch};

use super::boot::SlotSpec;
use super::connection::Engine;
use super::dispatcher::Message;
use super::template_store::TemplateStore;
use crate::error_text::with_causes;
use crate::fixtures::{self, ApplyOptions, FixtureSet, Graph};
use crate::pool::{ClientId, SlotKey, TemplateName, WaiterId};
use crate::protocol::{LeaseGrant, Refusal, RefusalKind};
use crate::rewind::Template;
use crate::timings::Asker;

/// Templates that are kept at hand beside those that slots have.
const AT_HAND_MAX: usize = 32;

/// All templates that this engine knows of.
pub(super) struct Templates {
    store: TemplateStore,
    known: Mutex<HashMap<(SlotKey, TemplateName), Entry>>,
}

/// What is to be made, for whom.
pub(super) struct TemplateRequest {
    pub(super) kind: SlotKey,
    pub(super) spec: Arc<SlotSpec>,
    pub(super) name: TemplateName,
    pub(super) client: ClientId,
    pub(super) timeout_ms: u64,
}

/// Where a template can be had.
pub(super) enum Lookup {
    /// Here.
    Found { template: Arc<Template>, is_from_disk: bool },
    /// From whoever makes it.
    Making(Making),
    /// Nowhere: it has to be made, and for that its content is needed.
    Unknown,
}

/// Tells what became of a template that is being made.
pub(super) type Making = watch::Receiver<Option<Made>>;

type Made = Result<Arc<Template>, Refusal>;

enum Entry {
    Made { template: Arc<Template>, used_at: Instant },
    Making(Making),
}

impl Templates {
    pub(super) fn new(store: TemplateStore) -> Self {
        Self { store, known: Mutex::new(HashMap::new()) }
    }

    /// Looks for a template here and on disk.
    pub(super) async fn look_up(&self, kind: &SlotKey, name: &TemplateName) -> Lookup {
        if let Some(found) = self.at_hand(kind, name) {
            return found;
        }
        let (store, key) = (self.store.clone(), (kind.clone(), name.clone()));
        let loading = tokio::task::spawn_blocking(move || store.load(&key.0, &key.1));
        // An error means that loading panicked: then it is as good as absent.
        match loading.await.ok().flatten() {
            Some(template) => Lookup::Found { template: self.keep(kind, Arc::new(template)), is_from_disk: true },
            None => Lookup::Unknown,
        }
    }

    /// Has a template made from its content, unless somebody was faster. It is made whether who asked stays or not.
    pub(super) fn make(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        request: TemplateRequest,
        content: FixtureSet,
    ) -> Lookup {
        let mut known = self.known();
        let key = (request.kind.clone(), request.name.clone());
        if let Some(entry) = known.get_mut(&key) {
            return entry.look_up();
        }
        let (made, making) = watch::channel(None);
        known.insert(key.clone(), Entry::Making(making.clone()));
        drop(known);
        let (templates, engine) = (Arc::clone(self), Arc::clone(engine));
        tokio::spawn(async move {
            let waiter = WaiterId(engine.next_waiter.fetch_add(1, Ordering::Relaxed));
            let making = {
                let (templates, engine) = (Arc::clone(&templates), Arc::clone(&engine));
                tokio::spawn(async move { make(&templates, &engine, waiter, request, content).await })
            };
            // A panic must neither keep the lease nor let everybody else wait.
            let result = making.await.unwrap_or_else(|_| Err(engine_error("the engine panicked".to_owned())));
            // An engine that is ending takes back all leases by itself.
            let _ = engine.tell(Message::Left { waiter }).await;
            if result.is_err() {
                // Who comes later tries anew: what was wrong may have been put right.
                templates.known().remove(&key);
            }
            made.send_replace(Some(result));
        });
        Lookup::Making(making)
    }

    /// Forgets a template that no slot could be put to.
    pub(super) fn forget(&self, kind: &SlotKey, name: &TemplateName) {
        self.known().remove(&(kind.clone(), name.clone()));
        self.store.remove(kind, name);
    }

    fn at_hand(&self, kind: &SlotKey, name: &TemplateName) -> Option<Lookup> {
        self.known().get_mut(&(kind.clone(), name.clone())).map(Entry::look_up)
    }

    /// Takes a template into those at hand, and lets the one go that was used longest ago.
    fn keep(&self, kind: &SlotKey, template: Arc<Template>) -> Arc<Template> {
        let mut known = self.known();
        let key = (kind.clone(), TemplateName(template.name().into()));
        known.insert(key, Entry::Made { template: Arc::clone(&template), used_at: Instant::now() });
        if AT_HAND_MAX < known.len() {
            let used = known.iter().filter_map(|(key, entry)| Some((entry.used_at()?, key.clone())));
            if let Some((_, key)) = used.min_by_key(|(used_at, _)| *used_at) {
                known.remove(&key);
            }
        }
        template
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<(SlotKey, TemplateName), Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn look_up(&mut self) -> Lookup {
        match self {
            Self::Made { template, used_at } => {
                *used_at = Instant::now();
                Lookup::Found { template: Arc::clone(template), is_from_disk: false }
            }
            Self::Making(making) => Lookup::Making(making.clone()),
        }
    }

    fn used_at(&self) -> Option<Instant> {
        match self {
            Self::Made { used_at, .. } => Some(*used_at),
            Self::Making(_) => None,
        }
    }
}

/// Leases a bare cluster like any client, applies the content to it, and has the difference taken.
async fn make(
    templates: &Templates,
    engine: &Engine,
    waiter: WaiterId,
    request: TemplateRequest,
    content: FixtureSet,
) -> Made {
    let graph = Graph::new(&content).map_err(|errors| user_error(with_causes(&errors)))?;
    let TemplateRequest { kind, spec, name, client, timeout_ms } = request;
    let (reply, answer) = oneshot::channel();
    let asker = Asker::internal(&format!("(makes template {:.12})", name.0));
    let key = kind.clone();
    let message = Message::Acquire { waiter, client, key, spec, template: None, timeout_ms, asker, reply };
    engine.tell(message).await.map_err(|_| ending())?;
    let made = match answer.await {
        Ok(Ok(grant)) => fill(engine, waiter, &grant, &graph, &name).await,
        Ok(Err(refusal)) => Err(refusal),
        Err(_) => Err(ending()),
    };
    let template = templates.keep(&kind, made?);
    let (store, saved) = (templates.store.clone(), Arc::clone(&template));
    tokio::task::spawn_blocking(move || {
        if let Err(error) = store.save(&kind, &saved) {
            tracing::warn!(%error, "the template could not be kept on disk: the next engine makes it anew");
        }
    });
    Ok(template)
}

async fn fill(engine: &Engine, waiter: WaiterId, grant: &LeaseGrant, graph: &Graph, name: &TemplateName) -> Made {
    let client =
        client_of(grant).map_err(|error| engine_error(format!("no client for a template's cluster: {error}")))?;
    let report = fixtures::apply(&client, graph, &ApplyOptions::default()).await;
    let report = report.map_err(|error| match error.is_user_error() {
        true => user_error(with_causes(&error)),
        false => engine_error(with_causes(&error)),
    })?;
    tracing::info!(template = %name.0, ?report, "a template was applied");
    drop(client);
    let (reply, answer) = oneshot::channel();
    engine.tell(Message::TakeTemplate { waiter, name: name.clone(), reply }).await.map_err(|_| ending())?;
    match answer.await {
        Ok(Ok(template)) => Ok(template),
        Ok(Err(message)) => Err(engine_error(message)),
        Err(_) => Err(ending()),
    }
}

fn client_of(grant: &LeaseGrant) -> Result<kube::Client, Box<dyn std::error::Error + Send + Sync>> {
    Ok(kube::Client::try_from(crate::client::config_of_lease(grant)?)?)
}

fn user_error(message: String) -> Refusal {
    Refusal { kind: RefusalKind::User, message: format!("the template could not be made: {message}") }
}

fn engine_error(message: String) -> Refusal {
    Refusal { kind: RefusalKind::Engine, message: format!("the template could not be made: {message}") }
}

fn ending() -> Refusal {
    engine_error("the engine is ending".to_owned())
}
