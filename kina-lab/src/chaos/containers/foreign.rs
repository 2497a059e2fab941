//! Foreign containers. Some look like kina's, but are not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use kina_engine::lab::image::layout;
use kina_engine::lab::provider::apple::{Container, ContainerState};

use super::Containers;
use crate::chaos::processes::Process;

/// Names, labels, and if it runs. Neither the name that kina would give nor labels of another realm make it kina's.
const FOREIGN: [(&str, &[&str], bool); 6] = [
    ("foreign-runs", &["owner=stranger"], true),
    ("kina-0123456789ab-1-cluster-1", &["dev.kina.realm=0123456789abcdef", "dev.kina.cluster=cluster-1"], true),
    ("foreign-stopped", &["owner=stranger"], false),
    ("kina-0123456789ab-1-cluster-2", &["dev.kina.realm=0123456789abcdef", "dev.kina.engine=1-a"], false),
    ("kina-0123456789ab-2-cluster-2", &[], false),
    ("cluster-1", &["dev.kina.cluster=cluster-1"], false),
];
/// Calls that affect every container there is.
const BLANKET_CALLS: [&str; 5] = ["prune", "image prune", "system stop", "delete --all", "image delete --all"];

/// The foreign containers.
#[derive(Debug, Default)]
pub(crate) struct Foreign {
    /// Their original state by name, each with the first process of its machine if it runs and the process is known.
    before: BTreeMap<String, (Container, Option<Process>)>,
}

impl Foreign {
    /// Makes them from the image that the private engine has loaded.
    pub(crate) async fn make(containers: &Containers) -> anyhow::Result<Self> {
        let own = containers.list_own().await?.into_iter().find_map(|container| container.image_reference);
        let image = own.context("the private engine has no container yet")?;
        let mounts = make_mounts(&containers.directory.join("foreign"))?;
        for (name, labels, runs) in FOREIGN {
            let mut arguments = if runs { vec!["run", "-d"] } else { vec!["create"] };
            arguments.extend(["--name", name]);
            arguments.extend(labels.iter().flat_map(|label| ["--label", label]));
            arguments.extend(mounts.iter().flat_map(|mount| ["--mount", mount.as_str()]));
            arguments.push(&image);
            containers.run(&arguments).await.context("making a foreign container failed")?;
        }
        let listed = containers.list().await?.into_iter();
        let foreign = listed.filter(|container| FOREIGN.iter().any(|(name, ..)| *name == container.id));
        let living = containers.living_machines();
        let before = foreign.map(|container| {
            let first = living.iter().find(|(_, id)| *id == container.id).map(|(process, _)| *process);
            (container.id.clone(), (container, first))
        });
        let before: BTreeMap<_, _> = before.collect();
        anyhow::ensure!(before.len() == FOREIGN.len(), "the foreign containers are not listed: {before:?}");
        Ok(Self { before })
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.before.keys().map(String::as_str)
    }

    pub(crate) fn is_one(&self, container: &str) -> bool {
        self.before.contains_key(container)
    }

    /// Returns the changes that the injected faults do not explain, and the calls that were meant for these containers.
    pub(crate) async fn look(&self, containers: &Containers) -> anyhow::Result<Vec<String>> {
        let calls = containers.recorded_calls()?;
        let mut touched: Vec<_> =
            calls.lines().filter(|call| self.is_meant(call)).map(|call| format!("`{call}`")).collect();
        let counts = containers.fault_counts();
        let happened = |fault| counts.get(fault).copied().unwrap_or(0);
        let now: BTreeMap<_, _> =
            containers.list().await?.into_iter().map(|container| (container.id.clone(), container)).collect();
        let mut missing = Vec::new();
        for (name, (before, first)) in &self.before {
            let Some(now) = now.get(name) else {
                missing.push(format!("{name} is gone"));
                continue;
            };
            let what_it_is = |container: &Container| {
                (container.labels.clone(), container.image_reference.clone(), container.image_digest.clone())
            };
            if what_it_is(now) != what_it_is(before) {
                touched.push(format!("{name} is another one: {now:?}, before {before:?}"));
            }
            let is_dead = match first {
                Some(first) => !first.is_alive(),
                None => now.state != ContainerState::Running,
            };
            let was_running = before.state == ContainerState::Running;
            if was_running && is_dead && happened("reboot") == 0 {
                touched.push(format!("{name} no longer runs"));
            }
            if !was_running && now.state == ContainerState::Running {
                touched.push(format!("{name} was started"));
            }
        }
        // The emulator prunes any stopped container, one at a time.
        if happened("pruned") < missing.len() as u64 {
            touched.extend(missing);
        }
        Ok(touched)
    }

    /// Returns true if a call was meant for one of them, or for all containers. Looking does no harm.
    fn is_meant(&self, call: &str) -> bool {
        let names_one = || call.split(' ').any(|word| self.is_one(word));
        let is_look = ["list", "inspect"].iter().any(|look| call.split(' ').next() == Some(look));
        !is_look && (names_one() || BLANKET_CALLS.iter().any(|blanket| call.starts_with(blanket)))
    }
}

/// Makes the image run on without a client: an etcd that waits for its initial state.
fn make_mounts(directory: &Path) -> anyhow::Result<[String; 2]> {
    let [cluster, log] = ["cluster", "log"].map(|name| directory.join(name));
    for directory in [&cluster, &log] {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(cluster.join(layout::ETCD_ARGUMENTS), "--data-dir=/kina/state/etcd\n")?;
    std::fs::write(cluster.join(layout::API_SERVER_ARGUMENTS), "")?;
    let mount = |source: &Path, target| format!("type=bind,source={},target={target}", source.display());
    Ok([mount(&cluster, layout::CLUSTER_DIRECTORY) + ",readonly", mount(&log, layout::LOG_DIRECTORY)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_for_a_foreign_container_is_recognized() {
        let container = kina_engine::lab::provider::apple::read_containers(
            br#"[{"configuration":{"id":"cluster-1"},"status":{"state":"stopped"}}]"#,
        );
        let container = container.expect("readable").remove(0);
        let foreign = Foreign { before: BTreeMap::from([(container.id.clone(), (container, None))]) };
        for call in ["delete -f cluster-1", "stop -t 5 cluster-1", "prune", "delete --all", "system stop"] {
            assert!(foreign.is_meant(call), "{call}");
        }
        for call in ["list -a --format json", "inspect cluster-1", "delete -f kina-1-cluster-1", "system start"] {
            assert!(!foreign.is_meant(call), "{call}");
        }
    }
}
