use crate::Cluster;

/// What a test function can take as an argument.
#[diagnostic::on_unimplemented(
    message = "a test cannot take an argument of type `{Self}`",
    label = "kina does not know how to make this",
    note = "a #[kina::test] takes `kube::Client` or `kina::Cluster`, or both"
)]
pub trait FromCluster: Sized {
    /// Whether this is the cluster itself: a test has one.
    #[doc(hidden)]
    const IS_CLUSTER: bool = false;

    /// Makes the argument from the test's cluster.
    fn from_cluster(cluster: &Cluster) -> Self;
}

impl FromCluster for Cluster {
    const IS_CLUSTER: bool = true;

    fn from_cluster(cluster: &Cluster) -> Self {
        cluster.clone()
    }
}

impl FromCluster for kube::Client {
    fn from_cluster(cluster: &Cluster) -> Self {
        cluster.client()
    }
}
