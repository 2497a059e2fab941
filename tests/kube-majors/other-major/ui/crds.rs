use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "majors.example.com", version = "v1", kind = "Widget")]
struct WidgetSpec {}

// `#[kina::test(crds = [Widget])]` calls this. trybuild compiles no tests.
fn main() {
    let _ = kina::Template::new().definition_of::<Widget, _>();
}
