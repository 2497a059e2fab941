//! The measured processes of the laboratory's scenarios: the work of a test, each in a process of its own.

use std::path::PathBuf;
use std::time::Instant;

use cargo_kina::bench::dirt::Dirt;
use cargo_kina::bench::probe::{self, LeaseProbe, lease, print};
use cargo_kina::output::print_progress;
use clap::Subcommand;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram};

use super::{crud, fixtures, gateway, silent_ports, stress};
use crate::kube_client::{connect, of_lease};

pub(super) use cargo_kina::bench::probe::{DirectAccess, ProbeReport};

/// The work of a probe.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Probe {
    #[command(flatten)]
    Lease(LeaseProbe),
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
    /// Make requests through a lease's gateway, by its socket and by TLS, and the same straight to a cluster, by turns
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
    /// Take a sample of clusters for each line of standard input
    SilentPorts,
    /// Take processor and memory until standard input ends
    Press(stress::PressArguments),
}

/// Runs a probe.
pub(crate) fn run(probe: &Probe) -> anyhow::Result<()> {
    let start = Instant::now();
    match probe {
        Probe::Lease(probe) => probe::run(probe),
        Probe::Watch { watches } => print(lease(start, &Dirt::Watches(*watches), 0)),
        Probe::Define { group } => print(lease(start, &Dirt::Definition(group), 0)),
        Probe::Fixtures { work } => print(fixtures::probe(work)),
        Probe::Crud { access, runs } => print(make_requests(access, *runs)),
        Probe::Load(arguments) => crud::load::run(arguments),
        Probe::StressedLease => print(stress::run_lease(start)),
        Probe::SilentPorts => silent_ports::serve(),
        Probe::Press(arguments) => stress::run_press(arguments),
    }
}

async fn make_requests(access: &PathBuf, runs: usize) -> anyhow::Result<gateway::Samples> {
    let direct: DirectAccess = serde_json::from_slice(&std::fs::read(access)?)?;
    let direct = connect(direct.address, &direct.ca_pem, &direct.certificate_pem, &direct.key_pem)?;
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let grant = &lease.grant;
    let tls = connect(grant.address, &grant.ca_pem, &grant.client_certificate_pem, &grant.client_key_pem)?;
    let clients = gateway::Clients { client: of_lease(&lease)?, tls, direct };
    gateway::take_samples(&clients, runs, &grant.kubernetes).await
}
