//! `cargo kina kubeconfig --hold`

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::interrupted::Interruption;
use super::lease_file::{quoted, write_kubeconfig};
use super::output::{Format, print_json, print_lines, print_progress};
use super::situation::Situation;
use super::wanted::WantedLease;
use crate::client::Lease;

/// How often the engine is looked for.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Lease a cluster until Ctrl-C, and print where its kubeconfig is
///
/// What is printed can be pasted into another shell: export KUBECONFIG=…
/// Your own kubeconfig is neither read nor changed. With the lease ends what the kubeconfig is good for, and its file.
///
/// Exit codes: 0 ended by Ctrl-C, SIGTERM or SIGHUP; 1 the engine has ended, or something failed; 2 there is something
/// for you to do.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct KubeconfigArguments {
    /// Hold the lease until Ctrl-C: a kubeconfig is good for as long as somebody does
    #[arg(long, required = true)]
    hold: bool,
    #[command(flatten)]
    wanted: WantedLease,
    /// How to print it
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
        // Whoever waits in vain leaves the queue.
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
