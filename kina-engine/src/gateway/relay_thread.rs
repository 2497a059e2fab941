//! Where gateways relay.
//!
//! Each of these threads has a runtime of its own. On the engine's common one, whoever wakes up for a chunk first wakes
//! another worker to look for more to do: on a machine with few cores, at the cost of the API server that is about to
//! answer.

use std::sync::atomic::{AtomicUsize, Ordering};

use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle};

use super::GatewayError;

/// More than this many do not serve more: what they relay for takes several cores to answer.
const THREADS_MAX: usize = 4;

static THREADS: OnceCell<Vec<Handle>> = OnceCell::new();
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// The thread of the next gateway. They take turns.
pub(super) fn next() -> Result<Handle, GatewayError> {
    let threads = THREADS.get_or_try_init(start_all).map_err(GatewayError::Thread)?;
    let index = NEXT.fetch_add(1, Ordering::Relaxed) % threads.len().max(1);
    threads.get(index).cloned().ok_or_else(|| GatewayError::Thread(std::io::Error::other("there is no thread")))
}

fn start_all() -> Result<Vec<Handle>, std::io::Error> {
    let count = (crate::machine::cores() / 2).clamp(1, THREADS_MAX);
    (0..count).map(start).collect()
}

fn start(index: usize) -> Result<Handle, std::io::Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(format!("kina-relay-{index}"));
    thread.spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    Ok(handle)
}
