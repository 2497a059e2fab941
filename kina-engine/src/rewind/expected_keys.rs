//! The keys that a template may have: those of the objects that were applied, and what an API server derives from them.
//!
//! Without controllers only the API server writes, and only on request. So any other key is the work of
//! something that should not have been there, such as a request of an earlier lease, and no part of the template.

use std::collections::HashSet;

use super::resource::{StorageResource, api_name};

const DEFINITIONS: &str = "customresourcedefinitions";

/// The objects that were applied.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExpectedKeys {
    /// Group, plural, and namespace and name with a slash between them, or the name alone.
    objects: HashSet<(String, String, String)>,
    /// Groups that definitions bring.
    groups: HashSet<String>,
    /// The kinds that were applied, as plurals.
    plurals: HashSet<String>,
}

impl ExpectedKeys {
    /// The keys that objects at these paths of the API may have made.
    pub(crate) fn of_paths<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut expected = Self::default();
        for (group, plural, name) in paths.into_iter().filter_map(object_at) {
            // A definition is named by its plural and its group.
            if plural == DEFINITIONS
                && let Some((_, group)) = name.split_once('.')
            {
                expected.groups.insert(group.to_owned());
            }
            expected.plurals.insert(plural.to_owned());
            expected.objects.insert((group.to_owned(), plural.to_owned(), name));
        }
        expected
    }

    /// Returns true if a key belongs to one of the objects.
    pub(super) fn allows(&self, key: &[u8]) -> bool {
        let Some(resource) = StorageResource::of_key(key) else {
            // Addresses and ports that are taken.
            return key.starts_with(b"/registry/ranges/") && self.has_any(&["services", "servicecidrs"]);
        };
        let stored = resource.as_str();
        let prefix_length = super::PREFIX.len() + stored.len() + 1;
        let Some(name) = key.get(prefix_length..).and_then(|name| std::str::from_utf8(name).ok()) else { return false };
        let of_object = match stored.split_once('/').filter(|(group, _)| group.contains('.')) {
            Some((group, plural)) => self.objects.contains(&(group.to_owned(), plural.to_owned(), name.to_owned())),
            // No group is part of these keys, and none of the plurals is in two of the API server's own groups.
            None => self.objects.iter().any(|(_, plural, known)| plural == api_name(stored) && known == name),
        };
        of_object
            || match stored {
                // The API server registers a group as long as it has a definition.
                "apiregistration.k8s.io/apiservices" => {
                    name.split_once('.').is_some_and(|(_, group)| self.groups.contains(group))
                }
                "ipaddresses" => self.has_any(&["services"]),
                // The status of each tells if the other is there.
                "flowschemas" | "prioritylevelconfigurations" => {
                    self.has_any(&["flowschemas", "prioritylevelconfigurations"])
                }
                _ => false,
            }
    }

    fn has_any(&self, plurals: &[&str]) -> bool {
        plurals.iter().any(|plural| self.plurals.contains(*plural))
    }
}

/// Group, plural, and namespace and name of the object at `/api/v1/…` or `/apis/<group>/<version>/…`.
fn object_at(path: &str) -> Option<(&str, &str, String)> {
    let (group, rest) = match path.strip_prefix("/apis/") {
        Some(rest) => {
            let (group, rest) = rest.split_once('/')?;
            (group, rest.split_once('/')?.1)
        }
        None => ("", path.strip_prefix("/api/")?.split_once('/')?.1),
    };
    let parts: Vec<&str> = rest.split('/').collect();
    match parts.as_slice() {
        [plural, name] => Some((group, plural, (*name).to_owned())),
        ["namespaces", namespace, plural, name] => Some((group, plural, format!("{namespace}/{name}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> ExpectedKeys {
        ExpectedKeys::of_paths([
            "/api/v1/namespaces/shop",
            "/api/v1/namespaces/shop/services/web",
            "/apis/apps/v1/namespaces/shop/deployments/web",
            "/apis/networking.k8s.io/v1/namespaces/shop/ingresses/web",
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
            "/apis/example.com/v1/namespaces/shop/widgets/first",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:shop",
        ])
    }

    #[test]
    fn keys_of_what_was_applied_are_allowed() {
        for key in [
            "/registry/namespaces/shop",
            "/registry/services/specs/shop/web",
            "/registry/deployments/shop/web",
            "/registry/ingress/shop/web",
            "/registry/apiextensions.k8s.io/customresourcedefinitions/widgets.example.com",
            "/registry/example.com/widgets/shop/first",
            "/registry/clusterroles/system:shop",
            "/registry/apiregistration.k8s.io/apiservices/v1.example.com",
            "/registry/ranges/serviceips",
            "/registry/ipaddresses/10.0.0.7",
        ] {
            assert!(expected().allows(key.as_bytes()), "{key}");
        }
    }

    #[test]
    fn other_keys_are_not_allowed() {
        for key in [
            "/registry/configmaps/shop/web",
            "/registry/deployments/shop/other",
            "/registry/deployments/default/web",
            "/registry/example.com/widgets/shop/second",
            "/registry/other.example.com/widgets/shop/first",
            "/registry/apiregistration.k8s.io/apiservices/v1.other.example.com",
            "/registry/flowschemas/any",
            "/registry/ranges",
        ] {
            assert!(!expected().allows(key.as_bytes()), "{key}");
        }
        assert!(!ExpectedKeys::default().allows(b"/registry/ranges/serviceips"));
    }
}
