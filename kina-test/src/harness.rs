//! What a test runs in.

use std::pin::Pin;

use crate::{Cluster, Error, FromCluster};

/// A test as the attribute saw it.
#[derive(Clone, Copy, Debug)]
pub struct TestCase {
    /// Module path and name.
    pub name: &'static str,
    /// `CARGO_MANIFEST_DIR` of the package it is in.
    pub package_directory: &'static str,
    /// The Kubernetes minor that was asked for.
    pub kubernetes: Option<&'static str>,
    /// What the cluster shall be made of.
    pub provider: Option<&'static str>,
}

/// A test function of some signature.
pub trait TestFunction<Arguments> {
    /// What it returns.
    type Output;

    /// Calls it with arguments made from the cluster.
    fn call(self, cluster: &Cluster) -> Pin<Box<dyn Future<Output = Self::Output>>>;
}

/// Leases a cluster, runs the test on it, ends the lease however the test ends.
///
/// # Panics
/// If there is no cluster to be had; the message says why and what to do. And where the test panics.
pub fn run_test<Arguments, Function: TestFunction<Arguments>>(case: TestCase, function: Function) -> Function::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.unwrap_or_else(|source| fail(case, &Error::Runtime(source)));
    runtime.block_on(async {
        let acquired = Cluster::acquire_for(case.name, case.kubernetes, case.provider).await;
        let cluster = EndedWithTheTest(acquired.unwrap_or_else(|error| fail(case, &error)));
        function.call(&cluster.0).await
    })
}

/// Ends the lease when the test does, whatever clones of the cluster its threads still hold.
struct EndedWithTheTest(Cluster);

impl Drop for EndedWithTheTest {
    fn drop(&mut self) {
        self.0.release();
    }
}

fn fail(case: TestCase, error: &Error) -> ! {
    panic!("the test {} got no cluster: {}", case.name, kina_engine::with_causes(error))
}

impl<First, Test> TestFunction<(First,)> for fn(First) -> Test
where
    First: FromCluster,
    Test: Future + 'static,
{
    type Output = Test::Output;

    fn call(self, cluster: &Cluster) -> Pin<Box<dyn Future<Output = Self::Output>>> {
        Box::pin(self(First::from_cluster(cluster)))
    }
}

impl<First, Second, Test> TestFunction<(First, Second)> for fn(First, Second) -> Test
where
    First: FromCluster,
    Second: FromCluster,
    Test: Future + 'static,
{
    type Output = Test::Output;

    fn call(self, cluster: &Cluster) -> Pin<Box<dyn Future<Output = Self::Output>>> {
        const { assert!(!(First::IS_CLUSTER && Second::IS_CLUSTER), "a test has one cluster: take one kina::Cluster") }
        Box::pin(self(First::from_cluster(cluster), Second::from_cluster(cluster)))
    }
}
