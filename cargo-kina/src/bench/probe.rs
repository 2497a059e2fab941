//! The measured processes: the work of a test, each in a process of its own.
//!
//! A probe prints the time from the first line of its work to the answer of its first list of namespaces.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Subcommand;
use kina_engine::{AcquireRequest, EngineClient, EngineProgram};
use serde::{Deserialize, Serialize};

use super::api_server::ApiServer;
use super::dirt::{self, Dirt};
use crate::output::print_progress;

/// The work of a probe of leases.
#[derive(Clone, Debug, Subcommand)]
pub enum LeaseProbe {
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
}

/// The result of a probe.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProbeReport {
    /// From the first line of its work to the answer, in milliseconds.
    pub took_ms: f64,
    /// The lease, if there was one.
    pub lease: Option<u64>,
    /// The version that the server reports, if it was asked.
    pub kubernetes: Option<String>,
}

/// A running cluster's address and credentials, for a direct probe.
#[derive(Clone, Serialize, Deserialize)]
pub struct DirectAccess {
    pub address: SocketAddr,
    pub ca_pem: String,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Runs a probe.
pub fn run(probe: &LeaseProbe) -> anyhow::Result<()> {
    // The command line, which no test has, is behind it.
    let start = Instant::now();
    print(async {
        match probe {
            LeaseProbe::Lease { slowed_percent } => lease(start, &Dirt::None, *slowed_percent).await,
            LeaseProbe::Dirty => lease(start, &Dirt::Thorough, 0).await,
            LeaseProbe::Fill { objects } => lease(start, &Dirt::ConfigMaps(*objects), 0).await,
            LeaseProbe::Direct { access } => direct(start, access).await,
        }
    })
}

/// Prints the report of a probe.
pub fn print(probe: impl Future<Output = anyhow::Result<impl Serialize>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{}", serde_json::to_string(&runtime.block_on(probe)?)?);
    Ok(())
}

/// Leases a cluster, and leaves `dirt` in it.
pub async fn lease(start: Instant, dirt: &Dirt<'_>, slowed_percent: u32) -> anyhow::Result<ProbeReport> {
    let engine = EngineClient::from_environment(EngineProgram::ThisExecutable)?;
    let request = AcquireRequest::from_environment("cargo kina bench", None)?;
    let lease = engine.acquire(request, &print_progress).await?;
    let grant = &lease.grant;
    let server = ApiServer::of_lease(&lease);
    list_namespaces(&server).await?;
    if 0 < slowed_percent {
        tokio::time::sleep(start.elapsed() * slowed_percent / 100).await;
    }
    let took_ms = start.elapsed().as_secs_f64() * 1e3;
    let open = dirt::make(&server, dirt).await?;
    let report = ProbeReport { took_ms, lease: Some(grant.lease), kubernetes: Some(grant.kubernetes.clone()) };
    lease.release();
    drop(open);
    Ok(report)
}

async fn direct(start: Instant, access: &PathBuf) -> anyhow::Result<ProbeReport> {
    let access: DirectAccess = serde_json::from_slice(&std::fs::read(access)?)?;
    let server = ApiServer::new(access.address, &access.ca_pem, &access.certificate_pem, &access.key_pem)?;
    list_namespaces(&server).await?;
    Ok(ProbeReport { took_ms: start.elapsed().as_secs_f64() * 1e3, lease: None, kubernetes: None })
}

async fn list_namespaces(server: &ApiServer) -> anyhow::Result<()> {
    let found = server.count("/api/v1/namespaces").await.context("listing the namespaces failed")?;
    // `default` and the three of the system.
    ensure!(4 <= found, "only {found} namespaces were listed");
    Ok(())
}
