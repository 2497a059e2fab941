//! `--sabotage` on the command line.

use kina_engine::lab::sabotage::{IS_POSSIBLE, Part};

/// Reads the name of a part. clap turns an error into exit code 2.
pub(super) fn part(name: &str) -> Result<Part, String> {
    // The engine is asked, not this package's own feature: a build of the workspace's tests has only the engine's.
    if !IS_POSSIBLE {
        return Err(
            "this program cannot switch any part of the engine off: run `cargo lab` in kina's repository".to_owned()
        );
    }
    Part::named(name).ok_or_else(|| format!("there is no such part; the parts are {}", Part::names()))
}
