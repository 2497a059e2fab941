//! `cargo lab contract`: one suite of checks of the trait's promises, the same for all providers.
//!
//! A check knows the provider by its trait and its capabilities, and never by its name. Each has clusters of its own
//! and a bound, and once it has ended in any way, nothing of its clusters may be left.
//!
//! - `checks`: the checks. `scene`: their surroundings. `client`: requests to a cluster. `report`: the results.

mod checks;
mod client;
mod report;
mod scene;

use std::time::{Duration, Instant};

use anyhow::bail;
use cargo_kina::{Format, print_report};
use clap::Args;
use kina_engine::ProviderName;

pub(super) use self::client::writes_allowed;

use self::checks::{CHECKS, Check, Verdict};
use self::report::{CheckReport, Outcome, Report};
use self::scene::{Scene, Stage};

/// Time limit for the removal of the remains of a check's clusters.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(180);

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

async fn run_check(stage: &Stage, check: &Check) -> CheckReport {
    let start = Instant::now();
    let scene = Scene::new(stage, check.name);
    // The common state is made before the first check that needs it is timed.
    let prepared = if check.makes_state { Ok(()) } else { stage.state().await.map(drop) };
    let checked = match prepared {
        Ok(()) => tokio::time::timeout(check.timeout, (check.run)(&scene)).await,
        Err(error) => Ok(Err(error.context("no state to start clusters from could be made"))),
    };
    let cleaned = tokio::time::timeout(CLEAN_TIMEOUT, scene.clean()).await;
    let (outcome, reason) = match (checked, cleaned) {
        (Ok(Err(error)), _) => (Outcome::Failed, Some(kina_engine::with_causes(error.as_ref()))),
        (Err(_), _) => (Outcome::Failed, Some(format!("it did not end within {} s", check.timeout.as_secs()))),
        (_, Ok(Err(error))) => (Outcome::Failed, Some(kina_engine::with_causes(error.as_ref()))),
        (_, Err(_)) => (Outcome::Failed, Some(format!("its end took more than {} s", CLEAN_TIMEOUT.as_secs()))),
        (Ok(Ok(Verdict::Passed)), _) => (Outcome::Passed, None),
        (Ok(Ok(Verdict::PassedWith(note))), _) => (Outcome::Passed, Some(note)),
        (Ok(Ok(Verdict::Skipped(reason))), _) => (Outcome::Skipped, Some(reason)),
    };
    let report = CheckReport {
        name: check.name,
        outcome,
        reason,
        ms: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    say(&report.to_string());
    report
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
