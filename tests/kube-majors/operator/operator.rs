//! An ordinary operator: each Greeting gets a ConfigMap with its text. Compiled with each major of kube.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, CustomResource, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

const MANAGER: &str = "greeter";
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The wish for a greeting.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[kube(group = "majors.example.com", version = "v1", kind = "Greeting", namespaced, status = "GreetingStatus")]
pub struct GreetingSpec {
    pub whom: String,
}

/// The state of a greeting.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct GreetingStatus {
    pub greeted: bool,
}

/// Runs until it is dropped.
pub async fn run(client: Client) {
    let greetings = Api::<Greeting>::all(client.clone());
    let config_maps = Api::<ConfigMap>::all(client.clone());
    Controller::new(greetings, watcher::Config::default())
        .owns(config_maps, watcher::Config::default())
        .run(reconcile, retry_later, Arc::new(client))
        .for_each(|_| std::future::ready(()))
        .await;
}

async fn reconcile(greeting: Arc<Greeting>, client: Arc<Client>) -> Result<Action, kube::Error> {
    let namespace = greeting.namespace().unwrap_or_default();
    let name = greeting.name_any();
    let config_maps = Api::<ConfigMap>::namespaced(Client::clone(&client), &namespace);
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "ownerReferences": [greeting.controller_owner_ref(&())]},
        "data": {"greeting": format!("Hello, {}!", greeting.spec.whom)},
    });
    config_maps.patch(&name, &as_manager(), &Patch::Apply(wanted)).await?;
    let greetings = Api::<Greeting>::namespaced(Client::clone(&client), &namespace);
    let status = json!({
        "apiVersion": Greeting::api_version(&()),
        "kind": Greeting::kind(&()),
        "status": GreetingStatus { greeted: true },
    });
    greetings.patch_status(&name, &as_manager(), &Patch::Apply(status)).await?;
    Ok(Action::await_change())
}

fn retry_later(_: Arc<Greeting>, _: &kube::Error, _: Arc<Client>) -> Action {
    Action::requeue(RETRY_AFTER)
}

fn as_manager() -> PatchParams {
    PatchParams::apply(MANAGER).force()
}
