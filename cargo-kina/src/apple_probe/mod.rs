//! `cargo kina apple-probe`: the few facts about a Mac that neither documentation nor source tells, and on which kina
//! depends.
//!
//! It needs no Kubernetes: the image of its one machine contains kina's supervisor alone, which answers questions there.
//!
//! - `question`: the questions, and the consequence of each answer. `answers`: those found so far, and their output.
//! - `container`: calls of the program. `machine`: the life of the machine. `guest`: the talk with the program in it.
//! - `visibility`, `host_memory`, `open_files`: single answers.

mod answers;
mod container;
mod guest;
mod host_memory;
mod machine;
mod open_files;
mod question;
mod visibility;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use kina_engine::{EnginePaths, EngineSettings, ProviderName};

use self::answers::Answers;
use self::container::Container;
use self::question::{Finding, Question};
use super::{Format, interrupted};

/// Time limit of each answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Time in which a system that refuses connections to silent ports does so.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(3);

/// Ask this Mac what only a Mac can tell, and show what kina does in each case
///
/// Starts one virtual machine of Apple's `container` with a small program, and needs no binaries of Kubernetes. Starts
/// the service of `container` if it does not run, which downloads a Linux kernel the first time. The machine and its image
/// are removed at the end.
///
/// Each answer is a number, `true`, `false`, or `null`: it did not happen in time, or cannot be known here. All of them
/// have a consequence: the behaviour of kina in that case.
#[derive(Clone, Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct AppleProbeArguments {
    /// Also write question, answer and consequence to this file, separated by tabs, each as soon as it is known
    #[arg(long, value_name = "FILE")]
    answers: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub(super) async fn run(arguments: &AppleProbeArguments) -> anyhow::Result<()> {
    let settings = EngineSettings::of_this_process()?;
    let paths = EnginePaths::from_environment(ProviderName::Apple)?;
    let container = Container::find(&settings).await;
    // Figures of another system than macOS say nothing about a Mac.
    let simulated = !cfg!(target_os = "macos") || container.as_ref().is_ok_and(Container::is_emulator);
    let version = container.as_ref().ok().map(|container| container.version().to_owned());
    let mut answers = Answers::begin(simulated, version, arguments.answers.as_deref())?;
    answers.add(Question::SilentPortMs, within_limit(silent_port()).await)?;
    answers.add(Question::OpenFilesMax, within_limit(open_files::open_files_max()).await)?;
    let reason = match container {
        // Removes the machine before it returns.
        Ok(container) => machine::examine(&container, &paths, &mut answers, interrupted()).await?,
        Err(reason) => Some(reason),
    };
    answers.fill_up(reason.as_deref().unwrap_or("it was not asked"))?;
    answers.print(arguments.format)?;
    if answers.was_interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

async fn silent_port() -> Finding {
    match kina_engine::doctor::silent_port_refusal(REFUSAL_TIMEOUT).await {
        Ok(Some(refusal)) => Finding::milliseconds(refusal),
        Ok(None) => Finding::Never,
        Err(error) => Finding::Unknown(kina_engine::with_causes(&error)),
    }
}

/// Bounds the search for an answer.
async fn within_limit(finding: impl Future<Output = Finding>) -> Finding {
    tokio::time::timeout(ANSWER_TIMEOUT, finding).await.unwrap_or(Finding::Never)
}
