//! The environment that a test runs in.
//!
//! - `call`: from the function's signature to its arguments and its call.

mod call;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kina_engine::{ClientError, Isolation, Profile, WorkspaceSettings};
use tokio::runtime::{Builder, Runtime};

pub use call::{Argument, Arguments, TestFunction, argument};

use crate::acquisition::Wanted;
use crate::{Cluster, Context, Error, Template};

/// Workers of a test that is not an `async fn`: enough for its clients.
const PLAIN_WORKER_THREADS: usize = 1;

/// A test as the attribute describes it. `None` stands for the value in the settings.
#[derive(Clone, Copy, Debug)]
pub struct TestCase {
    /// Module path and name.
    pub name: &'static str,
    /// `CARGO_MANIFEST_DIR` of the package it is in.
    pub package_directory: &'static str,
    /// The requested Kubernetes minor.
    pub kubernetes: Option<&'static str>,
    /// The parts of a cluster to run.
    pub profile: Option<Profile>,
    /// The provider of the cluster.
    pub provider: Option<&'static str>,
    /// The part of a cluster that the test has to itself.
    pub isolation: Option<Isolation>,
    /// The time limit of the test.
    pub timeout_ms: Option<u64>,
    /// The flavor of its runtime.
    pub flavor: Option<Flavor>,
    /// The number of worker threads, for a multi-threaded runtime.
    pub worker_threads: Option<usize>,
    /// The template that the cluster starts from.
    pub template: Option<fn() -> Template>,
}

/// The threads that a test's runtime runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// Only the test's own thread.
    CurrentThread,
    /// Additional worker threads.
    MultiThread,
}

impl TestCase {
    /// A test without options.
    pub const fn new(name: &'static str, package_directory: &'static str) -> Self {
        Self {
            name,
            package_directory,
            kubernetes: None,
            profile: None,
            provider: None,
            isolation: None,
            timeout_ms: None,
            flavor: None,
            worker_threads: None,
            template: None,
        }
    }
}

/// Leases the test's clusters, runs the test and ends the leases, however the test ends.
///
/// # Panics
/// If no cluster is available or the test exceeds its time limit; the message says why and what to do. Also if the test
/// panics.
pub fn run_test<Args, Function>(
    case: TestCase,
    function: Function,
    arguments: Args,
) -> <Function::Output as Future>::Output
where
    Args: Arguments,
    Function: TestFunction<Args, Output: Future>,
{
    let runtime = runtime(&case, case.flavor.unwrap_or(Flavor::CurrentThread), case.worker_threads);
    let finished = runtime.block_on(async {
        let test = LeasedTest::start(&case, arguments.cluster_count()).await;
        let run = async {
            let values = arguments.make(&test.context).await.unwrap_or_else(|error| fail(&case, &error));
            Box::pin(function.call(values)).await
        };
        match test.timeout {
            None => Ok(run.await),
            Some(timeout) => tokio::time::timeout(timeout, run).await.map_err(|_| timeout),
        }
    });
    finished.unwrap_or_else(|timeout| {
        // Does not wait for work that is still running on its threads.
        runtime.shutdown_background();
        panic!("{}", too_slow(&case, timeout))
    })
}

/// Like [`run_test`], for a test that is not an `async fn`: it runs on its thread, beside a runtime that drives its
/// clients.
///
/// Such a test cannot be interrupted. At its time limit its leases end, so that all its later requests fail.
///
/// # Panics
/// As [`run_test`].
pub fn run_plain_test<Args, Function>(case: TestCase, function: Function, arguments: Args) -> Function::Output
where
    Args: Arguments,
    Function: TestFunction<Args>,
{
    let workers = case.worker_threads.or(Some(PLAIN_WORKER_THREADS));
    let runtime = runtime(&case, Flavor::MultiThread, workers);
    let (test, values) = runtime.block_on(async {
        let test = LeasedTest::start(&case, arguments.cluster_count()).await;
        let values = arguments.make(&test.context).await.unwrap_or_else(|error| fail(&case, &error));
        (test, values)
    });
    let is_over = Arc::new(AtomicBool::new(false));
    if let Some(timeout) = test.timeout {
        let (is_over, context) = (is_over.clone(), test.context.clone());
        runtime.spawn(async move {
            tokio::time::sleep(timeout).await;
            is_over.store(true, Ordering::Release);
            eprintln!("kina: {}", too_slow(&case, timeout));
            context.release();
        });
    }
    let entered = runtime.enter();
    let output = function.call(values);
    drop(entered);
    if let (Some(timeout), true) = (test.timeout, is_over.load(Ordering::Acquire)) {
        panic!("{}", too_slow(&case, timeout));
    }
    output
}

/// A test that has its clusters. Ends their leases when the test ends, even if its threads still hold clones.
struct LeasedTest {
    context: Context,
    timeout: Option<Duration>,
}

impl LeasedTest {
    async fn start(case: &TestCase, cluster_count: usize) -> Self {
        Self::try_start(case, cluster_count).await.unwrap_or_else(|error| fail(case, &error))
    }

    async fn try_start(case: &TestCase, cluster_count: usize) -> Result<Self, Error> {
        let settings = WorkspaceSettings::of_this_process().map_err(ClientError::from)?;
        let timeout_ms = case.timeout_ms.or(settings.test_timeout_seconds.map(|seconds| seconds.saturating_mul(1000)));
        let package_directory = package_directory(case);
        let template = case.template.map(|template| template().read(&package_directory)).transpose()?.flatten();
        let wanted = Wanted {
            test: case.name,
            kubernetes: case.kubernetes,
            provider: case.provider,
            profile: case.profile,
            isolation: case.isolation,
            template: template.as_deref(),
            // A test that takes no cluster by name still has one.
            count: cluster_count.max(1),
        };
        let clusters = Cluster::acquire_all(wanted, settings).await?;
        let context = Context::new(case.name, package_directory, clusters);
        Ok(Self { context, timeout: timeout_ms.map(Duration::from_millis) })
    }
}

impl Drop for LeasedTest {
    fn drop(&mut self) {
        self.context.release();
    }
}

/// The package's current directory: nextest can run tests on another machine than they were compiled on.
fn package_directory(case: &TestCase) -> PathBuf {
    let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    now.unwrap_or_else(|| case.package_directory.into())
}

fn runtime(case: &TestCase, flavor: Flavor, worker_threads: Option<usize>) -> Runtime {
    let mut builder = match flavor {
        Flavor::CurrentThread => Builder::new_current_thread(),
        Flavor::MultiThread => Builder::new_multi_thread(),
    };
    if let (Flavor::MultiThread, Some(count)) = (flavor, worker_threads) {
        builder.worker_threads(count);
    }
    builder.enable_all().build().unwrap_or_else(|source| fail(case, &Error::Runtime(source)))
}

fn too_slow(case: &TestCase, timeout: Duration) -> String {
    format!(
        "the test {} exceeded its time limit of {timeout:?}: raise its `timeout` if it needs more time, or find out \
         what it waits for",
        case.name
    )
}

fn fail(case: &TestCase, error: &Error) -> ! {
    let what = match error {
        Error::Argument { .. } | Error::NoClusterLeft { .. } => "could not start",
        _ => "got no cluster",
    };
    panic!("the test {} {what}: {}", case.name, kina_engine::with_causes(error))
}
