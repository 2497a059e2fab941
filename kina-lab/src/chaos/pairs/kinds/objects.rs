//! Objects that A makes.

use super::super::kind::Kind;

pub(super) static KINDS: [Kind; 14] = [
    Kind::object(
        "config-map",
        "a ConfigMap, in storage and in caches",
        "/api/v1/namespaces/default/configmaps",
        r#"{"metadata": {"name": "pair"}, "data": {"a": "b"}}"#,
    )
    .shown_without(&["rewind"]),
    Kind::object(
        "secret",
        "a Secret, in storage and in caches",
        "/api/v1/namespaces/default/secrets",
        r#"{"metadata": {"name": "pair"}, "stringData": {"a": "b"}}"#,
    ),
    Kind::object("namespace", "a namespace", "/api/v1/namespaces", r#"{"metadata": {"name": "pair-object"}}"#),
    Kind::object(
        "event",
        "an Event, which etcd keeps under a lease of its own",
        "/api/v1/namespaces/default/events",
        r#"{"metadata": {"name": "pair"}, "involvedObject": {"kind": "Pod", "namespace": "default", "name": "pair"}}"#,
    ),
    Kind::object(
        "lease",
        "a Lease of a test beside the API server's own",
        "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases",
        r#"{"metadata": {"name": "pair"}, "spec": {"holderIdentity": "pair"}}"#,
    ),
    Kind::object(
        "endpoint-slice",
        "an EndpointSlice, which the API server itself follows",
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        r#"{"metadata": {"name": "pair"}, "addressType": "IPv4", "endpoints": [], "ports": []}"#,
    ),
    Kind::object(
        "service-account",
        "a ServiceAccount",
        "/api/v1/namespaces/default/serviceaccounts",
        r#"{"metadata": {"name": "pair-object"}}"#,
    ),
    Kind::object(
        "pod",
        "a Pod",
        "/api/v1/namespaces/default/pods",
        r#"{"metadata": {"name": "pair"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}"#,
    ),
    Kind::object(
        "persistent-volume",
        "a PersistentVolume",
        "/api/v1/persistentvolumes",
        r#"{"metadata": {"name": "pair"}, "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/pair"}}}"#,
    ),
    Kind::object(
        "pod-disruption-budget",
        "a PodDisruptionBudget, which evictions ask for",
        "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
        r#"{"metadata": {"name": "pair"}, "spec": {"minAvailable": 1}}"#,
    ),
    Kind::object(
        "network-policy",
        "a NetworkPolicy",
        "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
        r#"{"metadata": {"name": "pair"}, "spec": {"podSelector": {}}}"#,
    ),
    Kind::object(
        "controller-revision",
        "a ControllerRevision, whose data are of any form",
        "/apis/apps/v1/namespaces/default/controllerrevisions",
        r#"{"metadata": {"name": "pair"}, "revision": 1, "data": {"a": "b"}}"#,
    ),
    Kind::object(
        "finalized-object",
        "an object with a finalizer, so that no deletion ends it",
        "/api/v1/namespaces/default/configmaps",
        r#"{"metadata": {"name": "pair-finalized", "finalizers": ["pairs.kina.test/never"]}}"#,
    ),
    Kind::object("node", "a Node", "/api/v1/nodes", r#"{"metadata": {"name": "pair"}}"#),
];
