//! `cargo kina kubeconfig --hold`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use kina_engine::Lease;
use serde::Serialize;

use super::interrupted::Interruption;
use super::lease_file::{quoted, write_kubeconfig};
use super::output::{Format, print_json, print_lines, print_progress};
use super::situation::Situation;
use super::wanted::WantedLease;

/// The interval of checks that the engine still runs.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Lease a cluster until Ctrl-C, and print the path of its kubeconfig
///
/// The output can be pasted into another shell: export KUBECONFIG=…
/// Your own kubeconfig is neither read nor changed. When the lease ends, the kubeconfig's file is removed and its
/// credentials become invalid.
///
/// Exit codes: 0 ended by Ctrl-C, SIGTERM or SIGHUP; 1 the engine has ended, or an unexpected failure; 2 an error that
/// you can fix.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct KubeconfigArguments {
    /// Hold the lease until Ctrl-C: the kubeconfig is valid as long as the lease
    #[arg(long, required = true)]
    hold: bool,
    #[command(flatten)]
    wanted: WantedLease,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Serialize)]
struct Held<'a> {
    kubeconfig: PathBuf,
    server: String,
    cluster: &'a str,
    kubernetes: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
}

/// Runs the command.
pub(super) async fn run(situation: Situation, arguments: &KubeconfigArguments) -> anyhow::Result<()> {
    let engine = situation.client()?;
    let mut interruption = Interruption::watch();
    let request = arguments.wanted.request("cargo kina kubeconfig", situation.settings)?;
    let lease = tokio::select! {
        // An interrupted client leaves the queue.
        () = interruption.happens() => return Ok(()),
        lease = request.acquire(&engine) => lease?,
    };
    let kubeconfig = write_kubeconfig(&lease.grant)?;
    print_held(&lease, kubeconfig, arguments.format)?;
    loop {
        tokio::select! {
            () = interruption.happens() => return Ok(()),
            () = tokio::time::sleep(POLL_INTERVAL) => {
                anyhow::ensure!(!lease.has_ended(), "the engine has ended, and with it the cluster {}", lease.grant.cluster);
            }
        }
    }
}

fn print_held(lease: &Lease, kubeconfig: PathBuf, format: Format) -> anyhow::Result<()> {
    let grant = &lease.grant;
    match format {
        Format::Json => print_json(&Held {
            kubeconfig,
            server: format!("https://{}", grant.address),
            cluster: &grant.cluster,
            kubernetes: &grant.kubernetes,
            namespace: grant.namespace.as_deref(),
        })?,
        Format::Text => print_lines([format!("export KUBECONFIG={}", quoted(&kubeconfig))])?,
    }
    print_progress(&format!("Kubernetes {} on {}, until Ctrl-C", grant.kubernetes, grant.cluster));
    Ok(())
}
