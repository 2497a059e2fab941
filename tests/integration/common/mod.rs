//! Code shared by the integration tests.

pub mod behaviour;
#[cfg(target_os = "linux")]
pub mod cache;
pub mod children;
pub mod client_path;
pub mod pollution;
pub mod server;
pub mod state;
pub mod system;
pub mod untouched;

use std::time::{Duration, Instant};

/// Time limit of everything except a boot: far longer than it ever takes.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Requests the long forms of tests that repeat something many times; CI runs the short ones.
const LONG_TESTS: &str = "KINA_LONG_TESTS";
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The number of repetitions, or another measure of a test: in a long run, and in others.
pub fn repetitions<T>(long: T, short: T) -> T {
    if std::env::var_os(LONG_TESTS).is_some() { long } else { short }
}

/// Waits until `is_true` returns true; fails after [`PATIENCE`].
pub async fn wait_until<Answer: Future<Output = bool>>(what: &str, is_true: impl Fn() -> Answer) -> anyhow::Result<()> {
    let start = Instant::now();
    while !is_true().await {
        anyhow::ensure!(start.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// The same for code without a runtime.
pub fn wait_until_blocking(what: &str, is_true: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(POLL_INTERVAL);
    }
}
