//! The machine, its macOS, and the session.

use std::path::{Path, PathBuf};

use super::super::ask;
use super::super::check::Check;
use super::SECTION;

/// The first macOS that `container` supports; on 15 it "may run".
const MACOS_SUPPORTED: u64 = 26;
const MACOS_LEAST: u64 = 15;
/// The limit of open files that the runtime helper of each machine asks launchd for.
const HELPER_OPEN_FILES: u64 = 65_536;
const IS_EMULATED: &str = "the program is an emulator, which needs no Mac";

/// Facts about this Mac.
#[derive(Clone, Debug, Default)]
struct Mac {
    /// Such as `26.1`.
    version: Option<String>,
    /// The processor's brand: `Apple M3`.
    chip: Option<String>,
    /// Set if this is itself a virtual machine.
    is_virtual: bool,
    /// The kind of the session: `Aqua` has a desktop, `Background` and `System` have none.
    session: Option<String>,
    home: Option<PathBuf>,
    /// The line of `launchctl limit maxfiles`: the name, the soft limit, the hard one.
    open_files: Option<String>,
}

pub(super) async fn examine(simulated: bool, service_runs: bool) -> Vec<Check> {
    let mac = match cfg!(target_os = "macos") {
        true => Some(look().await),
        false => None,
    };
    checks(mac.as_ref(), simulated, service_runs)
}

async fn look() -> Mac {
    let (version, chip, is_virtual, session, open_files) = tokio::join!(
        ask::program("/usr/bin/sw_vers", &["-productVersion"]),
        ask::program("/usr/sbin/sysctl", &["-n", "machdep.cpu.brand_string"]),
        ask::program("/usr/sbin/sysctl", &["-n", "kern.hv_vmm_present"]),
        ask::program("/bin/launchctl", &["managername"]),
        ask::program("/bin/launchctl", &["limit", "maxfiles"]),
    );
    let is_virtual = is_virtual.as_deref() == Some("1");
    Mac { version, chip, is_virtual, session, home: std::env::var_os("HOME").map(PathBuf::from), open_files }
}

fn checks(mac: Option<&Mac>, simulated: bool, service_runs: bool) -> Vec<Check> {
    let names = ["macos", "chip", "session", "home", "helper_open_files"];
    match mac {
        None if simulated => names.map(|name| SECTION.skipped(name, IS_EMULATED)).into(),
        None => {
            let wrong = SECTION.wrong(
                "macos",
                format!("this is {}", std::env::consts::OS),
                "Apple's `container` exists on macOS only",
                "use the provider `process` here: --provider process, KINA_PROVIDER=process, or kina.toml",
            );
            let others = names[1..].iter().map(|name| SECTION.skipped(name, "this is not a Mac"));
            std::iter::once(wrong).chain(others).collect()
        }
        Some(mac) => vec![
            macos(mac.version.as_deref()),
            chip(mac.chip.as_deref(), mac.is_virtual, std::env::consts::ARCH),
            session(mac.session.as_deref(), service_runs),
            home(mac.home.as_deref(), service_runs),
            helper_open_files(mac.open_files.as_deref()),
        ],
    }
}

fn macos(version: Option<&str>) -> Check {
    let name = "macos";
    let major = version.and_then(|version| version.split('.').next()?.parse::<u64>().ok());
    let (Some(version), Some(major)) = (version, major) else {
        return SECTION.skipped(name, "sw_vers does not show the version of macOS");
    };
    let repair = "update to macOS 26 or newer, or use the provider `process`";
    if major < MACOS_LEAST {
        SECTION.wrong(name, format!("macOS {version}"), "Apple's `container` does not run on it", repair)
    } else if major < MACOS_SUPPORTED {
        SECTION.warning(
            name,
            format!("macOS {version}"),
            "Apple's `container` may run on it, but is not supported",
            repair,
        )
    } else {
        SECTION.ok(name, format!("macOS {version}"))
    }
}

fn chip(brand: Option<&str>, is_virtual: bool, built_for: &str) -> Check {
    let name = "chip";
    let Some(brand) = brand else { return SECTION.skipped(name, "sysctl does not show the processor") };
    if is_virtual {
        return SECTION.wrong(
            name,
            format!("{brand}, and this macOS is itself in a virtual machine"),
            "it cannot run virtual machines itself: hosted CI runners are of this kind",
            "use a Mac of your own (docs/apple.md has a recipe), or the provider `process`",
        );
    }
    if !brand.starts_with("Apple") {
        return SECTION.wrong(
            name,
            brand,
            "Apple's `container` needs Apple silicon",
            "use the provider `process` here: --provider process, KINA_PROVIDER=process, or kina.toml",
        );
    }
    match built_for {
        "aarch64" => SECTION.ok(name, brand),
        other => SECTION.wrong(
            name,
            format!("{brand}, but this program was built for {other}"),
            "it runs translated, and would make images for that processor",
            "rustup set default-host aarch64-apple-darwin, then rustup toolchain install stable",
        ),
    }
}

fn session(kind: Option<&str>, service_runs: bool) -> Check {
    let name = "session";
    match kind {
        None => SECTION.skipped(name, "launchctl does not show the kind of session"),
        Some("Aqua") => SECTION.ok(name, "Aqua: it has a desktop"),
        Some(kind) if service_runs => SECTION.ok(name, format!("{kind}: it has no desktop, but the service runs")),
        Some(kind) => SECTION.warning(
            name,
            format!("{kind}: it has no desktop, as over ssh, and the service does not run"),
            "macOS may never register the service for an account without a desktop session",
            "log in at the desktop once (or turn on automatic login), then container system start \
             --enable-kernel-install",
        ),
    }
}

fn home(home: Option<&Path>, service_runs: bool) -> Check {
    let name = "home";
    match home {
        None => SECTION.skipped(name, "HOME is not set"),
        Some(home) if home.starts_with("/Volumes") && !service_runs => SECTION.warning(
            name,
            format!("{} is not on the system's volume", home.display()),
            "the service of `container` may never be registered for such an account",
            "use an account whose home is on the system's own volume",
        ),
        Some(home) => SECTION.ok(name, home.display().to_string()),
    }
}

/// Checks launchd's hard limit, which `ulimit` in a shell does not change.
fn helper_open_files(limits: Option<&str>) -> Check {
    let name = "helper_open_files";
    let hard = limits.and_then(|line| line.split_whitespace().nth(2));
    match hard.map(|hard| (hard, hard.parse::<u64>())) {
        Some(("unlimited", _)) => SECTION.ok(name, "launchd has no limit of open files"),
        Some((_, Ok(hard))) if HELPER_OPEN_FILES <= hard => {
            SECTION.ok(name, format!("launchd's hard limit of open files is {hard}"))
        }
        Some((_, Ok(hard))) => SECTION.wrong(
            name,
            format!("launchd's hard limit of open files is {hard}"),
            format!(
                "the runtime helper asks for {HELPER_OPEN_FILES}, and each machine fails with \"Operation not permitted\"; \
                 `ulimit -n` in a shell does not change this limit"
            ),
            "sudo launchctl limit maxfiles 65536 524288; container system stop; container system start \
             --enable-kernel-install",
        ),
        _ => SECTION.skipped(name, "launchctl does not show its limit of open files"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;

    fn outcomes(checks: &[Check]) -> Vec<CheckOutcome> {
        checks.iter().map(|check| check.outcome).collect()
    }

    #[test]
    fn a_good_mac_is_well() {
        let text = |text: &str| Some(text.to_owned());
        let mac = Mac {
            version: text("26.1"),
            chip: text("Apple M3 Pro"),
            is_virtual: false,
            session: text("Aqua"),
            home: Some("/Users/me".into()),
            open_files: text("\tmaxfiles    256            unlimited"),
        };
        let checks = checks(Some(&mac), false, false);
        let names: Vec<_> = checks.iter().map(|check| check.name).collect();
        assert_eq!(names, ["macos", "chip", "session", "home", "helper_open_files"]);
        // The chip depends on the platform that this program was built for.
        let others = [&checks[0], &checks[2], &checks[3], &checks[4]].map(|check| check.outcome);
        assert_eq!(others, [CheckOutcome::Ok; 4], "{checks:?}");
        assert_eq!(chip(Some("Apple M3 Pro"), false, "aarch64").outcome, CheckOutcome::Ok);
    }

    #[test]
    fn another_system_is_wrong_unless_the_program_is_an_emulator() {
        let skipped = CheckOutcome::Skipped;
        assert_eq!(outcomes(&checks(None, false, false)), [CheckOutcome::Wrong, skipped, skipped, skipped, skipped]);
        assert_eq!(outcomes(&checks(None, true, true)), [skipped; 5]);
        // Unknown facts are skipped.
        assert_eq!(outcomes(&checks(Some(&Mac::default()), false, false)), [skipped; 5]);
    }

    #[test]
    fn old_systems_other_chips_and_machines_in_machines_are_reported() {
        let of_macos = |version| macos(Some(version)).outcome;
        assert_eq!(
            ["14.7", "15.5", "26.0", "27.0"].map(of_macos),
            [CheckOutcome::Wrong, CheckOutcome::Warning, CheckOutcome::Ok, CheckOutcome::Ok]
        );
        assert_eq!(chip(Some("Intel(R) Core(TM) i7"), false, "x86_64").outcome, CheckOutcome::Wrong);
        assert_eq!(chip(Some("Apple processor"), true, "aarch64").outcome, CheckOutcome::Wrong);
        assert_eq!(chip(Some("Apple M1"), false, "x86_64").outcome, CheckOutcome::Wrong);
    }

    #[test]
    fn a_low_limit_of_launchd_is_wrong_and_repaired_by_launchctl() {
        let check = helper_open_files(Some("\tmaxfiles    256            10240          "));
        assert_eq!(check.outcome, CheckOutcome::Wrong);
        assert!(check.repair.is_some_and(|repair| repair.contains("launchctl limit maxfiles")));
        let outcome = |line| helper_open_files(line).outcome;
        assert_eq!(outcome(Some("maxfiles 65536 65536")), CheckOutcome::Ok);
        assert_eq!(outcome(Some("maxfiles 256")), CheckOutcome::Skipped);
        assert_eq!(outcome(None), CheckOutcome::Skipped);
    }

    #[test]
    fn a_session_without_a_desktop_matters_only_while_the_service_is_down() {
        let of_session = |service_runs| session(Some("Background"), service_runs).outcome;
        assert_eq!([false, true].map(of_session), [CheckOutcome::Warning, CheckOutcome::Ok]);
        let of_home = |service_runs| home(Some(Path::new("/Volumes/Big/me")), service_runs).outcome;
        assert_eq!([false, true].map(of_home), [CheckOutcome::Warning, CheckOutcome::Ok]);
    }
}
