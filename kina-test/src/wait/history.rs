use serde_json::Value;

use crate::ApiError;

/// Everything seen of the object.
#[derive(Debug, Default)]
pub(super) struct History {
    /// Its last known state, also if it is gone now.
    last: Option<Value>,
    is_there: bool,
    /// The number of versions seen.
    pub(super) versions: usize,
    /// The number of objects of this name seen, one after the other.
    pub(super) objects: usize,
    /// The number of failed requests and watches.
    pub(super) interruptions: usize,
    pub(super) last_interruption: Option<String>,
}

impl History {
    /// The last known state of the object.
    pub(super) fn last(&self) -> Option<&Value> {
        self.last.as_ref()
    }

    /// The object, if it exists.
    pub(super) fn present(&self) -> Option<&Value> {
        self.last.as_ref().filter(|_| self.is_there)
    }

    pub(super) fn saw(&mut self, object: Option<Value>) {
        self.is_there = object.is_some();
        if let Some(object) = object {
            let is_other = self.last.as_ref().is_none_or(|last| last["metadata"]["uid"] != object["metadata"]["uid"]);
            self.objects += usize::from(is_other);
            self.versions += 1;
            self.last = Some(object);
        }
    }

    pub(super) fn interrupted(&mut self, error: &ApiError) {
        self.interruptions += 1;
        self.last_interruption = Some(kina_engine::with_causes(error));
    }
}

/// The version of an object.
pub(super) fn resource_version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned()
}
