//! Kinds of pairs in ordinary chaos: the lease that plants them and the one that looks are in different processes, so a
//! file for each cluster holds the facts that B needs.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use kina_engine::lab::sabotage::Part;
use kina_engine::{EngineClient, LeaseGrant};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::api::Api;
use super::chain;
use super::kind::{Cost, Deed, Former, Kind, Side, Start};
use super::kinds;
use crate::chaos::plan::Random;

/// Kinds that each lease plants.
const PLANTED: usize = 2;

/// The traces that a lease leaves to the next one on the same cluster.
#[derive(Serialize, Deserialize)]
struct HandedOn {
    grant: LeaseGrant,
    traces: Vec<(String, Value)>,
}

/// Plants some kinds, the same for the same seed.
pub(in crate::chaos) async fn plant(
    scratch: &Path,
    engine: &EngineClient,
    grant: &LeaseGrant,
    seed: u64,
) -> anyhow::Result<()> {
    let side = side(engine, grant)?;
    let (mut random, mut kinds, mut traces) = (Random::new(seed), suitable(), Vec::new());
    for _ in 0..PLANTED.min(kinds.len()) {
        let kind = kinds.swap_remove(usize::try_from(random.below(kinds.len() as u64))?);
        let planted = chain::plant(kind, &side).await.with_context(|| format!("planting {} failed", kind.name))?;
        traces.push((kind.name.to_owned(), planted.trace));
    }
    let text = serde_json::to_vec(&HandedOn { grant: grant.clone(), traces })?;
    // A process that is killed here leaves a part, which the next one ignores.
    let mut file = std::fs::OpenOptions::new();
    let file = file.create(true).truncate(true).write(true).mode(0o600).open(path_of(scratch, grant))?;
    Ok(std::io::Write::write_all(&mut &file, &text)?)
}

/// Looks for the traces of the lease before in this cluster. Returns those that were seen.
pub(in crate::chaos) async fn look(
    scratch: &Path,
    engine: &EngineClient,
    grant: &LeaseGrant,
) -> anyhow::Result<Vec<String>> {
    let path = path_of(scratch, grant);
    let Some(handed_on) = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<HandedOn>(&text).ok())
    else {
        return Ok(Vec::new());
    };
    std::fs::remove_file(&path)?;
    let side = side(engine, grant)?;
    let mut seen = Vec::new();
    for (name, trace) in handed_on.traces {
        let Some(kind) = suitable().into_iter().find(|kind| kind.name == name) else { continue };
        let connection = tokio::sync::Mutex::default();
        let former = Former { grant: handed_on.grant.clone(), api: None, trace, connection };
        let found = chain::look(kind, &side, &former).await.with_context(|| format!("looking for {name} failed"))?;
        seen.extend(found.map(|what| format!("{name}: {what}")));
    }
    Ok(seen)
}

/// Kinds that are compatible with everything else that happens to a lease, and that need neither a look at its end nor
/// a template.
fn suitable() -> Vec<&'static Kind> {
    let is_suitable = |kind: &&'static Kind| {
        let is_looked_at_once = matches!(kind.deed, Deed::Object { .. } | Deed::Own { look_late: None, .. });
        let is_alone = kind.goes_last || kind.look_writes || !matches!(kind.start, Start::Bare);
        // Credentials of earlier leases are tried by each worker anyway.
        let is_prevented = kind.shown_without.iter().all(|part| Part::named(part).is_some() && *part != "gateway");
        // In virtual machines the API server serves these to every administrator, which is one of kina's limits.
        let is_prevented = is_prevented && !kind.shown_without.contains(&"debug-endpoints");
        kind.cost == Cost::Ordinary && is_looked_at_once && !is_alone && is_prevented
    };
    kinds::all().into_iter().filter(is_suitable).collect()
}

fn side(engine: &EngineClient, grant: &LeaseGrant) -> anyhow::Result<Side> {
    let mark = format!("l{}", grant.lease);
    Ok(Side { api: Api::of_lease(grant)?, grant: grant.clone(), engine: engine.clone(), mark })
}

fn path_of(scratch: &Path, grant: &LeaseGrant) -> PathBuf {
    scratch.join(format!("pairs-{}.json", grant.cluster))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_kinds_for_ordinary_chaos() {
        assert!(20 < suitable().len(), "{}", suitable().len());
    }
}
