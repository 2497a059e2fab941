//! The commands that both programs have.

use std::process::ExitCode;

use clap::Subcommand;
use kina_engine::ProviderName;

use super::situation::{Situation, runtime};
use super::{
    apple_probe, assets, doctor, image, kubeconfig, logs, metrics, program, run, status, stop, timings, top, warm,
};

/// A command of users, but for measurements and completions, which differ between the programs.
#[derive(Debug, Subcommand)]
pub enum CommonCommand {
    Run(run::RunArguments),
    Kubeconfig(kubeconfig::KubeconfigArguments),
    Status(status::StatusArguments),
    Top(top::TopArguments),
    Logs(logs::LogsArguments),
    Warm(warm::WarmArguments),
    Stop(stop::StopArguments),
    /// Print the engine's metrics, as OpenMetrics text
    Metrics,
    Doctor(doctor::DoctorArguments),
    AppleProbe(apple_probe::AppleProbeArguments),
    /// The binaries that clusters are made from: list, get, remove them
    #[command(subcommand)]
    Assets(assets::AssetsCommand),
    Timings(timings::TimingsArguments),
    /// The image that clusters in virtual machines and containers boot from
    #[command(subcommand)]
    Image(image::ImageCommand),
}

impl CommonCommand {
    /// Runs the command, reports its error, and returns the program's exit code.
    pub fn main(self, provider: Option<ProviderName>) -> ExitCode {
        let is_run = matches!(self, Self::Run(_));
        match self.run(provider) {
            Ok(exit_code) => exit_code,
            Err(error) if is_run => program::failed(&error, Some(run::EXIT_NO_CLUSTER)),
            Err(error) => program::failed(&error, None),
        }
    }

    fn run(self, provider: Option<ProviderName>) -> anyhow::Result<ExitCode> {
        let situation = || Situation::of_this_process(provider);
        let done = match self {
            Self::Run(arguments) => return runtime()?.block_on(run::run(situation()?, arguments)),
            Self::Doctor(arguments) => return Ok(doctor::main(provider, &arguments)),
            Self::AppleProbe(arguments) => runtime()?.block_on(apple_probe::run(&arguments)),
            Self::Kubeconfig(arguments) => runtime()?.block_on(kubeconfig::run(situation()?, &arguments)),
            Self::Status(arguments) => runtime()?.block_on(status::run(&situation()?, &arguments)),
            Self::Top(arguments) => runtime()?.block_on(top::run(&situation()?, &arguments)),
            Self::Logs(arguments) => logs::run(provider, &arguments),
            Self::Warm(arguments) => runtime()?.block_on(warm::run(situation()?, &arguments)),
            Self::Stop(arguments) => runtime()?.block_on(stop::run(provider, &arguments)),
            Self::Timings(arguments) => runtime()?.block_on(timings::run(provider, arguments)),
            Self::Metrics => runtime()?.block_on(metrics::run(&situation()?)),
            Self::Assets(command) => assets::run(provider, command),
            Self::Image(command) => image::run(command),
        };
        done.map(|()| ExitCode::SUCCESS)
    }
}
