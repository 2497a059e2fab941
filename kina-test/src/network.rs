use std::time::Duration;

use kina_engine::protocol::NetworkChange;

use crate::{Cluster, Error};

/// The network between a test's clients and its cluster.
///
/// For tests of what a controller does when its API server goes away, and of whether it recovers when that is back. All
/// connections with the cluster's address are meant: those of [`Cluster::client`], of other clients made from
/// [`Cluster::config`], and of other processes with [`Cluster::kubeconfig_path`].
///
/// Each change is in force when its method returns: no request that is sent later gets through a network that was cut.
/// It lasts until the next change, or until the lease ends; whoever gets the cluster next has a network in order. Nothing
/// happens to the cluster itself. What it was asked before it carries out, whoever still hears the answer.
///
/// kina's clients do not retry. They wait half a minute for a connection and five for an answer. For a network that drops packets, give the client under test shorter ones, as below.
///
/// ```rust,no_run
/// use std::time::Duration;
///
/// use k8s_openapi::api::core::v1::Namespace;
/// use kube::api::{Api, ListParams};
///
/// #[kina::test]
/// async fn notices_a_partition(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
///     let mut config = cluster.config();
///     config.connect_timeout = Some(Duration::from_secs(1));
///     config.read_timeout = Some(Duration::from_secs(1));
///     let namespaces: Api<Namespace> = Api::all(kube::Client::try_from(config)?);
///
///     cluster.network().drop_packets().await?;
///     assert!(namespaces.list(&ListParams::default()).await.is_err());
///
///     cluster.network().restore().await?;
///     assert!(namespaces.list(&ListParams::default()).await.is_ok());
///     Ok(())
/// }
/// # fn main() {}
/// ```
#[derive(Clone, Debug)]
pub struct Network {
    cluster: Cluster,
}

impl Network {
    pub(crate) fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    /// Cuts the cluster off, as when its API server has crashed: all connections are closed, new ones are reset.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn cut(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Cut).await
    }

    /// Makes a black hole of the network, as a partition or a firewall does: connections stay open and new ones are
    /// accepted, but whatever is sent, in either direction, is lost, and nobody is told.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn drop_packets(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Drop).await
    }

    /// Makes everything arrive so much later, in each direction: an answer comes after twice this time, on a new
    /// connection after four times, because of TLS. Counted in whole milliseconds, rounded up.
    ///
    /// # Errors
    /// If it is more than a minute, if the lease has ended, or if the engine cannot be reached.
    pub async fn delay(&self, delay: Duration) -> Result<(), Error> {
        let delay_ms = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.cluster.change_network(NetworkChange::Delay { delay_ms }).await
    }

    /// Puts the network in order. What was held back arrives at once. Connections that have lost bytes cannot go on, and
    /// are closed.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn restore(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Restore).await
    }
}
