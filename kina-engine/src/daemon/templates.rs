//! Templates: each made once, by the first client to want it, and then shared.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::boot::SlotSpec;
use super::connection::Engine;
use super::template_making;
use super::template_store::TemplateStore;
use crate::fixtures::FixtureSet;
use crate::pool::{ClientId, SlotKey, TemplateName};
use crate::protocol::Refusal;
use crate::rewind::Template;
use crate::template_intake::Admitted;

/// Templates that are kept at hand beside those that slots have.
const AT_HAND_MAX: usize = 32;

/// All templates that this engine knows of.
pub(super) struct Templates {
    store: TemplateStore,
    known: Mutex<HashMap<(SlotKey, TemplateName), Entry>>,
}

/// A request to make a template.
pub(super) struct TemplateRequest {
    pub(super) kind: SlotKey,
    pub(super) spec: Arc<SlotSpec>,
    pub(super) name: TemplateName,
    /// The length of its content, in bytes.
    pub(super) bytes: u64,
    pub(super) client: ClientId,
    pub(super) timeout_ms: u64,
}

/// The place where a template is available.
pub(super) enum Lookup {
    /// Here.
    Found { template: Arc<Template>, is_from_disk: bool },
    /// From the task that makes it.
    Making(Making),
    /// Nowhere: it has to be made, and for that its content is needed.
    Unknown,
}

/// Tells the result of making a template.
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
        // An error means that loading panicked: the template counts as absent.
        match loading.await.ok().flatten() {
            Some(template) => Lookup::Found { template: self.keep(kind, Arc::new(template)), is_from_disk: true },
            None => Lookup::Unknown,
        }
    }

    /// Has a template made from its content, unless another client was faster. It is made even if the client goes.
    pub(super) fn make(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        request: TemplateRequest,
        content: Admitted<FixtureSet>,
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
            let making = template_making::make(Arc::clone(&engine), request, content).await;
            let result = making.map(|(kind, template)| {
                let template = templates.keep(&kind, template);
                templates.save(kind, Arc::clone(&template));
                template
            });
            if result.is_err() {
                // A later client tries anew: the fault may have been repaired.
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

    /// Keeps it on disk too, in the background.
    fn save(&self, kind: SlotKey, template: Arc<Template>) {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = store.save(&kind, &template) {
                tracing::warn!(%error, "the template could not be kept on disk: the next engine makes it anew");
            }
        });
    }

    /// Looks for a template here.
    pub(super) fn at_hand(&self, kind: &SlotKey, name: &TemplateName) -> Option<Lookup> {
        self.known().get_mut(&(kind.clone(), name.clone())).map(Entry::look_up)
    }

    /// Takes a template into those at hand, and removes the least recently used one.
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
