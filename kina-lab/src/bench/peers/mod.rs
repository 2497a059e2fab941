//! `cargo lab bench peers`: the wait of a test for its first answer, with kina and with others, in one run.
//!
//! The test is one list of namespaces (`benches/peers/first_list.rs`). It is timed from the start of the test
//! executable to the answer, as seen by the process that started it; for peers that are not crates, from the first
//! command to the answer. A peer that is not installed is skipped, with the reason.
//!
//! - `external`: clusters that other programs make.

mod external;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cargo_kina::Format;
use clap::Args;
use kina_engine::ProviderName;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};

use self::external::External;
use super::packages::{TestExecutable, build_test, last_lines, repository};
use super::statistics::{median, percentile};
use super::{Bench, SLOTS, envtest_recipe, say};

const TEST: &str = "lists";
const TEST_TARGET: &str = "first_list";
/// The manifest of a workspace of its own.
const ENVTEST_CRATE: &str = "benches/peers/envtest-crate/Cargo.toml";
/// The test's line on standard output once it has its answer.
const ANSWERED: &str = "first list answered:";
/// Time limit for one test of a peer; envtest itself gives up earlier.
const TEST_TIMEOUT: Duration = Duration::from_secs(180);

/// Wait of a test for its first answer: with kina, the crate `envtest`, envtest's recipe, kind, k3d and others
#[derive(Debug, Args)]
pub(crate) struct PeersArguments {
    /// Number of tests with kina, each a process of its own
    #[arg(long, default_value_t = 100)]
    samples: usize,
    /// Number of tests with each of the others
    #[arg(long, default_value_t = 5)]
    peer_samples: usize,
    /// The kubeconfig of Docker Desktop's Kubernetes, which is one cluster, and never a fresh one
    #[arg(long, value_name = "FILE")]
    docker_desktop_kubeconfig: Option<PathBuf>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result: medians, in milliseconds. A ratio compares a peer's wait with that of a warm test with kina.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    kina_ms: f64,
    envtest_crate_ms: Option<f64>,
    envtest_recipe_ms: Option<f64>,
    envtest_crate_ratio: Option<f64>,
    envtest_recipe_ratio: Option<f64>,
    kina_p99_ms: f64,
    /// With no engine running.
    kina_cold_ms: f64,
    /// From the start of the test to its end, when its cluster has been given back, or taken down.
    kina_whole_test_ms: f64,
    envtest_crate_whole_test_ms: Option<f64>,
    peers: Vec<Peer>,
    samples: usize,
    engine_profile: String,
    kubernetes: String,
}

/// A peer of kina.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Peer {
    name: &'static str,
    /// The reason for which it was not measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<String>,
    /// Set if every test gets the same cluster, with everything that others left in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    never_fresh: bool,
    first_list_ms: Option<f64>,
    whole_test_ms: Option<f64>,
    ratio: Option<f64>,
    first_list_ms_samples: Vec<f64>,
}

/// One test.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Sample {
    first_list_ms: f64,
    whole_ms: f64,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, arguments: PeersArguments) -> anyhow::Result<()> {
    if arguments.samples == 0 || arguments.peer_samples == 0 {
        bail!("--samples and --peer-samples must be at least 1");
    }
    let repository = repository()?;
    say("builds the test with kina");
    let kina = build_test(&repository.join("Cargo.toml"), TEST_TARGET).await?;
    say("builds the test with the crate `envtest`, and its Go library, which takes minutes the first time");
    let envtest_crate = build_test(&repository.join(ENVTEST_CRATE), TEST_TARGET).await;
    let bench = Bench::prepare(provider, SLOTS).await?;
    let measured = report(&bench, &kina, envtest_crate, &arguments).await;
    bench.finish(measured, arguments.format).await
}

async fn report(
    bench: &Bench,
    kina: &TestExecutable,
    envtest_crate: anyhow::Result<TestExecutable>,
    arguments: &PeersArguments,
) -> anyhow::Result<Report> {
    say("bootstraps");
    bench.warm_up().await?;
    let mut cold = Vec::new();
    let mut of_crate = Measured::named("envtest_crate");
    let mut of_recipe = Measured::named("envtest_recipe");
    for number in 1..=arguments.peer_samples {
        say(&format!("{number} of {}: kina cold, the crate `envtest`, its recipe; each alone", arguments.peer_samples));
        bench.engine.stop().await?;
        cold.push(run_test(bench, kina).await?);
        bench.engine.stop().await?;
        match &envtest_crate {
            Ok(executable) => of_crate.add(run_test(bench, executable).await),
            Err(error) => of_crate.add(Err(anyhow::anyhow!("it cannot be built here: {error:#}"))),
        }
        of_recipe.add(envtest_recipe::boot(&bench.assets).await.map(Sample::without_end));
    }
    let mut others = Vec::new();
    for external in External::all(bench.private.directory()) {
        let mut measured = Measured::named(external.name());
        for number in 1..=arguments.peer_samples {
            say(&format!("{}: {number} of {}", external.name(), arguments.peer_samples));
            measured.add(external.first_list().await);
            if measured.failure.is_some() {
                break;
            }
        }
        others.push(measured);
    }
    others.push(docker_desktop(arguments).await);
    say("kina, warm");
    bench.warm_up().await?;
    bench.wait_all_ready().await?;
    let mut warm = Vec::new();
    for _ in 0..arguments.samples {
        warm.push(run_test(bench, kina).await?);
    }
    let status = bench.status(false).await?;
    let of = |samples: &[Sample], value: fn(&Sample) -> f64| samples.iter().map(value).collect::<Vec<_>>();
    let warm_ms = of(&warm, |sample| sample.first_list_ms);
    let kina_ms = median(&warm_ms).context("there was no test")?;
    let (of_crate, of_recipe) = (of_crate.finish(kina_ms), of_recipe.finish(kina_ms));
    Ok(Report {
        simulated: status.simulated,
        kina_ms,
        envtest_crate_ms: of_crate.first_list_ms,
        envtest_recipe_ms: of_recipe.first_list_ms,
        envtest_crate_ratio: of_crate.ratio,
        envtest_recipe_ratio: of_recipe.ratio,
        kina_p99_ms: percentile(&warm_ms, 0.99).context("there was no test")?,
        kina_cold_ms: median(&of(&cold, |sample| sample.first_list_ms)).context("there was no cold test")?,
        kina_whole_test_ms: median(&of(&warm, |sample| sample.whole_ms)).context("there was no test")?,
        envtest_crate_whole_test_ms: of_crate.whole_test_ms,
        peers: [of_crate, of_recipe].into_iter().chain(others.into_iter().map(|other| other.finish(kina_ms))).collect(),
        samples: arguments.samples,
        kubernetes: status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default(),
        engine_profile: status.engine_profile,
    })
}

/// Docker Desktop makes no cluster for a test: there is only one, and its time to answer can be measured.
async fn docker_desktop(arguments: &PeersArguments) -> Measured {
    let mut measured = Measured::named("docker_desktop");
    measured.never_fresh = true;
    let Some(kubeconfig) = &arguments.docker_desktop_kubeconfig else {
        let reason = "its kubeconfig is not named, and none is searched for: use --docker-desktop-kubeconfig";
        measured.add(Err(anyhow::anyhow!(reason)));
        return measured;
    };
    for _ in 0..arguments.peer_samples {
        let start = Instant::now();
        let answered = external::wait_first_list(kubeconfig).await;
        measured.add(answered.map(|()| Sample::without_end(since_ms(start))));
    }
    measured
}

/// The results of one peer so far.
#[derive(Debug, Default)]
struct Measured {
    name: &'static str,
    never_fresh: bool,
    samples: Vec<Sample>,
    failure: Option<String>,
}

impl Measured {
    fn named(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// Only the first failure is reported.
    fn add(&mut self, sample: anyhow::Result<Sample>) {
        match sample {
            Ok(sample) => self.samples.push(sample),
            Err(error) => {
                self.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// A peer that failed once has no figures: those of the rest would be a selection.
    fn finish(self, kina_ms: f64) -> Peer {
        if self.failure.is_some() || self.samples.is_empty() {
            let reason = self.failure.unwrap_or_else(|| "it was not tried".to_owned());
            return Peer { name: self.name, skipped: Some(reason), never_fresh: self.never_fresh, ..Peer::default() };
        }
        let first_list_ms_samples: Vec<_> = self.samples.iter().map(|sample| sample.first_list_ms).collect();
        let first_list_ms = median(&first_list_ms_samples);
        let whole_ms: Vec<_> = self.samples.iter().map(|sample| sample.whole_ms).collect();
        Peer {
            name: self.name,
            skipped: None,
            never_fresh: self.never_fresh,
            first_list_ms,
            whole_test_ms: median(&whole_ms).filter(|ms| ms.is_finite()),
            ratio: first_list_ms.map(|ms| ms / kina_ms),
            first_list_ms_samples,
        }
    }
}

impl Sample {
    /// The end was not timed.
    fn without_end(first_list_ms: f64) -> Self {
        Self { first_list_ms, whole_ms: f64::INFINITY }
    }
}

/// Runs the test; it is killed if it takes too long.
async fn run_test(bench: &Bench, executable: &TestExecutable) -> anyhow::Result<Sample> {
    let mut command = executable.command(TEST);
    bench.private.prepare_command(command.as_std_mut());
    command
        .env("KUBEBUILDER_ASSETS", bench.assets.kube_apiserver.parent().context("the binaries have a directory")?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let start = Instant::now();
    let mut child = command.spawn().context("starting the test failed")?;
    let stdout = child.stdout.take().context("its output is a pipe")?;
    let answer = async {
        let mut lines = BufReader::new(stdout).lines();
        let (mut answered_ms, mut said) = (None, String::new());
        while let Some(line) = lines.next_line().await? {
            if answered_ms.is_none() && line.contains(ANSWERED) {
                answered_ms = Some(since_ms(start));
            }
            said.push_str(&line);
            said.push('\n');
        }
        anyhow::Ok((answered_ms, said))
    };
    let ended = async {
        let (answer, output) = tokio::join!(answer, child.wait_with_output());
        anyhow::Ok((answer?, output?))
    };
    let Ok(ended) = tokio::time::timeout(TEST_TIMEOUT, ended).await else {
        bail!("the test had not ended after {} s", TEST_TIMEOUT.as_secs());
    };
    let ((answered_ms, said), output) = ended?;
    let whole_ms = since_ms(start);
    match answered_ms {
        Some(first_list_ms) if output.status.success() => Ok(Sample { first_list_ms, whole_ms }),
        _ => {
            let said = [said.as_bytes(), &output.stderr].concat();
            bail!("the test failed ({}):\n{}", output.status, last_lines(&said))
        }
    }
}

fn since_ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_told_as_a_ratio_and_one_that_failed_with_the_reason() {
        let mut measured = Measured::named("peer");
        for ms in [300.0, 100.0, 200.0] {
            measured.add(Ok(Sample { first_list_ms: ms, whole_ms: ms * 2.0 }));
        }
        let peer = measured.finish(4.0);
        assert_eq!((peer.first_list_ms, peer.whole_test_ms, peer.ratio), (Some(200.0), Some(400.0), Some(50.0)));
        assert_eq!(peer.first_list_ms_samples, [300.0, 100.0, 200.0]);

        let mut measured = Measured::named("peer");
        measured.add(Ok(Sample::without_end(100.0)));
        measured.add(Err(anyhow::anyhow!("no Go").context("building failed")));
        measured.add(Err(anyhow::anyhow!("another")));
        let peer = measured.finish(4.0);
        assert_eq!(peer.skipped.as_deref(), Some("building failed: no Go"));
        assert_eq!((peer.first_list_ms, peer.ratio), (None, None));

        let mut measured = Measured::named("peer");
        measured.add(Ok(Sample::without_end(100.0)));
        let peer = measured.finish(4.0);
        assert_eq!((peer.first_list_ms, peer.whole_test_ms), (Some(100.0), None));
        let json = serde_json::to_value(&peer).expect("plain data");
        assert_eq!(json.get("skipped"), None);
        assert_eq!(json["ratio"], 25.0);
    }
}
