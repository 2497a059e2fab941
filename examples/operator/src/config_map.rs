use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::Greeting;

/// The key of the ConfigMap under which the words are.
pub const WORDS_KEY: &str = "words";

/// Marks what the controller makes, so that it needs to watch nothing else.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "greeting-controller");

/// The label selector of what the controller makes.
pub(crate) fn selector() -> String {
    format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)
}

/// The ConfigMap that a Greeting asks for: what the controller applies, and no field more.
pub(crate) fn wanted(greeting: &Greeting) -> ConfigMap {
    let words = format!("{}, {}!", greeting.spec.salutation, greeting.spec.name);
    ConfigMap {
        metadata: ObjectMeta {
            name: greeting.metadata.name.clone(),
            namespace: greeting.metadata.namespace.clone(),
            labels: Some(BTreeMap::from([(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned())])),
            owner_references: greeting.controller_owner_ref(&()).map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(WORDS_KEY.to_owned(), words)])),
        ..ConfigMap::default()
    }
}

/// Whether a ConfigMap was made for this Greeting, and not for one of the same name before it, or by somebody else.
pub(crate) fn belongs_to(config_map: &ConfigMap, greeting: &Greeting) -> bool {
    let is_owner = |uid: &str| greeting.metadata.uid.as_deref() == Some(uid);
    config_map.owner_references().iter().any(|owner| owner.controller == Some(true) && is_owner(&owner.uid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GreetingSpec;

    fn greeting(uid: &str) -> Greeting {
        let spec = GreetingSpec { name: "world".to_owned(), salutation: "Hello".to_owned() };
        let mut greeting = Greeting::new("world", spec);
        greeting.metadata.uid = Some(uid.to_owned());
        greeting
    }

    #[test]
    fn a_config_map_belongs_to_the_greeting_it_was_made_for_and_to_no_later_one_of_that_name() {
        let config_map = wanted(&greeting("first"));
        assert!(belongs_to(&config_map, &greeting("first")));
        assert!(!belongs_to(&config_map, &greeting("second")));
        assert!(!belongs_to(&ConfigMap::default(), &greeting("first")));
    }
}
