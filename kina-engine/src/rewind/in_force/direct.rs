//! Rules that are tried by their own effect.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use http::StatusCode;
use serde_json::{Value, json};

use super::probe::{NAMESPACE, Probe, describe};
use super::{FOLLOW_TIMEOUT, HIDDEN_TIMEOUT, InForce, Wait};
use crate::rewind::{RewindError, settle};
use crate::rule_kind::RuleKind;

/// A kind whose default applies to objects of another kind.
struct DefaultClass {
    list: &'static str,
    /// Annotations that make one the default.
    annotations: &'static [&'static str],
    probe: &'static str,
    object: fn() -> Value,
    /// The place where a probe has its class.
    field: &'static str,
}

const STORAGE_CLASS: DefaultClass = DefaultClass {
    list: "/apis/storage.k8s.io/v1/storageclasses",
    annotations: &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"],
    probe: "/api/v1/namespaces/kube-public/persistentvolumeclaims",
    object: || {
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kina-canary"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        })
    },
    field: "/spec/storageClassName",
};

const INGRESS_CLASS: DefaultClass = DefaultClass {
    list: "/apis/networking.k8s.io/v1/ingressclasses",
    annotations: &["ingressclass.kubernetes.io/is-default-class"],
    probe: "/apis/networking.k8s.io/v1/namespaces/kube-public/ingresses",
    object: || {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "kina-canary"},
            "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}},
        })
    },
    field: "/spec/ingressClassName",
};

impl InForce<'_> {
    /// Waits for rules of these kinds that are tried themselves.
    pub(super) async fn try_directly(&self, kinds: &BTreeSet<RuleKind>) -> Result<(), RewindError> {
        for kind in kinds {
            match kind {
                RuleKind::StorageClass => self.default_is_given("default StorageClass", &STORAGE_CLASS).await?,
                RuleKind::IngressClass => self.default_is_given("default IngressClass", &INGRESS_CLASS).await?,
                RuleKind::ApiService => self.groups_are_answered().await?,
                RuleKind::ServiceCidr => self.addresses_are_given().await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until kube-controller-manager has counted what each quota limits: before that, it limits nothing.
    pub(super) async fn quotas_are_counted(&self) -> Result<(), RewindError> {
        let mut wait = Wait::new("ResourceQuota", FOLLOW_TIMEOUT);
        loop {
            let quotas = self.list("/api/v1/resourcequotas").await?;
            let uncounted = quotas.iter().find(|quota| quota["status"]["hard"] != quota["spec"]["hard"]);
            let Some(uncounted) = uncounted else { return Ok(()) };
            let answered = format!("a quota that was not counted yet: {}", uncounted["metadata"]["name"]);
            self.pause(&mut wait, answered).await?;
        }
    }

    /// Waits until an object without a class gets the one that is the default by storage.
    async fn default_is_given(&self, rule: &str, class: &DefaultClass) -> Result<(), RewindError> {
        let expected = newest_default(&self.list(class.list).await?, class.annotations);
        let mut wait = Wait::new(rule, FOLLOW_TIMEOUT);
        let probe = Probe::create(class.probe, (class.object)());
        loop {
            let answer = probe.ask(self.api).await?;
            let answered = if answer.status == StatusCode::CREATED {
                let object: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                let given = object.pointer(class.field).and_then(Value::as_str).map(str::to_owned);
                if given == expected {
                    return Ok(());
                }
                format!("the class {given:?} and not {expected:?}")
            } else {
                wait.timeout = HIDDEN_TIMEOUT;
                describe(&answer)
            };
            self.pause(&mut wait, answered).await?;
        }
    }

    /// Waits until the groups of APIServices are no longer unknown. Their servers may well be absent.
    async fn groups_are_answered(&self) -> Result<(), RewindError> {
        let services = self.list("/apis/apiregistration.k8s.io/v1/apiservices").await?;
        // The server answers for the others itself.
        for service in services.iter().filter(|service| service["spec"]["service"].is_object()) {
            let text = |field: &str| service["spec"][field].as_str().unwrap_or_default().to_owned();
            let path = format!("/apis/{}/{}", text("group"), text("version"));
            let mut wait = Wait::new("APIService", FOLLOW_TIMEOUT);
            loop {
                let answer = self.api.get(&path).await?;
                if answer.status != StatusCode::NOT_FOUND {
                    break;
                }
                self.pause(&mut wait, describe(&answer)).await?;
            }
        }
        Ok(())
    }

    /// Waits until Services get addresses of each range that is ready. A dry run looks at one range of all, by chance,
    /// so only an acceptance is proof.
    async fn addresses_are_given(&self) -> Result<(), RewindError> {
        const RANGES: &str = "/apis/networking.k8s.io/v1/servicecidrs";
        let mut wait = Wait::new("ServiceCIDR", FOLLOW_TIMEOUT);
        let ranges = loop {
            let ranges = self.list(RANGES).await?;
            let unmet = ranges.iter().find(|range| ready_condition(range).is_none());
            match unmet {
                // Only kube-controller-manager tells if a range is ready; without it, each counts as ready.
                Some(unmet) if self.has_controllers => {
                    let answered = format!("a range without conditions: {}", unmet["metadata"]["name"]);
                    self.pause(&mut wait, answered).await?;
                }
                _ => break ranges,
            }
        };
        for address in ranges.iter().filter(|range| ready_condition(range) != Some(false)).flat_map(addresses) {
            let service = json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kina-canary"},
                "spec": {"clusterIP": address.to_string(), "ports": [{"port": INVALID_PORT}]},
            });
            let probe = Probe::create(&format!("/api/v1/namespaces/{NAMESPACE}/services"), service);
            let mut wait = Wait::new("ServiceCIDR", FOLLOW_TIMEOUT);
            loop {
                let answer = probe.ask(self.api).await?;
                // Addresses are given before ports are looked at.
                let text = String::from_utf8_lossy(&answer.body);
                if text.contains("spec.ports[0].port") && !text.contains("failed to allocate") {
                    break;
                }
                self.pause(&mut wait, describe(&answer)).await?;
            }
        }
        Ok(())
    }

    pub(super) async fn list(&self, path: &str) -> Result<Vec<Value>, RewindError> {
        let answer = settle::get_when_served(self.api, path).await?;
        if answer.status == StatusCode::NOT_FOUND {
            // A server of this version has no such kind.
            return Ok(Vec::new());
        }
        let unexpected = |answered| RewindError::Unexpected { asked: path.to_owned(), answered };
        if answer.status != StatusCode::OK {
            return Err(unexpected(describe(&answer)));
        }
        let mut list: Value = serde_json::from_slice(&answer.body).map_err(|error| unexpected(error.to_string()))?;
        Ok(match list["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }
}

const INVALID_PORT: u32 = 70_000;

/// The class that an API server chooses, by its rule: of several the one created last, then the first by name.
fn newest_default(classes: &[Value], annotations: &[&str]) -> Option<String> {
    let is_default =
        |class: &&Value| annotations.iter().any(|annotation| class["metadata"]["annotations"][*annotation] == "true");
    let text = |class: &Value, field: &str| class["metadata"][field].as_str().unwrap_or_default().to_owned();
    let mut defaults: Vec<_> = classes
        .iter()
        .filter(is_default)
        .map(|class| (std::cmp::Reverse(text(class, "creationTimestamp")), text(class, "name")))
        .collect();
    defaults.sort();
    defaults.into_iter().next().map(|(_, name)| name)
}

/// Returns true if the range is ready; `None` if it has no such condition.
fn ready_condition(range: &Value) -> Option<bool> {
    if range["metadata"]["deletionTimestamp"].is_string() {
        return Some(false);
    }
    let conditions = range["status"]["conditions"].as_array()?;
    let ready = conditions.iter().find(|condition| condition["type"] == "Ready")?;
    Some(ready["status"] == "True")
}

/// One address of each range that clusters of kina can have: they are IPv4.
fn addresses(range: &Value) -> impl Iterator<Item = Ipv4Addr> {
    let cidrs = range["spec"]["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
    cidrs.filter_map(|cidr| {
        let (network, length) = cidr.split_once('/')?;
        let (network, length): (Ipv4Addr, u32) = (network.parse().ok()?, length.parse().ok()?);
        let mask = u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0);
        Some(Ipv4Addr::from((u32::from(network) & mask) + u32::from(length < 32)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_default_class_counts() {
        let class = |name: &str, created: &str, is_default: &str| json!({"metadata": {"name": name, "creationTimestamp": created, "annotations": {"default": is_default}}});
        let classes = [
            class("old", "2026-01-01T00:00:00Z", "true"),
            class("b", "2026-01-02T00:00:00Z", "true"),
            class("a", "2026-01-02T00:00:00Z", "true"),
            class("other", "2026-01-03T00:00:00Z", "false"),
        ];
        assert_eq!(newest_default(&classes, &["default"]).as_deref(), Some("a"));
        assert_eq!(newest_default(&classes[3..], &["default"]), None);
    }

    #[test]
    fn an_address_is_inside_its_range() {
        let found = |cidr: &str| addresses(&json!({"spec": {"cidrs": [cidr, "fd00::/112"]}})).collect::<Vec<_>>();
        assert_eq!(found("10.9.8.0/24"), [Ipv4Addr::new(10, 9, 8, 1)]);
        assert_eq!(found("10.9.8.7/32"), [Ipv4Addr::new(10, 9, 8, 7)]);
    }
}
