use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use kube::{Resource, ResourceExt};

use crate::Greeting;

/// The ConfigMap's key for the words.
pub const WORDS_KEY: &str = "words";

/// Marks the controller's objects, so that it needs to watch no others.
const MANAGED_BY: (&str, &str) = ("app.kubernetes.io/managed-by", "greeting-controller");

/// The label selector of the controller's objects.
pub(crate) fn selector() -> String {
    format!("{}={}", MANAGED_BY.0, MANAGED_BY.1)
}

/// The ConfigMap for a Greeting: exactly the fields that the controller applies.
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

/// Returns true if the ConfigMap was made for this Greeting, not for an earlier one of the same name or by another
/// client.
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
    fn a_config_map_does_not_belong_to_a_later_greeting_of_the_same_name() {
        let config_map = wanted(&greeting("first"));
        assert!(belongs_to(&config_map, &greeting("first")));
        assert!(!belongs_to(&config_map, &greeting("second")));
        assert!(!belongs_to(&ConfigMap::default(), &greeting("first")));
    }
}
