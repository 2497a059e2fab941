//! The measured processes: the work of a test, each in a process of its own.
//!
//! A probe prints the time from its first line to the answer of its first list of namespaces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Subcommand;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::dirt::{self, Dirt};
use super::{crud, fixtures, gateway, stress};
use crate::cli::output::print_progress;
use crate::client::{self, EngineClient, EngineProgram};
use crate::protocol::AcquireRequest;

/// The work of a probe.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Probe {
    /// Lease a cluster, list its namespaces
    Lease {
        /// Waste this much more time, in percent of the duration, to see if the gate notices
        #[arg(long, default_value_t = 0)]
        slowed_percent: u32,
    },
    /// List the namespaces of a cluster that is running already
    Direct {
        /// File with its address and credentials
        access: PathBuf,
    },
    /// Lease a cluster and change many keys in it
    Dirty,
    /// Lease a cluster and create this many ConfigMaps in it
    Fill {
        /// Number of ConfigMaps
        objects: usize,
    },
    /// Lease a cluster and end with this many open watches
    Watch {
        /// Number of watches
        watches: usize,
    },
    /// Lease a cluster and create a CRD of this group in it
    Define {
        /// The group
        group: String,
    },
    /// Lease a cluster and time work with fixtures in it
    Fixtures {
        /// Work to time
        #[command(subcommand)]
        work: fixtures::Work,
    },
    /// Make requests through a lease's gateway, and the same straight to a cluster, by turns
    Crud {
        /// File with the address and credentials of the other cluster
        access: PathBuf,
        /// Number of turns
        runs: usize,
    },
    /// Lease a cluster and make every kind of request in it
    Load(crud::load::LoadArguments),
    /// Lease a cluster, check that it is pristine, and leave something behind
    StressedLease,
    /// Take processor and memory until standard input ends
    Press(stress::PressArguments),
}

/// The result of a probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ProbeReport {
    /// From the first line to the answer, in milliseconds.
    pub(super) took_ms: f64,
    /// The lease, if there was one.
    pub(super) lease: Option<u64>,
    /// The version that the server reports, if it was asked.
    pub(super) kubernetes: Option<String>,
}

/// A running cluster's address and credentials, for a direct probe.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct DirectAccess {
    pub(super) address: SocketAddr,
    pub(super) ca_pem: String,
    pub(super) certificate_pem: String,
    pub(super) key_pem: String,
}

/// Runs a probe; `start` is the time of the first line of its process.
pub(crate) fn run(probe: &Probe, start: Instant) -> anyhow::Result<()> {
    match probe {
        Probe::Load(arguments) => return crud::load::run(arguments),
        Probe::Press(arguments) => return stress::run_press(arguments),
        _ => {}
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        Ok::<_, anyhow::Error>(match probe {
            Probe::Lease { slowed_percent } => {
                serde_json::to_string(&lease(start, &Dirt::None, *slowed_percent).await?)?
            }
            Probe::Dirty => serde_json::to_string(&lease(start, &Dirt::Thorough, 0).await?)?,
            Probe::Fill { objects } => serde_json::to_string(&lease(start, &Dirt::ConfigMaps(*objects), 0).await?)?,
            Probe::Watch { watches } => serde_json::to_string(&lease(start, &Dirt::Watches(*watches), 0).await?)?,
            Probe::Define { group } => serde_json::to_string(&lease(start, &Dirt::Definition(group), 0).await?)?,
            Probe::Direct { access } => serde_json::to_string(&direct(start, access).await?)?,
            Probe::Fixtures { work } => serde_json::to_string(&fixtures::probe(work).await?)?,
            Probe::Crud { access, runs } => serde_json::to_string(&make_requests(access, *runs).await?)?,
            Probe::StressedLease => serde_json::to_string(&stress::run_lease(start).await?)?,
            Probe::Load(_) | Probe::Press(_) => String::new(),
        })
    })?;
    println!("{report}");
    Ok(())
}

async fn make_requests(access: &PathBuf, runs: usize) -> anyhow::Result<gateway::Samples> {
    let direct: DirectAccess = serde_json::from_slice(&std::fs::read(access)?)?;
    let direct = connect(direct.address, &direct.ca_pem, &direct.certificate_pem, &direct.key_pem)?;
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let grant = &lease.grant;
    let through = connect(grant.address, &grant.ca_pem, &grant.client_certificate_pem, &grant.client_key_pem)?;
    gateway::take_samples(&through, &direct, runs, &grant.kubernetes).await
}

async fn lease(start: Instant, dirt: &Dirt<'_>, slowed_percent: u32) -> anyhow::Result<ProbeReport> {
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let grant = &lease.grant;
    let client = connect(grant.address, &grant.ca_pem, &grant.client_certificate_pem, &grant.client_key_pem)?;
    list_namespaces(&client).await?;
    if 0 < slowed_percent {
        tokio::time::sleep(start.elapsed() * slowed_percent / 100).await;
    }
    let took_ms = start.elapsed().as_secs_f64() * 1e3;
    let open = dirt::make(&client, dirt).await?;
    let report = ProbeReport { took_ms, lease: Some(grant.lease), kubernetes: Some(grant.kubernetes.clone()) };
    lease.release();
    drop(open);
    Ok(report)
}

async fn direct(start: Instant, access: &PathBuf) -> anyhow::Result<ProbeReport> {
    let access: DirectAccess = serde_json::from_slice(&std::fs::read(access)?)?;
    let client = connect(access.address, &access.ca_pem, &access.certificate_pem, &access.key_pem)?;
    list_namespaces(&client).await?;
    Ok(ProbeReport { took_ms: start.elapsed().as_secs_f64() * 1e3, lease: None, kubernetes: None })
}

pub(super) fn connect(
    address: SocketAddr,
    ca_pem: &str,
    certificate_pem: &str,
    key_pem: &str,
) -> anyhow::Result<kube::Client> {
    let config = client::kube_config(address, ca_pem, client::auth_info(certificate_pem, key_pem))?;
    Ok(kube::Client::try_from(config)?)
}

async fn list_namespaces(client: &kube::Client) -> anyhow::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let found = namespaces.list(&ListParams::default()).await.context("listing the namespaces failed")?.items.len();
    // `default` and the three of the system.
    if found < 4 {
        bail!("only {found} namespaces were listed");
    }
    Ok(())
}
