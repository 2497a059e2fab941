//! Slots and their templates.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Dispatcher, Request};
use crate::daemon::message::{NotTaken, TaskReport, TemplateReply};
use crate::daemon::templates::TemplateCache;
use crate::error_text::with_causes;
use crate::pool::{Event, Pool, SlotId, SlotKey, TemplateName, WaiterId};
use crate::rewind::{ExpectedKeys, Template};
use crate::sabotage;

/// The rewinds to a template that may fail in a row: after that, the template is at fault.
const FAILURES_MAX: u32 = 2;

/// The templates that slots have or clients wait for.
pub(super) struct TemplatesInUse {
    all: Arc<TemplateCache>,
    in_use: HashMap<(SlotKey, TemplateName), InUse>,
}

struct InUse {
    template: Arc<Template>,
    failures: u32,
}

impl TemplatesInUse {
    pub(super) fn new(all: Arc<TemplateCache>) -> Self {
        Self { all, in_use: HashMap::new() }
    }

    /// Notes a template that a client wants, and forgets those that are no longer in use.
    pub(super) fn add(&mut self, pool: &Pool, key: &SlotKey, template: Arc<Template>) -> TemplateName {
        let name = TemplateName(template.name().into());
        self.in_use.retain(|(key, name), _| pool.needs_template(key, name));
        self.in_use.entry((key.clone(), name.clone())).or_insert(InUse { template, failures: 0 });
        name
    }

    fn get(&self, key: &SlotKey, name: &TemplateName) -> Option<Arc<Template>> {
        self.in_use.get(&(key.clone(), name.clone())).map(|in_use| Arc::clone(&in_use.template))
    }

    /// Notes the result of a rewind to a template. Returns true if the template is at fault.
    fn note(&mut self, key: &SlotKey, name: &TemplateName, succeeded: bool) -> bool {
        let Some(in_use) = self.in_use.get_mut(&(key.clone(), name.clone())) else { return false };
        in_use.failures = if succeeded { 0 } else { in_use.failures + 1 };
        FAILURES_MAX <= in_use.failures
    }
}

impl Dispatcher {
    pub(super) fn rewind(&mut self, slot: SlotId, name: Option<TemplateName>) {
        let record = self.slots.get_mut(&slot);
        let release = record.and_then(|record| {
            record.stop_following();
            record.release.as_mut()
        });
        let since = release.as_ref().map(|release| release.since);
        let closing = release.and_then(|release| release.closing.take());
        let key = self.pool.key(slot).cloned();
        let template = key.zip(name.as_ref()).and_then(|(key, name)| self.templates.get(&key, name));
        if name.is_some() && template.is_none() {
            self.spawn(async move { TaskReport::Died { slot, reason: "bug: its template is not known".to_owned() } });
            return;
        }
        let beginnings = self.beginnings.clone();
        let is_awaited = 0 < self.pool.waiting();
        self.with_handle(slot, async move |handle| {
            if let Some(closing) = closing {
                handle.leave(closing.wait().await);
            }
            if !is_awaited {
                beginnings.give_way().await;
            }
            let result = handle.rewind(template).await;
            if let Some(since) = since.filter(|_| sabotage::is_off(sabotage::Part::Slow)) {
                tokio::time::sleep(since.elapsed() * sabotage::SLOW_PERCENT / 100).await;
            }
            TaskReport::Rewound { slot, result }
        });
    }

    /// Notes the result of a rewind, and gives up a template that no slot can be put to.
    pub(super) fn note_template(&mut self, slot: SlotId, failure: Option<&str>) {
        let (Some(key), Some(name)) = (self.pool.key(slot).cloned(), self.pool.template(slot).cloned()) else { return };
        if !self.templates.note(&key, &name, failure.is_none()) {
            return;
        }
        let reason = failure.unwrap_or_default().to_owned();
        tracing::error!(template = %name.0, reason, "clusters cannot be put to a template: it is given up");
        let all = Arc::clone(&self.templates.all);
        let (kind, forgotten) = (key.clone(), name.clone());
        tokio::task::spawn_blocking(move || all.forget(&kind, &forgotten));
        self.feed(Event::TemplateBroke { key, template: name, reason });
    }

    pub(super) fn take_template(
        &mut self,
        waiter: WaiterId,
        name: TemplateName,
        expected: ExpectedKeys,
        reply: TemplateReply,
    ) {
        let found = match self.requests.get(&waiter) {
            Some(Request::Leased(slot)) => self.handle_of(*slot).map(|handle| (*slot, handle)),
            _ => None,
        };
        let Some((slot, handle)) = found else {
            // The asker may have gone too.
            let message = "its cluster was lost".to_owned();
            let _ = reply.send(Err(NotTaken { message, is_intruder: false }));
            return;
        };
        let directory = self.booter.baseline_directory.clone();
        self.spawn(async move {
            let result = handle.take_template(&name.0, &expected, &directory).await;
            let result =
                result.map_err(|error| NotTaken { message: with_causes(&error), is_intruder: error.is_intruder() });
            TaskReport::TemplateTaken { slot, result, reply }
        });
    }

    pub(super) fn template_taken(
        &mut self,
        slot: SlotId,
        result: Result<Arc<Template>, NotTaken>,
        reply: TemplateReply,
    ) {
        if let Err(NotTaken { message, is_intruder: true }) = &result {
            // The writer there may go on.
            self.broke(slot, message);
        }
        if let Ok(template) = &result
            && let Some(key) = self.pool.key(slot).cloned()
        {
            let name = self.templates.add(&self.pool, &key, Arc::clone(template));
            self.feed(Event::TemplateTaken { slot, template: name });
            self.measure(slot);
        }
        // The asker may have gone.
        let _ = reply.send(result);
    }
}
