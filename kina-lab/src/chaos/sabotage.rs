//! `--sabotage` on the command line.

use kina_engine::lab::sabotage::Part;

/// Reads the name of a part. clap turns an error into exit code 2.
pub(super) fn part(name: &str) -> Result<Part, String> {
    if cfg!(not(feature = "sabotage")) {
        return Err(
            "this program cannot switch any part of the engine off: run `cargo lab` in kina's repository".to_owned()
        );
    }
    Part::named(name).ok_or_else(|| format!("there is no such part; the parts are {}", Part::names()))
}
