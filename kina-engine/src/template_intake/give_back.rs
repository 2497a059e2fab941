use std::time::Duration;

/// The times that memory is given back after a large template: at once, and after the rewind of the cluster on which the
/// template was made, which goes through all of its values.
const TIMES: u32 = 4;
const PAUSE: Duration = Duration::from_secs(2);

/// Gives the memory of a large template back to the system, on a thread of its own: glibc keeps the pages of freed objects
/// that are smaller than its threshold for mappings, unless it is asked.
pub(super) fn give_back_soon() {
    if !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    let thread = std::thread::Builder::new().name("kina-memory".to_owned());
    let started = thread.spawn(|| {
        for _ in 0..TIMES {
            trim();
            std::thread::sleep(PAUSE);
        }
    });
    if let Err(error) = started {
        tracing::debug!(%error, "no thread to give memory back: the allocator keeps it for the next template");
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "only the allocator itself can give its free pages back")]
fn trim() {
    // SAFETY: malloc_trim(3) has this signature, takes any number and may be called by any thread at any time.
    unsafe extern "C" {
        safe fn malloc_trim(kept_bytes: usize) -> std::ffi::c_int;
    }
    malloc_trim(0);
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}
