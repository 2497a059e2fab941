//! The names that a condition may begin with.

use crate::settings::nearest::nearest;

/// The whole object.
pub(super) const WHOLE: [&str; 2] = ["object", "self"];

/// The top-level fields of Kubernetes' own kinds, and those that custom resources usually have.
pub(super) const FIELDS: [&str; 71] = [
    "action",
    "addressType",
    "aggregationRule",
    "allowVolumeExpansion",
    "allowedTopologies",
    "apiVersion",
    "automountServiceAccountToken",
    "binaryData",
    "capacity",
    "count",
    "data",
    "deprecatedCount",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedSource",
    "description",
    "driver",
    "endpoints",
    "eventTime",
    "firstTimestamp",
    "globalDefault",
    "handler",
    "imagePullSecrets",
    "immutable",
    "involvedObject",
    "items",
    "kind",
    "lastTimestamp",
    "maximumVolumeSize",
    "message",
    "metadata",
    "mountOptions",
    "nodeName",
    "nodeTopology",
    "note",
    "overhead",
    "parameters",
    "ports",
    "preemptionPolicy",
    "provisioner",
    "reason",
    "reclaimPolicy",
    "regarding",
    "related",
    "reportingComponent",
    "reportingController",
    "reportingInstance",
    "resourceClaimTemplateName",
    "revision",
    "roleRef",
    "rules",
    "scale",
    "scheduling",
    "secrets",
    "series",
    "source",
    "spec",
    "status",
    "storageClassName",
    "stringData",
    "subjects",
    "subsets",
    "template",
    "type",
    "value",
    "volumeBindingMode",
    "webhooks",
    "attributes",
    "resources",
    "results",
    "selector",
];

/// Names of types, for `type(x) == int`.
pub(super) const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "uint"];

/// The known name that was probably meant by a wrong one.
pub(super) fn meant(name: &str) -> Option<&'static str> {
    const LETTERS_CHANGED_MAX: usize = 2;
    let known = FIELDS.iter().chain(&WHOLE).copied();
    nearest(name, known)
        .filter(|(known, changed)| *changed <= LETTERS_CHANGED_MAX && 2 * changed < known.len())
        .map(|(known, _)| known)
}
