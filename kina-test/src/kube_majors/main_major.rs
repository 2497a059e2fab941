//! The interface that only one major can have: methods of one name.

use super::main::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use super::main::kube::config::AuthInfo;
use super::main::kube::{Api, Client, Config, CustomResourceExt, Resource};
use super::main::{self, ScopeInTest};
use crate::{Cluster, Error, Fixtures, IntoFixtures, Namespace, Template};

const CONNECTED: &str = "a cluster's client is made when the cluster is acquired";
const READABLE: &str = "bug in kina: the engine's certificates can be read";

impl Cluster {
    /// A client with all rights (`system:masters`). It belongs to the runtime on which the cluster was acquired.
    ///
    /// It reaches the cluster through a Unix socket, without TLS, because it and kina's engine are processes of one
    /// user on one machine.
    pub fn client(&self) -> Client {
        main::client(self).expect(CONNECTED)
    }

    /// A configuration for other clients of the same rights: on another runtime, with other timeouts, or in another
    /// form. They reach the cluster by TLS on loopback, with a certificate of this lease.
    pub fn config(&self) -> Config {
        main::config(self).expect(READABLE)
    }

    /// A client that acts as another user, with exactly the rights that RBAC grants.
    ///
    /// The user and the groups are impersonated, as with `kubectl --as`; they need not exist. The API server adds the
    /// group `system:authenticated`. The ClusterRoles `view`, `edit` and `admin` are empty on a cluster without
    /// controllers, because a controller fills them.
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::core::v1::ConfigMap;
    /// use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
    /// use kina::kube::api::{Api, ListParams, PostParams};
    ///
    /// #[kina::test]
    /// async fn developers_may_look(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     let alice = cluster.as_user("alice", ["devs"])?;
    ///     let config_maps: Api<ConfigMap> = Api::default_namespaced(alice);
    ///     let error = config_maps.list(&ListParams::default()).await.unwrap_err();
    ///     assert!(matches!(error, kina::kube::Error::Api(status) if status.code == 403));
    ///
    ///     let role: Role = serde_json::from_value(serde_json::json!({
    ///         "metadata": {"name": "readers"},
    ///         "rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}],
    ///     }))?;
    ///     let binding: RoleBinding = serde_json::from_value(serde_json::json!({
    ///         "metadata": {"name": "devs"},
    ///         "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "readers"},
    ///         "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "devs"}],
    ///     }))?;
    ///     Api::default_namespaced(cluster.client()).create(&PostParams::default(), &role).await?;
    ///     Api::default_namespaced(cluster.client()).create(&PostParams::default(), &binding).await?;
    ///     // The authorizer takes notice a moment later.
    ///     while config_maps.list(&ListParams::default()).await.is_err() {
    ///         tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// If a name is empty or cannot be sent.
    pub fn as_user<const GROUPS: usize>(&self, user: &str, groups: [&str; GROUPS]) -> Result<Client, Error> {
        for name in std::iter::once(&user).chain(&groups) {
            // Without a user, the request would be the administrator's own.
            if name.is_empty() || http::HeaderValue::from_str(name).is_err() {
                return Err(Error::User { user: (*name).to_owned() });
            }
        }
        let mut config = main::plain_config(self);
        config.auth_info = AuthInfo {
            impersonate: Some(user.to_owned()),
            impersonate_groups: Some(groups.map(str::to_owned).into()),
            ..AuthInfo::default()
        };
        main::client_of_lease(self.connector(), &config)
    }

    /// A client that acts as a service account, which need not exist. Otherwise like [`Self::as_user`]; the API server
    /// adds the groups of service accounts.
    ///
    /// # Errors
    /// As for [`Self::as_user`].
    pub fn as_service_account(&self, namespace: &str, name: &str) -> Result<Client, Error> {
        if namespace.is_empty() || name.is_empty() {
            return Err(Error::User { user: format!("{namespace}/{name}") });
        }
        self.as_user(&format!("system:serviceaccount:{namespace}:{name}"), [])
    }
}

impl Namespace {
    /// A client with this default namespace.
    pub fn client(&self) -> Client {
        self.cluster().client()
    }

    /// The objects of this kind in the namespace, or in the cluster if the kind is not namespaced.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope: ScopeInTest>,
        K::DynamicType: Default,
    {
        K::Scope::api(self.client(), self.name())
    }
}

impl Template {
    /// The CRD of this type, which derives `kube::CustomResource`.
    pub fn crd<K: CustomResourceExt>(self) -> Self {
        self.definition_of::<K, main::Major>()
    }
}

impl Fixtures {
    /// Adds a definition.
    #[must_use]
    pub fn definition(self, definition: &CustomResourceDefinition) -> Self {
        // A definition is read without any file, so this cannot fail.
        self.and(definition.into_fixtures().unwrap_or_default())
    }
}
