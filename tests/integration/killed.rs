//! Tests that are killed midway: the next ones find pristine clusters, and nothing is left at the end.

use std::io::Write;
use std::time::Duration;

use crate::common::behaviour;
use crate::common::children::{Realm, RunningTest};
use crate::common::pollution::Pollution;
use crate::common::repetitions;
use crate::common::server::Server;
use crate::common::state::ClusterState;
use crate::common::untouched::untouched;

/// Tells the victim that it will be killed.
const DOOMED: &str = "KINA_TEST_DOOMED";
const READY: &str = "ready to be killed";
const KILLED: usize = 200;
/// Among so many, each kind of pollution occurs.
const KILLED_IN_SHORT: usize = 8;
/// The number of concurrent workers.
const WORKERS: usize = 3;
/// The time that a victim waits to be killed.
const DOOM_TIMEOUT: Duration = Duration::from_secs(60);

async fn expect_pristine(server: &Server) -> anyhow::Result<()> {
    ClusterState::read(server).await?.expect_equal(untouched().await?)?;
    behaviour::expect_untouched(server).await
}

/// The test to kill. On its own, it is an ordinary test.
#[kina::test]
async fn victim(client: kube::Client) -> anyhow::Result<()> {
    let server = Server(client);
    let doom = std::env::var(DOOMED).ok();
    match doom {
        // The survivor does the proof.
        Some(_) => behaviour::expect_untouched(&server).await?,
        None => expect_pristine(&server).await?,
    }
    let number: usize = doom.as_deref().unwrap_or("0").parse()?;
    let kinds: &[Pollution] = match number % 20 {
        0 => &[Pollution::ManyObjects, Pollution::ClusterRbac, Pollution::Quota],
        5 => &[Pollution::CustomResources, Pollution::Webhook],
        10 => &[Pollution::DefinitionBeingDeleted],
        15 => &[Pollution::DeadApiService],
        odd if odd % 2 == 1 => &[Pollution::ClusterRbac, Pollution::SystemNamespaces, Pollution::Events],
        _ => &[Pollution::NamespacedRbac, Pollution::NodePort, Pollution::ManyObjects],
    };
    for kind in kinds {
        kind.make(&server).await?;
    }
    if doom.is_some() {
        // Killed in the middle of its work, if the killer is fast.
        let writes = async {
            for round in 0.. {
                let name = format!("written-while-waiting-{round}");
                let object = serde_json::json!({"metadata": {"name": name}});
                // Some kinds of pollution refuse this.
                let _ = server.create("/api/v1/namespaces/default/configmaps", &object).await;
                if round == 0 {
                    writeln!(std::io::stdout(), "{READY}")?;
                }
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(DOOM_TIMEOUT, writes).await??;
    }
    Ok(())
}

/// The next test.
#[kina::test]
async fn survivor(client: kube::Client) -> anyhow::Result<()> {
    expect_pristine(&Server(client)).await
}

#[test]
fn after_many_kills_as_many_tests_find_pristine_clusters() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", WORKERS.to_string());
    let victim = |number: usize| -> RunningTest {
        let mut command = realm.command("killed::victim");
        command.env(DOOMED, number.to_string());
        let victim = realm.start(command);
        victim.wait_for(READY);
        victim
    };
    let killed = repetitions(KILLED, KILLED_IN_SHORT);
    in_parallel(killed, |number| victim(number).kill());
    let counters = realm.status_of_running().counters;
    assert_eq!(counters.leases, killed as u64, "{counters:?}");
    in_parallel(killed, |_| realm.run_well("killed::survivor"));
    let counters = realm.status_of_running().counters;
    assert_eq!(counters.leases, 2 * killed as u64, "{counters:?}");
    assert!(counters.boots <= WORKERS as u64 && counters.broken == 0, "clusters are not reused: {counters:?}");
}

/// Runs the work this many times, some at the same time.
fn in_parallel(times: usize, work: impl Fn(usize) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if times <= number {
                        break;
                    }
                    work(number);
                }
            });
        }
    });
}

#[cfg(target_os = "linux")]
mod nothing_is_left {
    use std::collections::BTreeSet;

    use super::*;
    use crate::common::system::{Listener, all_listeners, files_below, is_running, listeners_of, processes_of};
    use crate::common::wait_until_blocking;

    /// The resources that a realm uses on this machine.
    #[derive(Debug, PartialEq, Eq)]
    struct Footprint {
        processes: BTreeSet<u32>,
        files: BTreeSet<String>,
    }

    fn footprint(realm: &Realm) -> Footprint {
        let (runtime, temporary) = (realm.runtime_directory(), realm.temporary_directory());
        let mut processes = processes_of(&runtime);
        processes.extend(processes_of(&temporary));
        let mut files = files_below(&runtime);
        files.extend(files_below(&temporary));
        Footprint { processes, files }
    }

    /// Kills a test midway; returns all ports on which processes of the realm listened.
    fn use_and_kill(realm: &Realm) -> BTreeSet<Listener> {
        let mut command = realm.command("killed::victim");
        command.env(DOOMED, "0");
        let victim = realm.start(command);
        victim.wait_for(READY);
        let during = footprint(realm);
        let status = realm.status_of_running();
        let listeners = listeners_of(&during.processes);
        // Otherwise the rest would prove nothing: engine, etcd, kube-apiserver and test, their ports, and their files.
        for process_id in status.slots.iter().flat_map(|slot| &slot.process_ids).chain([&status.process_id]) {
            assert!(during.processes.contains(process_id), "{process_id} is not among {during:?}");
        }
        assert!(3 <= listeners.len(), "etcd, kube-apiserver and the gateway listen: {listeners:?}");
        assert!(during.files.iter().any(|file| file.contains("clusters")), "{during:?}");
        victim.kill();
        listeners
    }

    fn expect_nothing(realm: &Realm, before: &Footprint, listeners: &BTreeSet<Listener>) {
        assert_eq!(footprint(realm), *before);
        let left: Vec<_> = all_listeners().intersection(listeners).copied().collect();
        assert!(left.is_empty(), "still listening: {left:?}");
    }

    #[test]
    fn after_a_stop() {
        let realm = Realm::new();
        let before = footprint(&realm);
        let listeners = use_and_kill(&realm);
        realm.stop();
        expect_nothing(&realm, &before, &listeners);
    }

    #[test]
    fn after_an_idle_exit() {
        let realm = Realm::new().with("KINA_IDLE_EXIT_SECONDS", "1");
        let before = footprint(&realm);
        let listeners = use_and_kill(&realm);
        let engine = realm.status().expect("an engine runs").process_id;
        wait_until_blocking("the idle engine ends", || !is_running(engine));
        expect_nothing(&realm, &before, &listeners);
    }
}
