//! An engine of this test's own, with one cluster.

use std::ffi::OsString;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kina_engine::{AcquireRequest, EngineClient, EnginePaths, EngineProgram, ProviderName, Status, kubeconfig_text};
use kube::Api;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::config::Kubeconfig;

/// Time limit of a rewind, which is not measured here.
const PATIENCE: Duration = Duration::from_secs(60);

/// An engine that ends with this value.
pub(super) struct Engine {
    directory: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Engine {
    /// Starts an engine with these variables, and waits until its cluster is ready.
    pub(super) fn start(variables: &[(&'static str, &str)]) -> Self {
        // The length of a socket's path is limited.
        let directory = tempfile::Builder::new().prefix("kinam").tempdir_in("/tmp").expect("a temporary directory");
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let engine = Self { directory, variables };
        let warmed = engine.run(&["warm", "1"]);
        assert!(warmed.status.success(), "{warmed:?}");
        engine
    }

    /// Runs `cargo kina` with these arguments.
    pub(super) fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_cargo-kina"))
            .arg("kina")
            .args(arguments)
            .env_remove("KINA_ENGINE")
            .env("KINA_RUNTIME_DIR", self.runtime_directory())
            // The user's settings of engines do not apply to this one.
            .env("XDG_CONFIG_HOME", self.directory.path())
            .env("KINA_TARGET_UTILISATION_PERCENT", "100")
            .env("KINA_SLOTS_MAX", "1")
            // Databases of frozen clusters are not measured.
            .env("KINA_FREEZE_AFTER_IDLE_SECONDS", "30")
            // If this process is killed, its engine ends soon.
            .env("KINA_IDLE_EXIT_SECONDS", "30")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .expect("cargo-kina runs")
    }

    pub(super) fn client(&self) -> EngineClient {
        let directory = self.runtime_directory();
        let variable = |name: &str| match name {
            "KINA_RUNTIME_DIR" => Some(directory.clone()),
            other => std::env::var_os(other),
        };
        let paths = EnginePaths::resolve(ProviderName::Process, &variable).expect("a private directory");
        EngineClient::new(paths, ProviderName::Process, EngineProgram::InstalledOnly)
    }

    /// Leases the cluster, writes something into it, and waits until it is ready again.
    pub(super) async fn use_a_cluster(&self) {
        let request = AcquireRequest::from_environment("metrics", None).expect("settings");
        let lease = self.client().acquire(request, &|_| {}).await.expect("a cluster");
        let grant = &lease.grant;
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig_text(grant)).expect("a kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.expect("complete");
        let client = kube::Client::try_from(config).expect("a client");
        let namespaces = Api::<Namespace>::all(client.clone()).list(&ListParams::default()).await.expect("a list");
        assert_eq!(namespaces.items.len(), 4);
        let metadata = ObjectMeta { name: Some("written".to_owned()), ..ObjectMeta::default() };
        let written = ConfigMap { metadata, ..ConfigMap::default() };
        let config_maps = Api::<ConfigMap>::namespaced(client, "default");
        config_maps.create(&PostParams::default(), &written).await.expect("created");
        let leases = self.status().await.counters.leases;
        drop(lease);
        let start = Instant::now();
        while self.status().await.counters.rewinds < leases {
            assert!(start.elapsed() < PATIENCE, "the cluster is not ready again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) async fn status(&self) -> Status {
        self.client().status(false).await.expect("answered").expect("it runs")
    }

    pub(super) fn stop(&self) {
        let stopped = self.run(&["stop"]);
        assert!(stopped.status.success(), "{stopped:?}");
    }

    fn runtime_directory(&self) -> OsString {
        self.directory.path().join("run").into_os_string()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.run(&["stop"]);
    }
}
