//! A test's credentials are invalid once its lease has ended, and are never more than its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::common::children::Realm;
use crate::common::server::{Server, status_of};
use crate::common::{PATIENCE, wait_until, wait_until_blocking};
use anyhow::{Context, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// Sends a request that must not be answered; returns the reason.
async fn refusal(config: kube::Config) -> anyhow::Result<String> {
    let error = match kube::Client::try_from(config) {
        Ok(client) => match Server(client).get("/version").await {
            Ok(answer) => anyhow::bail!("the server answered: {answer}"),
            Err(error) => error,
        },
        Err(error) => error,
    };
    ensure!(status_of(&error).is_none(), "the server answered: {error}");
    Ok(kina_engine::with_causes(&error))
}

fn at(config: &kube::Config, address: SocketAddr) -> anyhow::Result<kube::Config> {
    let mut config = config.clone();
    config.cluster_url = format!("https://{address}/").parse()?;
    Ok(config)
}

fn address_of(config: &kube::Config) -> anyhow::Result<SocketAddr> {
    Ok(config.cluster_url.authority().context("an address")?.as_str().parse()?)
}

/// The configuration that is in a kubeconfig file.
async fn read_kubeconfig(path: &std::path::Path) -> anyhow::Result<kube::Config> {
    let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
    Ok(kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?)
}

#[tokio::test]
async fn an_old_kubeconfig_fails_the_handshake() -> anyhow::Result<()> {
    let first = kina::Cluster::acquire().await?;
    let old = read_kubeconfig(first.kubeconfig_path()?).await?;
    Server(kube::Client::try_from(old.clone())?).get("/version").await.context("during its lease it works")?;
    first.release();
    wait_until("the old gateway is closed", || async { refusal(old.clone()).await.is_ok() }).await?;

    let second = kina::Cluster::acquire().await?;
    let current = second.config();
    Server(kube::Client::try_from(current.clone())?).get("/version").await?;
    let old_at_new_port = at(&old, address_of(&current)?)?;
    // The server's certificate is not from the authority in the old kubeconfig.
    let answer = refusal(old_at_new_port.clone()).await?;
    ensure!(answer.contains("certificate"), "the request failed, but not at the handshake: {answer}");
    // A client that trusts any server is refused with the old certificate.
    let mut trusting = old_at_new_port;
    trusting.root_cert.clone_from(&current.root_cert);
    let answer = refusal(trusting).await?;
    ensure!(answer.contains("alert"), "the request failed, but not at the handshake: {answer}");
    Ok(())
}

#[test]
fn the_users_own_kubeconfig_is_neither_read_nor_changed() {
    const TEXT: &str = "this is no kubeconfig";
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("config");
    std::fs::write(&file, TEXT).expect("written");
    let realm = Realm::new().with("KUBECONFIG", &file);
    // It would fail if it read the file.
    realm.run_well("credentials::the_kubeconfig_file_lives_as_long_as_its_lease");
    assert_eq!(std::fs::read_to_string(&file).expect("it is there"), TEXT);
}

#[kina::test]
async fn the_kubeconfig_file_lives_as_long_as_its_lease(cluster: kina::Cluster) -> anyhow::Result<()> {
    let other = kina::Cluster::acquire().await?;
    let path = other.kubeconfig_path()?.to_owned();
    ensure!(path != cluster.kubeconfig_path()?, "two leases share a file");
    ensure!(std::fs::read_to_string(&path)? == other.kubeconfig(), "file and text differ");
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    ensure!(mode == 0o600, "the file has mode {mode:o}");
    let directory_mode = std::fs::metadata(path.parent().context("a directory")?)?.permissions().mode() & 0o777;
    ensure!(directory_mode == 0o700, "its directory has mode {directory_mode:o}");
    drop(other);
    wait_until("the file is gone", || async { !path.exists() }).await
}

#[kina::test]
async fn no_credential_of_the_cluster_itself_is_exposed(cluster: kina::Cluster) -> anyhow::Result<()> {
    let config = cluster.config();
    let own_ca = config.root_cert.clone().context("an authority")?.concat();
    let server = Server(cluster.client());
    let published = server.get("/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication").await?;
    let data = published["data"].as_object().context("data")?;
    let authorities: Vec<_> = data.iter().filter(|(name, _)| name.ends_with("ca-file")).collect();
    ensure!(
        !authorities.is_empty(),
        "the server publishes the authorities of client certificates that it trusts: {data:?}"
    );
    let own_ca = STANDARD.encode(own_ca);
    for (name, pem) in authorities {
        let body: String = pem.as_str().unwrap_or_default().lines().filter(|line| !line.starts_with("---")).collect();
        ensure!(!body.is_empty() && body != own_ca, "{name} is the authority in the test's kubeconfig");
    }
    #[cfg(target_os = "linux")]
    expect_shut_out(&cluster).await?;
    Ok(())
}

/// The programs behind the gateway are reachable, but none has a certificate of the lease's authority, and none accepts
/// the lease's certificate.
#[cfg(target_os = "linux")]
async fn expect_shut_out(cluster: &kina::Cluster) -> anyhow::Result<()> {
    use kina_engine::{EngineClient, EngineProgram};
    let status = EngineClient::from_environment(EngineProgram::InstalledOnly)?.status(false).await?;
    let slots = status.context("the engine runs")?.slots;
    let slot = slots.into_iter().find(|slot| slot.cluster.as_deref() == Some(cluster.name())).context("a slot")?;
    let listeners = crate::common::system::listeners_of(&slot.process_ids.into_iter().collect());
    ensure!(2 <= listeners.len(), "etcd and kube-apiserver listen: {listeners:?}");
    let mut strangers = 0;
    for (port, _) in listeners {
        let mut config = at(&cluster.config(), SocketAddr::from(([127, 0, 0, 1], port)))?;
        let answer = refusal(config.clone()).await?;
        ensure!(answer.contains("certificate"), "port {port}: the request failed, but not at the handshake: {answer}");
        config.accept_invalid_certs = true;
        match Server(kube::Client::try_from(config)?).get("/version").await {
            Ok(answer) => anyhow::bail!("port {port}: the lease's certificate was accepted: {answer}"),
            // kube-apiserver answers that it does not know the client; etcd breaks off.
            Err(error) => strangers += usize::from(status_of(&error) == Some(401)),
        }
    }
    ensure!(strangers == 1, "kube-apiserver was not among the listeners");
    Ok(())
}

#[kina::test]
async fn a_service_account_keeps_its_identity_through_the_gateway(cluster: kina::Cluster) -> anyhow::Result<()> {
    let server = Server(cluster.client());
    let path = "/api/v1/namespaces/default/serviceaccounts";
    server.create(path, &json!({"metadata": {"name": "robot"}})).await?;
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}});
    let answer = server.create(&format!("{path}/robot/token"), &request).await?;
    let token = answer["status"]["token"].as_str().context("a token")?.to_owned();

    let mut config = cluster.config();
    config.auth_info = kube::config::AuthInfo { token: Some(token.into()), ..Default::default() };
    let robot = Server(kube::Client::try_from(config.clone())?);
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = robot.create("/apis/authentication.k8s.io/v1/selfsubjectreviews", &review).await?;
    let user = &answer["status"]["userInfo"];
    ensure!(user["username"] == "system:serviceaccount:default:robot", "it has another identity: {user}");
    let groups = user["groups"].as_array().context("groups")?;
    ensure!(!groups.iter().any(|group| group == "system:masters"), "the account has all rights: {user}");
    let secrets = robot.get("/api/v1/secrets").await;
    ensure!(secrets.as_ref().err().and_then(status_of) == Some(403), "the account may read secrets: {secrets:?}");

    config.auth_info = kube::config::AuthInfo { token: Some("made up".to_owned().into()), ..Default::default() };
    let answer = Server(kube::Client::try_from(config)?).get("/api/v1/secrets").await;
    ensure!(answer.as_ref().err().and_then(status_of) == Some(401), "any token is accepted: {answer:?}");
    Ok(())
}

/// The observations of a thread that outlives its test.
#[derive(Default)]
struct Leak {
    /// The cluster that its test had.
    cluster: Mutex<String>,
    written: AtomicUsize,
    /// Counted from the end of its test.
    errors: AtomicUsize,
    /// Written after the first of those errors.
    written_late: Mutex<Vec<String>>,
    test_has_ended: AtomicBool,
    shall_end: AtomicBool,
    has_ended: AtomicBool,
}

static LEAK: std::sync::LazyLock<Leak> = std::sync::LazyLock::new(Leak::default);

/// Keeps writing with everything that a test has, as long as possible.
fn write_on(cluster: &kina::Cluster) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let new_server = || Server(kube::Client::try_from(cluster.config()).expect("a client"));
    runtime.block_on(async {
        let start = Instant::now();
        let mut server = new_server();
        // The test does not wait for the engine, which cuts the connections of its lease a moment later.
        let mut is_cut_off = false;
        for number in 0.. {
            if LEAK.shall_end.load(Ordering::SeqCst) || PATIENCE < start.elapsed() {
                break;
            }
            let has_ended = LEAK.test_has_ended.load(Ordering::SeqCst);
            let name = format!("leaked-{number}");
            let object = json!({"metadata": {"name": name}});
            match server.create("/api/v1/namespaces/default/configmaps", &object).await {
                Ok(_) => {
                    LEAK.written.fetch_add(1, Ordering::SeqCst);
                    if is_cut_off {
                        LEAK.written_late.lock().unwrap_or_else(PoisonError::into_inner).push(name);
                    }
                }
                Err(_) => {
                    is_cut_off |= has_ended;
                    LEAK.errors.fetch_add(usize::from(has_ended), Ordering::SeqCst);
                    // A new client must not do better than the old one.
                    server = new_server();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        }
    });
    LEAK.has_ended.store(true, Ordering::SeqCst);
}

#[test]
#[allow(unnameable_test_items, reason = "the two tests in it are called here, in this order, and only here")]
fn a_leaked_thread_reaches_nothing() -> anyhow::Result<()> {
    #[kina::test]
    async fn leaves_a_writer_behind(cluster: kina::Cluster) -> anyhow::Result<()> {
        cluster.name().clone_into(&mut LEAK.cluster.lock().unwrap_or_else(PoisonError::into_inner));
        std::thread::spawn(move || write_on(&cluster));
        wait_until("the thread writes", || async { 0 < LEAK.written.load(Ordering::SeqCst) }).await
    }

    /// Fails if it finds an object of the thread. Returns true if the thread writes to this cluster.
    async fn look(cluster: &kina::Cluster) -> anyhow::Result<bool> {
        let server = Server(cluster.client());
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            let list = server.get("/api/v1/configmaps").await?;
            for item in list["items"].as_array().into_iter().flatten() {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                ensure!(!name.starts_with("leaked"), "found {name}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(*LEAK.cluster.lock().unwrap_or_else(PoisonError::into_inner) == cluster.name())
    }

    static IS_SAME: AtomicBool = AtomicBool::new(false);
    // Two at a time: of three clusters, the two used last would alternate forever.
    #[kina::test]
    async fn finds_nothing(one: kina::Cluster, other: kina::Cluster) -> anyhow::Result<()> {
        let (is_one, is_other) = tokio::try_join!(look(&one), look(&other))?;
        IS_SAME.fetch_or(is_one || is_other, Ordering::SeqCst);
        Ok(())
    }

    const LEASES_MAX: usize = 60;
    leaves_a_writer_behind()?;
    LEAK.test_has_ended.store(true, Ordering::SeqCst);
    for _ in 0..LEASES_MAX {
        finds_nothing()?;
        if IS_SAME.load(Ordering::SeqCst) {
            break;
        }
    }
    LEAK.shall_end.store(true, Ordering::SeqCst);
    wait_until_blocking("the thread ends", || LEAK.has_ended.load(Ordering::SeqCst));
    ensure!(IS_SAME.load(Ordering::SeqCst), "{LEASES_MAX} leases later the cluster has not come back");
    let late = LEAK.written_late.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(late.is_empty(), "written after the thread was cut off: {late:?}");
    ensure!(1 < LEAK.errors.load(Ordering::SeqCst), "the thread did not try again");
    Ok(())
}
