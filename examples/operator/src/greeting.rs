use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A name and a salutation.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, Serialize)]
#[kube(
    group = "example.kina.dev",
    version = "v1",
    kind = "Greeting",
    namespaced,
    status = "GreetingStatus",
    doc = "A greeting, kept in a ConfigMap of the same name",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status")
)]
#[serde(rename_all = "camelCase")]
pub struct GreetingSpec {
    /// The name to greet.
    #[schemars(length(min = 1, max = 100))]
    pub name: String,
    /// The word before the name.
    #[serde(default = "default_salutation")]
    #[schemars(length(min = 1, max = 100))]
    pub salutation: String,
}

/// The controller's report.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GreetingStatus {
    /// The generation of the Greeting that this status describes.
    pub observed_generation: Option<i64>,
    /// One condition of each type.
    #[schemars(schema_with = "condition_list")]
    pub conditions: Vec<Condition>,
}

impl Greeting {
    /// The condition of this type, if it exists.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
    }
}

fn default_salutation() -> String {
    "Hello".to_owned()
}

/// Conditions are a list merged by type, so that each can have its own field manager.
fn condition_list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string"},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "reason": {"type": "string"},
                "message": {"type": "string"},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "observedGeneration": {"type": "integer", "format": "int64"},
            },
        },
    })
}
