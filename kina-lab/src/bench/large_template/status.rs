use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cargo_kina::situation::runtime;
use kina_engine::EngineClient;

const INTERVAL: Duration = Duration::from_millis(20);
/// Two hours of samples.
const SAMPLES_MAX: usize = 360_000;

/// Measures answers on a thread of its own: on that of the clients it would wait for them.
pub(super) struct StatusClock {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<f64>>>,
}

impl StatusClock {
    pub(super) fn start(engine: &EngineClient) -> anyhow::Result<Self> {
        let (engine, is_over) = (engine.clone(), Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&is_over);
        let thread = std::thread::Builder::new().name("status".to_owned());
        let thread = thread.spawn(move || runtime()?.block_on(ask(&engine, &ends)))?;
        Ok(Self { is_over, thread })
    }

    /// Ends, and returns how long each answer took, in milliseconds.
    pub(super) fn stop(self) -> anyhow::Result<Vec<f64>> {
        self.is_over.store(true, Ordering::Relaxed);
        let Ok(measured) = self.thread.join() else { bail!("bug: asking for the status panicked") };
        measured
    }
}

async fn ask(engine: &EngineClient, is_over: &AtomicBool) -> anyhow::Result<Vec<f64>> {
    let mut latencies_ms = Vec::new();
    while latencies_ms.len() < SAMPLES_MAX && !is_over.load(Ordering::Relaxed) {
        let start = Instant::now();
        engine.status(false).await?.context("the private engine has ended")?;
        latencies_ms.push(start.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(latencies_ms)
}
