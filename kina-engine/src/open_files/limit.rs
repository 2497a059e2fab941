//! The limit of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and returns the limit that is in force then. The soft one is mostly 1,024, for
/// the sake of programs that use `select`.
pub(crate) fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = wanted(current, maximum, system_maximum());
    if wanted != current
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum })
    {
        tracing::warn!(%error, ?current, ?wanted, "the limit of open files cannot be raised: it stays as it is");
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    tracing::info!(limit, ?current, "open files");
    limit
}

/// Returns the lower one of the hard limit and the system's, and never less than there is. `None` is no limit.
fn wanted(current: Option<u64>, maximum: Option<u64>, system: Option<u64>) -> Option<u64> {
    let current = current?;
    let bound = [maximum, system].into_iter().flatten().min()?;
    Some(bound.max(current))
}

/// Linux checks a hard limit against the system's when that limit is set.
#[cfg(not(target_os = "macos"))]
fn system_maximum() -> Option<u64> {
    None
}

/// macOS refuses a soft limit above this one, although the hard limit is mostly infinite.
#[cfg(target_os = "macos")]
fn system_maximum() -> Option<u64> {
    // `OPEN_MAX`, which every macOS allows.
    Some(crate::sysctl::number("kern.maxfilesperproc").unwrap_or(10_240))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_the_system_allows() {
        for (current, maximum, system, expected) in [
            (Some(1024), Some(524_288), None, Some(524_288)),
            (Some(1024), Some(1024), None, Some(1024)),
            (Some(256), None, Some(61_440), Some(61_440)),
            (Some(256), Some(10_000), Some(61_440), Some(10_000)),
            (Some(256), None, None, None),
            (Some(100_000), None, Some(61_440), Some(100_000)),
            (None, None, Some(61_440), None),
        ] {
            assert_eq!(wanted(current, maximum, system), expected, "{current:?} {maximum:?} {system:?}");
        }
    }
}
