use kube::Resource;
use kube::core::{ClusterResourceScope, NamespaceResourceScope};

/// The scope of a kind: namespaced or cluster-wide. Known for every kind that has a Rust type.
#[diagnostic::on_unimplemented(
    message = "kina cannot tell whether these objects are in a namespace or in the cluster",
    label = "its scope is `{Self}`",
    note = "take a `kube::Client` and make the `Api` from it"
)]
pub trait ScopeInTest: Sized + sealed::Sealed {
    #[doc(hidden)]
    fn api<K>(client: kube::Client, namespace: &str) -> kube::Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default;
}

impl ScopeInTest for NamespaceResourceScope {
    fn api<K>(client: kube::Client, namespace: &str) -> kube::Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default,
    {
        kube::Api::namespaced(client, namespace)
    }
}

impl ScopeInTest for ClusterResourceScope {
    fn api<K>(client: kube::Client, _namespace: &str) -> kube::Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default,
    {
        kube::Api::all(client)
    }
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::NamespaceResourceScope {}
    impl Sealed for super::ClusterResourceScope {}
}
