//! The program `container`.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use kina_engine::doctor::{PROGRAM_VARIABLE, ProviderError};
use kina_engine::with_causes;

use super::super::check::Check;
use super::{NO_PROGRAM, SECTION};

/// The directories that its two installers use.
const USUAL_PLACES: [&str; 2] = ["/usr/local/bin", "/opt/homebrew/bin"];
const INSTALL: &str = "install the package from the releases of Apple's `container` (macOS 26 on Apple silicon)";

pub(super) fn program(chosen: Option<&Path>, is_named: bool) -> Check {
    let name = "program";
    match chosen {
        Some(path) if is_named => SECTION.ok(name, format!("{}, named by {PROGRAM_VARIABLE}", path.display())),
        Some(path) => SECTION.ok(name, format!("{}, the first on PATH", path.display())),
        None => SECTION.wrong(
            name,
            "there is no `container` on PATH, of which only absolute entries count",
            "this provider has no clusters",
            INSTALL,
        ),
    }
}

/// Finds every `container` on the search path and in the usual places, each once, in this order.
pub(super) fn all_in(path: Option<&OsStr>) -> Vec<PathBuf> {
    let on_path = path.into_iter().flat_map(kina_engine::search_path_directories);
    let mut found: Vec<(PathBuf, PathBuf)> = Vec::new();
    for directory in on_path.chain(USUAL_PLACES.map(PathBuf::from)) {
        let path = directory.join("container");
        let is_program = std::fs::metadata(&path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        let Ok(real) = std::fs::canonicalize(&path) else { continue };
        if is_program && found.iter().all(|(_, other)| *other != real) {
            found.push((path, real));
        }
    }
    found.into_iter().map(|(path, _)| path).collect()
}

pub(super) fn installations(found: &[PathBuf]) -> Check {
    let name = "installations";
    match found {
        [] => SECTION.skipped(name, "none was found"),
        [one] => SECTION.ok(name, format!("one: {}", one.display())),
        several => SECTION.warning(
            name,
            several.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "),
            "program and service can come from different installations, and macOS grants each of them access to the \
             local network separately",
            format!("remove all but one, or name one: export {PROGRAM_VARIABLE}={}", several[0].display()),
        ),
    }
}

/// Checks the version. `connected` is the program's description of itself, or the reason why kina cannot use it.
pub(super) fn version(connected: Option<Result<&str, &ProviderError>>) -> Check {
    let name = "version";
    match connected {
        None => SECTION.skipped(name, NO_PROGRAM),
        Some(Ok(text)) => SECTION.ok(name, text),
        Some(Err(error)) => SECTION.wrong(name, with_causes(error), "this provider has no clusters", INSTALL),
    }
}

pub(super) fn reality(simulated: Option<bool>) -> Check {
    let name = "reality";
    match simulated {
        None => SECTION.skipped(name, NO_PROGRAM),
        Some(false) => SECTION.ok(name, "the program does not call itself an emulator"),
        Some(true) => SECTION.warning(
            name,
            "the program calls itself an emulator",
            "its clusters are real, but its virtual machines are not: its figures mean nothing for a Mac",
            format!("unset {PROGRAM_VARIABLE} to use the real program"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;
    use kina_engine::doctor::AppleError;

    #[test]
    fn two_installations_are_told_apart_and_a_link_to_one_does_not_count() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [package, brew, link, plain] = ["package", "brew", "link", "plain"].map(|name| directory.path().join(name));
        for (place, mode) in [(&package, 0o755), (&brew, 0o755), (&plain, 0o644)] {
            std::fs::create_dir(place).expect("made");
            std::fs::write(place.join("container"), "").expect("written");
            std::fs::set_permissions(place.join("container"), PermissionsExt::from_mode(mode)).expect("set");
        }
        std::os::unix::fs::symlink(&package, &link).expect("linked");
        let path = std::env::join_paths([&plain, &link, &package, &brew]).expect("joined");
        let found = all_in(Some(&path));
        assert_eq!(found[..2], [link.join("container"), brew.join("container")]);
        let check = installations(&found[..2]);
        assert_eq!(check.outcome, CheckOutcome::Warning);
        assert!(check.repair.is_some_and(|repair| repair.ends_with("link/container")));
        assert_eq!(installations(&found[..1]).outcome, CheckOutcome::Ok);
        assert_eq!(installations(&[]).outcome, CheckOutcome::Skipped);
    }

    #[test]
    fn a_missing_program_is_wrong_and_further_checks_are_skipped() {
        assert_eq!(program(None, false).outcome, CheckOutcome::Wrong);
        assert_eq!([version(None).outcome, reality(None).outcome], [CheckOutcome::Skipped, CheckOutcome::Skipped]);
        let named = program(Some(Path::new("/a/b")), true);
        assert!(named.found.contains(PROGRAM_VARIABLE), "{named:?}");
    }

    #[test]
    fn a_program_that_cannot_be_used_is_wrong_with_the_reason() {
        let error = ProviderError::from(AppleError::NoProgram);
        let check = version(Some(Err(&error)));
        assert_eq!(check.outcome, CheckOutcome::Wrong);
        assert!(check.found.contains("no program `container`"), "{check:?}");
    }

    #[test]
    fn an_emulator_is_warned_about() {
        assert_eq!([false, true].map(|is| reality(Some(is)).outcome), [CheckOutcome::Ok, CheckOutcome::Warning]);
    }
}
