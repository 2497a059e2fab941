//! The templates that this engine has at hand, and those that are being made.

use std::collections::{HashMap, hash_map};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::store::TemplateStore;
use crate::pool::{SlotKey, TemplateName};
use crate::protocol::Refusal;
use crate::rewind::Template;

/// Templates that are kept at hand beside those that slots have.
const AT_HAND_MAX: usize = 32;

/// All templates that this engine knows of.
pub(in crate::daemon) struct TemplateCache {
    store: TemplateStore,
    known: Mutex<HashMap<(SlotKey, TemplateName), Entry>>,
}

/// The place where a template is available.
pub(in crate::daemon) enum Lookup {
    /// Here.
    Found { template: Arc<Template>, is_from_disk: bool },
    /// From the task that makes it.
    Making(Making),
    /// Nowhere: it has to be made, and for that its content is needed.
    Unknown,
}

/// Tells the result of making a template.
pub(in crate::daemon) type Making = watch::Receiver<Option<Made>>;

/// The result.
pub(super) type Made = Result<Arc<Template>, Refusal>;

/// A template that is being made. Clients that want it wait for its end.
pub(super) struct Unfinished {
    cache: Arc<TemplateCache>,
    kind: SlotKey,
    name: TemplateName,
    made: watch::Sender<Option<Made>>,
}

enum Entry {
    Made { template: Arc<Template>, used_at: Instant },
    Making(Making),
}

impl TemplateCache {
    pub(in crate::daemon) fn new(store: TemplateStore) -> Self {
        Self { store, known: Mutex::new(HashMap::new()) }
    }

    /// Looks for a template here and on disk.
    pub(in crate::daemon) async fn look_up(&self, kind: &SlotKey, name: &TemplateName) -> Lookup {
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

    /// Notes that a template is being made. Returns an error if another client was faster.
    pub(super) fn begin(self: &Arc<Self>, kind: &SlotKey, name: &TemplateName) -> Result<(Unfinished, Making), Lookup> {
        match self.known().entry((kind.clone(), name.clone())) {
            hash_map::Entry::Occupied(mut known) => Err(known.get_mut().look_up()),
            hash_map::Entry::Vacant(absent) => {
                let (made, making) = watch::channel(None);
                absent.insert(Entry::Making(making.clone()));
                let (cache, kind, name) = (Arc::clone(self), kind.clone(), name.clone());
                Ok((Unfinished { cache, kind, name, made }, making))
            }
        }
    }

    /// Forgets a template that no slot could be put to.
    pub(in crate::daemon) fn forget(&self, kind: &SlotKey, name: &TemplateName) {
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
    pub(in crate::daemon) fn at_hand(&self, kind: &SlotKey, name: &TemplateName) -> Option<Lookup> {
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

impl Unfinished {
    /// Gives the result to the clients that wait for it. A template is kept.
    pub(super) fn finish(self, result: Made) {
        let Self { cache, kind, name, made } = self;
        let result = match result {
            Ok(template) => {
                let template = cache.keep(&kind, template);
                cache.save(kind, Arc::clone(&template));
                Ok(template)
            }
            Err(refusal) => {
                // A later client tries anew: the fault may have been repaired.
                cache.known().remove(&(kind, name));
                Err(refusal)
            }
        };
        made.send_replace(Some(result));
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
