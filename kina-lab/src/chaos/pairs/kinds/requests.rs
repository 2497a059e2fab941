//! Requests that could outlive their lease.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use kina_engine::NetworkChange;
use serde_json::{Value, json};

use super::super::api::wait_for;
use super::super::held_webhook::HeldWebhook;
use super::super::kind::{Former, Kind, Planted, Side};
use super::super::raw::Raw;

const NAMESPACES: &str = "/api/v1/namespaces";
const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
const WEBHOOKS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
/// Enough to keep the API server busy for longer than a rewind takes.
const DELETED_COUNT: usize = 400;
/// The number of these names that B makes again, spread over all.
const AGAIN_COUNT: usize = 40;
const PIPELINED_COUNT: usize = 40;
const CONCURRENCY: usize = 8;
/// Time that B gives late writes, in addition to its other requests.
const LATE_AFTER: Duration = Duration::from_millis(700);

/// A byte sent once a request is under way: from then on Go's server does not notice the end of its connection.
const ONE_MORE_BYTE: &[u8] = b"G";
const READ_AHEAD_BYTES: usize = 4096;
/// A multiple of whole seconds, as the API server demands.
const WATCH_ENDS_AFTER: Duration = Duration::from_secs(1);

/// The ways in which the client of a request ends it.
#[derive(Clone, Copy, Debug)]
enum Ended {
    /// HTTP/1.1, with one more byte behind the request: Go's server no longer cancels it.
    WithByte,
    /// HTTP/1.1 without that.
    Plain,
    /// HTTP/2, and cancelled.
    Cancelled,
    /// With the byte, and the network of the lease is cut.
    Cut,
}

pub(super) static KINDS: [Kind; 7] = [
    Kind::own(
        "deletion-with-byte",
        "a DeleteCollection over HTTP/1.1 with one more byte behind it",
        |side| Box::pin(delete_all(side, Ended::WithByte)),
        |side, former| Box::pin(make_again(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_deleted(side, former)))
    .look_writes()
    .restarting()
    .alone()
    .shown_without(&["lingering"]),
    Kind::own(
        "deletion",
        "a DeleteCollection over HTTP/1.1 whose client closes",
        |side| Box::pin(delete_all(side, Ended::Plain)),
        |side, former| Box::pin(make_again(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_deleted(side, former)))
    .look_writes()
    .restarting()
    .alone(),
    Kind::own(
        "cancelled-deletion",
        "a DeleteCollection over HTTP/2 that its client cancels",
        |side| Box::pin(delete_all(side, Ended::Cancelled)),
        |side, former| Box::pin(make_again(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_deleted(side, former)))
    .look_writes()
    .restarting()
    .alone(),
    Kind::own(
        "cut-deletion",
        "a DeleteCollection with one more byte behind it, on a network that is cut then",
        |side| Box::pin(delete_all(side, Ended::Cut)),
        |side, former| Box::pin(make_again(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_deleted(side, former)))
    .look_writes()
    .restarting()
    .alone()
    .going_last()
    .shown_without(&["lingering"]),
    Kind::own(
        "pipelined-creates",
        "creates that the API server has yet to read when their client ends",
        |side| Box::pin(pipeline_creates(side)),
        |side, former| Box::pin(is_any_made(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_any_made(side, former))),
    Kind::own(
        "create-behind-watch",
        "a create that the API server comes to once a watch before it has ended",
        |side| Box::pin(create_behind_watch(side)),
        |side, former| Box::pin(is_named_made(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_named_made_late(side, former, WATCH_ENDS_AFTER)))
    .restarting()
    .alone()
    .shown_without(&["drain"]),
    Kind::own(
        "held-create",
        "a create that a webhook holds until B has the cluster",
        |side| Box::pin(hold_create(side)),
        |side, former| Box::pin(is_named_made(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_named_made_late(side, former, HeldWebhook::HOLD)))
    .restarting()
    .alone(),
];

fn namespace(how: Ended) -> String {
    format!("pair-{how:?}").to_lowercase()
}

fn collection(namespace: &str) -> String {
    format!("{NAMESPACES}/{namespace}/configmaps")
}

async fn make(side: &Side, namespace: &str, numbers: impl Iterator<Item = usize>) -> anyhow::Result<()> {
    side.api.create(NAMESPACES, &json!({"metadata": {"name": namespace}})).await?;
    let path = collection(namespace);
    let creates = numbers.map(|number| {
        let path = &path;
        async move { side.api.create(path, &json!({"metadata": {"name": format!("map-{number:04}")}})).await }
    });
    futures::stream::iter(creates).buffer_unordered(CONCURRENCY).try_collect::<Vec<Value>>().await?;
    Ok(())
}

async fn delete_all(side: &Side, how: Ended) -> anyhow::Result<Planted> {
    let namespace = namespace(how);
    make(side, &namespace, 0..DELETED_COUNT).await?;
    let path = collection(&namespace);
    let request = format!("DELETE {path} HTTP/1.1\r\nHost: kina\r\nAccept: application/json\r\n\r\n");
    let mut raw = match how {
        Ended::WithByte | Ended::Cut | Ended::Plain => {
            let mut raw = Raw::http_1(&side.grant).await?;
            raw.say(request.as_bytes()).await?;
            raw
        }
        Ended::Cancelled => {
            let mut raw = Raw::http_2(&side.grant).await?;
            raw.ask_http_2("DELETE", &path).await?;
            raw
        }
    };
    let first = format!("{path}/map-0000");
    wait_for("the first is deleted", async || Ok(side.api.get(&first).await?.status == 404)).await?;
    match how {
        Ended::Cancelled => raw.cancel_http_2().await?,
        Ended::WithByte => raw.say(ONE_MORE_BYTE).await?,
        Ended::Cut => {
            raw.say(ONE_MORE_BYTE).await?;
            side.engine.change_network(&side.grant, NetworkChange::Cut).await?;
        }
        Ended::Plain => {}
    }
    Ok(Planted { trace: namespace.into(), connection: Some(raw), is_refused: false })
}

async fn make_again(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let namespace = former.trace.as_str().context("a namespace was kept")?;
    make(side, namespace, (0..DELETED_COUNT).step_by(DELETED_COUNT / AGAIN_COUNT)).await?;
    Ok(None)
}

async fn is_any_deleted(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    tokio::time::sleep(LATE_AFTER).await;
    let namespace = former.trace.as_str().context("a namespace was kept")?;
    let list = side.api.read(&collection(namespace)).await?;
    let left = list["items"].as_array().map_or(0, Vec::len);
    Ok((left != AGAIN_COUNT).then(|| format!("{left} of {AGAIN_COUNT} ConfigMaps are left")))
}

async fn pipeline_creates(side: &Side) -> anyhow::Result<Planted> {
    let requests: String =
        (0..PIPELINED_COUNT).map(|number| create_request(&format!("pair-{}-{number}", side.mark))).collect();
    let mut raw = Raw::http_1(&side.grant).await?;
    raw.say(requests.as_bytes()).await?;
    let first = format!("{CONFIG_MAPS}/pair-{}-0", side.mark);
    wait_for("the first is made", async || Ok(side.api.get(&first).await?.is_success())).await?;
    Ok(Planted { connection: Some(raw), ..Planted::with(format!("pair-{}-", side.mark)) })
}

async fn is_any_made(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let prefix = former.trace.as_str().context("a prefix was kept")?;
    let list = side.api.read(CONFIG_MAPS).await?;
    let names = list["items"].as_array().into_iter().flatten().filter_map(|item| item["metadata"]["name"].as_str());
    let late: Vec<_> = names.filter(|name| name.starts_with(prefix)).collect();
    Ok((!late.is_empty()).then(|| format!("{} late creates, such as {}", late.len(), late.join(" "))))
}

async fn hold_create(side: &Side) -> anyhow::Result<Planted> {
    let webhook = HeldWebhook::start().await?;
    let rule = json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
    let own = "object.metadata.name.startsWith('pair-held')";
    let configuration = json!({
        "metadata": {"name": "pair-held"},
        "webhooks": [{
            "name": "held.pairs.kina.test",
            "clientConfig": webhook.client_configuration(),
            "rules": [rule],
            "matchConditions": [{"name": "own", "expression": own}],
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "timeoutSeconds": 30,
            "admissionReviewVersions": ["v1"],
        }],
    });
    side.api.create(WEBHOOKS, &configuration).await?;
    // The API server asks a webhook only once it has followed the registration.
    let (probe_path, probe) = (format!("{CONFIG_MAPS}?dryRun=All"), json!({"metadata": {"name": "pair-held-probe"}}));
    wait_for("the webhook is asked", async || {
        let _ = tokio::time::timeout(HeldWebhook::HOLD / 4, side.api.post(&probe_path, &probe)).await;
        Ok(webhook.is_asked())
    })
    .await?;
    webhook.forget();
    let name = format!("pair-held-{}", side.mark);
    let request = create_request(&name);
    let mut raw = Raw::http_1(&side.grant).await?;
    raw.say(request.as_bytes()).await?;
    wait_for("the webhook holds the create", async || Ok(webhook.is_asked())).await?;
    if side.api.get(&format!("{CONFIG_MAPS}/{name}")).await?.is_success() {
        bail!("the create was not held");
    }
    raw.say(ONE_MORE_BYTE).await?;
    // It answers after the end of the lease, and then ends by itself.
    webhook.leave_running();
    Ok(Planted { connection: Some(raw), ..Planted::with(name) })
}

async fn is_named_made(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let name = former.trace.as_str().context("a name was kept")?;
    let answer = side.api.get(&format!("{CONFIG_MAPS}/{name}")).await?;
    Ok(answer.is_success().then(|| format!("{name} was made")))
}

async fn is_named_made_late(side: &Side, former: &Former, after: Duration) -> anyhow::Result<Option<String>> {
    tokio::time::sleep(after).await;
    is_named_made(side, former).await
}

async fn create_behind_watch(side: &Side) -> anyhow::Result<Planted> {
    let name = format!("pair-behind-{}", side.mark);
    let mut raw = Raw::http_1(&side.grant).await?;
    let seconds = WATCH_ENDS_AFTER.as_secs();
    let watch = format!("GET {CONFIG_MAPS}?watch=true&timeoutSeconds={seconds} HTTP/1.1\r\nHost: kina\r\n\r\n");
    raw.say(watch.as_bytes()).await?;
    if !raw.expect_answer().await?.contains(" 200 ") {
        bail!("the watch was refused");
    }
    // More than Go's server reads ahead: it does not notice the end of the connection during the create either.
    raw.say(format!("{}{}", create_request(&name), "G".repeat(READ_AHEAD_BYTES * 2)).as_bytes()).await?;
    Ok(Planted { connection: Some(raw), ..Planted::with(name) })
}

fn create_request(name: &str) -> String {
    let object = json!({"metadata": {"name": name}}).to_string();
    format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: kina\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{object}",
        object.len()
    )
}
