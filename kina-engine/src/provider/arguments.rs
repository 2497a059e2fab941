//! The command lines of a cluster's components, wherever they run.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use crate::etcd::{REQUEST_BYTES_MAX, TRANSACTION_OPERATIONS_MAX};
use crate::protocol::Profile;
use crate::sabotage::{self, Part};

/// etcd's limit on its database, after which it refuses writes.
const DATABASE_BYTES_MAX: u64 = 4 << 30;
/// Generous, because each client has a server on loopback almost to itself.
pub(super) const CLIENT_REQUESTS_PER_SECOND_MAX: u32 = 5000;
/// Silence of a simulated node that is tolerated: a hundred years.
const NODE_SILENCE_MAX: &str = "876000h";
/// Addresses of simulated pods. Nothing there can be reached.
const SIMULATED_POD_ADDRESSES: &str = "10.64.0.0/12";
const SIMULATED_NODE_ADDRESS: &str = "10.80.0.1";

/// Names of the files in a cluster's certificate directory.
pub(super) mod file {
    pub(in super::super) const API_CA: &str = "api-ca.crt";
    pub(in super::super) const API_SERVER: &str = "kube-apiserver";
    pub(in super::super) const ETCD_CA: &str = "etcd-ca.crt";
    pub(in super::super) const ETCD_SERVER: &str = "etcd";
    pub(in super::super) const ETCD_CLIENT: &str = "etcd-client";
    pub(in super::super) const SERVICE_ACCOUNT_PRIVATE: &str = "service-account.key";
    pub(in super::super) const SERVICE_ACCOUNT_PUBLIC: &str = "service-account.pub";
    pub(in super::super) const AUDIT_POLICY: &str = "audit-policy.json";
    pub(in super::super) const CONTROLLER_MANAGER_KUBECONFIG: &str = "kube-controller-manager.kubeconfig";
    pub(in super::super) const SCHEDULER_KUBECONFIG: &str = "kube-scheduler.kubeconfig";
    pub(in super::super) const SCHEDULER_CONFIGURATION: &str = "kube-scheduler.json";
    pub(in super::super) const KWOK_KUBECONFIG: &str = "kwok.kubeconfig";
    pub(in super::super) const KWOK_CONFIGURATION: &str = "kwok.yaml";
}

/// The addresses at which a component listens and at which its neighbours reach it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    /// The address that it binds.
    pub(super) listen: SocketAddr,
    /// Its address for components beside it, on loopback.
    pub(super) beside: SocketAddr,
    /// Set if the port is reserved, so that another socket holds it too.
    pub(super) shares_port: bool,
}

impl Addresses {
    /// On a reserved port of this machine's loopback.
    pub(super) fn reserved(address: SocketAddr) -> Self {
        Self { listen: address, beside: address, shares_port: true }
    }
}

/// The way of an API server to its etcd.
#[derive(Clone, Copy, Debug)]
pub(super) enum EtcdEndpoint<'a> {
    /// A port, with TLS.
    #[cfg_attr(
        not(any(test, feature = "apple", target_os = "macos")),
        expect(dead_code, reason = "of the providers so far, only `apple` has it")
    )]
    Port(SocketAddr),
    /// A Unix socket without TLS, in the directory in which both are started. No other user can enter that.
    Socket(&'a str),
}

/// Arguments of etcd, which also listens on the Unix socket of this name, if there is one.
pub(super) fn etcd_arguments(
    certificates: &Path,
    data: &Path,
    addresses: Addresses,
    socket: Option<&str>,
) -> Vec<OsString> {
    // A single member listens for peers although it has none: on any free port, and no certificate is accepted there.
    let peer_url = "https://127.0.0.1:0";
    let certificate = certificates.join(format!("{}.crt", file::ETCD_SERVER));
    let key = certificates.join(format!("{}.key", file::ETCD_SERVER));
    let ca = certificates.join(file::ETCD_CA);
    let port = format!("https://{}", addresses.listen);
    let listen_urls = socket.map_or(port.clone(), |socket| format!("{port},unix://{socket}"));
    Arguments::default()
        .option("name", "kina")
        .option("data-dir", data)
        .option("listen-client-urls", listen_urls)
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
        // Alone, it elects itself; waiting a second for others, as is usual, would be of no use.
        .option("heartbeat-interval", "10")
        .option("election-timeout", "50")
        .option("max-txn-ops", TRANSACTION_OPERATIONS_MAX.to_string())
        .option("max-request-bytes", REQUEST_BYTES_MAX.to_string())
        .option("quota-backend-bytes", DATABASE_BYTES_MAX.to_string())
        .option("log-level", "warn")
        .into_arguments()
}

/// Arguments of kube-apiserver, whose etcd is at `etcd`. It serves profiles at the Unix socket `debug_socket`. Without
/// one it serves them in its API, where any administrator can also set its verbosity and reset its metrics.
pub(super) fn api_server_arguments(
    certificates: &Path,
    addresses: Addresses,
    etcd: EtcdEndpoint<'_>,
    audit_log: &Path,
    profile: Profile,
    debug_socket: Option<&Path>,
) -> Vec<OsString> {
    let certificate_of = |name: &str| certificates.join(format!("{name}.crt"));
    let key_of = |name: &str| certificates.join(format!("{name}.key"));
    let arguments = match profile {
        // Without kube-controller-manager no namespace gets its `default` service account, so the plugin would refuse
        // pods.
        Profile::Api => Arguments::default().option("disable-admission-plugins", "ServiceAccount"),
        Profile::Controllers => Arguments::default(),
    };
    let arguments = match debug_socket {
        Some(path) => arguments.option("debug-socket-path", path),
        None => arguments,
    };
    let arguments = match etcd {
        EtcdEndpoint::Port(address) => arguments
            .option("etcd-servers", format!("https://{address}"))
            .option("etcd-cafile", certificates.join(file::ETCD_CA))
            .option("etcd-certfile", certificate_of(file::ETCD_CLIENT))
            .option("etcd-keyfile", key_of(file::ETCD_CLIENT)),
        EtcdEndpoint::Socket(socket) => arguments.option("etcd-servers", format!("unix:{socket}")),
    };
    arguments
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
        .option("audit-policy-file", certificates.join(file::AUDIT_POLICY))
        .option("audit-log-path", audit_log)
        // Kubernetes refuses its loopback address as an endpoint, and nothing in the cluster could reach it.
        .option("endpoint-reconciler-type", "none")
        .option("profiling", (debug_socket.is_none() || sabotage::is_off(Part::DebugEndpoints)).to_string())
        // A list at an old revision must come from storage, where old revisions are compacted with each lease.
        .option("feature-gates", format!("ListFromCacheSnapshot={}", sabotage::is_off(Part::History)))
        .option("advertise-address", addresses.beside.ip().to_string())
        .into_arguments()
}

/// Arguments of kube-controller-manager.
pub(super) fn controller_manager_arguments(certificates: &Path) -> Vec<OsString> {
    Arguments::default()
        .option("kubeconfig", certificates.join(file::CONTROLLER_MANAGER_KUBECONFIG))
        // It serves no requests: kina judges it by its effects.
        .option("secure-port", "0")
        .option("leader-elect", "false")
        .option("root-ca-file", certificates.join(file::API_CA))
        .option("service-account-private-key-file", certificates.join(file::SERVICE_ACCOUNT_PRIVATE))
        // Each controller acts under its usual name, which webhooks and policies may check.
        .flag("use-service-account-credentials")
        .option("kube-api-qps", CLIENT_REQUESTS_PER_SECOND_MAX.to_string())
        .option("kube-api-burst", CLIENT_REQUESTS_PER_SECOND_MAX.to_string())
        // Simulated nodes report once that they are ready and then write nothing, so that an idle cluster stays
        // unchanged.
        .option("node-monitor-grace-period", NODE_SILENCE_MAX)
        .option("node-startup-grace-period", NODE_SILENCE_MAX)
        .into_arguments()
}

/// Arguments of kube-scheduler.
pub(super) fn scheduler_arguments(certificates: &Path) -> Vec<OsString> {
    Arguments::default()
        .option("config", certificates.join(file::SCHEDULER_CONFIGURATION))
        .option("secure-port", "0")
        .into_arguments()
}

/// Arguments of kwok, which simulates the nodes.
pub(super) fn kwok_arguments(certificates: &Path) -> Vec<OsString> {
    Arguments::default()
        .option("kubeconfig", certificates.join(file::KWOK_KUBECONFIG))
        .option("config", certificates.join(file::KWOK_CONFIGURATION))
        // Nodes that a test makes come to life as well.
        .flag("manage-all-nodes")
        // Without Leases there is nothing to renew.
        .option("node-lease-duration-seconds", "0")
        .option("cidr", SIMULATED_POD_ADDRESSES)
        .option("node-ip", SIMULATED_NODE_ADDRESS)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn starting(arguments: &[OsString], prefix: &str) -> Vec<String> {
        let texts = arguments.iter().map(|argument| argument.to_string_lossy().into_owned());
        texts.filter(|text| text.starts_with(prefix)).collect()
    }

    #[test]
    fn an_api_server_reaches_its_etcd_by_a_socket_without_certificates_or_by_a_port_with_them() {
        let (directory, port) = (Path::new("/c"), SocketAddr::from(([127, 0, 0, 1], 7)));
        let api_server = |etcd| {
            let addresses = Addresses::reserved(SocketAddr::from(([127, 0, 0, 1], 8)));
            api_server_arguments(directory, addresses, etcd, Path::new("/c/audit"), Profile::Api, None)
        };
        let of_socket = api_server(EtcdEndpoint::Socket("etcd.sock"));
        assert_eq!(starting(&of_socket, "--etcd-"), ["--etcd-servers=unix:etcd.sock"]);
        let of_port = starting(&api_server(EtcdEndpoint::Port(port)), "--etcd-");
        assert_eq!(of_port[0], "--etcd-servers=https://127.0.0.1:7");
        assert_eq!(of_port.len(), 4, "{of_port:?}");
        let listening = |socket| {
            let arguments = etcd_arguments(directory, Path::new("/c/etcd"), Addresses::reserved(port), socket);
            starting(&arguments, "--listen-client-urls=")
        };
        assert_eq!(listening(None), ["--listen-client-urls=https://127.0.0.1:7"]);
        assert_eq!(listening(Some("etcd.sock")), ["--listen-client-urls=https://127.0.0.1:7,unix://etcd.sock"]);
    }
}
