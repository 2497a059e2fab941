//! Turns a re-executed test binary into the engine, before its `main`.
//!
//! So nothing needs installing: the engine is part of every executable that uses kina. The constructor runs in each
//! start of the executable, also where tests are only listed. Unless a variable is set that nobody but kina sets, it
//! looks and returns.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_LINKED: AtomicBool = AtomicBool::new(false);

/// Whether the constructor is in this executable. Using this function is what keeps the linker from dropping it.
pub(crate) fn is_linked() -> bool {
    IS_LINKED.load(Ordering::Relaxed)
}

mod constructor {
    /// The standard library promises little before `main`. What is used of it in an ordinary start (an environment
    /// look-up and an atomic store) works on Linux and macOS; all else runs in a process that has no `main` to reach.
    #[ctor::ctor(unsafe)]
    fn become_engine_if_asked() {
        super::IS_LINKED.store(true, super::Ordering::Relaxed);
        kina_engine::become_engine_if_asked();
    }
}
