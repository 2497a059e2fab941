//! Rules are in force from the first request: those of a new template, and those that a test has applied.
#![cfg(target_os = "linux")]

mod fixtures;
mod intruders;
mod rules;
mod scene;
mod templates;

/// The child of the tests below. On its own, it is an ordinary test.
#[kina::test]
async fn visitor(client: kube::Client) -> anyhow::Result<()> {
    client.apiserver_version().await?;
    Ok(())
}
