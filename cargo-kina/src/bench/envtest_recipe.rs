//! The yardstick: a boot of a control plane as controller-runtime's envtest does it, with the same binaries.
//!
//! Modelled on its `internal/testing/controlplane`: both programs are asked for `--help` to learn their flags, etcd
//! without TLS and without fsync, a bootstrap from nothing, `/healthz` every 100 ms without credentials, then the
//! namespace `default` every 50 ms.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kina_engine::{Assets, CertificateAuthority, IssuedIdentity, SigningKeyPair};
use tokio::process::{Child, Command};

use super::api_server::ApiServer;

/// envtest's own limit for each component.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const HEALTH_INTERVAL: Duration = Duration::from_millis(100);
const NAMESPACE_INTERVAL: Duration = Duration::from_millis(50);

/// Boots once; returns the time until the first list of namespaces was answered, in milliseconds.
pub async fn boot(assets: &Assets) -> anyhow::Result<f64> {
    let directory = tempfile::Builder::new().prefix("kina-bench-").tempdir()?;
    let start = Instant::now();

    let (etcd_address, peer_address) = (free_address()?, free_address()?);
    help(&assets.etcd).await?;
    let client_url = format!("http://{etcd_address}");
    let _etcd = spawn(
        &assets.etcd,
        &[
            format!("--data-dir={}", directory.path().join("etcd").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls=http://{peer_address}"),
            "--unsafe-no-fsync=true".to_owned(),
        ],
    )?;
    poll("etcd", HEALTH_INTERVAL, || is_healthy(format!("{client_url}/health"))).await?;

    let api_address = free_address()?;
    let (admin, serving_ca_pem) = write_certificates(directory.path())?;
    help(&assets.kube_apiserver).await?;
    let file = |name: &str| directory.path().join(name).display().to_string();
    let _api_server = spawn(
        &assets.kube_apiserver,
        &[
            format!("--etcd-servers={client_url}"),
            format!("--cert-dir={}", directory.path().display()),
            format!("--secure-port={}", api_address.port()),
            format!("--bind-address={}", api_address.ip()),
            format!("--tls-cert-file={}", file("apiserver.crt")),
            format!("--tls-private-key-file={}", file("apiserver.key")),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged=true".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--service-account-issuer=https://{api_address}/"),
            format!("--service-account-key-file={}", file("sa-signer.pub")),
            format!("--service-account-signing-key-file={}", file("sa-signer.key")),
            format!("--client-ca-file={}", file("client-ca.crt")),
            // envtest finds this out by itself, and fails on a host without a default route.
            format!("--advertise-address={}", api_address.ip()),
            "--endpoint-reconciler-type=none".to_owned(),
        ],
    )?;
    let anonymous = ApiServer::anonymous(api_address, &serving_ca_pem)?;
    poll("kube-apiserver", HEALTH_INTERVAL, || {
        let anonymous = anonymous.clone();
        async move { anonymous.get("/healthz").await.is_ok_and(|text| text == b"ok") }
    })
    .await?;

    let server = ApiServer::new(api_address, &serving_ca_pem, &admin.certificate_pem, &admin.key_pem)?;
    poll("the namespace `default`", NAMESPACE_INTERVAL, || {
        let server = server.clone();
        async move { server.get("/api/v1/namespaces/default").await.is_ok() }
    })
    .await?;
    server.count("/api/v1/namespaces").await?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn write_certificates(directory: &Path) -> anyhow::Result<(IssuedIdentity, String)> {
    let serving_ca = CertificateAuthority::generate("serving")?;
    let server = serving_ca.issue_server("kube-apiserver", &["kubernetes"])?;
    let client_ca = CertificateAuthority::generate("client")?;
    let signer = SigningKeyPair::generate()?;
    let contents = [
        ("apiserver.crt", &server.certificate_pem),
        ("apiserver.key", &server.key_pem),
        ("client-ca.crt", &client_ca.certificate_pem()),
        ("sa-signer.key", &signer.private_pem),
        ("sa-signer.pub", &signer.public_pem),
    ];
    for (name, content) in contents {
        std::fs::write(directory.join(name), content)?;
    }
    Ok((client_ca.issue_client("admin", Some("system:masters"))?, serving_ca.certificate_pem()))
}

async fn help(program: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).arg("--help").stdin(Stdio::null()).output().await;
    output.with_context(|| format!("running {} --help failed", program.display()))?;
    Ok(())
}

fn spawn(program: &PathBuf, arguments: &[String]) -> anyhow::Result<Child> {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {} failed", program.display()))
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

async fn is_healthy(url: String) -> bool {
    // Plain HTTP, which kina's own client does not speak.
    let asked = tokio::task::spawn_blocking(move || ureq::get(&url).call().is_ok_and(|answer| answer.status() == 200));
    asked.await.unwrap_or(false)
}

async fn poll<Answer: Future<Output = bool>>(
    what: &str,
    interval: Duration,
    is_ready: impl Fn() -> Answer,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_ready().await {
        if START_TIMEOUT < start.elapsed() {
            bail!("{what} was not ready after {} s", START_TIMEOUT.as_secs());
        }
        tokio::time::sleep(interval).await;
    }
    Ok(())
}
