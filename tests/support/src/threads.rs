//! More tests at a time than there are cores, for tests that mostly wait for other processes.

/// The variable from which a test binary takes the number of its threads.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";
/// The number of tests beyond the cores. Each may have an API server, so a large machine gets no multiple of its cores.
const BEYOND_CORES: usize = 2;

/// Lets the surrounding test binary run two more tests at a time than there are cores, unless its caller says how many.
///
/// A test that waits for a time limit or for a child process leaves its core idle, where by default the next test
/// begins after it. Stands once in a test binary's root.
#[macro_export]
macro_rules! run_more_tests_than_cores {
    () => {
        #[allow(unsafe_code)]
        #[$crate::ctor::ctor(unsafe, crate_path = $crate::ctor)]
        fn run_more_tests_than_cores() {
            // SAFETY: before `main` there is only this thread.
            unsafe { $crate::set_test_threads() }
        }
    };
}

/// Sets the variable that the harness reads in `main`.
///
/// # Safety
/// No other thread may run.
#[doc(hidden)]
#[allow(unsafe_code)]
pub unsafe fn set_test_threads() {
    let is_set = std::env::var_os(THREADS_VARIABLE).is_some();
    if let (false, Ok(cores)) = (is_set, std::thread::available_parallelism()) {
        // SAFETY: the caller's promise.
        unsafe { std::env::set_var(THREADS_VARIABLE, (cores.get() + BEYOND_CORES).to_string()) };
    }
}
