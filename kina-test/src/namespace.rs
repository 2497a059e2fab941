use kube::Resource;

use crate::{Cluster, ScopeInTest};

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
    name: String,
    client: kube::Client,
}

impl Namespace {
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let client = cluster.client();
        Self { name: client.default_namespace().to_owned(), client }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A client with this default namespace.
    pub fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The objects of this kind in the namespace, or in the cluster if the kind is not namespaced.
    pub fn api<K>(&self) -> kube::Api<K>
    where
        K: Resource<Scope: ScopeInTest>,
        K::DynamicType: Default,
    {
        K::Scope::api(self.client(), &self.name)
    }
}

impl std::fmt::Debug for Namespace {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Namespace").field("name", &self.name).finish_non_exhaustive()
    }
}
