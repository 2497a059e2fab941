use crate::Cluster;

/// The namespace of a test.
///
/// With `isolation = "cluster"` it is `default`, in a cluster that no other test uses. With `isolation = "namespace"`
/// it was created for this lease and is removed with it.
///
/// ```rust,test_harness
/// use k8s_openapi::api::core::v1::{ConfigMap, Node};
///
/// #[kina::test]
/// async fn everything_starts_empty(namespace: kina::Namespace) -> Result<(), kube::Error> {
///     assert!(namespace.api::<ConfigMap>().list(&Default::default()).await?.items.is_empty());
///     assert!(namespace.api::<Node>().list(&Default::default()).await?.items.is_empty()); // in no namespace
///     Ok(())
/// }
/// ```
#[derive(Clone)]
pub struct Namespace {
    cluster: Cluster,
}

impl Namespace {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.cluster.default_namespace()
    }

    #[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
    pub(crate) fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Namespace").field("name", &self.name()).finish_non_exhaustive()
    }
}
