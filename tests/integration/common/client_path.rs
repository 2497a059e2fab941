//! The two paths of a client to its cluster.

use kina::__private as kina_private;
use kina_engine::Lease;
use kube::{Client, Config};

/// A path of clients of kube.
#[derive(Clone, Copy, Debug)]
pub enum ClientPath {
    /// A Unix socket of the engine: the client in the test's own process.
    Unix,
    /// TLS on loopback: clients of a configuration or a kubeconfig.
    Tls,
}

impl ClientPath {
    pub fn client(self, cluster: &kina::Cluster) -> anyhow::Result<Client> {
        match self {
            Self::Unix => Ok(cluster.client()),
            Self::Tls => Ok(Client::try_from(cluster.config())?),
        }
    }

    pub fn as_user<const N: usize>(
        self,
        cluster: &kina::Cluster,
        user: &str,
        groups: [&str; N],
    ) -> anyhow::Result<Client> {
        match self {
            Self::Unix => Ok(cluster.as_user(user, groups)?),
            Self::Tls => {
                let mut config = cluster.config();
                config.auth_info.impersonate = Some(user.to_owned());
                config.auth_info.impersonate_groups = Some(groups.map(str::to_owned).into());
                Ok(Client::try_from(config)?)
            }
        }
    }

    pub fn as_service_account(self, cluster: &kina::Cluster, namespace: &str, name: &str) -> anyhow::Result<Client> {
        match self {
            Self::Unix => Ok(cluster.as_service_account(namespace, name)?),
            Self::Tls => {
                let groups = ["system:serviceaccounts", &format!("system:serviceaccounts:{namespace}")];
                self.as_user(cluster, &format!("system:serviceaccount:{namespace}:{name}"), groups)
            }
        }
    }

    /// A client of a lease, with a changed configuration.
    pub fn client_of(self, lease: &Lease, change: impl FnOnce(&mut Config)) -> anyhow::Result<Client> {
        let mut config = kina_private::config_of_lease(&lease.grant)?;
        change(&mut config);
        match self {
            Self::Unix => Ok(kina_private::client_of_lease(lease.connector(), &config)?),
            Self::Tls => Ok(Client::try_from(config)?),
        }
    }
}

/// Defines each of these tests, which take a cluster and a path, once for each path.
macro_rules! on_both_paths {
    ($($name:ident)*) => {
        crate::common::client_path::on_both_paths! { @of over_unix Unix $($name)* }
        crate::common::client_path::on_both_paths! { @of over_tls Tls $($name)* }
    };
    (@of $module:ident $path:ident $($name:ident)*) => {
        mod $module {
            $(
                #[kina::test]
                async fn $name(cluster: kina::Cluster) -> anyhow::Result<()> {
                    super::$name(cluster, crate::common::client_path::ClientPath::$path).await
                }
            )*
        }
    };
}

/// Defines each of these tests, which take a path and acquire what they need, once for each path.
macro_rules! leasing_on_both_paths {
    ($($name:ident)*) => {
        crate::common::client_path::leasing_on_both_paths! { @of over_unix Unix $($name)* }
        crate::common::client_path::leasing_on_both_paths! { @of over_tls Tls $($name)* }
    };
    (@of $module:ident $path:ident $($name:ident)*) => {
        mod $module {
            $(
                #[tokio::test]
                async fn $name() -> anyhow::Result<()> {
                    super::$name(crate::common::client_path::ClientPath::$path).await
                }
            )*
        }
    };
}

pub(crate) use {leasing_on_both_paths, on_both_paths};
