//! The kinds of rules: objects that an API server applies to other requests.

use serde::{Deserialize, Serialize};

/// A kind of object that an API server keeps in a compiled or cached form and applies to later requests. It is stored
/// when its creation is answered, but in force only some milliseconds later, or up to a second for policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// ValidatingAdmissionPolicies and their bindings.
    ValidatingPolicy,
    /// MutatingAdmissionPolicies and their bindings.
    MutatingPolicy,
    /// ValidatingWebhookConfigurations.
    ValidatingWebhook,
    /// MutatingWebhookConfigurations.
    MutatingWebhook,
    /// ResourceQuotas.
    ResourceQuota,
    /// LimitRanges.
    LimitRange,
    /// PriorityClasses.
    PriorityClass,
    /// StorageClasses: one of them can be the default.
    StorageClass,
    /// IngressClasses: one of them can be the default.
    IngressClass,
    /// ClusterRoles and ClusterRoleBindings.
    ClusterRole,
    /// Roles and RoleBindings.
    Role,
    /// APIServices that other servers answer for.
    ApiService,
    /// Ranges of Services' addresses.
    ServiceCidr,
}

impl RuleKind {
    /// The kind of rule that an object of this group and kind is; `None` for most objects, which are not rules.
    pub fn of_object(group: &str, kind: &str) -> Option<Self> {
        Some(match (group, kind) {
            ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "ValidatingAdmissionPolicyBinding") => {
                Self::ValidatingPolicy
            }
            ("admissionregistration.k8s.io", "MutatingAdmissionPolicy" | "MutatingAdmissionPolicyBinding") => {
                Self::MutatingPolicy
            }
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => Self::ValidatingWebhook,
            ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => Self::MutatingWebhook,
            ("", "ResourceQuota") => Self::ResourceQuota,
            ("", "LimitRange") => Self::LimitRange,
            ("scheduling.k8s.io", "PriorityClass") => Self::PriorityClass,
            ("storage.k8s.io", "StorageClass") => Self::StorageClass,
            ("networking.k8s.io", "IngressClass") => Self::IngressClass,
            ("rbac.authorization.k8s.io", "ClusterRole" | "ClusterRoleBinding") => Self::ClusterRole,
            ("rbac.authorization.k8s.io", "Role" | "RoleBinding") => Self::Role,
            ("apiregistration.k8s.io", "APIService") => Self::ApiService,
            ("networking.k8s.io", "ServiceCIDR") => Self::ServiceCidr,
            _ => return None,
        })
    }

    /// Returns true if it is an admission policy, which is compiled and may have parameters.
    #[cfg(feature = "engine")]
    pub(crate) fn is_policy(self) -> bool {
        matches!(self, Self::ValidatingPolicy | Self::MutatingPolicy)
    }

    /// The kind of rule that is stored under this name (`validatingadmissionpolicies`, or group and plural).
    #[cfg(feature = "engine")]
    pub(crate) fn of_stored(resource: &str) -> Option<Self> {
        Some(match resource {
            "validatingadmissionpolicies" | "validatingadmissionpolicybindings" => Self::ValidatingPolicy,
            "mutatingadmissionpolicies" | "mutatingadmissionpolicybindings" => Self::MutatingPolicy,
            "validatingwebhookconfigurations" => Self::ValidatingWebhook,
            "mutatingwebhookconfigurations" => Self::MutatingWebhook,
            "resourcequotas" => Self::ResourceQuota,
            "limitranges" => Self::LimitRange,
            "priorityclasses" => Self::PriorityClass,
            "storageclasses" => Self::StorageClass,
            "ingressclasses" => Self::IngressClass,
            "clusterroles" | "clusterrolebindings" => Self::ClusterRole,
            "roles" | "rolebindings" => Self::Role,
            "apiregistration.k8s.io/apiservices" => Self::ApiService,
            "servicecidrs" => Self::ServiceCidr,
            _ => return None,
        })
    }
}
