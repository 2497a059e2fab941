//! The record of the tests that could not run.

use std::fs::OpenOptions;
use std::io::Write;

/// The variable that names the file to which each skipped test adds a line.
pub const SKIPS_VARIABLE: &str = "KINA_TEST_SKIPS";

/// Records that the surrounding test is skipped, with the reason: on stderr, and as a line of the file in
/// [`SKIPS_VARIABLE`]. The test must return after it.
///
/// The test is named by its binary and its path in there, `contract::faults::an_old_kernel`. Unlike the name of its
/// thread, that is the same for every runner and any number of threads.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        fn here() {}
        $crate::record_skip(::std::any::type_name_of_val(&here), &::std::format!($($reason)+))
    }};
}

/// The function behind [`skip!`]; `here` is the path of a function inside the test.
///
/// # Panics
/// If the file cannot be written, because a skip that is not recorded would count as a pass.
pub fn record_skip(here: &str, reason: &str) {
    let line = line_of(here, reason);
    eprint!("SKIPPED: {line}");
    let Some(path) = std::env::var_os(SKIPS_VARIABLE).filter(|path| !path.is_empty()) else { return };
    // One write, so that the lines of tests that run at the same time do not mix.
    let written =
        OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| file.write_all(line.as_bytes()));
    if let Err(error) = written {
        panic!("cannot add to `{}`, which {SKIPS_VARIABLE} names: {error}", path.display());
    }
}

fn line_of(here: &str, reason: &str) -> String {
    let path = here.strip_suffix("::here").unwrap_or(here);
    // An asynchronous test is a closure inside the function of its name.
    let name = path.strip_suffix("::{{closure}}").unwrap_or(path);
    format!("{name}: {}\n", reason.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::line_of;

    #[test]
    fn a_line_has_the_name_of_the_test_and_the_reason() {
        fn here() {}
        let line = line_of(std::any::type_name_of_val(&here), "there is no\n  podman");
        assert_eq!(
            line,
            "test_support::skips::tests::a_line_has_the_name_of_the_test_and_the_reason: there is no podman\n"
        );
        let of_async = async {
            fn here() {}
            line_of(std::any::type_name_of_val(&here), "why")
        };
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let std::task::Poll::Ready(line) = Future::poll(std::pin::pin!(of_async), &mut context) else {
            panic!("it never waits")
        };
        assert_eq!(line, "test_support::skips::tests::a_line_has_the_name_of_the_test_and_the_reason: why\n");
    }
}
