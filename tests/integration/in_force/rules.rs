//! Rules of every kind, and the requests that show whether they are in force.

use std::fmt::Write as _;

use anyhow::ensure;
use futures::future::join_all;
use http::Request;
use serde_json::{Value, json};

/// One rule of each kind that an API server applies by itself. `unique` makes them, and a template of them, new.
pub fn of_every_kind(unique: &str) -> String {
    format!(
        r#"
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: forbids-{unique}}}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  validations: [{{expression: "!('forbidden' in object.metadata.?labels.orValue({{}}))", message: "forbidden by policy {unique}"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: forbids-{unique}}}
spec: {{policyName: forbids-{unique}, validationActions: [Deny]}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {{name: marks-{unique}}}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [secrets]}}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration: {{expression: "Object{{metadata: Object.metadata{{labels: {{'marked': '{unique}'}}}}}}"}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {{name: marks-{unique}}}
spec: {{policyName: marks-{unique}}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {{name: validates-{unique}}}
webhooks:
- name: validates-{unique}.example.com
  clientConfig: {{url: "https://127.0.0.1:1/"}}
  rules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  objectSelector: {{matchLabels: {{asks: validating}}}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: mutates-{unique}}}
webhooks:
- name: mutates-{unique}.example.com
  clientConfig: {{url: "https://127.0.0.1:1/"}}
  rules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]
  objectSelector: {{matchLabels: {{asks: mutating}}}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
---
apiVersion: v1
kind: LimitRange
metadata: {{name: limits-{unique}, namespace: default}}
spec: {{limits: [{{type: PersistentVolumeClaim, max: {{storage: 1Gi}}}}]}}
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {{name: priority-{unique}}}
value: 4711
globalDefault: true
---
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: storage-{unique}, annotations: {{storageclass.kubernetes.io/is-default-class: "true"}}}}
provisioner: example.com/none
---
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {{name: ingress-{unique}, annotations: {{ingressclass.kubernetes.io/is-default-class: "true"}}}}
spec: {{controller: example.com/none}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: reads-nodes-{unique}}}
rules: [{{apiGroups: [""], resources: [nodes], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{name: reads-nodes-{unique}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: reads-nodes-{unique}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: reads-pods-{unique}, namespace: default}}
rules: [{{apiGroups: [""], resources: [pods], verbs: [list]}}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: reads-pods-{unique}, namespace: default}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: reads-pods-{unique}}}
subjects: [{{apiGroup: rbac.authorization.k8s.io, kind: User, name: alice}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.remote-{unique}.example.com}}
spec:
  group: remote-{unique}.example.com
  version: v1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {{name: absent, namespace: default}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {{name: range-{unique}}}
spec: {{cidrs: [10.77.0.0/24]}}
"#
    )
}

/// Those of [`of_every_kind`] that are not about admission: a cluster that is put to them keeps its policies and
/// webhooks.
pub const NO_ADMISSION: [&str; 6] =
    ["PriorityClass", "StorageClass", "IngressClass", "ClusterRole", "Role", "ServiceCIDR"];

/// The rules of [`NO_ADMISSION`].
pub fn of_no_admission(unique: &str) -> String {
    let all = of_every_kind(unique);
    let is_wanted = |rule: &&str| {
        let kind = rule.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
        NO_ADMISSION.contains(&kind.trim_end_matches("Binding"))
    };
    all.split("---").filter(is_wanted).collect::<Vec<_>>().join("---")
}

/// The rule that once let writes through.
pub fn of_a_policy(unique: &str) -> String {
    let all = of_every_kind(unique);
    all.split("---").take(2).collect::<Vec<_>>().join("---")
}

/// Eleven definitions of 90 KB, as large operators ship them.
pub fn large_definitions(unique: &str) -> String {
    let mut texts = String::new();
    for number in 0..11 {
        let property = |index: usize| {
            let described =
                format!("The property {index} of definition {number}. {}", "It is described at length. ".repeat(12));
            (format!("property{index}"), json!({"type": "string", "maxLength": 63, "description": described}))
        };
        let properties: serde_json::Map<String, Value> = (0..220).map(property).collect();
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("larges.n{number}-{unique}.example.com")},
            "spec": {
                "group": format!("n{number}-{unique}.example.com"), "scope": "Namespaced",
                "names": {"plural": "larges", "singular": "large", "kind": "Large", "listKind": "LargeList"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": properties}},
                }}}],
            },
        });
        let _ = write!(texts, "---\n{definition}\n");
    }
    assert!(11 * 90_000 < texts.len(), "{}", texts.len());
    texts
}

/// A quota that allows no PodTemplate in a namespace of its own.
pub fn of_a_quota(unique: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ResourceQuota\nmetadata: {{name: quota, namespace: quota-{unique}}}\n\
         spec: {{hard: {{count/podtemplates: \"0\"}}}}\n\
         ---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: quota-{unique}}}}}\n"
    )
}

/// A policy whose parameters are of a kind that is new as well.
pub fn of_a_policy_with_parameters(unique: &str) -> String {
    format!(
        r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: ceilings.p{unique}.example.com}}
spec:
  group: p{unique}.example.com
  scope: Cluster
  names: {{plural: ceilings, singular: ceiling, kind: Ceiling, listKind: CeilingList}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, properties: {{replicas: {{type: integer}}}}}}}}
---
{{apiVersion: p{unique}.example.com/v1, kind: Ceiling, metadata: {{name: only, labels: {{used: "yes"}}}}, replicas: 3}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {{name: limits-replicas-{unique}}}
spec:
  failurePolicy: Ignore
  paramKind: {{apiVersion: p{unique}.example.com/v1, kind: Ceiling}}
  matchConstraints:
    resourceRules: [{{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [replicationcontrollers]}}]
  validations: [{{expression: "object.spec.replicas <= params.replicas", message: "too many replicas {unique}"}}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {{name: limits-replicas-{unique}}}
spec:
  policyName: limits-replicas-{unique}
  validationActions: [Deny]
  paramRef: {{selector: {{matchLabels: {{used: "yes"}}}}, parameterNotFoundAction: Allow}}
"#
    )
}

/// A policy, and a webhook without a server for all requests except those for the namespace `free-<unique>`.
pub fn of_a_policy_behind_a_webhook(unique: &str) -> String {
    format!(
        r#"{}---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {{name: catches-all-{unique}}}
webhooks:
- name: catches-all-{unique}.example.com
  clientConfig: {{url: "https://127.0.0.1:1/"}}
  rules: [{{apiGroups: ["*"], apiVersions: ["*"], operations: ["*"], resources: ["*/*"]}}]
  namespaceSelector: {{matchExpressions: [{{key: free, operator: DoesNotExist}}]}}
  failurePolicy: Fail
  sideEffects: None
  admissionReviewVersions: [v1]
---
{{apiVersion: v1, kind: Namespace, metadata: {{name: free-{unique}, labels: {{free: "yes"}}}}}}
"#,
        of_a_policy(unique)
    )
}

/// The first request to a cluster with [`of_a_policy`].
pub async fn expect_forbidden(client: &kube::Client, unique: &str) -> anyhow::Result<()> {
    expect_forbidden_in(client, unique, "default").await
}

/// The same in a namespace.
pub async fn expect_forbidden_in(client: &kube::Client, unique: &str, namespace: &str) -> anyhow::Result<()> {
    let labels = json!({"forbidden": "yes"});
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": labels}});
    expect(
        client,
        &format!("/api/v1/namespaces/{namespace}/configmaps"),
        object,
        &format!("forbidden by policy {unique}"),
    )
    .await
}

/// The first request to a cluster with [`of_a_policy_with_parameters`].
pub async fn expect_limited(client: &kube::Client, unique: &str) -> anyhow::Result<()> {
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]},
    });
    let object = json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": {"name": "a"},
        "spec": {"replicas": 4, "selector": {"a": "b"}, "template": template},
    });
    let path = "/api/v1/namespaces/default/replicationcontrollers";
    expect(client, path, object, &format!("too many replicas {unique}")).await
}

/// The first request to a namespace with [`of_a_quota`].
pub async fn expect_quota(client: &kube::Client, unique: &str) -> anyhow::Result<()> {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "c"}]}});
    let object =
        json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "first"}, "template": template});
    let path = format!("/api/v1/namespaces/quota-{unique}/podtemplates");
    expect(client, &path, object, "exceeded quota").await
}

async fn expect(client: &kube::Client, path: &str, object: Value, mark: &str) -> anyhow::Result<()> {
    let answer = ask(client, path, Some(object)).await?;
    ensure!(answer.contains(mark), "no `{mark}` in {answer}");
    Ok(())
}

/// Checks that none of kina's own probing rules is left.
pub async fn expect_no_canary(client: &kube::Client) -> anyhow::Result<()> {
    for path in [
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
        "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies",
        "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        "/api/v1/resourcequotas",
        "/api/v1/limitranges",
        "/api/v1/persistentvolumeclaims",
        "/api/v1/pods",
        "/api/v1/services",
        "/api/v1/namespaces",
        "/apis/coordination.k8s.io/v1/leases",
        "/apis/node.k8s.io/v1/runtimeclasses",
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        "/apis/networking.k8s.io/v1/ingresses",
        "/apis/networking.k8s.io/v1/servicecidrs",
        "/apis/networking.k8s.io/v1/ipaddresses",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
        "/apis/rbac.authorization.k8s.io/v1/roles",
        "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    ] {
        // Once from storage, and once from the watch cache.
        for version in ["", "?resourceVersion=0"] {
            let list = ask(client, &format!("{path}{version}"), None).await?;
            ensure!(list.contains("\"items\":") && !list.contains("canary"), "{path}: {list}");
        }
    }
    Ok(())
}

/// Sends a request for each rule of [`of_every_kind`], all at the same time. Returns the violations.
pub async fn violations(client: &kube::Client, config: &kube::Config, unique: &str) -> anyhow::Result<Vec<String>> {
    let mut as_alice = config.clone();
    as_alice.auth_info.impersonate = Some("alice".to_owned());
    let alice = kube::Client::try_from(as_alice)?;
    let configmaps = "/api/v1/namespaces/default/configmaps";
    let claims = "/api/v1/namespaces/default/persistentvolumeclaims";
    let labelled = |kind: &str, label: &str, value: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": format!("{label}-{value}"), "labels": {label: value}}});
    let claim = |name: &str, size: &str| {
        let requests = json!({"requests": {"storage": size}});
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": requests},
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first"},
        "spec": {"containers": [{"name": "c", "image": "c"}]},
    });
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "first"},
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 1}}}},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "first"},
        "spec": {"clusterIP": "10.77.0.9", "ports": [{"port": 80}]},
    });
    let secret = labelled("Secret", "a", "secret");
    let remote = format!("/apis/remote-{unique}.example.com/v1");
    let checks: Vec<(&str, &kube::Client, String, Option<Value>, String)> = vec![
        (
            "ValidatingAdmissionPolicy",
            client,
            configmaps.into(),
            Some(labelled("ConfigMap", "forbidden", "yes")),
            format!("forbidden by policy {unique}"),
        ),
        (
            "MutatingAdmissionPolicy",
            client,
            "/api/v1/namespaces/default/secrets".into(),
            Some(secret),
            format!("\"marked\":\"{unique}\""),
        ),
        (
            "ValidatingWebhookConfiguration",
            client,
            configmaps.into(),
            Some(labelled("ConfigMap", "asks", "validating")),
            format!("failed calling webhook \\\"validates-{unique}"),
        ),
        (
            "MutatingWebhookConfiguration",
            client,
            configmaps.into(),
            Some(labelled("ConfigMap", "asks", "mutating")),
            format!("failed calling webhook \\\"mutates-{unique}"),
        ),
        (
            "LimitRange",
            client,
            claims.into(),
            Some(claim("large", "2Gi")),
            "maximum storage usage per PersistentVolumeClaim is 1Gi".into(),
        ),
        ("PriorityClass", client, "/api/v1/namespaces/default/pods".into(), Some(pod), "\"priority\":4711".into()),
        (
            "StorageClass",
            client,
            claims.into(),
            Some(claim("small", "1Gi")),
            format!("\"storageClassName\":\"storage-{unique}\""),
        ),
        (
            "IngressClass",
            client,
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses".into(),
            Some(ingress),
            format!("\"ingressClassName\":\"ingress-{unique}\""),
        ),
        ("ClusterRole", &alice, "/api/v1/nodes".into(), None, "\"kind\":\"NodeList\"".into()),
        ("Role", &alice, "/api/v1/namespaces/default/pods".into(), None, "\"kind\":\"PodList\"".into()),
        ("APIService", client, remote, None, "service unavailable".into()),
        (
            "ServiceCIDR",
            client,
            "/api/v1/namespaces/default/services".into(),
            Some(service),
            "\"clusterIP\":\"10.77.0.9\"".into(),
        ),
    ];
    let asked = checks.into_iter().map(|(rule, client, path, body, expected)| async move {
        match ask(client, &path, body).await {
            Ok(answer) if answer.contains(&expected) => None,
            Ok(answer) => Some(format!("{rule}: no `{expected}` in {answer}")),
            Err(error) => Some(format!("{rule}: {error}")),
        }
    });
    Ok(join_all(asked).await.into_iter().flatten().collect())
}

/// Sends one request, and returns any answer.
pub async fn ask(client: &kube::Client, path: &str, body: Option<Value>) -> anyhow::Result<String> {
    let method = if body.is_some() { "POST" } else { "GET" };
    let bytes = body.map(|body| serde_json::to_vec(&body)).transpose()?.unwrap_or_default();
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let response = client.send(request.body(kube::client::Body::from(bytes))?).await?;
    Ok(String::from_utf8_lossy(&response.into_body().collect_bytes().await?).into_owned())
}
