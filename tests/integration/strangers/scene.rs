//! An engine under a low limit, a tenant with a lease of it, and strangers.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::PATIENCE;
use crate::common::children::{Realm, RunningTest, output, text_of};
use crate::common::server::Server;
use k8s_openapi::api::core::v1::ConfigMap;
use kina_engine::Status;
use kina_engine::lab::protocol::{ClientMessage, EngineMessage};
use kube::api::WatchParams;

/// Tells the tenant which connections to use.
const CONNECTIONS: &str = "KINA_TEST_TENANT_CONNECTIONS";
const HAS_GATEWAY: &str = "the tenant has gateway ";
const WORKS: &str = "the tenant works after question ";
/// A tenant or a stranger stays no longer, also if its test is killed.
const STAY: Duration = Duration::from_secs(180);
/// Tells the stranger to which ports to connect.
const PORTS: &str = "KINA_TEST_STRANGER_PORTS";
pub const HOLDS: &str = "the stranger holds connections";
/// The user `nobody`.
const NOBODY: u32 = 65_534;
const CONNECTIONS_PER_PORT: usize = 2000;
/// So that each has few enough for a limit of 1,024 itself.
pub const STRANGERS: usize = 8;
pub const LIMIT: u64 = 1024;

/// A lease that is used until its file says that it is enough. Left alone, it is a test like any other.
#[kina::test]
async fn tenant(cluster: kina::Cluster) -> anyhow::Result<()> {
    let client = cluster.client();
    let work = async || {
        Server(client.clone()).get("/api/v1/namespaces/default").await?;
        anyhow::Ok(())
    };
    work().await?;
    let Ok(connections) = std::env::var(CONNECTIONS) else { return Ok(()) };
    let port = cluster.config().cluster_url.port_u16();
    println!("{HAS_GATEWAY}{}", port.unwrap_or_default());
    let config_maps: kube::Api<ConfigMap> = kube::Api::default_namespaced(client.clone());
    let use_lease = async {
        let mut question = 0;
        let mut watches = Vec::new();
        while !end_file(&std::env::temp_dir()).exists() {
            let is_asked = question_file(&std::env::temp_dir(), question).exists();
            if connections == "watched" && is_asked {
                // It keeps the connection, so that the next request needs another one.
                watches.push(config_maps.watch(&WatchParams::default(), "0").await?);
            }
            work().await?;
            if connections == "new" {
                Server(kube::Client::try_from(cluster.config())?).get("/version").await?;
            }
            if is_asked {
                println!("{WORKS}{question}");
                question += 1;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    };
    tokio::time::timeout(STAY, use_lease).await?
}

/// A process that connects and says nothing. Left alone, it does so to a port of its own.
#[test]
fn stranger() {
    let own = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let own_port = own.local_addr().expect("an address").port();
    let Ok(ports) = std::env::var(PORTS) else {
        assert_eq!(hold(&[own_port], 1).len(), 1);
        return;
    };
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().expect("a port")).collect();
    let held = hold(&ports, CONNECTIONS_PER_PORT / STRANGERS);
    println!("{HOLDS}");
    std::thread::sleep(STAY);
    drop(held);
}

/// Keeps its side of each connection open, also of those that the other side has closed.
fn hold(ports: &[u16], count_per_port: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count_per_port {
        for port in ports {
            match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)) {
                Ok(stream) => held.push(stream),
                // Closed so soon that connecting had not returned yet.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
                Err(error) => panic!("cannot connect to port {port}: {error}"),
            }
        }
    }
    held
}

fn end_file(directory: &Path) -> PathBuf {
    directory.join("end")
}

fn question_file(directory: &Path, question: usize) -> PathBuf {
    directory.join(format!("question-{question}"))
}

/// A realm whose engine is started under the limit, by a tenant that stays.
pub struct Scene {
    pub realm: Realm,
    tenant: RunningTest,
    pub gateway_port: u16,
    questions: Cell<usize>,
}

impl Scene {
    pub fn start(connections: &str) -> Self {
        let realm = Realm::new().with("KINA_SLOTS_MAX", "2").with("KINA_METRICS_PORT", "0");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", &format!("ulimit -n {LIMIT} && exec \"$0\" \"$@\"")])
            .arg(std::env::current_exe().expect("this executable"))
            .args(["--exact", "strangers::scene::tenant", "--nocapture", "--test-threads=1"])
            .env(CONNECTIONS, connections);
        realm.prepare(&mut command);
        let tenant = realm.start(command);
        let gateway_port = tenant.wait_for(HAS_GATEWAY).parse().expect("a port");
        let scene = Self { realm, tenant, gateway_port, questions: Cell::new(0) };
        assert_eq!(limit_of(scene.status().process_id), LIMIT.to_string());
        scene
    }

    pub fn status(&self) -> Status {
        self.realm.status_of_running()
    }

    /// Lets the tenant use its lease once more.
    pub fn expect_tenant_works(&self) {
        let question = self.questions.replace(self.questions.get() + 1);
        std::fs::write(question_file(&self.realm.temporary_directory(), question), "").expect("a file can be written");
        assert_eq!(self.tenant.wait_for(WORKS), question.to_string());
    }

    pub fn expect_new_lease(&self) {
        let output = output(self.realm.command("strangers::scene::tenant"));
        assert!(output.status.success(), "{}", text_of(&output));
    }

    pub fn metrics_port(&self) -> u16 {
        match self.realm.ask(&ClientMessage::Metrics) {
            Some(EngineMessage::Metrics(metrics)) => metrics.address.expect("it listens").port(),
            other => panic!("no metrics: {other:?}"),
        }
    }

    /// The number of lines in the engine's log that have this in them.
    pub fn lines_with(&self, text: &str) -> usize {
        let log = std::fs::read_to_string(self.status().log).expect("the engine has a log");
        log.lines().filter(|line| line.contains(text)).count()
    }

    pub fn end(self) {
        std::fs::write(end_file(&self.realm.temporary_directory()), "").expect("a file can be written");
        assert!(self.tenant.wait().success(), "the lease that was there before has failed");
    }
}

/// The soft limit of open files of a process.
fn limit_of(process_id: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{process_id}/limits")).expect("a process");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("the limit");
    line.split_whitespace().next().expect("a soft limit").to_owned()
}

/// Asks for the metrics as Prometheus does.
pub fn scrape(port: u16) -> String {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

/// Starts this binary as another user, who may not see the directory that it is in.
pub fn start_stranger(realm: &Realm, ports: &BTreeSet<u16>) -> RunningTest {
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--exact", "strangers::scene::stranger", "--nocapture", "--test-threads=1"])
        .env(PORTS, ports.join(","))
        .current_dir("/")
        .stdin(Stdio::null())
        .uid(NOBODY)
        .gid(NOBODY);
    realm.start(command)
}
