//! The things that a lease has beside its cluster: credentials, connections, its network, its directory.

use std::time::Duration;

use anyhow::bail;
use kina_engine::NetworkChange;

use super::super::api::Api;
use super::super::kind::{Former, Kind, Planted, Side};
use super::super::raw::Raw;

const VERSION: &str = "/version";
/// Time in which an answer would be there. It only tells an answer from none.
const UNANSWERED_FOR: Duration = Duration::from_millis(200);
const WATCH: &[u8] =
    b"GET /api/v1/namespaces/default/configmaps?watch=true HTTP/1.1\r\nHost: kina\r\nAccept: application/json\r\n\r\n";

pub(super) static KINDS: [Kind; 6] = [
    Kind::own(
        "credentials",
        "the credentials of A, tried while B has the cluster",
        |side| Box::pin(use_credentials(side)),
        |side, former| Box::pin(are_credentials_good(side, former)),
    )
    .shown_without(&["gateway"]),
    Kind::own(
        "connection",
        "an open connection of A",
        |side| Box::pin(use_credentials(side)),
        |side, former| Box::pin(is_connection_good(side, former)),
    )
    .shown_without(&["gateway"]),
    Kind::own(
        "watch",
        "an open watch of A",
        |side| Box::pin(open_watch(side)),
        |side, former| Box::pin(is_watch_open(side, former)),
    )
    .shown_without(&["gateway"]),
    Kind::own(
        "cut-network",
        "a network that A cut",
        |side| Box::pin(change_network(side, NetworkChange::Cut)),
        |side, former| Box::pin(is_network_broken(side, former)),
    )
    .going_last(),
    Kind::own(
        "dropping-network",
        "a network that loses all that is sent",
        |side| Box::pin(change_network(side, NetworkChange::Drop)),
        |side, former| Box::pin(is_network_broken(side, former)),
    )
    .going_last(),
    Kind::own(
        "lease-directory",
        "a file in the directory of A's lease",
        |side| Box::pin(write_file(side)),
        |side, former| Box::pin(is_file_there(side, former)),
    ),
];

async fn use_credentials(side: &Side) -> anyhow::Result<Planted> {
    side.api.read(VERSION).await?;
    Ok(Planted::default())
}

async fn are_credentials_good(_: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let answered = Api::of_lease(&former.grant)?.get(VERSION).await;
    Ok(answered.ok().map(|answer| format!("an answer: {}", answer.status)))
}

async fn is_connection_good(_: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let Some(api) = &former.api else { return Ok(None) };
    Ok(api.get(VERSION).await.ok().map(|answer| format!("an answer: {}", answer.status)))
}

async fn open_watch(side: &Side) -> anyhow::Result<Planted> {
    let mut raw = Raw::http_1(&side.grant).await?;
    raw.say(WATCH).await?;
    if !raw.expect_answer().await?.contains(" 200 ") {
        bail!("the watch was refused");
    }
    Ok(Planted::on(raw))
}

async fn is_watch_open(_: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let mut connection = former.connection.lock().await;
    let Some(raw) = connection.as_mut() else { return Ok(None) };
    Ok((!raw.is_closed_within(UNANSWERED_FOR).await).then(|| "the watch is open".to_owned()))
}

async fn change_network(side: &Side, change: NetworkChange) -> anyhow::Result<Planted> {
    side.engine.change_network(&side.grant, change).await?;
    let answered = tokio::time::timeout(UNANSWERED_FOR, side.api.get(VERSION)).await;
    if let Ok(Ok(answer)) = answered {
        bail!("a request was answered by {}", answer.status);
    }
    Ok(Planted::default())
}

async fn is_network_broken(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    match side.api.get(VERSION).await {
        Ok(_) => Ok(None),
        Err(error) => Ok(Some(format!("no answer: {error:#}"))),
    }
}

async fn write_file(side: &Side) -> anyhow::Result<Planted> {
    std::fs::create_dir_all(&side.grant.lease_directory)?;
    std::fs::write(side.grant.lease_directory.join("pair"), &side.mark)?;
    Ok(Planted::default())
}

async fn is_file_there(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let directories = [&former.grant.lease_directory, &side.grant.lease_directory];
    let found = directories.into_iter().map(|directory| directory.join("pair")).find(|path| path.exists());
    Ok(found.map(|path| format!("{} is there", path.display())))
}
