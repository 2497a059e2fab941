//! Checks of the service behind `container`: its state, and the things that it keeps.

use std::path::Path;

use kina_engine::doctor::{
    ContainerCount, ContainerError, ContainerErrorKind as Kind, DiskUsage, Examination, Inside, ProviderError,
};
use kina_engine::with_causes;

use super::super::check::Check;
use super::{NO_PROGRAM, SECTION};

type Examined = Result<Examination, ContainerError>;

const RUNNING: &str = "running";
const START: &str = "container system start --enable-kernel-install";
const RESTART: &str = "container system stop; container system start --enable-kernel-install";
const NAMES_SHOWN_MAX: usize = 5;

pub(super) fn is_running(examined: Option<&Examined>) -> bool {
    matches!(examined, Some(Ok(Examination { status, .. })) if status == RUNNING)
}

/// Makes the checks. `busy` is the reason for which the service was not asked for its disk space, if it was not.
pub(super) fn checks(examined: Option<&Examined>, simulated: bool, busy: Option<&str>) -> Vec<Check> {
    let inside = match examined {
        Some(Ok(Examination { inside: Some(inside), .. })) => inside,
        _ => {
            let why = if examined.is_none() { NO_PROGRAM } else { "the service does not run, or does not answer" };
            let skipped = ["version_skew", "kernel", "disk", "leftovers"].map(|name| SECTION.skipped(name, why));
            return std::iter::once(service(examined)).chain(skipped).collect();
        }
    };
    let Inside { version_skew, disk_usage, containers, .. } = inside;
    let app_root = match examined {
        Some(Ok(examined)) => examined.app_root.as_deref(),
        _ => None,
    };
    let disk = disk(disk_usage.as_ref(), busy);
    vec![service(examined), skew(version_skew), kernel(app_root, simulated), disk, leftovers(containers)]
}

fn service(examined: Option<&Examined>) -> Check {
    let name = "service";
    match examined {
        None => SECTION.skipped(name, NO_PROGRAM),
        Some(Ok(found)) if found.status == RUNNING => SECTION.ok(name, "it runs"),
        Some(Ok(found)) => SECTION.warning(
            name,
            format!("its status is \"{}\"", found.status),
            "nothing starts it at login or after a reboot; kina does when it makes its first cluster, which takes longer \
             and, the very first time, downloads a kernel",
            START,
        ),
        Some(Err(error)) if matches!(error.kind, Kind::TimedOut | Kind::ServiceHung) => SECTION.wrong(
            name,
            format!("it hangs: {}", with_causes(error)),
            "one call that hangs holds up others until it is ended",
            format!("end calls of `container` that hang (ps -ax | grep container), then {RESTART}"),
        ),
        Some(Err(error)) => {
            SECTION.wrong(name, with_causes(error), "without the service there are no clusters", RESTART)
        }
    }
}

fn skew(versions: &Result<Option<(String, String)>, ContainerError>) -> Check {
    let name = "version_skew";
    match versions {
        Ok(None) => SECTION.ok(name, "the service has the program's version, or does not report its own"),
        Ok(Some((program, service))) => SECTION.warning(
            name,
            format!("the program is {program}, the service {service}"),
            "an upgrade leaves the old service running, and the two may not understand each other",
            RESTART,
        ),
        Err(error) => no_answer(name, error),
    }
}

/// Checks the installed kernel. No command shows it, but it is linked at a known path.
fn kernel(app_root: Option<&Path>, simulated: bool) -> Check {
    let name = "kernel";
    if simulated {
        return SECTION.skipped(name, "the program is an emulator, which uses the kernel of this machine");
    }
    let Some(app_root) = app_root else {
        return SECTION.skipped(name, "the service does not report where it keeps its kernel");
    };
    let link = app_root.join("kernels/default.kernel-arm64");
    match std::fs::canonicalize(&link) {
        Ok(kernel) => {
            let kernel = kernel.file_name().unwrap_or(kernel.as_os_str()).to_string_lossy().into_owned();
            SECTION.ok(name, format!("{kernel} (an upgrade of `container` does not replace it)"))
        }
        Err(error) if !app_root.join("kernels").is_dir() => {
            SECTION.skipped(name, format!("the directory of {} is missing: {error}", link.display()))
        }
        Err(error) => SECTION.wrong(
            name,
            format!("there is none at {}: {error}", link.display()),
            "no virtual machine can start",
            "container system kernel set --recommended",
        ),
    }
}

fn disk(usage: Option<&Result<DiskUsage, ProviderError>>, busy: Option<&str>) -> Check {
    let name = "disk";
    let Some(usage) = usage else {
        let why = busy.unwrap_or("the service was not asked");
        return SECTION.skipped(name, format!("{why}, and would wait for `container system df`: try again later"));
    };
    match usage {
        Ok(DiskUsage { containers_bytes, images_bytes, volumes_bytes }) => {
            let [containers, images, volumes] =
                [containers_bytes, images_bytes, volumes_bytes].map(|bytes| bytes / 1_000_000);
            SECTION.ok(
                name,
                format!(
                    "containers {containers} MB, images {images} MB, volumes {volumes} MB, of all users of `container`"
                ),
            )
        }
        Err(error) => no_answer(name, error),
    }
}

fn leftovers(containers: &Result<ContainerCount, ContainerError>) -> Check {
    let name = "leftovers";
    match containers {
        Ok(ContainerCount { held, left_behind, of_other_realms, of_others }) => {
            let found = format!(
                "{held} containers of living engines, {} of engines that are gone, {of_other_realms} of kina with \
                 another cache directory, {of_others} that are not kina's, which kina never touches",
                left_behind.len()
            );
            if left_behind.is_empty() {
                return SECTION.ok(name, found);
            }
            let shown = left_behind[..left_behind.len().min(NAMES_SHOWN_MAX)].join(" ");
            SECTION.warning(
                name,
                found,
                "an engine was killed and could not clean up; the next one that starts deletes them",
                format!("cargo kina warm 1 --provider apple, or container delete --force {shown}"),
            )
        }
        Err(error) => no_answer(name, error),
    }
}

fn no_answer(name: &'static str, error: &(dyn std::error::Error + 'static)) -> Check {
    SECTION.warning(
        name,
        with_causes(error),
        "the service runs, but gave no answer to this",
        "container system logs --last 5m",
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;
    use kina_engine::doctor::AppleError;

    fn error(kind: Kind) -> ContainerError {
        ContainerError { kind, call: "container x".to_owned(), answer: "failed".to_owned(), source: None }
    }

    fn examination(status: &str, inside: Option<Inside>) -> Examined {
        Ok(Examination { status: status.to_owned(), app_root: None, inside })
    }

    fn inside(left_behind: &[&str]) -> Inside {
        let left_behind = left_behind.iter().map(|name| (*name).to_owned()).collect();
        Inside {
            version_skew: Ok(None),
            disk_usage: Some(Ok(DiskUsage::default())),
            containers: Ok(ContainerCount { left_behind, ..ContainerCount::default() }),
            image_is_loaded: None,
            image_names: Ok(Vec::new()),
        }
    }

    fn outcome_of(name: &str, checks: &[Check]) -> CheckOutcome {
        checks.iter().find(|check| check.name == name).expect(name).outcome
    }

    #[test]
    fn a_service_that_is_down_is_a_warning_and_further_checks_are_skipped() {
        let examined = examination("unregistered", None);
        let checks = checks(Some(&examined), false, None);
        assert!(!is_running(Some(&examined)));
        assert_eq!(checks[0].repair.as_deref(), Some(START));
        assert_eq!(outcome_of("service", &checks), CheckOutcome::Warning);
        for name in ["version_skew", "kernel", "disk", "leftovers"] {
            assert_eq!(outcome_of(name, &checks), CheckOutcome::Skipped, "{name}");
        }
    }

    #[test]
    fn a_service_that_hangs_is_wrong_and_told_from_one_that_fails() {
        for (kind, hangs) in [(Kind::TimedOut, true), (Kind::ServiceHung, true), (Kind::Other, false)] {
            let check = service(Some(&Err(error(kind))));
            assert_eq!(check.outcome, CheckOutcome::Wrong);
            assert_eq!(check.found.starts_with("it hangs"), hangs, "{check:?}");
        }
    }

    #[test]
    fn a_running_service_is_ok_and_its_missing_answers_are_warnings() {
        let well = checks(Some(&examination(RUNNING, Some(inside(&[])))), true, None);
        for name in ["service", "version_skew", "disk", "leftovers"] {
            assert_eq!(outcome_of(name, &well), CheckOutcome::Ok, "{name}");
        }
        assert_eq!(outcome_of("kernel", &well), CheckOutcome::Skipped);
        let silent = Inside {
            version_skew: Err(error(Kind::Other)),
            disk_usage: Some(Err(AppleError::Service(Box::new(error(Kind::Unreadable))).into())),
            containers: Err(error(Kind::Other)),
            image_is_loaded: None,
            image_names: Ok(Vec::new()),
        };
        let silent = checks(Some(&examination(RUNNING, Some(silent))), true, None);
        for name in ["version_skew", "disk", "leftovers"] {
            assert_eq!(outcome_of(name, &silent), CheckOutcome::Warning, "{name}");
        }
    }

    #[test]
    fn the_disk_is_skipped_with_the_reason_while_a_cluster_boots() {
        let unasked = Inside { disk_usage: None, ..inside(&[]) };
        let checks = checks(Some(&examination(RUNNING, Some(unasked))), true, Some("a cluster boots or starts"));
        let disk = checks.iter().find(|check| check.name == "disk").expect("checked");
        assert_eq!(disk.outcome, CheckOutcome::Skipped);
        assert!(disk.found.contains("a cluster boots or starts"), "{disk:?}");
    }

    #[test]
    fn another_version_of_the_service_and_leftovers_are_warnings_that_name_them() {
        let check = skew(&Ok(Some(("1.4.1".to_owned(), "1.2.2".to_owned()))));
        assert_eq!((check.outcome, check.repair.as_deref()), (CheckOutcome::Warning, Some(RESTART)));
        let check = leftovers(&inside(&["kina-a", "kina-b"]).containers);
        assert_eq!(check.outcome, CheckOutcome::Warning);
        assert!(check.repair.is_some_and(|repair| repair.ends_with("container delete --force kina-a kina-b")));
    }

    #[test]
    fn the_kernel_is_found_by_its_link() {
        let root = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(kernel(Some(root.path()), true).outcome, CheckOutcome::Skipped);
        assert_eq!(kernel(None, false).outcome, CheckOutcome::Skipped);
        // An unknown layout is no fault.
        assert_eq!(kernel(Some(root.path()), false).outcome, CheckOutcome::Skipped);
        let kernels = root.path().join("kernels");
        std::fs::create_dir(&kernels).expect("made");
        assert_eq!(kernel(Some(root.path()), false).outcome, CheckOutcome::Wrong);
        std::fs::write(kernels.join("vmlinux-6.18.15-186"), "").expect("written");
        std::os::unix::fs::symlink("vmlinux-6.18.15-186", kernels.join("default.kernel-arm64")).expect("linked");
        let check = kernel(Some(root.path()), false);
        assert_eq!(check.outcome, CheckOutcome::Ok);
        assert!(check.found.starts_with("vmlinux-6.18.15-186"), "{check:?}");
    }
}
