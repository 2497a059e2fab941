//! One private engine with one slot, and its leases: each looks for traces of the one before, and then leaves its own.

use std::cell::RefCell;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::future::join_all;
use kina_engine::lab::sabotage::Part;
use kina_engine::{AcquireRequest, FixtureSet, ProviderName};

use super::api::Api;
use super::intruder;
use super::kind::{Deed, Former, Kind, Planted, Side, Start};
use super::object;
use super::report::Tally;
use super::schedule::Schedule;
use crate::chaos::plan::Random;
use crate::chaos::realm::Realm;

const ACQUIRE_TIMEOUT_SECONDS: u64 = 150;
/// Nothing may replace the cluster, and nothing may rest it.
const SETTINGS: [(&str, &str); 4] = [
    ("KINA_SLOT_LEASES_MAX", "1000000000"),
    ("KINA_SLOT_DATABASE_BYTES_MAX", "3GiB"),
    ("KINA_FREEZE_AFTER_IDLE_SECONDS", "30"),
    ("KINA_TARGET_UTILISATION_PERCENT", "100"),
];
/// The bound of one lease. Each request has a far shorter one of its own.
const LEASE_TIMEOUT: Duration = Duration::from_secs(300);

/// A private engine.
pub(super) struct Chain {
    realm: Realm,
    number: usize,
    random: Random,
    leases: u64,
    /// The engine's count at the last hand-out.
    restarts: u64,
}

/// The state that all chains share.
pub(super) struct Shared {
    pub(super) schedule: RefCell<Schedule>,
    pub(super) tally: RefCell<Tally>,
    /// One sighting is enough.
    pub(super) stops_at_first: bool,
}

/// A lease that has ended, and its deeds.
struct Past {
    cluster: String,
    planted: Vec<(&'static Kind, Former)>,
    /// The template that the lease after it starts from.
    template: Option<FixtureSet>,
}

impl Chain {
    /// Starts an engine and its cluster.
    pub(super) async fn start(
        provider: ProviderName,
        number: usize,
        seed: u64,
        sabotage: &[Part],
    ) -> anyhow::Result<Self> {
        let mut realm = Realm::prepare(provider, 1, ACQUIRE_TIMEOUT_SECONDS, sabotage, false).await?;
        SETTINGS.into_iter().for_each(|(name, value)| realm.set(name, value));
        realm.warm(1).await?;
        Ok(Self { realm, number, random: Random::new(seed.wrapping_add(number as u64)), leases: 0, restarts: 0 })
    }

    pub(super) fn realm(&self) -> &Realm {
        &self.realm
    }

    /// Takes leases until there is nothing left to do.
    pub(super) async fn run(&mut self, shared: &Shared) -> anyhow::Result<()> {
        let mut past: Option<Past> = None;
        loop {
            let is_over = shared.stops_at_first && shared.tally.borrow().has_seen();
            let looked_for: Vec<&'static Kind> =
                past.iter().flat_map(|past| past.planted.iter().map(|(kind, _)| *kind)).collect();
            let has_template = past.as_ref().is_some_and(|past| past.template.is_some());
            let group =
                if is_over { Vec::new() } else { shared.schedule.borrow_mut().next_group(&looked_for, has_template) };
            if group.is_empty() && looked_for.is_empty() {
                return Ok(());
            }
            let lease = self.take(shared, past.take(), &group);
            past = Some(tokio::time::timeout(LEASE_TIMEOUT, lease).await.context("a lease took too long")??);
        }
    }

    async fn take(&mut self, shared: &Shared, past: Option<Past>, group: &[&'static Kind]) -> anyhow::Result<Past> {
        self.leases += 1;
        let own_template = group.iter().find_map(|kind| match kind.start {
            Start::SameTemplate(content) => Some(content()),
            Start::Bare | Start::NewTemplate(_) | Start::IntrudedTemplate(..) => None,
        });
        let template = past.as_ref().and_then(|past| past.template.clone()).or_else(|| own_template.clone());
        let request =
            AcquireRequest { template: template.as_ref().map(FixtureSet::hash), ..self.realm.request("pairs") };
        let content = template.unwrap_or_default();
        let intruded = past.as_ref().and_then(|past| {
            past.planted.iter().find_map(|(kind, _)| match kind.start {
                Start::IntrudedTemplate(_, sign) => Some((*kind, sign)),
                _ => None,
            })
        });
        let acquire = self.realm.engine().acquire_from(request, &content, &|_| {});
        let lease = match intruded {
            None => acquire.await?,
            Some((kind, sign)) => {
                let mut written = Err(anyhow::anyhow!("the lease came before anything could be written"));
                let intruding = async {
                    written = intruder::write_once_stored(&self.realm, sign).await;
                    std::future::pending::<std::convert::Infallible>().await
                };
                let lease = tokio::select! {
                    lease = acquire => lease?,
                    never = intruding => match never {},
                };
                if let Err(error) = written {
                    shared.tally.borrow_mut().note_planted(kind, &Err(error));
                }
                lease
            }
        };
        let side = Side {
            api: Api::of_lease(&lease.grant)?,
            grant: lease.grant.clone(),
            engine: self.realm.engine().clone(),
            mark: format!("p{}-{}", self.number, self.leases),
        };
        shared.tally.borrow_mut().leases += 1;
        let past_planted = match past {
            Some(past) if past.cluster == lease.grant.cluster || intruded.is_some() => past.planted,
            Some(past) => {
                past.planted.iter().for_each(|(kind, _)| shared.tally.borrow_mut().note_other_slot(kind));
                Vec::new()
            }
            None => Vec::new(),
        };

        let side = &side;
        let looks = past_planted.iter().map(|(kind, former)| async { (*kind, look(kind, side, former).await) });
        join_all(looks).await.into_iter().for_each(|(kind, seen)| shared.tally.borrow_mut().note_look(kind, seen));
        let mut planted = plant_all(group, side, false).await;
        let looks = past_planted.iter().map(|(kind, former)| async { (*kind, look_late(kind, side, former).await) });
        join_all(looks).await.into_iter().for_each(|(kind, seen)| shared.tally.borrow_mut().note_late_look(kind, seen));
        // After the looks, which come first. Restarts since the last count belong to the lease before.
        let restarts =
            self.realm.status(false).await.map_or(self.restarts, |status| status.counters.api_server_restarts);
        if self.restarts < restarts {
            past_planted.iter().for_each(|(kind, _)| shared.tally.borrow_mut().note_restart(kind));
        }
        self.restarts = restarts;
        planted.extend(plant_all(group, side, true).await);

        let keeps_connections = self.random.below(2) == 0;
        let number = self.leases;
        let template = own_template.or_else(|| {
            group.iter().find_map(|kind| match kind.start {
                Start::NewTemplate(content) | Start::IntrudedTemplate(content, _) => Some(content(number)),
                Start::Bare | Start::SameTemplate(_) => None,
            })
        });
        let mut past = Past { cluster: lease.grant.cluster.clone(), planted: Vec::new(), template };
        for (kind, result) in planted {
            shared.tally.borrow_mut().note_planted(kind, &result);
            let Ok(Planted { trace, connection, .. }) = result else { continue };
            let former = Former {
                grant: lease.grant.clone(),
                api: keeps_connections.then(|| side.api.clone()),
                trace,
                connection: tokio::sync::Mutex::new(connection.filter(|_| keeps_connections)),
            };
            past.planted.push((kind, former));
        }
        Ok(past)
    }

    /// Ends the engine, and returns the number of restarts of API servers.
    pub(super) async fn end(&self) -> anyhow::Result<u64> {
        let status = self.realm.status(false).await.context("the private engine does not answer")?;
        if !self.realm.engine().stop().await? {
            bail!("the private engine had ended before it was asked to");
        }
        Ok(status.counters.api_server_restarts)
    }
}

/// Does the deeds of a group; those that go last, or the others.
async fn plant_all(
    group: &[&'static Kind],
    side: &Side,
    goes_last: bool,
) -> Vec<(&'static Kind, anyhow::Result<Planted>)> {
    let kinds = group.iter().filter(|kind| kind.goes_last == goes_last);
    join_all(kinds.map(|kind| async { (*kind, plant(kind, side).await) })).await
}

pub(super) async fn plant(kind: &Kind, side: &Side) -> anyhow::Result<Planted> {
    match &kind.deed {
        Deed::Object { collection, manifest } => object::plant(side, collection, manifest).await,
        Deed::Own { plant, .. } => plant(side).await,
    }
}

pub(super) async fn look(kind: &Kind, side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    match &kind.deed {
        Deed::Object { collection, manifest } => object::look(side, former, collection, manifest).await,
        Deed::Own { look, .. } => look(side, former).await,
    }
}

async fn look_late(kind: &Kind, side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    match &kind.deed {
        Deed::Own { look_late: Some(look), .. } => look(side, former).await,
        Deed::Own { .. } | Deed::Object { .. } => Ok(None),
    }
}
