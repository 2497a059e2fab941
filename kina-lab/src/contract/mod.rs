//! `cargo lab contract`: one suite of checks of the trait's promises, the same for all providers.
//!
//! A check knows the provider by its trait and its capabilities, and never by its name. Each has clusters of its own
//! and a bound, and once it has ended in any way, nothing of its clusters may be left.
//!
//! A provider may fail, as long as it says so in a way that an engine can act on. So a check that ends with a failure for
//! which an engine would make another cluster, or that the user can repair, is repeated, and the report tells why.
//!
//! - `checks`: the checks. `failures`: their failures. `scene`: their surroundings. `client`: requests to a cluster.
//!   `report`: the results.

mod checks;
mod client;
mod failures;
mod report;
mod scene;

use std::time::{Duration, Instant};

use anyhow::bail;
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::ProviderName;

pub(super) use self::client::writes_allowed;

use self::checks::{CHECKS, Check, Verdict};
use self::failures::{is_for_the_user, is_replaced};
use self::report::{CheckReport, Outcome, Report};
use self::scene::{Scene, Stage};

/// Time limit for the removal of the remains of a check's clusters.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(180);

/// A provider is of no use if a check fails more often than this, even if each failure may pass.
const REPETITIONS_MAX: usize = 2;

/// Check that a provider keeps the promises that all providers make
#[derive(Debug, Args)]
pub(super) struct ContractArguments {
    /// Only these checks
    #[arg(long, value_delimiter = ',', value_name = "CHECK")]
    only: Vec<String>,
    /// Only name the checks
    #[arg(long)]
    list: bool,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Checks and prints.
pub(super) async fn run(provider: ProviderName, arguments: ContractArguments) -> anyhow::Result<()> {
    let checks = choose(&arguments.only)?;
    if arguments.list {
        checks.iter().for_each(|check| println!("{:24} {}", check.name, check.what));
        return Ok(());
    }
    let stage = Stage::prepare(provider).await?;
    let mut report = Report::new(provider, stage.provider().capabilities().simulated);
    for check in checks {
        report.add(run_check(&stage, check).await);
    }
    print_report(&report, arguments.format)?;
    if report.failed != 0 {
        bail!("{} of {} checks failed: stderr names them, with the reasons", report.failed, report.checks.len());
    }
    Ok(())
}

fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Check>> {
    if names.is_empty() {
        return Ok(CHECKS.iter().collect());
    }
    let find = |name: &String| match CHECKS.iter().find(|check| check.name == *name) {
        Some(check) => Ok(check),
        None => {
            let known: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
            bail!("there is no check `{name}`: the checks are {}", known.join(", "))
        }
    };
    names.iter().map(find).collect()
}

/// Runs a check, and once more after each failure that may pass.
async fn run_check(stage: &Stage, check: &'static Check) -> CheckReport {
    let start = Instant::now();
    let mut passing_failures = Vec::new();
    let (outcome, reason) = loop {
        match try_check(stage, check).await {
            Tried::Ended(outcome, reason) => break (outcome, reason),
            Tried::MayPass(error) => {
                let reason = kina_engine::with_causes(error.as_ref());
                if REPETITIONS_MAX <= passing_failures.len() {
                    break (Outcome::Failed, Some(reason));
                }
                say(&format!("{} is repeated after a failure that may pass: {reason}", check.name));
                passing_failures.push(reason);
            }
        }
    };
    let report = CheckReport {
        name: check.name,
        outcome,
        reason,
        passing_failures,
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    say(&report.to_string());
    report
}

/// The end of one run of a check.
enum Tried {
    Ended(Outcome, Option<String>),
    /// A failure that an engine answers with another cluster, or that the user repairs. Nothing is left of the clusters.
    MayPass(anyhow::Error),
}

async fn try_check(stage: &Stage, check: &Check) -> Tried {
    let scene = Scene::new(stage, check.name);
    // The common state is made before the first check that needs it is timed.
    let prepared = if check.makes_state { Ok(()) } else { stage.state().await.map(drop) };
    let checked = match prepared {
        Ok(()) => tokio::time::timeout(check.timeout, (check.run)(&scene)).await,
        Err(error) => Ok(Err(error.context("no state to start clusters from could be made"))),
    };
    let cleaned = tokio::time::timeout(CLEAN_TIMEOUT, scene.clean()).await;
    let failed = |reason| Tried::Ended(Outcome::Failed, Some(reason));
    match (checked, cleaned) {
        (_, Err(_)) => failed(format!("its end took more than {} s", CLEAN_TIMEOUT.as_secs())),
        (Ok(Err(error)), Ok(Ok(()))) if is_replaced(&error) || is_for_the_user(&error) => Tried::MayPass(error),
        (Ok(Err(error)), _) | (_, Ok(Err(error))) => failed(kina_engine::with_causes(error.as_ref())),
        (Err(_), _) => failed(format!("it did not end within {} s", check.timeout.as_secs())),
        (Ok(Ok(Verdict::Passed)), _) => Tried::Ended(Outcome::Passed, None),
        (Ok(Ok(Verdict::PassedWith(note))), _) => Tried::Ended(Outcome::Passed, Some(note)),
        (Ok(Ok(Verdict::Skipped(reason))), _) => Tried::Ended(Outcome::Skipped, Some(reason)),
    }
}

fn say(text: &str) {
    eprintln!("contract: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_are_chosen_by_their_names() {
        assert_eq!(choose(&[]).expect("all").len(), CHECKS.len());
        let chosen = choose(&[CHECKS[1].name.to_owned()]).expect("one");
        assert_eq!(chosen.iter().map(|check| check.name).collect::<Vec<_>>(), [CHECKS[1].name]);
        let error = choose(&["nonsense".to_owned()]).err().expect("there is none").to_string();
        assert!(error.contains("`nonsense`") && error.contains(CHECKS[0].name), "{error}");
    }

    #[test]
    fn no_two_checks_have_one_name() {
        let names: std::collections::BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), CHECKS.len());
    }
}
