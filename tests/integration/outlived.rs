//! The work of a lease ends with it: requests that continue without their connection, and the API server's own
//! background work. The next lease of the cluster creates the same names, and seconds later all of them exist, and
//! nothing else.
#![cfg(target_os = "linux")]

mod case;
mod raw;
mod scene;
mod webhook;

use case::Case;
use scene::Scene;

use crate::common::repetitions;

const ROUNDS: usize = 20;

/// The child of the tests below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    client.apiserver_version().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_lease_runs_or_writes_in_the_next() -> anyhow::Result<()> {
    let scene = Scene::new(4, None).await?;
    for round in 0..repetitions(ROUNDS, 1) {
        scene.run_all(&Case::of_round(round)).await?;
    }
    Ok(())
}

/// Tries of a case that must find something: without the part that prevents it, it is a race.
const TRIES_MAX: usize = 6;

/// Returns those of the cases that find leftovers of the previous lease, with a part of the engine switched off.
async fn failures(part: &str, cases: Vec<Case>) -> anyhow::Result<Vec<String>> {
    let scene = Scene::new(1, Some(part)).await?;
    let mut failures = Vec::new();
    for case in cases {
        for _ in 0..TRIES_MAX {
            if let Err(error) = scene.run_all(std::slice::from_ref(&case)).await {
                failures.push(format!("{error:#}"));
                break;
            }
        }
    }
    Ok(failures)
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_look_and_the_restart_the_next_lease_loses_what_it_creates() -> anyhow::Result<()> {
    let failures = failures("lingering", vec![Case::deletion_ahead(), Case::definition()]).await?;
    anyhow::ensure!(failures.len() == 2, "only {failures:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_reading_to_the_end_a_request_in_a_buffer_starts_in_the_next_lease() -> anyhow::Result<()> {
    let failures = failures("drain", vec![Case::queued()]).await?;
    anyhow::ensure!(failures.len() == 1, "no leftover was found");
    Ok(())
}
