use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::{Greeting, READY};

/// The outcome of a reconciliation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The ConfigMap has the right content.
    Applied,
    /// A ConfigMap of that name exists, and this Greeting did not make it.
    NameTaken,
}

/// The condition for an outcome. Its time is that of the last change of its status.
pub(crate) fn ready(greeting: &Greeting, outcome: Outcome, now: Timestamp) -> Condition {
    let (status, reason, message) = match outcome {
        Outcome::Applied => ("True", "Applied", "the ConfigMap has the right content"),
        Outcome::NameTaken => {
            ("False", "NameTaken", "a ConfigMap of this name exists, and this Greeting did not make it")
        }
    };
    let before = greeting.condition(READY).filter(|before| before.status == status);
    Condition {
        type_: READY.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
        observed_generation: greeting.metadata.generation,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GreetingSpec, GreetingStatus};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("a valid time")
    }

    fn greeting_with(condition: Condition) -> Greeting {
        let spec = GreetingSpec { name: "world".to_owned(), salutation: "Hello".to_owned() };
        let mut greeting = Greeting::new("world", spec);
        greeting.metadata.generation = Some(2);
        greeting.status = Some(GreetingStatus { observed_generation: Some(1), conditions: vec![condition] });
        greeting
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let fresh = Greeting::new("world", GreetingSpec { name: String::new(), salutation: String::new() });
        let first = ready(&fresh, Outcome::Applied, at(10));
        assert_eq!(first.last_transition_time, Time(at(10)));

        let again = ready(&greeting_with(first.clone()), Outcome::Applied, at(20));
        assert_eq!(again.last_transition_time, Time(at(10)));
        assert_eq!(again.observed_generation, Some(2));

        let taken = ready(&greeting_with(first), Outcome::NameTaken, at(30));
        assert_eq!(taken.last_transition_time, Time(at(30)));
    }
}
