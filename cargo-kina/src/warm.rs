//! `cargo kina warm`

use clap::Args;

use super::output::print_progress;
use super::situation::Situation;
use super::status;
use super::wanted::WantedCluster;

/// Boot clusters until this many are ready
#[derive(Clone, Debug, Args)]
pub struct WarmArguments {
    /// Number of clusters
    count: usize,
    #[command(flatten)]
    wanted: WantedCluster,
}

/// Runs the command.
pub(super) async fn run(situation: Situation, arguments: &WarmArguments) -> anyhow::Result<()> {
    let engine = situation.client()?;
    let request = arguments.wanted.request("cargo kina warm", situation.settings);
    engine.warm(arguments.count, request, &print_progress).await?;
    status::print(&[engine]).await
}
