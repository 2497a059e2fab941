//! Waiting until written rules are in force.
//!
//! A rule, such as an admission policy or a quota, is stored when its creation is answered. An API server applies it
//! when an informer has seen it and, for some, when it was compiled. Nothing in the API tells of that, so the effect of
//! a rule is looked at.
//!
//! - `canary`: for most kinds a rule of kina's own, written last, which touches kina's probes alone.
//! - `access`: the same for the authorizer.
//! - `params`: the same for the parameters of policies.
//! - `direct`: the rule itself is tried, if a canary would touch others or is not needed.
//! - `probe`: the dry runs that show them.

mod access;
mod canary;
mod direct;
mod params;
mod probe;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(super) use self::access::AccessCanary;
use self::canary::Canary;
use self::probe::Sighting;
use super::resource::{ApiPaths, StorageResource};
use super::{RewindError, settle, transactions};
use crate::api_client::ApiClient;
use crate::etcd::{EtcdClient, WriteOperation};
use crate::rule_kind::RuleKind;

/// The label of kina's probes.
const LABEL: &str = "canary.kina.invalid/id";
/// Policies take up to a second, the rest some milliseconds.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(20);
/// The time for which another rule may hide a canary. Some do so for a moment, until they are in force themselves.
const HIDDEN_TIMEOUT: Duration = Duration::from_secs(5);
/// An API server looks every half minute for kinds that policies name as their parameters.
const PARAMS_TIMEOUT: Duration = Duration::from_secs(45);
const POLL_INTERVALS: [Duration; 4] =
    [Duration::from_millis(1), Duration::from_millis(3), Duration::from_millis(10), Duration::from_millis(25)];
/// Differs for each canary in the life of an engine. The odd numbers from here have ten digits, and Kubernetes writes
/// them like that.
static NEXT_ID: AtomicU32 = AtomicU32::new(1_000_000_001);

/// Waits on one cluster.
pub(super) struct InForce<'a> {
    pub(super) etcd: &'a EtcdClient,
    pub(super) api: &'a ApiClient,
    pub(super) api_paths: &'a ApiPaths,
    pub(super) has_controllers: bool,
    /// Returns true if it is still of use to wait.
    pub(super) is_wanted: &'a (dyn Fn() -> bool + Send + Sync),
}

/// The time that a wait has lasted.
struct Wait<'a> {
    rule: &'a str,
    start: Instant,
    timeout: Duration,
    polls: usize,
}

impl InForce<'_> {
    /// Waits until rules of these kinds that were written before are in force, and leaves no canary behind.
    pub(super) async fn wait(&self, kinds: &BTreeSet<RuleKind>) -> Result<(), RewindError> {
        if kinds.is_empty() || crate::sabotage::is_off(crate::sabotage::Part::InForce) {
            return Ok(());
        }
        let start = Instant::now();
        // Additions by other servers to the rules come first.
        if self.has_controllers && kinds.contains(&RuleKind::ResourceQuota) {
            self.quotas_are_counted().await?;
        }
        let mut canaries: Vec<Canary> = kinds.iter().filter_map(|kind| Canary::new(*kind, self.api_paths)).collect();
        // The slowest last: then the others are in force meanwhile.
        canaries.sort_by_key(|canary| canary.kind.is_policy());
        let access: Vec<AccessCanary> = kinds.iter().filter_map(|kind| AccessCanary::of_rule(*kind)).collect();
        let mut deletions: Vec<WriteOperation> = canaries.iter().flat_map(Canary::deletions).collect();
        deletions.extend(access.iter().flat_map(|canary| canary.deletions()));
        if !deletions.is_empty() {
            let seen = self.canaries_are_seen(&canaries, &access).await;
            self.take_away(&deletions, seen).await?;
        }
        self.try_directly(kinds).await?;
        for kind in kinds.iter().filter(|kind| kind.is_policy()) {
            self.params_are_followed(*kind).await?;
        }
        tracing::debug!(?kinds, took_ms = start.elapsed().as_millis(), "rules are in force");
        Ok(())
    }

    /// Sets canaries out and waits for their effect. Returns those that may be in force, each with its last number.
    async fn canaries_are_seen<'c>(
        &self,
        canaries: &'c [Canary],
        access: &[AccessCanary],
    ) -> Result<Vec<(&'c Canary, u32)>, RewindError> {
        let mut last = Vec::new();
        for round in 0.. {
            let due = canaries.iter().filter(|canary| round < canary.rounds());
            let numbered: Vec<_> = due.map(|canary| (canary, next_id())).collect();
            let mut puts: Vec<_> = numbered.iter().flat_map(|(canary, id)| canary.puts(*id)).collect();
            let access_id = next_id().to_string();
            let access = if round == 0 { access } else { &[] };
            puts.extend(access.iter().flat_map(|canary| canary.puts(&access_id)));
            if puts.is_empty() {
                break;
            }
            self.write(&puts).await?;
            for canary in access {
                canary.wait(self.api, &access_id).await?;
            }
            for (canary, id) in &numbered {
                self.wait_sighting(canary, *id, true, FOLLOW_TIMEOUT).await?;
                last.retain(|(known, _): &(&Canary, u32)| known.kind != canary.kind);
                last.push((*canary, *id));
            }
        }
        Ok(last)
    }

    /// Takes canaries away, seen or not, and waits until those that were seen have no effect any more.
    async fn take_away(
        &self,
        deletions: &[WriteOperation],
        seen: Result<Vec<(&Canary, u32)>, RewindError>,
    ) -> Result<(), RewindError> {
        let revision = self.write(deletions).await?;
        for (canary, id) in seen? {
            self.wait_sighting(canary, id, false, FOLLOW_TIMEOUT).await?;
        }
        let touched: BTreeSet<_> =
            deletions.iter().filter_map(|operation| StorageResource::of_key(operation.key())).collect();
        settle::wait_caches(self.api, self.api_paths, &touched, revision).await
    }

    /// Waits until a canary has its effect, or has none any more.
    async fn wait_sighting(
        &self,
        canary: &Canary,
        id: u32,
        is_out: bool,
        timeout: Duration,
    ) -> Result<(), RewindError> {
        let rule = format!("{:?}", canary.kind);
        let mut wait = Wait::new(&rule, timeout);
        let mut hidden_since = None;
        loop {
            let mut last = Sighting::Unseen;
            for probe in canary.probes(id) {
                last = canary.sighting(&probe.ask(self.api).await?, id);
                if !matches!(last, Sighting::Hidden(_)) {
                    break;
                }
            }
            let answered = match last {
                Sighting::Seen if is_out => return Ok(()),
                // A rule that refuses the probe does so with or without the canary.
                Sighting::Unseen | Sighting::Hidden(_) if !is_out => return Ok(()),
                Sighting::Seen => "the effect of a rule that was deleted".to_owned(),
                Sighting::Unseen => {
                    hidden_since = None;
                    "no effect of a rule that was written last".to_owned()
                }
                Sighting::Hidden(answer) => {
                    let since = *hidden_since.get_or_insert_with(Instant::now);
                    if timeout.min(HIDDEN_TIMEOUT) < since.elapsed() {
                        return Err(wait.failed(answer));
                    }
                    answer
                }
            };
            self.pause(&mut wait, answered).await?;
        }
    }

    /// Waits before the next attempt, if there is one.
    async fn pause(&self, wait: &mut Wait<'_>, answered: String) -> Result<(), RewindError> {
        if !(self.is_wanted)() {
            return Err(RewindError::LeaseEnded);
        }
        if wait.timeout < wait.start.elapsed() {
            return Err(wait.failed(answered));
        }
        tokio::time::sleep(POLL_INTERVALS[wait.polls.min(POLL_INTERVALS.len() - 1)]).await;
        wait.polls += 1;
        Ok(())
    }

    /// Returns the revision of the last write.
    async fn write(&self, operations: &[WriteOperation]) -> Result<i64, RewindError> {
        let mut last_revision = 0;
        for operations in transactions(operations, WriteOperation::key) {
            let written = self.etcd.write(operations).await?;
            last_revision = written.last().map_or(last_revision, |(_, revision)| *revision);
        }
        Ok(last_revision)
    }
}

impl<'a> Wait<'a> {
    fn new(rule: &'a str, timeout: Duration) -> Self {
        Self { rule, start: Instant::now(), timeout, polls: 0 }
    }

    fn failed(&self, answered: String) -> RewindError {
        RewindError::NotInForce { rule: self.rule.to_owned(), waited_ms: self.start.elapsed().as_millis(), answered }
    }
}

fn next_id() -> u32 {
    NEXT_ID.fetch_add(2, Ordering::Relaxed)
}
