//! What a test runs in.
//!
//! - `call`: from the function's signature to its arguments, and to the call.

mod call;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kina_engine::client::ClientError;
use kina_engine::protocol::{Isolation, Profile};
use kina_engine::settings::WorkspaceSettings;
use tokio::runtime::{Builder, Runtime};

pub use call::{Argument, Arguments, TestFunction, argument};

use crate::cluster::Wanted;
use crate::{Cluster, Context, Error, Template};

/// Of a test that is no `async fn`: enough for its clients.
const PLAIN_WORKER_THREADS: usize = 1;

/// A test as the attribute saw it. `None` is what the settings say.
#[derive(Clone, Copy, Debug)]
pub struct TestCase {
    /// Module path and name.
    pub name: &'static str,
    /// `CARGO_MANIFEST_DIR` of the package it is in.
    pub package_directory: &'static str,
    /// The Kubernetes minor that was asked for.
    pub kubernetes: Option<&'static str>,
    /// How much of a cluster it shall be.
    pub profile: Option<Profile>,
    /// What the cluster shall be made of.
    pub provider: Option<&'static str>,
    /// What the test shall hold alone.
    pub isolation: Option<Isolation>,
    /// How long it may take.
    pub timeout_ms: Option<u64>,
    /// What its runtime is like.
    pub flavor: Option<Flavor>,
    /// How many threads that has, where it has several.
    pub worker_threads: Option<usize>,
    /// What the cluster starts from.
    pub template: Option<fn() -> Template>,
}

/// On which threads a test's runtime runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flavor {
    /// The test's own.
    CurrentThread,
    /// Others beside it.
    MultiThread,
}

impl TestCase {
    /// One that says nothing else.
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

/// Leases what the test needs, runs it, ends the leases however it ends.
///
/// # Panics
/// If there is no cluster to be had, or the test takes longer than it may; the message says why and what to do. And where
/// the test panics.
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
        // Whatever still runs on its threads is not waited for.
        runtime.shutdown_background();
        panic!("{}", too_slow(&case, timeout))
    })
}

/// The same for a test that is no `async fn`: it runs on its thread, beside a runtime that drives its clients.
///
/// Nobody can interrupt it. When its time is over its leases end, so that all it asks of its clusters fails from then on.
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

/// A test that has its clusters. Ends their leases when the test ends, whatever clones its threads still hold.
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
            // Also a test that takes none by name has one.
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

/// Where the package is now: nextest can run tests elsewhere than they were compiled.
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
        "the test {} took longer than it may, which is {timeout:?}: raise its `timeout` if it needs more, or find out \
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
