//! A check of published ports. Only a cluster can show if they work, so this looks for failures in the engine's log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use kina_engine::doctor::ContainerErrorKind;
use kina_engine::{EnginePaths, ProviderName};

use super::super::check::Check;
use super::SECTION;

const NAME: &str = "ports";
/// Length of the end of the log that is searched.
const LOG_BYTES_MAX: u64 = 1 << 20;

pub(super) fn examine() -> Check {
    match EnginePaths::from_environment(ProviderName::Apple) {
        Ok(paths) => in_log(&paths.log),
        Err(_) => SECTION.skipped(NAME, "the engine's log cannot be found"),
    }
}

fn in_log(log: &Path) -> Check {
    let Some(text) = end_of(log) else {
        return SECTION.skipped(NAME, "no engine has written a log yet; only a cluster can show if ports work");
    };
    let phrase = ContainerErrorKind::Unreachable.to_string();
    match text.lines().rev().find(|line| line.contains(&phrase)) {
        None => SECTION.ok(NAME, format!("{} reports no trouble with them", log.display())),
        Some(line) => {
            let when = line.split_whitespace().next().unwrap_or_default();
            SECTION.warning(
                NAME,
                format!(
                    "{} reports, last at {when}, that a cluster served but its ports let nothing through",
                    log.display()
                ),
                "macOS probably keeps `container-runtime-linux` out of the local network",
                "allow `container-runtime-linux` under System Settings, Privacy & Security, Local Network, then \
                 container system stop; container system start --enable-kernel-install",
            )
        }
    }
}

fn end_of(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LOG_BYTES_MAX))).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn only_trouble_in_the_log_is_reported() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let log = directory.path().join("engine.log");
        assert_eq!(in_log(&log).outcome, CheckOutcome::Skipped);
        std::fs::write(&log, "2026-01-01T00:00:00Z INFO all is well\n".repeat(40_000)).expect("written");
        assert_eq!(in_log(&log).outcome, CheckOutcome::Ok);
        let complaint = format!("2026-01-02T00:00:00Z WARN `container` failed: {}\n", ContainerErrorKind::Unreachable);
        let mut text = std::fs::read_to_string(&log).expect("readable");
        text.push_str(&complaint);
        std::fs::write(&log, text).expect("written");
        let check = in_log(&log);
        assert_eq!(check.outcome, CheckOutcome::Warning);
        assert!(check.found.contains("2026-01-02T00:00:00Z"), "{check:?}");
    }
}
