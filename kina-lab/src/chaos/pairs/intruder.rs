//! A write past the API server into the storage of a cluster on which a template is being made: a request of an earlier
//! lease would write like this, if one could.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kina_engine::IssuedIdentity;
use kina_engine::lab::etcd::{EtcdClient, WriteOperation};
use serde_json::json;

use crate::chaos::realm::Realm;

pub(super) const NAME: &str = "pair-intruder";
const KEY: &str = "/registry/configmaps/default/pair-intruder";
/// Time limit of a boot and the making of a template, with little of the processor.
const TIMEOUT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// Writes a ConfigMap once `sign` is stored, which belongs to the template in the making.
pub(super) async fn write_once_stored(realm: &Realm, sign: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < TIMEOUT {
        // A cluster that has just gone does not count, and one that boots has no storage yet.
        if let Ok(etcd) = storage(realm).await
            && etcd.exists(sign.as_bytes()).await.unwrap_or(false)
        {
            let metadata = json!({
                "name": NAME, "namespace": "default", "uid": NAME, "creationTimestamp": "2020-01-01T00:00:00Z",
            });
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
            let put = WriteOperation::Put { key: KEY.into(), value: object.to_string().into_bytes() };
            etcd.write(&[put]).await?;
            return Ok(());
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    bail!("no template was made within {} s", TIMEOUT.as_secs())
}

/// Connects to etcd's port, with the certificate of its clients.
async fn storage(realm: &Realm) -> anyhow::Result<EtcdClient> {
    let status = realm.status(false).await.context("the engine does not answer")?;
    let process_ids = status.slots.iter().flat_map(|slot| &slot.process_ids);
    let lines = process_ids.filter_map(|id| std::fs::read_to_string(format!("/proc/{id}/cmdline")).ok());
    let arguments =
        lines.into_iter().find(|line| line.contains("--advertise-client-urls=")).context("there is no etcd")?;
    let option = |name: &str| {
        let start = format!("--{name}=");
        arguments.split('\0').find_map(|argument| argument.strip_prefix(&start)).context("an argument is missing")
    };
    let authority = Path::new(option("trusted-ca-file")?);
    let identity = IssuedIdentity {
        certificate_pem: std::fs::read_to_string(authority.with_file_name("etcd-client.crt"))?,
        key_pem: std::fs::read_to_string(authority.with_file_name("etcd-client.key"))?,
    };
    let address = option("advertise-client-urls")?.trim_start_matches("https://").parse()?;
    Ok(EtcdClient::connect(address, &std::fs::read_to_string(authority)?, &identity).await?)
}
