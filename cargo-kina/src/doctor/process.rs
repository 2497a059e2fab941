//! Requirements of clusters made of plain processes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use kina_engine::EngineSettings;
use kina_engine::doctor::MEMORY_PER_CLUSTER_BYTES;

use super::ask;
use super::check::{Check, Section};
use super::kernel;

const SECTION: Section = Section("process");
/// Number of open files that is enough. Each connection of a test takes two of the engine's, each cluster some dozens
/// of its own.
const OPEN_FILES_ENOUGH: u64 = 1024;
const LOOPBACK_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes all checks of this section.
pub(super) fn examine(settings: &EngineSettings) -> Vec<Check> {
    let memory_bytes = settings.memory_max_bytes.unwrap_or_else(kina_engine::available_memory_bytes);
    let by_cores = kina_engine::cores().saturating_mul(2);
    let by_memory = usize::try_from(memory_bytes / MEMORY_PER_CLUSTER_BYTES).unwrap_or(usize::MAX);
    let clusters_max = settings.slots_max.unwrap_or(by_cores.min(by_memory)).max(1);
    let mut checks = vec![
        open_files(SECTION, ask::open_files_max()),
        cores(kina_engine::cores()),
        memory(memory_bytes, settings.memory_max_bytes.is_some()),
        loopback(&try_loopback()),
        death_with_the_engine(),
    ];
    checks.extend(kernel::examine(u64::try_from(clusters_max).unwrap_or(u64::MAX)));
    checks
}

/// Checks, for any section, that processes may have enough files open.
pub(super) fn open_files(section: Section, most: Option<u64>) -> Check {
    let name = "open_files";
    match most {
        None => section.ok(name, "no limit"),
        Some(most) if OPEN_FILES_ENOUGH <= most => section.ok(name, format!("up to {most} for each process")),
        Some(most) => section.warning(
            name,
            format!("only {most} for each process"),
            "each connection of a test takes two of the engine's: many tests at a time run out of them",
            "raise the hard limit (ulimit -Hn shows it) where the session gets it: limits.conf or LimitNOFILE on Linux, \
             launchctl limit maxfiles on macOS; then cargo kina stop, in a new session",
        ),
    }
}

fn cores(cores: usize) -> Check {
    let name = "cores";
    match cores {
        0 | 1 => SECTION.warning(
            name,
            "1 core within the control groups and the affinity mask",
            "clusters boot one after the other, each slower than on two cores",
            "give the container or the job two cores or more",
        ),
        cores => SECTION.ok(name, format!("{cores} within the control groups and the affinity mask")),
    }
}

fn memory(bytes: u64, is_set: bool) -> Check {
    let name = "memory";
    let origin = if is_set { "allowed by memory_max" } else { "available within the control groups" };
    let clusters = bytes / MEMORY_PER_CLUSTER_BYTES;
    let found = format!("{} MB {origin}, {clusters} clusters' worth", bytes / 1_000_000);
    let repair = match is_set {
        true => "raise memory_max (KINA_MEMORY_MAX), then cargo kina stop",
        false => "end programs that take much memory, or give the container or the job more",
    };
    match clusters {
        0 => SECTION.wrong(name, found, "one cluster takes more: it, or another process, would be killed", repair),
        1..=3 => SECTION.warning(name, found, "few clusters at a time: tests wait for each other", repair),
        _ => SECTION.ok(name, found),
    }
}

fn loopback(tried: &io::Result<()>) -> Check {
    let name = "loopback";
    match tried {
        Ok(()) => SECTION.ok(name, "127.0.0.1 lets connections through"),
        Err(error) => SECTION.wrong(
            name,
            format!("a connection over 127.0.0.1 failed: {error}"),
            "clusters listen there and nowhere else",
            "bring the interface up (`ip link set lo up`), and allow connections in any filter or sandbox",
        ),
    }
}

fn try_loopback() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect_timeout(&listener.local_addr()?, LOOPBACK_TIMEOUT)?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(LOOPBACK_TIMEOUT))?;
    client.write_all(b"k")?;
    server.read_exact(&mut [0])
}

/// Tries, on this thread, the parent-death signal that each child sets, and restores the former one.
#[cfg(target_os = "linux")]
fn death_with_the_engine() -> Check {
    use rustix::process::{Signal, parent_process_death_signal, set_parent_process_death_signal};
    let tried = parent_process_death_signal().and_then(|before| {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        let asked = parent_process_death_signal();
        set_parent_process_death_signal(before)?;
        asked
    });
    killed_by_the_kernel(tried.map(|signal| signal == Some(Signal::KILL)).map_err(io::Error::from))
}

#[cfg(target_os = "linux")]
fn killed_by_the_kernel(tried: io::Result<bool>) -> Check {
    let name = "death_with_the_engine";
    let meaning = "clusters could outlive an engine that is killed, until the next one sweeps them";
    let repair = "allow the system call prctl in the sandbox";
    match tried {
        Ok(true) => SECTION.ok(name, "the kernel ends clusters with their engine"),
        Ok(false) => SECTION.warning(name, "the kernel forgets the parent-death signal", meaning, repair),
        Err(error) => SECTION.warning(name, format!("no parent-death signal: {error}"), meaning, repair),
    }
}

/// Checks for the shell that ends clusters on other systems.
#[cfg(not(target_os = "linux"))]
fn death_with_the_engine() -> Check {
    let name = "death_with_the_engine";
    match std::fs::metadata("/bin/sh") {
        Ok(_) => SECTION.ok(name, "this system has no parent-death signal; a shell ends clusters with their engine"),
        Err(error) => SECTION.wrong(
            name,
            format!("there is no /bin/sh: {error}"),
            "clusters whose engine was killed would go on running, so none are started",
            "install a shell as /bin/sh",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn memory_counts_in_clusters() {
        let outcome = |clusters: u64| memory(clusters * MEMORY_PER_CLUSTER_BYTES, false).outcome;
        assert_eq!([0, 1, 4].map(outcome), [CheckOutcome::Wrong, CheckOutcome::Warning, CheckOutcome::Ok]);
        let repair = |is_set| memory(0, is_set).repair.unwrap_or_default();
        assert!(repair(true).contains("KINA_MEMORY_MAX") && !repair(false).contains("KINA_MEMORY_MAX"));
    }

    #[test]
    fn few_open_files_and_few_cores_are_warnings() {
        let outcome = |most| open_files(SECTION, most).outcome;
        assert_eq!(
            [Some(256), Some(1024), None].map(outcome),
            [CheckOutcome::Warning, CheckOutcome::Ok, CheckOutcome::Ok]
        );
        assert_eq!([1, 2].map(|number| cores(number).outcome), [CheckOutcome::Warning, CheckOutcome::Ok]);
    }

    #[test]
    fn loopback_works_here_and_a_failure_is_wrong() {
        assert_eq!(loopback(&try_loopback()).outcome, CheckOutcome::Ok);
        assert_eq!(loopback(&Err(io::Error::from(io::ErrorKind::AddrNotAvailable))).outcome, CheckOutcome::Wrong);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_parent_death_signal_is_tried_and_this_thread_is_left_as_it_was() {
        let before = rustix::process::parent_process_death_signal().expect("answered");
        assert_eq!(death_with_the_engine().outcome, CheckOutcome::Ok);
        assert_eq!(rustix::process::parent_process_death_signal().expect("answered"), before);
        let outcomes = [Ok(false), Err(io::Error::from(io::ErrorKind::PermissionDenied))].map(killed_by_the_kernel);
        assert!(outcomes.iter().all(|check| check.outcome == CheckOutcome::Warning));
    }
}
