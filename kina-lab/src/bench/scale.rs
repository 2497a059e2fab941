//! `cargo lab bench scale`: the cost of pristine clusters in a suite of a thousand tests that each has one of its own.
//!
//! One test executable (`benches/scale`) has each test three times: on a cluster of its own, on one cluster that all
//! share (straight to it, without a gateway), and empty. cargo-nextest runs the three suites in turns, on the same
//! machine.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, bail};
use cargo_kina::Format;
use clap::Args;
use kina_engine::lab::protocol::LayerHits;
use kina_engine::{ProviderName, Status};
use serde::Serialize;
use tokio::process::Command;

use super::packages::{last_lines, nextest, profile_arguments, repository};
use super::processor_time::ProcessorTime;
use super::statistics::{median, percentile};
use super::{Bench, say};

const TEST_TARGET: &str = "scale";
/// Number of tests of each kind, which the build script of `benches/scale` generates.
const TESTS: &str = "BENCH_SCALE_TESTS";
/// The address of the cluster that the tests share.
const SHARED_CLUSTER: &str = "BENCH_SCALE_SHARED_CLUSTER";
/// The limit of five digits; compiling this many tests takes minutes.
const TESTS_MAX: usize = 10_000;
/// Uncounted tests before the others, so that every cluster has been used and rewound once.
const WARM_UP_TESTS: usize = 20;
/// Number of tests that is enough for each number of clusters.
const TESTS_BY_CLUSTERS_MAX: usize = 200;

/// Cost of a suite of many tests if each has a pristine cluster of its own, beside one shared cluster; under nextest
#[derive(Debug, Args)]
pub(crate) struct ScaleArguments {
    /// Number of tests
    #[arg(long, default_value_t = 1000)]
    tests: usize,
    /// Number of runs of each suite; the figures are medians
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Number of tests that run at a time [default: one for each core, as nextest does]
    #[arg(long)]
    test_threads: Option<usize>,
    /// Also measure pools of these numbers of clusters, with as many tests at a time; 0 for none
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8")]
    clusters: Vec<usize>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// The result. Suites are in milliseconds from the start of nextest to its end.
#[derive(Debug, Serialize)]
struct Report {
    /// The provider is an emulation of the real thing, so no figure applies to that.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    simulated: bool,
    tests: usize,
    /// The suite on clusters of its own, minus the one on a shared cluster, divided by the number of tests: the median
    /// of all rounds.
    per_test_overhead_ms: f64,
    per_test_overhead_ms_by_round: Vec<f64>,
    empty_suite_ms: f64,
    shared_suite_ms: f64,
    own_suite_ms: f64,
    own_to_shared_ratio: f64,
    /// Clusters that the last round's engine created, and rewinds during its suite.
    boots: u64,
    rewinds: u64,
    /// The sources of the last round's leases, those of the first few tests included.
    served_from: LayerHits,
    release_p50_ms: Option<f64>,
    release_p99_ms: Option<f64>,
    changed_keys_p50: Option<f64>,
    /// The sources of the overhead: processor time of the last round; absent if the system does not report it.
    processor_ms_per_test: Option<ProcessorByWay>,
    by_clusters: Vec<ByClusters>,
    rounds: usize,
    test_threads: usize,
    clusters: usize,
    cores: usize,
    engine_profile: String,
    test_profile: &'static str,
    kubernetes: String,
}

/// Milliseconds of processor time for each test.
#[derive(Clone, Copy, Debug, Serialize)]
struct ProcessorByWay {
    own: ProcessorTime,
    shared: ProcessorTime,
    empty_tests_ms: f64,
    /// All of `own` minus all of `shared`.
    overhead_ms: f64,
}

/// The suite on clusters of its own, with a pool of this many and as many tests at a time.
#[derive(Debug, Serialize)]
struct ByClusters {
    clusters: usize,
    test_threads: usize,
    tests: usize,
    suite_ms: f64,
    ms_per_test: f64,
    tests_per_second: f64,
    boots: u64,
    rewinds: u64,
    /// Tests that found a cluster ready; the others waited for a rewind.
    found_ready: u64,
    clusters_pss_mb: f64,
}

/// The results of one round.
#[derive(Debug)]
struct Round {
    empty_ms: f64,
    shared_ms: f64,
    own_ms: f64,
    rewinds: u64,
    processor: Option<ProcessorByWay>,
    /// At its end.
    status: Status,
}

/// The suites and their surroundings.
struct Suites {
    nextest: PathBuf,
    repository: PathBuf,
    tests: usize,
}

/// Measures and prints.
pub(crate) async fn measure(provider: ProviderName, arguments: ScaleArguments) -> anyhow::Result<()> {
    if arguments.tests < WARM_UP_TESTS || TESTS_MAX < arguments.tests || arguments.rounds == 0 {
        bail!("--tests must be from {WARM_UP_TESTS} to {TESTS_MAX}, and --rounds at least 1");
    }
    let suites = Suites { nextest: nextest()?, repository: repository()?, tests: arguments.tests };
    say("builds the tests, which takes minutes the first time");
    suites.build().await?;
    let mut bench = Bench::prepare(provider, pool_size(kina_engine::cores())).await?;
    let measured = report(&mut bench, &suites, &arguments).await;
    bench.finish(measured, arguments.format).await
}

/// The default pool of an engine with enough memory.
fn pool_size(cores: usize) -> usize {
    cores * 2
}

async fn report(bench: &mut Bench, suites: &Suites, arguments: &ScaleArguments) -> anyhow::Result<Report> {
    let test_threads = arguments.test_threads.unwrap_or_else(kina_engine::cores);
    say("bootstraps");
    bench.warm_up().await?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        say(&format!("round {number} of {}: empty, on a shared cluster, on clusters of their own", arguments.rounds));
        let round = suites.round(bench, test_threads).await?;
        let overhead = round.overhead_ms(suites.tests);
        say(&format!("{overhead:.2} ms more for each test than on a shared cluster"));
        rounds.push(round);
    }
    let clusters = bench.slots;
    let mut by_clusters = Vec::new();
    for clusters in arguments.clusters.iter().copied().filter(|clusters| *clusters != 0) {
        say(&format!("with {clusters} clusters and as many tests at a time"));
        by_clusters.push(suites.with_clusters(bench, clusters).await?);
    }
    Report::new(suites.tests, test_threads, clusters, &rounds, by_clusters)
}

impl Report {
    fn new(
        tests: usize,
        test_threads: usize,
        clusters: usize,
        rounds: &[Round],
        by_clusters: Vec<ByClusters>,
    ) -> anyhow::Result<Self> {
        let last = rounds.last().context("there was no round")?;
        let of = |value: fn(&Round) -> f64| {
            median(&rounds.iter().map(value).collect::<Vec<_>>()).context("there was no round")
        };
        let overheads: Vec<_> = rounds.iter().map(|round| round.overhead_ms(tests)).collect();
        let releases = &last.status.releases;
        let release_ms: Vec<_> = releases.iter().map(|release| release.release_ms).collect();
        let changed_keys: Vec<_> = releases.iter().map(|release| release.changed_keys as f64).collect();
        let (shared_suite_ms, own_suite_ms) = (of(|round| round.shared_ms)?, of(|round| round.own_ms)?);
        Ok(Self {
            simulated: last.status.simulated,
            tests,
            per_test_overhead_ms: median(&overheads).context("there was no round")?,
            per_test_overhead_ms_by_round: overheads,
            empty_suite_ms: of(|round| round.empty_ms)?,
            shared_suite_ms,
            own_suite_ms,
            own_to_shared_ratio: own_suite_ms / shared_suite_ms,
            boots: last.status.counters.boots,
            rewinds: last.rewinds,
            served_from: last.status.counters.hits,
            release_p50_ms: median(&release_ms),
            release_p99_ms: percentile(&release_ms, 0.99),
            changed_keys_p50: median(&changed_keys),
            processor_ms_per_test: last.processor,
            by_clusters,
            rounds: rounds.len(),
            test_threads,
            clusters,
            cores: kina_engine::cores(),
            engine_profile: last.status.engine_profile.clone(),
            test_profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            kubernetes: last.status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default(),
        })
    }
}

impl Round {
    fn overhead_ms(&self, tests: usize) -> f64 {
        (self.own_ms - self.shared_ms) / tests as f64
    }
}

impl Suites {
    async fn build(&self) -> anyhow::Result<()> {
        let status = self.nextest(&["--no-run"]).stdout(Stdio::null()).status().await;
        let status = status.with_context(|| format!("starting {} failed", self.nextest.display()))?;
        if !status.success() {
            bail!("building the tests failed ({status})");
        }
        Ok(())
    }

    /// Only the cluster of the suite under way runs, so that none competes for the processor.
    async fn round(&self, bench: &Bench, test_threads: usize) -> anyhow::Result<Round> {
        bench.engine.stop().await?;
        let before = ProcessorTime::of_processes(&[]);
        let empty_ms = self.run(bench, "empty", self.tests, test_threads, None).await?;
        let empty = self.each(before, ProcessorTime::of_processes(&[]));

        let (cluster, access) = bench.boot_direct_cluster().await?;
        let process_ids = cluster.process_ids();
        let before = ProcessorTime::of_processes(&process_ids);
        let shared_ms = self.run(bench, "shared", self.tests, test_threads, Some(&access)).await;
        let shared = self.each(before, ProcessorTime::of_processes(&process_ids));
        cluster.destroy().await?;
        let shared_ms = shared_ms?;

        bench.warm_up().await?;
        self.run(bench, "own", WARM_UP_TESTS, test_threads, None).await?;
        bench.wait_all_ready().await?;
        let status_before = bench.status(false).await?;
        let before = ProcessorTime::of_engine(&status_before);
        let own_ms = self.run(bench, "own", self.tests, test_threads, None).await?;
        bench.wait_all_ready().await?;
        let status = bench.status(false).await?;
        let own = self.each(before, ProcessorTime::of_engine(&status));
        let rewinds = status.counters.rewinds.saturating_sub(status_before.counters.rewinds);
        let processor = own.zip(shared).zip(empty).map(|((own, shared), empty)| ProcessorByWay {
            own,
            shared,
            empty_tests_ms: empty.clients_ms,
            overhead_ms: own.sum_ms() - shared.sum_ms(),
        });
        Ok(Round { empty_ms, shared_ms, own_ms, rewinds, processor, status })
    }

    async fn with_clusters(&self, bench: &mut Bench, clusters: usize) -> anyhow::Result<ByClusters> {
        let tests = self.tests.min(TESTS_BY_CLUSTERS_MAX);
        bench.engine.stop().await?;
        bench.set_slots(clusters);
        bench.warm_up().await?;
        self.run(bench, "own", WARM_UP_TESTS, clusters, None).await?;
        bench.wait_all_ready().await?;
        let before = bench.status(false).await?;
        let suite_ms = self.run(bench, "own", tests, clusters, None).await?;
        bench.wait_all_ready().await?;
        let status = bench.status(true).await?;
        Ok(ByClusters {
            clusters,
            test_threads: clusters,
            tests,
            suite_ms,
            ms_per_test: suite_ms / tests as f64,
            tests_per_second: tests as f64 * 1e3 / suite_ms,
            boots: status.counters.boots,
            rewinds: status.counters.rewinds.saturating_sub(before.counters.rewinds),
            found_ready: status.counters.hits.ready.saturating_sub(before.counters.hits.ready),
            clusters_pss_mb: status.slots.iter().map(|slot| slot.pss_bytes).sum::<u64>() as f64 / 1e6,
        })
    }

    fn each(&self, before: Option<ProcessorTime>, after: Option<ProcessorTime>) -> Option<ProcessorTime> {
        Some(after?.since(&before?, self.tests))
    }

    /// Runs the first `count` tests of a kind; returns the duration.
    async fn run(
        &self,
        bench: &Bench,
        kind: &str,
        count: usize,
        test_threads: usize,
        shared_cluster: Option<&PathBuf>,
    ) -> anyhow::Result<f64> {
        let (filter, test_threads) = (filter(kind, count), test_threads.to_string());
        let mut command = self.nextest(&["-E", &filter, "--test-threads", &test_threads]);
        command.args(["--hide-progress-bar", "--status-level", "none", "--final-status-level", "fail"]);
        bench.private.prepare_command(command.as_std_mut());
        if let Some(access) = shared_cluster {
            command.env(SHARED_CLUSTER, access);
        }
        let start = Instant::now();
        let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await?;
        let took_ms = start.elapsed().as_secs_f64() * 1e3;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || passed(&said) != Some(count) {
            bail!("the suite `{kind}` did not pass ({}):\n{}", output.status, last_lines(&output.stderr));
        }
        Ok(took_ms)
    }

    /// Always with the same variables, since Cargo would build anew otherwise.
    fn nextest(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.nextest);
        command
            // With the features of the whole workspace: most of it is built already then.
            .args(["nextest", "run", "--workspace", "--test", TEST_TARGET, "--color", "never"])
            .args(profile_arguments())
            .args(arguments)
            .env(TESTS, self.tests.to_string())
            .current_dir(&self.repository)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// The first `count` tests of a kind, whose names are numbers of five digits.
fn filter(kind: &str, count: usize) -> String {
    let mut parts = Vec::new();
    // Digit by digit, with as few patterns as there are digits: 1000 is 00[0-9]…, with all smaller numbers before it.
    let digits = format!("{count:05}");
    for (index, digit) in digits.char_indices().filter(|(_, digit)| *digit != '0') {
        let last = digit.to_digit(10).map_or(0, |digit| digit - 1);
        parts.push(format!("{}[0-{last}][0-9]{{{}}}", &digits[..index], digits.len() - index - 1));
    }
    format!("test(/^{kind}::t({})$/)", parts.join("|"))
}

/// The number of tests in nextest's summary, if all passed.
fn passed(summary: &str) -> Option<usize> {
    let line = summary.lines().rev().find(|line| line.trim_start().starts_with("Summary"))?;
    let (_, counts) = line.split_once(']')?;
    let mut words = counts.split_whitespace();
    let (run, passed) = (words.next()?, words.find_map(|word| word.parse::<usize>().ok())?);
    (run.parse() == Ok(passed) && !counts.contains("failed")).then_some(passed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(count: usize) -> Vec<usize> {
        let filter = filter("own", count);
        let pattern = filter.strip_prefix("test(/").and_then(|rest| rest.strip_suffix("/)")).expect("a pattern");
        let pattern = regex::Regex::new(pattern).expect("a regular expression");
        (0..TESTS_MAX).filter(|number| pattern.is_match(&format!("own::t{number:05}"))).collect()
    }

    #[test]
    fn a_filter_takes_the_first_tests_and_no_others() {
        for count in [1, 9, 10, 20, 200, 999, 1000, 1234, 9_999, 10_000] {
            assert_eq!(matching(count), (0..count).collect::<Vec<_>>(), "{count}");
        }
        assert!(!filter("own", 20).contains("shared"));
    }

    #[test]
    fn a_summary_says_how_many_passed() {
        let line = |counts: &str| format!("noise\n     Summary [   0.013s] {counts}\n");
        assert_eq!(passed(&line("20 tests run: 20 passed, 2981 skipped")), Some(20));
        assert_eq!(passed(&line("1 test run: 1 passed, 0 skipped")), Some(1));
        assert_eq!(passed(&line("20 tests run: 19 passed, 1 failed, 0 skipped")), None);
        assert_eq!(passed(&line("20 tests run: 20 passed (3 slow), 0 skipped")), Some(20));
        assert_eq!(passed("error: no tests to run"), None);
    }
}
