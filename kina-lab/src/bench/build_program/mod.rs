//! `cargo lab bench build-program`: the price of building the program, now and at an earlier commit.
//!
//! Both commits are checked out into temporary worktrees and built by turns, by one compiler: everything from nothing, and then
//! the workspace's own packages again while everything else is built already. What counts is processor time, of the compiler,
//! of build scripts and of the linker; other work on the machine changes it little.
//!
//! The profile is `dev` unless another is named. In a profile with link-time optimization, the workspace's own packages are
//! charged with the code of all dependencies.
//!
//! - `program`: the package with the program in a commit, and its builds.
//! - `worktree`: a commit, checked out beside the repository and removed again.

mod program;
mod worktree;

use std::path::Path;

use anyhow::bail;
use cargo_kina::bench::Output;
use clap::Args;
use serde_json::json;

use self::program::Program;
use self::worktree::Worktree;
use super::cargo::build_directory;
use super::packages::repository;
use super::report::{Draft, Measurement, Report};
use super::say;
use super::statistics::median;

const ABOUT: &str = "processor time to build the program of users, beside that of an earlier commit";

/// Processor time to build `cargo-kina`, beside that of an earlier commit
#[derive(Debug, Args)]
pub(crate) struct BuildProgramArguments {
    /// The earlier commit
    #[arg(long, value_name = "REV")]
    before: String,
    /// The later commit
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    after: String,
    /// Number of builds of the workspace's own packages at each commit, dependencies built already
    #[arg(long, default_value_t = 3)]
    samples: usize,
    /// Number of builds of everything from nothing at each commit
    #[arg(long, default_value_t = 1)]
    total_samples: usize,
    /// Cargo's profile
    #[arg(long, default_value = "dev")]
    profile: String,
    #[command(flatten)]
    output: Output,
}

/// Measures and prints.
pub(super) async fn measure(arguments: BuildProgramArguments) -> anyhow::Result<()> {
    let output = arguments.output.clone();
    output.print(report(arguments).await?)
}

async fn report(arguments: BuildProgramArguments) -> anyhow::Result<Report> {
    if arguments.samples == 0 || arguments.total_samples == 0 {
        bail!("--samples and --total-samples must be at least 1");
    }
    let mut draft = Draft::begin("build-program", ABOUT);
    let repository = repository()?;
    let directory = tempfile::Builder::new().prefix("kina-build-program-").tempdir_in(build_directory(&repository))?;
    let before = prepare(&repository, directory.path(), "before", &arguments.before, &arguments.profile).await?;
    let after = prepare(&repository, directory.path(), "after", &arguments.after, &arguments.profile).await?;
    let [mut total_before, mut total_after, mut own_before, mut own_after] = [const { Vec::new() }; 4];
    for sample in 1..=arguments.total_samples {
        say(&format!("everything from nothing, {sample} of {}", arguments.total_samples));
        total_before.push(before.build_everything().await?);
        total_after.push(after.build_everything().await?);
    }
    for sample in 1..=arguments.samples {
        say(&format!("the workspace's own packages, {sample} of {}", arguments.samples));
        own_before.push(before.build_own().await?);
        own_after.push(after.build_own().await?);
    }
    draft.figure("own_ratio", quotient(&own_after, &own_before));
    draft.figure("total_ratio", quotient(&total_after, &total_before));
    draft.figure("profile", arguments.profile);
    for (name, program) in [("before", &before), ("after", &after)] {
        draft.figure(
            name,
            json!({"commit": program.commit(), "package": program.package(), "features": program.features()}),
        );
    }
    let own = "processor time to build the workspace's own packages, dependencies built already";
    draft.add(Measurement::of("own_s", own, &own_after))?;
    draft.add(Measurement::of("own_before_s", &format!("{own}: the earlier commit"), &own_before))?;
    let total = "processor time to build everything from nothing";
    draft.add(Measurement::of("total_s", total, &total_after))?;
    draft.add(Measurement::of("total_before_s", &format!("{total}: the earlier commit"), &total_before))?;
    Ok(draft.finish())
}

async fn prepare(
    repository: &Path,
    directory: &Path,
    name: &str,
    revision: &str,
    profile: &str,
) -> anyhow::Result<Program> {
    let worktree = Worktree::check_out(repository, &directory.join(name), revision).await?;
    let program = Program::find(worktree, &directory.join(format!("target-{name}")), profile).await?;
    say(&format!("{name}: {} in the package {} at {}", program::NAME, program.package(), program.commit()));
    Ok(program)
}

/// The later median divided by the earlier one, with three digits.
pub(super) fn quotient(after: &[f64], before: &[f64]) -> Option<f64> {
    let quotient = median(after)? / median(before)?;
    quotient.is_finite().then_some((quotient * 1e3).round() / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quotient_is_that_of_the_medians() {
        assert_eq!(quotient(&[1.0, 9.0, 2.0], &[3.0]), Some(0.667));
        assert_eq!(quotient(&[1.0], &[]), None);
        assert_eq!(quotient(&[1.0], &[0.0]), None);
    }
}
