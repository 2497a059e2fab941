//! `cargo lab bench build`: the price of kina-test in a user's build.
//!
//! A crate of a user is built without kina-test and with it: for the newest major of kube both, for the others only the crates
//! are counted. What counts of a build is processor time, of the compiler, of build scripts and of the linker; other work on the
//! machine changes it little.
//!
//! - `user_crate`: the crate, and its dependencies.

mod user_crate;

use std::collections::BTreeSet;

use anyhow::bail;
use cargo_kina::bench::Output;
use clap::Args;

use self::user_crate::{Kube, UserCrate};
use super::build_program::quotient;
use super::cargo::build_directory;
use super::packages::repository;
use super::report::{Draft, Measurement, Report};
use super::say;

const ABOUT: &str = "crates and processor time that kina-test adds to a user's build";

/// Crates and processor time that kina-test adds to the build of a crate on kube 5, on kube 3, and without kube
#[derive(Debug, Args)]
pub(crate) struct BuildArguments {
    /// Number of builds from nothing, without kina-test and with it
    #[arg(long, default_value_t = 1)]
    samples: usize,
    #[command(flatten)]
    output: Output,
}

/// Measures and prints.
pub(super) async fn measure(arguments: BuildArguments) -> anyhow::Result<()> {
    let output = arguments.output.clone();
    output.print(report(arguments.samples).await?)
}

async fn report(samples: usize) -> anyhow::Result<Report> {
    if samples == 0 {
        bail!("--samples must be at least 1");
    }
    let mut draft = Draft::begin("build", ABOUT);
    let repository = repository()?;
    let directory = tempfile::Builder::new().prefix("kina-build-").tempdir_in(build_directory(&repository))?;
    for kube in [Kube::Five, Kube::Three, Kube::None] {
        let alone = UserCrate::write(directory.path(), kube, None)?.crates().await?;
        let with_kina = UserCrate::write(directory.path(), kube, Some(&repository))?.crates().await?;
        draft.figure(&format!("crates_added_{}", kube.name()), with_kina.difference(&alone).count());
        draft.figure(&format!("kubes_{}", kube.name()), count_of(&with_kina, "kube"));
        draft.figure(&format!("k8s_openapis_{}", kube.name()), count_of(&with_kina, "k8s-openapi"));
    }
    let alone = UserCrate::write(directory.path(), Kube::Five, None)?;
    let with_kina = UserCrate::write(directory.path(), Kube::Five, Some(&repository))?;
    let (mut alone_s, mut with_kina_s) = (Vec::new(), Vec::new());
    for sample in 1..=samples {
        say(&format!("builds from nothing, {sample} of {samples}"));
        alone_s.push(alone.build().await?);
        with_kina_s.push(with_kina.build().await?);
    }
    draft.figure("cpu_ratio_kube5", quotient(&with_kina_s, &alone_s));
    draft.add(Measurement::of("alone_s", "processor time to build a crate on kube 5", &alone_s))?;
    draft.add(Measurement::of("with_kina_s", "processor time to build the same with kina-test", &with_kina_s))?;
    Ok(draft.finish())
}

/// The number of versions of a crate.
fn count_of(crates: &BTreeSet<String>, name: &str) -> usize {
    crates.iter().filter(|one| one.split(' ').next() == Some(name)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_one_name_are_counted() {
        let crates = ["kube v3.1.0", "kube v5.0.0", "kube-core v3.1.0"].map(str::to_owned).into();
        assert_eq!((count_of(&crates, "kube"), count_of(&crates, "k8s-openapi")), (2, 0));
    }
}
