//! An engine of its own, whose clusters run one case after another.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::time::Duration;

use anyhow::{Context, ensure};
use kina_engine::{AcquireRequest, EngineClient, FixtureSet, Lease};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::case::Case;
use crate::common::children::Realm;

/// Functions that work for a request, or in the background for one that has ended.
const AT_WORK: [&str; 3] = ["finisher.finishRequest", "(*Store).DeleteCollection", "finalizer.(*CRDFinalizer).sync"];

/// The pause between two profiles. The API server has requests of its own, such as the creation of its Lease, which can
/// wait for etcd for a tenth of a second on a busy machine; work of a lease lasts for seconds.
const PROFILE_INTERVAL: Duration = Duration::from_millis(700);

pub struct Scene {
    realm: Realm,
    client: EngineClient,
    slots: usize,
    /// Held while a cluster goes from one lease to the next, so that it does not go to another case.
    handing_over: Mutex<()>,
}

impl Scene {
    pub async fn new(slots: usize, sabotaged_part: Option<&str>) -> anyhow::Result<Self> {
        let mut realm = Realm::new().with("KINA_SLOTS_MAX", slots.to_string());
        if let Some(part) = sabotaged_part {
            realm = realm.with("KINA_SABOTAGE", part);
        }
        let client = realm.client();
        let realm = tokio::task::spawn_blocking(move || {
            realm.run_well("outlived::visitor");
            realm
        });
        Ok(Self { realm: realm.await?, client, slots, handing_over: Mutex::new(()) })
    }

    /// Runs all cases, as many at a time as there are clusters.
    pub async fn run_all(&self, cases: &[Case]) -> anyhow::Result<()> {
        // All clusters are held, so only the one that a case returns is free for its next request.
        let mut held = Vec::new();
        for _ in 0..self.slots {
            held.push(self.lease(&FixtureSet::default()).await?);
        }
        let chains = held.into_iter().enumerate().map(|(chain, mut lease)| {
            let cases = cases.iter().skip(chain).step_by(self.slots);
            async move {
                for case in cases {
                    lease = self.run(case, lease).await.with_context(|| format!("{case:?}"))?;
                }
                Ok::<_, anyhow::Error>(lease)
            }
        });
        // Each keeps its last lease until all have ended.
        let ended = futures::future::join_all(chains).await;
        // A chain that fails returns its cluster, which may then go to another chain: so all failures are reported.
        let failures: Vec<_> =
            ended.iter().filter_map(|ended| ended.as_ref().err()).map(|error| format!("{error:#}")).collect();
        ensure!(failures.is_empty(), "{}", failures.join("\n"));
        Ok(())
    }

    async fn run(&self, case: &Case, before: Lease) -> anyhow::Result<Lease> {
        let handing_over = self.handing_over.lock().await;
        drop(before);
        let first = self.lease(&case.template()).await?;
        let cluster = first.grant.cluster.clone();
        let connection = case.begin(&first.grant).await.context("in the first lease")?;
        first.release();
        drop(first);
        let second = self.lease(&FixtureSet::default()).await?;
        drop(connection);
        ensure!(second.grant.cluster == cluster, "another cluster was handed out than {cluster}");
        drop(handing_over);
        self.expect_all_ended(&second).await?;
        case.expect_undisturbed(&second.grant).await.context("in the second lease")?;
        Ok(second)
    }

    async fn lease(&self, template: &FixtureSet) -> anyhow::Result<Lease> {
        let request = AcquireRequest {
            test: "outlived".to_owned(),
            timeout_ms: 120_000,
            template: (!template.is_empty()).then(|| template.hash()),
            ..AcquireRequest::default()
        };
        Ok(self.client.acquire_from(request, template, &|_| {}).await?)
    }

    /// Reads the API server's goroutines twice in a row: none may be at work both times.
    async fn expect_all_ended(&self, lease: &Lease) -> anyhow::Result<()> {
        // No request is answered before the cluster is proven.
        let config = kina::__private::config_of_lease(&lease.grant)?;
        kube::Client::try_from(config)?.apiserver_version().await?;
        let first = self.profile(&lease.grant.cluster).await.context("no profile")?;
        tokio::time::sleep(PROFILE_INTERVAL).await;
        let second = self.profile(&lease.grant.cluster).await.context("no profile")?;
        let (first, second) = (at_work(&first), at_work(&second));
        let in_both = second.into_iter().filter(|(goroutine, _)| first.contains_key(goroutine));
        let in_both: Vec<_> = in_both.map(|(_, stack)| stack).collect();
        ensure!(in_both.is_empty(), "still at work when the cluster was handed out:\n{}", in_both.join("\n\n"));
        Ok(())
    }

    async fn profile(&self, cluster: &str) -> anyhow::Result<String> {
        let engines = std::fs::read_dir(self.realm.runtime_directory())?;
        let directories = engines.filter_map(|engine| Some(engine.ok()?.path().join("clusters").join(cluster)));
        let directory = directories.into_iter().find(|path| path.is_dir()).context("no such cluster")?;
        // The path may be too long for a socket; this one is short.
        let directory = std::fs::File::open(directory)?;
        let socket = format!("/proc/self/fd/{}/debug.sock", directory.as_raw_fd());
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(b"GET /debug/pprof/goroutine?debug=2 HTTP/1.0\r\n\r\n").await?;
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await??;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        ensure!(answer.contains("goroutine 1 ["), "{answer}");
        Ok(answer)
    }
}

/// The stacks of the goroutines at work, by their numbers. In this form of a profile each goroutine is a block of its
/// own, headed by `goroutine 7 [select]:`.
fn at_work(profile: &str) -> BTreeMap<&str, &str> {
    let blocks = profile.split("\n\n").filter_map(|block| {
        let number = block.trim_start().strip_prefix("goroutine ")?.split(' ').next()?;
        AT_WORK.iter().any(|function| block.contains(function)).then_some((number, block.trim()))
    });
    blocks.collect()
}
