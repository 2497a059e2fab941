//! Canaries: rules that touch nothing but kina's own probes, written behind the user's.
//!
//! An informer inside the API server handles the events of one resource in their order. So once a canary has its
//! effect, every rule of its resource that was written before it has had its own. A canary goes straight to storage,
//! past any admission, and under a name that the API accepts from no client, so it can never be a user's object.

use serde_json::{Value, json};

use super::LABEL;
use super::probe::{NAMESPACE, Probe, Sighting, sighting};
use crate::api_client::Answer;
use crate::etcd::WriteOperation;
use crate::rewind::resource::{ApiPaths, StorageResource};
use crate::rule_kind::RuleKind;

/// Sorts before every name that a user can choose: mutating webhooks are called in this order.
pub(super) const NAME: &str = "-kina_canary";
/// The namespace of the canary among limit ranges. In a namespace where the API server has seen none yet, it reads them from
/// storage and keeps the answer for 30 seconds; one that it read just before its informer heard of the canary goes on
/// refusing claims there once the canary has gone. No other probe, and no test, has claims in this namespace.
const LIMITED_NAMESPACE: &str = "kube-node-lease";
const CREATED_AT: &str = "2020-01-01T00:00:00Z";

/// A canary of one kind of rule.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    pub(super) kind: RuleKind,
    /// The version that policies are written in.
    api_version: String,
    /// The parameters that its policy asks for.
    param: Option<Param>,
}

/// The parameters of a policy.
#[derive(Clone, Debug)]
pub(super) struct Param {
    /// Tells several canaries of one kind apart.
    pub(super) number: usize,
    pub(super) api_version: String,
    pub(super) kind: String,
    /// The namespace of the object that was written last, if there is one.
    pub(super) namespace: Option<String>,
    /// Name and resource version of that object.
    pub(super) newest: Option<(String, String)>,
}

impl Canary {
    /// The canary for rules of this kind; `None` if it takes none, or the server does not have such rules.
    pub(super) fn new(kind: RuleKind, api_paths: &ApiPaths) -> Option<Self> {
        let resource = match kind {
            RuleKind::ValidatingPolicy => "validatingadmissionpolicies",
            RuleKind::MutatingPolicy => "mutatingadmissionpolicies",
            RuleKind::ValidatingWebhook => "validatingwebhookconfigurations",
            RuleKind::MutatingWebhook => "mutatingwebhookconfigurations",
            RuleKind::ResourceQuota => "resourcequotas",
            RuleKind::LimitRange => "limitranges",
            RuleKind::PriorityClass => "priorityclasses",
            _ => return None,
        };
        let resource = StorageResource::of_key(format!("/registry/{resource}/x").as_bytes())?;
        let path = api_paths.list_path(&resource)?;
        let (group_version, _) = path.rsplit_once('/')?;
        let api_version = group_version.trim_start_matches("/apis/").trim_start_matches("/api/").to_owned();
        Some(Self { kind, api_version, param: None })
    }

    /// The same for a policy with parameters.
    pub(super) fn with_param(self, param: Param) -> Self {
        Self { param: Some(param), ..self }
    }

    /// Number of changes after which its effect is proof. An API server looks LimitRanges up in storage if its cache
    /// has none, and remembers the answer for half a minute: a second canary is not in there. And it forgets the
    /// compiled form of a changed webhook when it handles the event, which is after the object can be seen in the
    /// cache: a canary that changed itself is seen only after that.
    pub(super) fn rounds(&self) -> usize {
        match self.kind {
            RuleKind::LimitRange | RuleKind::ValidatingWebhook | RuleKind::MutatingWebhook => 2,
            _ => 1,
        }
    }

    /// The writes that set it out.
    pub(super) fn puts(&self, id: u32) -> Vec<WriteOperation> {
        let put = |(key, object): (String, Value)| WriteOperation::Put {
            key: key.into_bytes(),
            value: object.to_string().into_bytes(),
        };
        self.objects(id).into_iter().map(put).collect()
    }

    /// The writes that take it away.
    pub(super) fn deletions(&self) -> Vec<WriteOperation> {
        let delete = |(key, _): (String, Value)| WriteOperation::Delete { key: key.into_bytes() };
        self.objects(0).into_iter().map(delete).collect()
    }

    /// Requests, any of which can show it.
    pub(super) fn probes(&self, id: u32) -> Vec<Probe> {
        match self.kind {
            RuleKind::ResourceQuota => Probe::of_any_object(&id.to_string()).into_iter().take(1).collect(),
            RuleKind::LimitRange => {
                let claim = json!({
                    "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "kina-canary"},
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
                });
                vec![Probe::create(&format!("/api/v1/namespaces/{LIMITED_NAMESPACE}/persistentvolumeclaims"), claim)]
            }
            RuleKind::PriorityClass => {
                // The account of a mirror pod is not looked up.
                let pod = json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": "kina-canary", "annotations": {"kubernetes.io/config.mirror": "x"}},
                    "spec": {
                        "priorityClassName": NAME, "priority": 1,
                        "containers": [{"name": "c", "image": "c"}], "nodeName": "kina-canary",
                    },
                });
                vec![Probe::create(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), pod)]
            }
            RuleKind::ValidatingWebhook => Probe::of_any_object("validating"),
            RuleKind::MutatingWebhook => Probe::of_any_object("mutating"),
            _ => Probe::of_any_object(&id.to_string()),
        }
    }

    /// The meaning of the answer to one of the probes.
    pub(super) fn sighting(&self, answer: &Answer, id: u32) -> Sighting {
        match (self.kind, &self.param) {
            (RuleKind::ResourceQuota, _) => sighting(answer, &format!("leases.coordination.k8s.io={id}"), None),
            (RuleKind::LimitRange, _) => sighting(answer, &format!("PersistentVolumeClaim is {id}"), None),
            // Decided before any rule of a user: the answer is a refusal in any case.
            (RuleKind::PriorityClass, _) => {
                sighting(answer, &format!("computed {id}"), Some("no PriorityClass with name"))
            }
            (_, Some(param)) => match &param.newest {
                Some((name, version)) => sighting(answer, &format!("{} {name} {version}", mark(id)), None),
                None => {
                    let mark =
                        format!("'{NAME}-{}' denied request: failed to configure binding: no params", param.number);
                    sighting(answer, &mark, None)
                }
            },
            _ => sighting(answer, &mark(id), None),
        }
    }

    /// Keys and objects, the one that makes the others effective last.
    fn objects(&self, id: u32) -> Vec<(String, Value)> {
        match self.kind {
            RuleKind::ValidatingPolicy => self.policy("Validating", "validating", id),
            RuleKind::MutatingPolicy => self.policy("Mutating", "mutating", id),
            RuleKind::ValidatingWebhook => self.webhook("Validating", "validating", id),
            RuleKind::MutatingWebhook => self.webhook("Mutating", "mutating", id),
            RuleKind::ResourceQuota => {
                let hard = json!({"count/leases.coordination.k8s.io": id.to_string()});
                let mut quota = self.object("ResourceQuota", NAME, id);
                quota["metadata"]["namespace"] = NAMESPACE.into();
                quota["status"] = json!({"hard": hard, "used": hard});
                quota["spec"] = json!({"hard": hard});
                // kube-controller-manager would count anew, but no status is accepted that names this.
                quota["spec"]["hard"][NAME] = "0".into();
                vec![(format!("/registry/resourcequotas/{NAMESPACE}/{NAME}"), quota)]
            }
            RuleKind::LimitRange => {
                let mut range = self.object("LimitRange", NAME, id);
                range["metadata"]["namespace"] = LIMITED_NAMESPACE.into();
                let limit = json!({"type": "PersistentVolumeClaim", "min": {"canary.kina.invalid/x": id.to_string()}});
                range["spec"] = json!({"limits": [limit]});
                vec![(format!("/registry/limitranges/{LIMITED_NAMESPACE}/{NAME}"), range)]
            }
            RuleKind::PriorityClass => {
                let mut class = self.object("PriorityClass", NAME, id);
                class["value"] = id.into();
                vec![(format!("/registry/priorityclasses/{NAME}"), class)]
            }
            _ => Vec::new(),
        }
    }

    fn object(&self, kind: &str, name: &str, id: u32) -> Value {
        json!({
            "apiVersion": self.api_version, "kind": kind,
            "metadata": {
                "name": name, "uid": format!("{kind}-{id}"), "creationTimestamp": CREATED_AT, "generation": 1,
            },
        })
    }

    /// Policies refuse by a condition that cannot be evaluated: it names a value that a validation could only count.
    fn policy(&self, kind_prefix: &str, resource_prefix: &str, id: u32) -> Vec<(String, Value)> {
        let name = self.param.as_ref().map_or_else(|| NAME.to_owned(), |param| format!("{NAME}-{}", param.number));
        let mut policy = self.object(&format!("{kind_prefix}AdmissionPolicy"), &name, id);
        let missing = match &self.param {
            Some(_) => {
                format!("'{} ' + params.metadata.name + ' ' + string(params.metadata.resourceVersion)", mark(id))
            }
            None => format!("'{}'", mark(id)),
        };
        policy["spec"] = json!({
            "failurePolicy": "Fail",
            "matchConstraints": {
                "matchPolicy": "Exact", "namespaceSelector": {},
                "objectSelector": {"matchLabels": {LABEL: id.to_string()}},
                "resourceRules": Probe::any_object_rules(),
            },
            "matchConditions": [{"name": "canary", "expression": format!("object.metadata.labels[{missing}] == ''")}],
        });
        if self.kind == RuleKind::ValidatingPolicy {
            policy["spec"]["validations"] = json!([{"expression": "false"}]);
        } else {
            policy["spec"]["reinvocationPolicy"] = "Never".into();
            policy["spec"]["mutations"] = json!([{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}]);
        }
        let mut binding = self.object(&format!("{kind_prefix}AdmissionPolicyBinding"), &name, id);
        binding["spec"] = json!({"policyName": name});
        if self.kind == RuleKind::ValidatingPolicy {
            binding["spec"]["validationActions"] = json!(["Deny"]);
        }
        if let Some(param) = &self.param {
            policy["spec"]["paramKind"] = json!({"apiVersion": param.api_version, "kind": param.kind});
            let mut param_ref = json!({"selector": {}, "parameterNotFoundAction": "Deny"});
            if let Some(namespace) = &param.namespace {
                param_ref["namespace"] = namespace.as_str().into();
            }
            binding["spec"]["paramRef"] = param_ref;
        }
        vec![
            (format!("/registry/{resource_prefix}admissionpolicies/{name}"), policy),
            (format!("/registry/{resource_prefix}admissionpolicybindings/{name}"), binding),
        ]
    }

    /// A webhook refuses by its condition too, before it or, of the validating ones, any other is called.
    fn webhook(&self, kind_prefix: &str, resource_prefix: &str, id: u32) -> Vec<(String, Value)> {
        let mut configuration = self.object(&format!("{kind_prefix}WebhookConfiguration"), NAME, id);
        let mut webhook = json!({
            "name": "canary.kina.invalid",
            "clientConfig": {"url": "https://127.0.0.1:1"},
            "rules": Probe::any_object_rules(),
            "failurePolicy": "Fail", "matchPolicy": "Exact", "sideEffects": "None", "timeoutSeconds": 1,
            "admissionReviewVersions": ["v1"],
            "namespaceSelector": {}, // One of them would hide the other.
            "objectSelector": {"matchLabels": {LABEL: resource_prefix}},
            "matchConditions": [
                {"name": "canary", "expression": format!("object.metadata.labels['{}'] == ''", mark(id))},
            ],
        });
        if self.kind == RuleKind::MutatingWebhook {
            webhook["reinvocationPolicy"] = "Never".into();
        }
        configuration["webhooks"] = json!([webhook]);
        vec![(format!("/registry/{resource_prefix}webhookconfigurations/{NAME}"), configuration)]
    }
}

fn mark(id: u32) -> String {
    format!("kina-canary-{id}")
}
