//! Samples of one engine.

use super::super::Bench;

/// Samples in the order in which they were taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples {
    pub(super) warm_ms: Vec<f64>,
    pub(super) release_250_ms: Vec<f64>,
    pub(super) release_mixed_ms: Vec<f64>,
    pub(super) release_watches_ms: Vec<f64>,
    pub(super) mixed_keys: Vec<f64>,
}

impl Samples {
    /// Takes one of each.
    pub(super) async fn take(&mut self, bench: &Bench) -> anyhow::Result<()> {
        self.warm_ms.push(bench.sample_warm().await?);
        bench.wait_all_ready().await?;
        self.release_250_ms.push(bench.sample_release(&["fill", "250"]).await?.release_ms);
        let mixed = bench.sample_release(&["dirty"]).await?;
        self.release_mixed_ms.push(mixed.release_ms);
        self.mixed_keys.push(mixed.changed_keys as f64);
        self.release_watches_ms.push(bench.sample_release(&["watch", "4"]).await?.release_ms);
        Ok(())
    }
}
