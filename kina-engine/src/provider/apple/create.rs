//! The making of a cluster: its directories, its container with free ports, and its first start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::apple_error::{container_error, service_error};
use super::cluster::{AppleCluster, Parts};
use super::command::ContainerSpec;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::guest;
use super::guest_events::GuestEvents;
use super::image::ClusterImage;
use super::json::Container;
use super::leftovers::Keeper;
use super::make::make;
use super::settings::AppleSettings;
use super::shared::Shared;
use crate::cluster_access::ClusterAccess;
use crate::log_tail::log_tail;
use crate::protocol::Profile;
use crate::provider::access::issue_certificates;
use crate::provider::arguments::{Addresses, EtcdEndpoint, api_server_arguments, etcd_arguments};
use crate::provider::files::{create_private_directory, remove_directory, write_private_file};
use crate::provider::port::ReservedPort;
use crate::provider::tokens::{self, TokenKeys};
use crate::provider::{CreateRequest, ProvidedCluster, ProviderError};

/// Number of containers that are tried for one cluster, with other ports and another name each time.
const TRIES_MAX: usize = 4;
/// The variable that determines the directory of logs.
const CACHE_VARIABLE: &str = "KINA_CACHE_DIR";

/// The description of a cluster that is made from an image.
pub(super) struct Order<'a> {
    pub(super) image: ClusterImage,
    /// The version of the service, if it told that.
    pub(super) service_version: Option<String>,
    pub(super) request: &'a CreateRequest,
}

/// Checks that directories below those of the settings can be mounted, before anything is called.
pub(super) fn expect_mountable(settings: &AppleSettings) -> Result<(), ProviderError> {
    for (directory, variable) in
        [(&settings.cluster_directory, settings.state_variable), (&settings.log_directory, CACHE_VARIABLE)]
    {
        create_private_directory(directory)?;
        mountable(directory, variable)?;
    }
    Ok(())
}

/// Makes a cluster and starts it. A failure leaves nothing but its logs.
pub(super) async fn create(shared: &Arc<Shared>, order: Order<'_>) -> Result<AppleCluster, ProviderError> {
    let request = order.request;
    let state_directory = shared.settings.cluster_directory.join(&request.name);
    let made = create_in(shared, order, &state_directory).await;
    match made {
        Ok(cluster) => match cluster.load(&request.initial_state).await {
            Ok(()) => Ok(cluster),
            Err(error) => {
                if let Err(error) = cluster.destroy().await {
                    tracing::warn!(
                        error = crate::error_text::with_causes(&error),
                        "the remains of a failed boot could not be removed"
                    );
                }
                Err(error)
            }
        },
        Err(error) => {
            // A container that could not be deleted is a leftover, and takes the directory with it.
            let _ = remove_directory(&state_directory);
            Err(error)
        }
    }
}

pub(super) async fn create_in(
    shared: &Arc<Shared>,
    order: Order<'_>,
    state_directory: &Path,
) -> Result<AppleCluster, ProviderError> {
    let Order { image, service_version, request } = order;
    let log_directory = shared.settings.log_directory.join(&request.name);
    let cluster_directory = state_directory.join("cluster");
    create_private_directory(&cluster_directory)?;
    create_private_directory(&log_directory)?;
    let mut access = prepare_directory(&cluster_directory)?;
    let token_keys = || TokenKeys::new(cluster_directory.clone(), log_directory.join(tokens::AUDIT_LOG));
    let mounted_cluster_directory = mountable(&cluster_directory, shared.settings.state_variable)?;
    let mounted_log_directory = mountable(&log_directory, CACHE_VARIABLE)?;
    let mut last = None;
    for attempt in 1..=TRIES_MAX {
        let ports = [ReservedPort::reserve()?, ReservedPort::reserve()?];
        [access.api_address, access.etcd_address] = ports.each_ref().map(ReservedPort::address);
        let spec = ContainerSpec {
            name: shared.owner.container_name(&request.name, attempt),
            labels: shared.owner.labels(&request.name),
            cpus: shared.settings.cpus,
            memory_bytes: shared.settings.memory_bytes,
            api_port: access.api_address.port(),
            etcd_port: access.etcd_address.port(),
            cluster_directory: mounted_cluster_directory.clone(),
            log_directory: mounted_log_directory.clone(),
            image: image.reference.clone(),
        };
        let keeper = shared.leftovers.keep(spec.name.clone(), state_directory.to_owned())?;
        let events = GuestEvents::of_next_start(&spec.name, &log_directory, false);
        let error = match create_and_start(shared, &spec, &image, &request.name, ports).await {
            Ok(container) => {
                let parts = Parts {
                    name: request.name.clone(),
                    keeper,
                    image,
                    access,
                    state_directory: state_directory.to_owned(),
                    token_keys: token_keys(),
                    log_directory,
                    container,
                    made_by: service_version,
                    events,
                };
                return AppleCluster::new(Arc::clone(shared), parts);
            }
            Err(error) => error,
        };
        match error.kind {
            Kind::PortTaken | Kind::Exists | Kind::Foreign => {}
            _ => return Err(explain(shared, &spec, &events, error, keeper).await),
        }
        tracing::info!(%error, "making another container");
        // This one must be gone, because the next uses the same directories.
        keeper.delete().await.map_err(|error| container_error("deleting", &spec.name, error))?;
        last = Some(container_error("starting", &spec.name, error));
    }
    Err(last.unwrap_or(ProviderError::WrongState { state: "not made", wanted: "started" }))
}

async fn create_and_start(
    shared: &Shared,
    spec: &ContainerSpec,
    image: &ClusterImage,
    cluster: &str,
    ports: [ReservedPort; 2],
) -> Result<Container, ContainerError> {
    make(shared, spec, image, cluster).await?;
    // The proxy of its ports binds them now, and does not share them.
    drop(ports);
    shared.cli.start(&spec.name).await
}

/// Explains a failed start, by the log if the machine ended at once, else by the error alone.
async fn explain(
    shared: &Shared,
    spec: &ContainerSpec,
    events: &GuestEvents,
    error: ContainerError,
    keeper: Keeper,
) -> ProviderError {
    let log_directory = &spec.log_directory;
    let end = match error.kind {
        Kind::NotRunning => events.end(&shared.cli).await,
        _ => None,
    };
    let explained = if let Some((Some(component), status)) = end {
        // It logged the reason before the machine was seen to run.
        let log = log_directory.join(format!("{component}.log"));
        ProviderError::Ended { component, status, log_tail: events.log_tail(&shared.cli, &log).await, log }
    } else if error.kind == Kind::NotRunning {
        let log = log_directory.join(guest::SUPERVISOR_LOG);
        let log_tail = match log.exists() {
            true => log_tail(&log),
            false => shared.cli.log_tail(&spec.name).await,
        };
        ProviderError::Ended { component: "the supervisor", status: error.to_string(), log, log_tail }
    } else {
        container_error("starting", &spec.name, error)
    };
    // If this fails, the container becomes a leftover, and is tried again.
    if let Err(error) = keeper.delete().await {
        tracing::warn!(%error, "a container that did not start could not be deleted: trying again later");
    }
    explained
}

/// Fills a cluster's directory with certificates and the arguments of its components.
pub(super) fn prepare_directory(directory: &Path) -> Result<ClusterAccess, ProviderError> {
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let access = issue_certificates(directory, nowhere, nowhere, Profile::Api)?;
    // They listen on all addresses, since a port is published to an address that changes at each start. Among
    // themselves they use loopback.
    let addresses = |port| Addresses {
        listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        beside: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        shares_port: false,
    };
    let (etcd, api_server) = (addresses(guest::ETCD_PORT), addresses(guest::API_PORT));
    let inside = Path::new(guest::CLUSTER_DIRECTORY);
    let audit_log = Path::new(guest::LOG_DIRECTORY).join(tokens::AUDIT_LOG);
    let api_server_arguments =
        api_server_arguments(inside, api_server, EtcdEndpoint::Port(etcd.beside), &audit_log, Profile::Api, None);
    let files = [
        (guest::ETCD_ARGUMENTS, etcd_arguments(inside, Path::new(guest::ETCD_DATA_DIRECTORY), etcd, None)),
        (guest::API_SERVER_ARGUMENTS, api_server_arguments),
    ];
    for (name, arguments) in files {
        let lines: String = arguments.iter().map(|argument| format!("{}\n", argument.to_string_lossy())).collect();
        write_private_file(&directory.join(name), &lines)?;
    }
    Ok(access)
}

/// Resolves the path for a list of options: without links, which only this machine knows, and without characters that
/// have a meaning there. `container` splits at commas and at `=`, of which it silently drops one at the end: that would
/// mount another directory. `variable` determines where the directory is.
fn mountable(directory: &Path, variable: &str) -> Result<PathBuf, ProviderError> {
    let real = std::fs::canonicalize(directory).map_err(|source| ProviderError::Files {
        action: "looking at",
        path: directory.to_owned(),
        source,
    })?;
    match real.to_str() {
        Some(text) if !text.contains(['=', ',', '\n', '"']) => Ok(real),
        _ => {
            let call = format!("mounting {}", real.display());
            let answer = format!(
                "was not tried, because the path has a character that `container` does not take as part of a path; \
                 {variable} determines it"
            );
            Err(service_error(ContainerError::new(Kind::BadMount, call, answer)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::apple::apple_error::AppleError;

    #[test]
    fn components_listen_for_the_machine_and_speak_over_loopback() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        prepare_directory(directory.path()).expect("prepared");
        let arguments = |name| std::fs::read_to_string(directory.path().join(name)).expect("written");
        let etcd = arguments(guest::ETCD_ARGUMENTS);
        let api_server = arguments(guest::API_SERVER_ARGUMENTS);
        for (text, line) in [
            (&etcd, "--listen-client-urls=https://0.0.0.0:2379"),
            (&etcd, "--advertise-client-urls=https://127.0.0.1:2379"),
            (&etcd, "--client-cert-auth=true"),
            (&etcd, "--cert-file=/kina/cluster/etcd.crt"),
            (&etcd, "--data-dir=/kina/state/etcd"),
            (&api_server, "--etcd-servers=https://127.0.0.1:2379"),
            (&api_server, "--bind-address=0.0.0.0"),
            (&api_server, "--secure-port=6443"),
            (&api_server, "--advertise-address=127.0.0.1"),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}:\n{text}");
        }
        // One argument a line: each begins with dashes, and each file that is named exists.
        for line in etcd.lines().chain(api_server.lines()) {
            assert!(line.starts_with("--"), "{line}");
            if let Some((_, file)) = line.split_once("=/kina/cluster/") {
                assert!(directory.path().join(file).exists(), "{line}");
            }
        }
        assert!(!format!("{etcd}{api_server}").contains("reuse-port") && !api_server.contains("port-sharing"));
    }

    #[test]
    fn a_path_that_cannot_be_mounted_is_refused_before_it_is_tried() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let make = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir(&path).expect("made");
            path
        };
        assert!(mountable(&make("a b"), "KINA_RUNTIME_DIR").is_ok());
        for name in ["a,b", "a=b", "a=", "a\"b"] {
            let bad = make(name);
            let error = mountable(&bad, "KINA_RUNTIME_DIR").expect_err("refused");
            assert!(error.is_user_error());
            let text = crate::with_causes(&error);
            assert!(text.contains(&*bad.to_string_lossy()) && text.contains("KINA_RUNTIME_DIR"), "{text}");
            let ProviderError::Own(error) = error else { panic!("{error}") };
            assert!(matches!(error.downcast_ref(), Some(AppleError::Service(error)) if error.kind == Kind::BadMount));
        }
    }
}
