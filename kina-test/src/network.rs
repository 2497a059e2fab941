use std::time::Duration;

use kina_engine::NetworkChange;

use crate::{Cluster, Error};

/// The network between a test's clients and its cluster.
///
/// For tests of a controller's behaviour while its API server is unreachable, and of its recovery afterwards. It
/// affects all connections to the cluster: those of [`Cluster::client`], which come over a Unix socket, of other clients
/// made from [`Cluster::config`], and of other processes with [`Cluster::kubeconfig_path`].
///
/// Each change is in force when its method returns: no later request passes a network that was cut. It lasts until the
/// next change or the end of the lease; the next lease of the cluster starts with an intact network. The cluster itself
/// is not affected: it carries out requests that it received before, even if the answers are lost.
///
/// kina's clients do not retry. They wait 30 seconds for a connection and five minutes for an answer. For tests with
/// dropped packets, give the client under test shorter timeouts, as below.
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

impl Cluster {
    /// The network between this test's clients and the cluster, to cut it and restore it.
    pub fn network(&self) -> Network {
        Network { cluster: self.clone() }
    }
}

impl Network {
    /// Cuts the cluster off, as if its API server had crashed: all connections are closed, new ones are reset. Clients
    /// get an I/O error of the kind `ConnectionReset`.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn cut(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Cut).await
    }

    /// Drops all packets, as a partition or a firewall does: connections stay open, but all data, in both directions, is
    /// lost without an error. So nothing comes of new connections, until the client's time limit for them ends.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn drop_packets(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Drop).await
    }

    /// Delays everything by this time, in each direction: an answer arrives after twice the delay. On a new connection it
    /// takes three times the delay, or four times with TLS, because of what the client waits for first. Counted in whole
    /// milliseconds, rounded up.
    ///
    /// # Errors
    /// If it is more than a minute, if the lease has ended, or if the engine cannot be reached.
    pub async fn delay(&self, delay: Duration) -> Result<(), Error> {
        let delay_ms = u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        self.cluster.change_network(NetworkChange::Delay { delay_ms }).await
    }

    /// Restores the network. Delayed data arrives at once. Connections that have lost bytes are closed, since they
    /// cannot go on.
    ///
    /// # Errors
    /// If the lease has ended, or the engine cannot be reached.
    pub async fn restore(&self) -> Result<(), Error> {
        self.cluster.change_network(NetworkChange::Restore).await
    }
}
