//! A cluster that kina never touched, for comparison.
//!
//! It is started by hand: no snapshot, no gateway, no rewind, only the same binaries with those of kina's flags that
//! affect the stored state. Its state is kept in a file, since nothing else ever changes it.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use kina_engine::{AssetRequest, Assets, KubernetesMinor};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::OnceCell;

use super::server::Server;
use super::state::ClusterState;

/// Rises with each change of the flags below or of the recorded state.
const FORMAT: u32 = 1;
/// A boot from nothing takes about 4 s.
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
const LOCK_TIMEOUT: Duration = Duration::from_secs(200);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// A bootstrap is over when the state has not changed for this long: longer than the server's slow start-up loops.
const QUIET: Duration = Duration::from_millis(2500);
const TOKEN: &str = "untouched";

/// The state of an untouched cluster of the binaries under test. All tests of a process share it.
pub async fn untouched() -> anyhow::Result<&'static ClusterState> {
    static UNTOUCHED: OnceCell<ClusterState> = OnceCell::const_new();
    UNTOUCHED.get_or_try_init(load_or_record).await
}

async fn load_or_record() -> anyhow::Result<ClusterState> {
    let assets = tokio::task::spawn_blocking(assets).await??;
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let recording = directory.join(format!("untouched-{FORMAT}-{}.json", assets.identity.replace('/', "_")));
    if let Some(state) = load(&recording) {
        return Ok(state);
    }
    let lock = File::create(recording.with_extension("lock"))?;
    let start = Instant::now();
    while lock.try_lock().is_err() {
        anyhow::ensure!(start.elapsed() < LOCK_TIMEOUT, "another process has been recording for too long");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    if let Some(state) = load(&recording) {
        return Ok(state);
    }
    let state = record(&assets).await.context("recording an untouched cluster failed")?;
    let file = tempfile::NamedTempFile::new_in(directory)?;
    serde_json::to_writer(&file, &state)?;
    file.persist(&recording)?;
    Ok(state.without_events())
}

/// The binaries under test, found as the engine finds them.
pub fn assets() -> anyhow::Result<Assets> {
    let cache_directory =
        kina_engine::EnginePaths::from_environment(kina_engine::ProviderName::Process)?.cache_directory;
    let mut request =
        AssetRequest::from_environment(KubernetesMinor::DEFAULT, cache_directory, &|name| std::env::var_os(name));
    request.explicit_directory = std::env::var_os("KINA_ASSETS_DIR").map(PathBuf::from);
    Ok(kina_engine::provide_assets(&request, &|progress| eprintln!("{progress}"))?)
}

fn load(recording: &Path) -> Option<ClusterState> {
    serde_json::from_slice(&std::fs::read(recording).ok()?).ok().map(ClusterState::without_events)
}

async fn record(assets: &Assets) -> anyhow::Result<ClusterState> {
    const ATTEMPTS_MAX: u32 = 3;
    let mut attempt = 1;
    loop {
        match boot_and_read(assets).await {
            // Another process may have taken one of the ports.
            Err(error) if attempt < ATTEMPTS_MAX => eprintln!("attempt {attempt}: {error:#}"),
            result => return result,
        }
        attempt += 1;
    }
}

async fn boot_and_read(assets: &Assets) -> anyhow::Result<ClusterState> {
    let directory = tempfile::tempdir()?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let [etcd_port, peer_port, api_port] = free_ports()?;
    let etcd_url = format!("http://127.0.0.1:{etcd_port}");
    let _etcd = Ended(
        Command::new(&assets.etcd)
            .arg(format!("--data-dir={}", path("data")))
            .arg(format!("--listen-client-urls={etcd_url}"))
            .arg(format!("--advertise-client-urls={etcd_url}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer_port}"))
            .arg("--unsafe-no-fsync=true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("etcd.log"))?)
            .spawn()?,
    );

    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
    std::fs::write(path("server.crt"), certificate.pem())?;
    std::fs::write(path("server.key"), key.serialize_pem())?;
    std::fs::write(path("server.pub"), key.public_key_pem())?;
    std::fs::write(path("tokens"), format!("{TOKEN},untouched,1,system:masters\n"))?;
    let _api_server = Ended(
        Command::new(&assets.kube_apiserver)
            // The address: irrelevant for the stored state.
            .arg(format!("--etcd-servers={etcd_url}"))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={api_port}"))
            .arg(format!("--tls-cert-file={}", path("server.crt")))
            .arg(format!("--tls-private-key-file={}", path("server.key")))
            .arg(format!("--token-auth-file={}", path("tokens")))
            .arg(format!("--service-account-key-file={}", path("server.pub")))
            .arg(format!("--service-account-signing-key-file={}", path("server.key")))
            // The flags that affect the stored state: as in kina's clusters.
            .arg(format!("--client-ca-file={}", path("server.crt")))
            .arg("--authorization-mode=RBAC")
            .arg("--allow-privileged=true")
            .arg("--service-cluster-ip-range=10.0.0.0/24")
            .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
            .arg("--disable-admission-plugins=ServiceAccount")
            .arg("--endpoint-reconciler-type=none")
            .arg("--advertise-address=127.0.0.1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("kube-apiserver.log"))?)
            .spawn()?,
    );

    let uri = format!("https://127.0.0.1:{api_port}/").parse()?;
    let mut config = kube::Config::new(uri);
    config.root_cert = Some(vec![certificate.der().to_vec()]);
    config.auth_info.token = Some(TOKEN.to_owned().into());
    config.default_retry = false;
    config.proxy_url = None;
    let server = Server(kube::Client::try_from(config)?);
    let start = Instant::now();
    let expect_timely = |problem: &str| {
        let tail = std::fs::read_to_string(path("kube-apiserver.log")).unwrap_or_default();
        let tail: Vec<_> = tail.lines().rev().take(5).collect();
        anyhow::ensure!(start.elapsed() < BOOT_TIMEOUT, "{problem}; the server's log ends with {tail:#?}");
        Ok(())
    };
    while let Err(error) = server.0.request_text(http::Request::get("/readyz").body(Vec::new())?).await {
        expect_timely(&format!("the server was not ready in time: {error:?}"))?;
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let mut state = ClusterState::read(&server).await?;
    loop {
        tokio::time::sleep(QUIET).await;
        let next = ClusterState::read(&server).await?;
        if next.comparable()? == state.comparable()? {
            return Ok(next);
        }
        expect_timely("the server went on changing its state")?;
        state = next;
    }
}

/// Ports that were free a moment ago.
fn free_ports() -> std::io::Result<[u16; 3]> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        let address = match listener {
            Ok(listener) => listener.local_addr()?,
            Err(error) => return Err(error.kind().into()),
        };
        *port = address.port();
    }
    Ok(ports)
}

/// A process that is killed when this value is dropped.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
