//! The checks.
//!
//! - `life`: from boots to stops. `ends`: deaths, failures, and remains. `strangers`: access.
//! - `resources`: the resources that clusters take, and many clusters at once. `faults`: failures are replaced.

mod ends;
mod faults;
mod life;
mod resources;
mod strangers;

use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::scene::Scene;

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    /// The property that holds when it passes.
    pub(super) what: &'static str,
    /// Time after which it has failed.
    pub(super) timeout: Duration,
    /// The check makes the state that its clusters start from by itself, so that failures there count too.
    pub(super) makes_state: bool,
    pub(super) run: for<'a> fn(&'a Scene<'a>) -> LocalBoxFuture<'a, anyhow::Result<Verdict>>,
}

/// The result of a check that did not fail.
pub(super) enum Verdict {
    Passed,
    /// With a remark.
    PassedWith(String),
    /// Not applicable, for this reason.
    Skipped(String),
}

const fn check(
    name: &'static str,
    what: &'static str,
    run: for<'a> fn(&'a Scene<'a>) -> LocalBoxFuture<'a, anyhow::Result<Verdict>>,
) -> Check {
    // A boot takes seconds, and many times that on a busy machine or where calls hang.
    Check { name, what, timeout: Duration::from_secs(600), makes_state: false, run }
}

/// All checks, in the order in which they run.
pub(super) const CHECKS: &[Check] = &[
    check("boots-from-nothing", "a cluster bootstraps, is ready early and fully, and can be written to", |scene| {
        Box::pin(life::boots_from_nothing(scene))
    }),
    check("boots-from-a-state", "the state that a cluster is started from is there", |scene| {
        Box::pin(life::boots_from_a_state(scene))
    }),
    check("keeps-state-when-stopped", "written objects and credentials outlast a stop", |scene| {
        Box::pin(life::keeps_state_when_stopped(scene))
    }),
    check("starts-without-its-logs", "a stopped cluster whose logs were cleaned away starts again", |scene| {
        Box::pin(life::starts_without_its_logs(scene))
    }),
    check("keeps-state-when-restarted", "written objects outlast a restart of the API server", |scene| {
        Box::pin(life::keeps_state_when_restarted(scene))
    }),
    check("answers-wrong-states", "an operation that a state does not allow is refused, and does no harm", |scene| {
        Box::pin(life::answers_wrong_states(scene))
    }),
    check("freezes-and-thaws", "a frozen cluster takes no processor and goes on where it was", |scene| {
        Box::pin(life::freezes_and_thaws(scene))
    }),
    check("destroys-everything", "nothing is left, whatever state a cluster was in; twice does no harm", |scene| {
        Box::pin(ends::destroys_everything(scene))
    }),
    check("tells-of-deaths", "an unrequested end is reported, with its reason; others are not", |scene| {
        Box::pin(ends::tells_of_deaths(scene))
    }),
    check(
        "explains-failed-boots",
        "programs that do not work are reported, with their log; nothing is left",
        |scene| Box::pin(ends::explains_failed_boots(scene)),
    ),
    check("forgets-half-made-ones", "an abandoned creation leaves nothing", |scene| {
        Box::pin(ends::forgets_half_made_ones(scene))
    }),
    check("ends-with-its-clusters", "a provider that is dropped leaves nothing running", |scene| {
        Box::pin(ends::ends_with_its_clusters(scene))
    }),
    check("keeps-strangers-out-of-etcd", "etcd answers only clients with its own certificates", |scene| {
        Box::pin(strangers::kept_out_of_etcd(scene))
    }),
    check("keeps-strangers-out-of-the-api", "the API server lets no stranger write or read", |scene| {
        Box::pin(strangers::kept_out_of_the_api(scene))
    }),
    check("keeps-clusters-apart", "two clusters at once share nothing", |scene| Box::pin(strangers::kept_apart(scene))),
    check("keeps-files-private", "no other user can read a key or a log", |scene| {
        Box::pin(strangers::kept_from_files(scene))
    }),
    check("listens-on-loopback", "no other machine gets a connection", |scene| {
        Box::pin(resources::listens_on_loopback(scene))
    }),
    check("reports-memory", "a running cluster takes memory, a stopped one none", |scene| {
        Box::pin(resources::reports_memory(scene))
    }),
    check("boots-in-parallel", "as many boots at once as it says it can", |scene| {
        Box::pin(resources::boots_in_parallel(scene))
    }),
    Check {
        name: "replaces-what-fails",
        what: "after reported failures, another cluster lives through it all, and nothing is left of the others",
        // Calls that hang are given up at their deadlines.
        timeout: Duration::from_secs(900),
        makes_state: true,
        run: |scene| Box::pin(faults::replaces_what_fails(scene)),
    },
];
