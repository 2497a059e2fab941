use std::marker::PhantomData;
use std::ops::ControlFlow;

use serde_json::Value;

use super::error::WaitError;
use super::history::resource_version;
use super::object_ref::Object;
use super::target::Target;

type Predicate<'a, K> = Box<dyn FnMut(&K) -> bool + Send + 'a>;

/// The goal of a wait.
pub(super) enum Goal<'a, K> {
    #[cfg(feature = "cel")]
    Expression(String),
    Condition {
        name: String,
        status: String,
    },
    Predicate(Predicate<'a, K>),
    /// The end of the object with this UID, or of the first one seen if it is not known yet.
    Deletion {
        uid: Option<String>,
    },
}

/// A valid goal.
pub(super) struct Ready<'goal, 'a, K> {
    check: Check<'goal, 'a, K>,
    object: PhantomData<fn() -> K>,
}

enum Check<'goal, 'a, K> {
    #[cfg(feature = "cel")]
    Expression(kina_engine::CelExpression),
    Condition {
        name: &'goal str,
        status: &'goal str,
    },
    Predicate(&'goal mut Predicate<'a, K>),
    Deletion {
        uid: &'goal mut Option<String>,
    },
}

impl<'a, K: Object> Goal<'a, K> {
    /// A condition of the status: `Available`, or `Available=False`.
    pub(super) fn condition(text: &str) -> Self {
        let (name, status) = text.split_once('=').unwrap_or((text, "True"));
        Self::Condition { name: name.trim().to_owned(), status: status.trim().to_owned() }
    }

    pub(super) fn prepare<'goal>(&'goal mut self, target: &Target) -> Result<Ready<'goal, 'a, K>, WaitError> {
        // Only an expression can be invalid.
        #[cfg(not(feature = "cel"))]
        let _ = target;
        let check =
            match self {
                #[cfg(feature = "cel")]
                Self::Expression(text) => {
                    let compiled = kina_engine::CelExpression::compile(text);
                    Check::Expression(compiled.map_err(|error| WaitError::Condition {
                        object: target.object.clone(),
                        source: Box::new(error),
                    })?)
                }
                Self::Condition { name, status } => Check::Condition { name, status },
                Self::Predicate(predicate) => Check::Predicate(predicate),
                Self::Deletion { uid } => Check::Deletion { uid },
            };
        Ok(Ready { check, object: PhantomData })
    }
}

impl<K: Object> Ready<'_, '_, K> {
    /// Checks a version of the object, or its absence.
    pub(super) fn look(
        &mut self,
        target: &Target,
        object: Option<&Value>,
    ) -> Result<ControlFlow<Option<K>>, WaitError> {
        if let Check::Deletion { uid: expected } = &mut self.check {
            let uid = object.and_then(|object| object["metadata"]["uid"].as_str());
            let is_it = match (uid, expected.as_deref()) {
                (Some(uid), Some(expected)) => uid == expected,
                (Some(uid), None) => {
                    **expected = Some(uid.to_owned());
                    true
                }
                (None, _) => false,
            };
            return Ok(if is_it { ControlFlow::Continue(()) } else { ControlFlow::Break(None) });
        }
        let Some(object) = object else { return Ok(ControlFlow::Continue(())) };
        let is_reached = match &mut self.check {
            #[cfg(feature = "cel")]
            Check::Expression(expression) => expression.bind(object).evaluate().map_err(|error| WaitError::Unfit {
                object: target.object.clone(),
                resource_version: resource_version(object),
                source: Box::new(error),
            })?,
            Check::Condition { name, status } => condition_problem(object, name, status).is_none(),
            Check::Predicate(predicate) => {
                let object = read(target, object)?;
                return Ok(if predicate(&object) {
                    ControlFlow::Break(Some(object))
                } else {
                    ControlFlow::Continue(())
                });
            }
            Check::Deletion { .. } => false,
        };
        if is_reached {
            read(target, object).map(|object| ControlFlow::Break(Some(object)))
        } else {
            Ok(ControlFlow::Continue(()))
        }
    }

    /// The goal as a short text.
    pub(super) fn describe(&self) -> String {
        match &self.check {
            #[cfg(feature = "cel")]
            Check::Expression(expression) => expression.text().to_owned(),
            Check::Condition { name, status } => format!("condition {name} is {status}"),
            Check::Predicate(_) => "a predicate in Rust".to_owned(),
            Check::Deletion { .. } => "its deletion".to_owned(),
        }
    }

    /// The reasons that this object has not reached it.
    pub(super) fn problems(&self, object: &Value) -> Vec<String> {
        match &self.check {
            #[cfg(feature = "cel")]
            Check::Expression(expression) => expression.explain(object).iter().map(ToString::to_string).collect(),
            Check::Condition { name, status } => condition_problem(object, name, status).into_iter().collect(),
            Check::Predicate(_) => vec!["the predicate was false".to_owned()],
            Check::Deletion { .. } => vec![deletion_problem(object)],
        }
    }
}

fn read<K: Object>(target: &Target, object: &Value) -> Result<K, WaitError> {
    serde_json::from_value(object.clone()).map_err(|source| WaitError::Unreadable {
        object: target.object.clone(),
        resource_version: resource_version(object),
        source,
    })
}

/// The reason that the condition does not have this status; `None` if it has it.
fn condition_problem(object: &Value, name: &str, status: &str) -> Option<String> {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(condition) = conditions.iter().find(|condition| condition["type"] == name) else {
        let others: Vec<&str> = conditions.iter().filter_map(|condition| condition["type"].as_str()).collect();
        return Some(match others.as_slice() {
            [] => format!("it has no condition {name}, and no other"),
            others => format!("it has no condition {name}, but {}", others.join(", ")),
        });
    };
    // Some controllers set one observed generation for the whole status.
    let observed = condition["observedGeneration"].as_i64().or(object["status"]["observedGeneration"].as_i64());
    let generation = object["metadata"]["generation"].as_i64();
    if let (Some(observed), Some(generation)) = (observed, generation)
        && observed < generation
    {
        return Some(format!("its status is of generation {observed}, not {generation}"));
    }
    let is = condition["status"].as_str().unwrap_or_default();
    if is.eq_ignore_ascii_case(status) {
        return None;
    }
    let reason = condition["reason"].as_str().filter(|reason| !reason.is_empty());
    let message = condition["message"].as_str().filter(|message| !message.is_empty());
    let mut why: Vec<&str> = reason.into_iter().chain(message).collect();
    why.truncate(2);
    let because = if why.is_empty() { String::new() } else { format!(" ({})", why.join(": ")) };
    Some(format!("condition {name} is {is}, not {status}{because}"))
}

fn deletion_problem(object: &Value) -> String {
    let metadata = &object["metadata"];
    let finalizers = metadata["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let finalizers: Vec<&str> = finalizers.iter().filter_map(Value::as_str).collect();
    match (metadata["deletionTimestamp"].as_str(), finalizers.as_slice()) {
        (None, _) => "it is not being deleted".to_owned(),
        (Some(_), []) => "it is being deleted and has no finalizers left".to_owned(),
        (Some(_), finalizers) => format!("it is being deleted and waits for finalizers: {}", finalizers.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_conditions_of_the_current_generation_count() {
        let object = |observed: Option<i64>, status: &str| {
            json!({
                "metadata": {"generation": 2},
                "status": {"observedGeneration": observed, "conditions": [
                    {"type": "Ready", "status": status, "reason": "Starting", "message": "one moment"},
                    {"type": "Other", "status": "True"},
                ]},
            })
        };
        for (object, name, status, expected) in [
            (object(Some(2), "True"), "Ready", "True", None),
            (object(None, "True"), "Ready", "True", None),
            (object(None, "True"), "Ready", "true", None),
            (object(None, "False"), "Ready", "False", None),
            (object(None, "False"), "Ready", "True", Some("condition Ready is False, not True (Starting: one moment)")),
            (object(None, "True"), "Other", "False", Some("condition Other is True, not False")),
            (object(Some(1), "True"), "Ready", "True", Some("its status is of generation 1, not 2")),
            (object(None, "True"), "Done", "True", Some("it has no condition Done, but Ready, Other")),
            (json!({}), "Done", "True", Some("it has no condition Done, and no other")),
        ] {
            assert_eq!(condition_problem(&object, name, status).as_deref(), expected, "{object}");
        }
    }

    #[test]
    fn an_object_that_is_not_gone_has_a_reason() {
        for (metadata, expected) in [
            (json!({}), "it is not being deleted"),
            (json!({"deletionTimestamp": "x"}), "it is being deleted and has no finalizers left"),
            (
                json!({"deletionTimestamp": "x", "finalizers": ["a", "b"]}),
                "it is being deleted and waits for finalizers: a, b",
            ),
        ] {
            assert_eq!(deletion_problem(&json!({"metadata": metadata})), expected);
        }
    }
}
