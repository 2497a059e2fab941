//! Turns a re-executed test binary into the engine, before its `main`.
//!
//! The engine is part of every executable that uses kina, so nothing has to be installed. The constructor runs at each
//! start of the executable, also if tests are only listed. Unless a variable is set that only kina sets, it returns at
//! once.

use std::sync::atomic::{AtomicBool, Ordering};

static IS_LINKED: AtomicBool = AtomicBool::new(false);

/// Returns true once the constructor has run. The call itself keeps the linker from dropping the constructor.
pub(crate) fn is_linked() -> bool {
    IS_LINKED.load(Ordering::Relaxed)
}

mod constructor {
    /// The standard library promises little before `main`. An ordinary start uses only an environment look-up and an
    /// atomic store, which work on Linux and macOS; all else runs in a process that never reaches `main`.
    #[ctor::ctor(unsafe)]
    fn become_engine_if_asked() {
        super::IS_LINKED.store(true, super::Ordering::Relaxed);
        kina_engine::become_engine_if_asked();
    }
}
