//! The controller on a real API server: each test has a cluster of its own, with the CRD installed from the start.
//!
//! No test polls. Each watches for the expected state, and fails if it does not come in time.

use std::fmt::Debug;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_example_operator::{FIELD_MANAGER, FINALIZER, Greeting, GreetingSpec, READY, WORDS_KEY};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{Condition, await_condition, conditions};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Long enough for the slowest machine: only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);
const NAME: &str = "world";

#[kina::test(crds = [Greeting])]
async fn the_config_map_follows_the_greeting(client: Client) -> anyhow::Result<()> {
    let (greetings, config_maps) = start_operator(&client);

    let created = greetings.create(&PostParams::default(), &greeting()).await?;
    let reported = awaited(&greetings, reports("True", 1)).await?;
    let config_map = config_maps.get(NAME).await?;
    assert_eq!(words(&config_map), Some("Hello, world!"));
    assert_eq!(config_map.owner_references()[0].uid, created.uid().context("every object has a UID")?);
    assert_eq!(managers(&config_map), [FIELD_MANAGER]);
    assert_eq!(reported.finalizers(), [FINALIZER]);

    let politely = Patch::Merge(json!({"spec": {"salutation": "Good evening"}}));
    greetings.patch(NAME, &PatchParams::default(), &politely).await?;
    awaited(&greetings, reports("True", 2)).await?;
    assert_eq!(words(&config_maps.get(NAME).await?), Some("Good evening, world!"));
    Ok(())
}

#[kina::test(crds = [Greeting])]
async fn changed_and_deleted_config_maps_are_restored(client: Client) -> anyhow::Result<()> {
    let (greetings, config_maps) = start_operator(&client);
    greetings.create(&PostParams::default(), &greeting()).await?;
    let config_map = awaited(&config_maps, says("Hello, world!")).await?;

    let vandalism = Patch::Merge(json!({"data": {WORDS_KEY: "Go away!", "note": "mine"}}));
    let changed = config_maps.patch(NAME, &PatchParams::default(), &vandalism).await?;
    assert_eq!(words(&changed), Some("Go away!"));
    let repaired = awaited(&config_maps, says("Hello, world!")).await?;
    assert_eq!(repaired.uid(), config_map.uid());
    assert_eq!(repaired.data.unwrap_or_default()["note"], "mine", "fields that the controller does not own stay");

    config_maps.delete(NAME, &DeleteParams::default()).await?;
    let restored = awaited(&config_maps, says("Hello, world!")).await?;
    assert_ne!(restored.uid(), config_map.uid());
    Ok(())
}

/// The cluster has no garbage collector, so only the controller can have removed the ConfigMap.
#[kina::test(crds = [Greeting])]
async fn a_greeting_goes_after_its_config_map(client: Client) -> anyhow::Result<()> {
    let (greetings, config_maps) = start_operator(&client);
    let created = greetings.create(&PostParams::default(), &greeting()).await?;
    awaited(&config_maps, says("Hello, world!")).await?;

    greetings.delete(NAME, &DeleteParams::default()).await?;
    let uid = created.uid().context("every object has a UID")?;
    within_patience("the Greeting's end", await_condition(greetings, NAME, conditions::is_deleted(&uid))).await?;
    assert_eq!(config_maps.get_opt(NAME).await?, None);
    Ok(())
}

#[kina::test(crds = [Greeting])]
async fn a_foreign_config_map_is_left_alone(client: Client) -> anyhow::Result<()> {
    let (greetings, config_maps) = start_operator(&client);
    let mut theirs = ConfigMap::default();
    theirs.metadata.name = Some(NAME.to_owned());
    let theirs = config_maps.create(&PostParams::default(), &theirs).await?;

    let created = greetings.create(&PostParams::default(), &greeting()).await?;
    let reported = awaited(&greetings, reports("False", 1)).await?;
    assert_eq!(reported.condition(READY).map(|condition| condition.reason.as_str()), Some("NameTaken"));

    greetings.delete(NAME, &DeleteParams::default()).await?;
    let uid = created.uid().context("every object has a UID")?;
    within_patience("the Greeting's end", await_condition(greetings, NAME, conditions::is_deleted(&uid))).await?;
    assert_eq!(config_maps.get(NAME).await?, theirs);
    Ok(())
}

/// Runs the controller, which stops with the test's runtime.
fn start_operator(client: &Client) -> (Api<Greeting>, Api<ConfigMap>) {
    tokio::spawn(kina_example_operator::run(client.clone()));
    (Api::default_namespaced(client.clone()), Api::default_namespaced(client.clone()))
}

fn greeting() -> Greeting {
    Greeting::new(NAME, GreetingSpec { name: NAME.to_owned(), salutation: "Hello".to_owned() })
}

fn words(config_map: &ConfigMap) -> Option<&str> {
    config_map.data.as_ref()?.get(WORDS_KEY).map(String::as_str)
}

fn managers<Object: ResourceExt>(object: &Object) -> Vec<&str> {
    object.managed_fields().iter().filter_map(|entry| entry.manager.as_deref()).collect()
}

/// True if the ConfigMap contains these words.
fn says(wanted: &str) -> impl Condition<ConfigMap> {
    move |config_map: Option<&ConfigMap>| config_map.and_then(words) == Some(wanted)
}

/// True if the Greeting has this readiness and its status is about this generation.
fn reports(status: &str, generation: i64) -> impl Condition<Greeting> {
    move |greeting: Option<&Greeting>| {
        let Some(greeting) = greeting else { return false };
        let observed = greeting.status.as_ref().and_then(|status| status.observed_generation);
        observed == Some(generation) && greeting.condition(READY).is_some_and(|condition| condition.status == status)
    }
}

/// The object of these tests, once it meets the condition.
async fn awaited<Object>(api: &Api<Object>, condition: impl Condition<Object>) -> anyhow::Result<Object>
where
    Object: Clone + Debug + DeserializeOwned + Resource + Send + 'static,
{
    let met = within_patience("the condition", await_condition(api.clone(), NAME, condition)).await?;
    met.context("the condition was met without an object")
}

async fn within_patience<Output, Error>(
    what: &str,
    future: impl Future<Output = Result<Output, Error>>,
) -> anyhow::Result<Output>
where
    Error: std::error::Error + Send + Sync + 'static,
{
    let waited = tokio::time::timeout(PATIENCE, future).await;
    Ok(waited.with_context(|| format!("{what} did not come within {} s", PATIENCE.as_secs()))??)
}
