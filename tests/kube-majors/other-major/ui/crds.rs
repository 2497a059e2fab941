use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "majors.example.com", version = "v1", kind = "Widget")]
struct WidgetSpec {}

#[kina::test(crds = [Widget])]
async fn starts_from_it(cluster: kina::Cluster) {}

fn main() {}
