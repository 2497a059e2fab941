//! The command lines of etcd and kube-apiserver, wherever they run.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use crate::etcd::{REQUEST_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};

/// etcd's limit on its database, after which it refuses writes.
const DATABASE_BYTES_MAX: u64 = 4 << 30;

/// Names of the files in a cluster's certificate directory.
pub(super) mod file {
    pub(in super::super) const API_CA: &str = "api-ca.crt";
    pub(in super::super) const API_SERVER: &str = "kube-apiserver";
    pub(in super::super) const ETCD_CA: &str = "etcd-ca.crt";
    pub(in super::super) const ETCD_SERVER: &str = "etcd";
    pub(in super::super) const ETCD_CLIENT: &str = "etcd-client";
    pub(in super::super) const SERVICE_ACCOUNT_PRIVATE: &str = "service-account.key";
    pub(in super::super) const SERVICE_ACCOUNT_PUBLIC: &str = "service-account.pub";
}

/// Where a component listens, and how those reach it who run beside it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// What it binds.
    pub(super) listen: SocketAddr,
    /// Where it is from beside it: on loopback.
    pub(super) beside: SocketAddr,
    /// Whether somebody reserves the port, who then holds it too.
    pub(super) shares_port: bool,
}

impl Addresses {
    /// On a reserved port of this machine's loopback.
    pub(super) fn reserved(address: SocketAddr) -> Self {
        Self { listen: address, beside: address, shares_port: true }
    }
}

/// Arguments of etcd.
pub(super) fn etcd_arguments(certificates: &Path, data: &Path, addresses: Addresses) -> Vec<OsString> {
    // A single member has no peers, but listens for them all the same: on any free port, for nobody's certificate.
    let peer_url = "https://127.0.0.1:0";
    let certificate = certificates.join(format!("{}.crt", file::ETCD_SERVER));
    let key = certificates.join(format!("{}.key", file::ETCD_SERVER));
    let ca = certificates.join(file::ETCD_CA);
    Arguments::default()
        .option("name", "kina")
        .option("data-dir", data)
        .option("listen-client-urls", format!("https://{}", addresses.listen))
        .option("advertise-client-urls", format!("https://{}", addresses.beside))
        .option("listen-peer-urls", peer_url)
        .option("initial-advertise-peer-urls", peer_url)
        .option("initial-cluster", format!("kina={peer_url}"))
        .option("cert-file", &certificate)
        .option("key-file", &key)
        .option("trusted-ca-file", &ca)
        .flag("client-cert-auth")
        .option("peer-cert-file", &certificate)
        .option("peer-key-file", &key)
        .option("peer-trusted-ca-file", &ca)
        .flag("peer-client-cert-auth")
        .flag_if(addresses.shares_port, "socket-reuse-port")
        // Nothing here outlives a power cut, so nothing waits for the disk.
        .flag("unsafe-no-fsync")
        // Alone, it elects itself; the usual second of waiting for others serves nobody.
        .option("heartbeat-interval", "10")
        .option("election-timeout", "50")
        .option("max-txn-ops", TRANSACTION_OPERATIONS_MAX.to_string())
        .option("max-request-bytes", REQUEST_BYTES_MAX.to_string())
        .option("quota-backend-bytes", DATABASE_BYTES_MAX.to_string())
        .option("log-level", "warn")
        .into_arguments()
}

/// Arguments of kube-apiserver, whose etcd is at `etcd`.
pub(super) fn api_server_arguments(certificates: &Path, addresses: Addresses, etcd: SocketAddr) -> Vec<OsString> {
    let certificate_of = |name: &str| certificates.join(format!("{name}.crt"));
    let key_of = |name: &str| certificates.join(format!("{name}.key"));
    Arguments::default()
        .option("etcd-servers", format!("https://{etcd}"))
        .option("etcd-cafile", certificates.join(file::ETCD_CA))
        .option("etcd-certfile", certificate_of(file::ETCD_CLIENT))
        .option("etcd-keyfile", key_of(file::ETCD_CLIENT))
        .option("bind-address", addresses.listen.ip().to_string())
        .option("secure-port", addresses.listen.port().to_string())
        .flag_if(addresses.shares_port, "permit-port-sharing")
        .option("tls-cert-file", certificate_of(file::API_SERVER))
        .option("tls-private-key-file", key_of(file::API_SERVER))
        .option("client-ca-file", certificates.join(file::API_CA))
        .option("cert-dir", certificates)
        .option("authorization-mode", "RBAC")
        .flag("allow-privileged")
        .option("service-cluster-ip-range", "10.0.0.0/24")
        .option("service-account-issuer", "https://kubernetes.default.svc.cluster.local")
        .option("service-account-key-file", certificates.join(file::SERVICE_ACCOUNT_PUBLIC))
        .option("service-account-signing-key-file", certificates.join(file::SERVICE_ACCOUNT_PRIVATE))
        // Without kube-controller-manager no namespace gets its `default` service account, so this would refuse pods.
        .option("disable-admission-plugins", "ServiceAccount")
        // It is reached on loopback, which Kubernetes refuses as an endpoint, and nothing in the cluster could reach it.
        .option("endpoint-reconciler-type", "none")
        .option("advertise-address", addresses.beside.ip().to_string())
        .into_arguments()
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn option(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        let mut argument = OsString::from(format!("--{name}="));
        argument.push(value);
        self.0.push(argument);
        self
    }

    fn flag(self, name: &str) -> Self {
        self.option(name, "true")
    }

    fn flag_if(self, is_wanted: bool, name: &str) -> Self {
        if is_wanted { self.flag(name) } else { self }
    }

    fn into_arguments(self) -> Vec<OsString> {
        self.0
    }
}
