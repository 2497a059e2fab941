//! `cargo kina stop`

use clap::Args;
use kina_engine::ProviderName;

use super::output::print_lines;
use super::situation::client_of;

/// End the engine with all its processes
///
/// Without --provider, the engines of all providers. Tests that are running lose their clusters; the next test starts a
/// new engine.
#[derive(Clone, Debug, Args)]
pub struct StopArguments {
    /// Only stop clusters without a lease, and keep their states: the engine goes on
    #[arg(long)]
    idle: bool,
}

/// Runs the command.
pub(super) async fn run(provider: Option<ProviderName>, arguments: &StopArguments) -> anyhow::Result<()> {
    let providers = provider.map_or(ProviderName::ALL.to_vec(), |provider| vec![provider]);
    let mut was_running = false;
    for provider in providers {
        let client = client_of(provider)?;
        was_running |= if arguments.idle { client.stop_idle_clusters().await? } else { client.stop().await? };
    }
    print_lines([match (was_running, arguments.idle) {
        (false, _) => "no engine is running",
        (true, false) => "the engine has ended",
        (true, true) => "idle clusters are stopped",
    }])
}
