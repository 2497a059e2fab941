//! Access by those who have it, and by strangers.

use anyhow::{Context, bail, ensure};
use http::{Method, StatusCode};
use kina_engine::CertificateAuthority;
use kina_engine::lab::etcd::EtcdClient;

use super::Verdict;
use crate::contract::client::{answers, api_as, ask_as, exists, must_exist, write};
use crate::contract::scene::{Scene, walk};

/// Permission bits of other users.
const OTHERS: u32 = 0o077;

pub(super) async fn kept_out_of_etcd(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    let access = cluster.access();
    ensure!(answers(access.etcd_address).await, "nothing listens on {}", access.etcd_address);
    let forged = CertificateAuthority::generate("kina-etcd-ca")?.issue_client("kina", None)?;
    for (who, identity) in [
        ("a client without a certificate", None),
        ("the cluster's administrator", Some(&access.admin)),
        ("a forger", Some(&forged)),
    ] {
        for path in ["/version", "/v3/kv/range"] {
            let asked = ask_as(access.etcd_address, &access.etcd_ca_pem, identity, Method::GET, path).await;
            if let Ok(status) = asked {
                bail!("etcd answers {who} on {path} with {status}");
            }
        }
        let Some(identity) = identity else { continue };
        let asked = async {
            let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, identity).await?;
            etcd.exists(b"/registry/").await
        };
        ensure!(asked.await.is_err(), "etcd lets {who} read");
    }
    let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await?;
    etcd.exists(b"/registry/").await.context("etcd does not answer its own client")?;
    Ok(Verdict::Passed)
}

pub(super) async fn kept_out_of_the_api(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    let access = cluster.access();
    let forged = CertificateAuthority::generate("kina-ca")?.issue_client("kina-admin", Some("system:masters"))?;
    for (who, identity) in [
        ("a client without a certificate", None),
        ("etcd's client", Some(&access.etcd_client)),
        ("a forger", Some(&forged)),
    ] {
        // An API server that refuses even the handshake with a forger is as good.
        let answers = match api_as(&*cluster, identity).await {
            Ok(answers) => answers,
            Err(_) if identity.is_some() => continue,
            Err(error) => return Err(error).context("without a certificate there is no answer at all"),
        };
        let is_refusal = |status: &StatusCode| [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(status);
        ensure!(answers.iter().all(is_refusal), "the API server answers {who} with {answers:?}");
    }
    ensure!(!exists(&*cluster, "stranger").await?, "a stranger has written");
    Ok(Verdict::Passed)
}

pub(super) async fn kept_apart(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (one, one_directory) = scene.cluster().await?;
    let (other, other_directory) = scene.cluster().await?;
    let addresses = [one.access(), other.access()].map(|access| [access.api_address, access.etcd_address]);
    let distinct: std::collections::BTreeSet<_> = addresses.iter().flatten().collect();
    ensure!(distinct.len() == 4, "two clusters share an address: {addresses:?}");
    ensure!(one_directory != other_directory && one.log_directory() != other.log_directory(), "they share a directory");
    ensure!(one.access().api_ca_pem != other.access().api_ca_pem, "they share an authority");
    write(&*one, "mine").await?;
    ensure!(!exists(&*other, "mine").await?, "an object written to one cluster is in the other");
    if let Ok(answers) = api_as(&*other, Some(&one.access().admin)).await {
        ensure!(
            answers.iter().all(|status| *status == StatusCode::UNAUTHORIZED),
            "one cluster answers the administrator of the other with {answers:?}"
        );
    }
    one.destroy().await?;
    write(&*other, "still-here").await.context("one cluster has gone, and the other with it")?;
    other.restart_api_server().await?;
    scene.wait_usable(&*other).await?;
    must_exist(&*other, "still-here").await?;
    Ok(Verdict::Passed)
}

pub(super) async fn kept_from_files(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, state_directory) = scene.cluster().await?;
    let found = walk(&state_directory)?;
    ensure!(3 < found.len(), "below {} there are no files to look at: {found:?}", state_directory.display());
    let open = found.iter().filter(|(_, mode)| mode & OTHERS != 0);
    let open: Vec<_> = open.map(|(path, mode)| format!("{} ({mode:o})", path.display())).collect();
    ensure!(open.is_empty(), "open to others: {}", open.join(", "));
    // A file that cannot be reached cannot be read, even if its own mode would allow it. Logs belong to the user as
    // which the cluster runs.
    let logs = walk(cluster.log_directory())?;
    let directory = logs.iter().find(|(path, _)| path == cluster.log_directory()).context("no logs")?;
    ensure!(directory.1 & OTHERS == 0, "the logs are open to others: {:o}", directory.1);
    Ok(Verdict::Passed)
}
