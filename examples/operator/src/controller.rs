use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::{finalizer, watcher};
use kube::{Api, Client, Resource, ResourceExt};

use crate::condition::{self, Outcome};
use crate::config_map;
use crate::{Greeting, GreetingStatus};

/// The field manager for everything that the controller applies.
pub const FIELD_MANAGER: &str = "greeting-controller";

/// Holds a Greeting that is being deleted until its ConfigMap is gone.
///
/// The owner reference alone would leave that to the garbage collector, which runs later, or not at all.
pub const FINALIZER: &str = "example.kina.dev/config-map";

/// The pause after a failed reconciliation.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The pause before checking a taken name again: the object that has it is not watched.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The reason that a Greeting could not be reconciled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The API server refused, or did not answer.
    #[error("{action} failed")]
    Api {
        /// The action.
        action: &'static str,
        /// The API server's answer.
        #[source]
        source: Box<kube::Error>,
    },
    /// Adding or removing the finalizer failed, or the work in between.
    #[error("reconciling under the finalizer {FINALIZER} failed")]
    Finalizer(#[source] Box<finalizer::Error<ReconcileError>>),
}

/// The shared context of all reconciliations.
struct Context {
    client: Client,
}

/// Runs the controller until the future is dropped.
pub async fn run(client: Client) {
    let greetings = Api::<Greeting>::all(client.clone());
    let config_maps = Api::<ConfigMap>::all(client.clone());
    Controller::new(greetings, watcher::Config::default())
        .owns(config_maps, watcher::Config::default().labels(&config_map::selector()))
        .run(reconcile, retry_later, Arc::new(Context { client }))
        .for_each(async |result| match result {
            Ok((greeting, _)) => tracing::debug!(%greeting, "reconciled"),
            // Its watches recover by themselves, and a failed reconciliation is repeated.
            Err(error) => tracing::warn!(%error, "the controller hit an error"),
        })
        .await;
}

async fn reconcile(greeting: Arc<Greeting>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let namespace = greeting.namespace().unwrap_or_default();
    let greetings = Api::<Greeting>::namespaced(context.client.clone(), &namespace);
    let config_maps = Api::<ConfigMap>::namespaced(context.client.clone(), &namespace);
    let served = finalizer(&greetings, FINALIZER, greeting, async |event| match event {
        finalizer::Event::Apply(greeting) => apply(&greeting, &greetings, &config_maps).await,
        finalizer::Event::Cleanup(greeting) => clean_up(&greeting, &config_maps).await,
    });
    served.await.map_err(|error| ReconcileError::Finalizer(Box::new(error)))
}

/// Applies the ConfigMap and reports in the status.
///
/// If nothing has to change, nothing is written: an apply that changes no field causes no event, so this comes to rest.
async fn apply(
    greeting: &Greeting,
    greetings: &Api<Greeting>,
    config_maps: &Api<ConfigMap>,
) -> Result<Action, ReconcileError> {
    let name = greeting.name_any();
    let existing = config_maps.get_opt(&name).await.map_err(api_error("reading the ConfigMap"))?;
    let outcome = match existing {
        Some(existing) if !config_map::belongs_to(&existing, greeting) => Outcome::NameTaken,
        _ => {
            let wanted = Patch::Apply(config_map::wanted(greeting));
            config_maps.patch(&name, &as_manager(), &wanted).await.map_err(api_error("applying the ConfigMap"))?;
            Outcome::Applied
        }
    };
    let status = GreetingStatus {
        observed_generation: greeting.metadata.generation,
        conditions: vec![condition::ready(greeting, outcome, Timestamp::now())],
    };
    let status = Patch::Apply(serde_json::json!({
        "apiVersion": Greeting::api_version(&()),
        "kind": Greeting::kind(&()),
        "status": status,
    }));
    greetings.patch_status(&name, &as_manager(), &status).await.map_err(api_error("applying the status"))?;
    Ok(match outcome {
        Outcome::Applied => Action::await_change(),
        Outcome::NameTaken => Action::requeue(LOOK_AGAIN_AFTER),
    })
}

/// Deletes the ConfigMap, unless it belongs to another client.
async fn clean_up(greeting: &Greeting, config_maps: &Api<ConfigMap>) -> Result<Action, ReconcileError> {
    let name = greeting.name_any();
    let existing = config_maps.get_opt(&name).await.map_err(api_error("reading the ConfigMap"))?;
    if let Some(existing) = existing.filter(|existing| config_map::belongs_to(existing, greeting)) {
        // If another one has replaced it since it was read, that one stays.
        let this_very_one = Preconditions { uid: existing.uid(), resource_version: None };
        let how = DeleteParams { preconditions: Some(this_very_one), ..DeleteParams::default() };
        match config_maps.delete(&name, &how).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            Err(error) => return Err(api_error("deleting the ConfigMap")(error)),
        }
    }
    Ok(Action::await_change())
}

/// Applies with force: this controller owns the fields that it applies, even if another client changed them.
fn as_manager() -> PatchParams {
    PatchParams::apply(FIELD_MANAGER).force()
}

fn retry_later(_: Arc<Greeting>, _: &ReconcileError, _: Arc<Context>) -> Action {
    Action::requeue(RETRY_AFTER)
}

fn api_error(action: &'static str) -> impl Fn(kube::Error) -> ReconcileError {
    move |source| ReconcileError::Api { action, source: Box::new(source) }
}
