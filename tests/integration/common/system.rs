//! Processes, ports and files of this machine.

use std::collections::BTreeSet;
use std::path::Path;

use rustix::process::{Pid, test_kill_process};

/// A listening port, with the identity of its socket.
#[cfg(target_os = "linux")]
pub type Listener = (u16, u64);

/// Returns true if a process exists and has not ended.
pub fn is_running(process_id: u32) -> bool {
    let Some(pid) = i32::try_from(process_id).ok().and_then(Pid::from_raw) else { return false };
    // A process that has ended but is not reaped yet does not count.
    let is_zombie = std::fs::read_to_string(format!("/proc/{process_id}/stat"))
        .is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z')));
    test_kill_process(pid).is_ok() && !is_zombie
}

/// The processes that have this directory in their command line or environment.
#[cfg(target_os = "linux")]
pub fn processes_of(directory: &Path) -> BTreeSet<u32> {
    let wanted = directory.as_os_str().as_encoded_bytes();
    let contains = |bytes: Vec<u8>| bytes.windows(wanted.len()).any(|window| window == wanted);
    let entries = std::fs::read_dir("/proc").expect("the list of processes");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process_id| *process_id != std::process::id() && is_running(*process_id))
        .filter(|process_id| {
            // A process that ends at this moment has neither.
            let read = |name: &str| std::fs::read(format!("/proc/{process_id}/{name}")).unwrap_or_default();
            contains(read("cmdline")) || contains(read("environ"))
        })
        .collect()
}

/// The ports on which these processes listen.
#[cfg(target_os = "linux")]
pub fn listeners_of(process_ids: &BTreeSet<u32>) -> BTreeSet<Listener> {
    let sockets: BTreeSet<u64> = process_ids
        .iter()
        .filter_map(|process_id| std::fs::read_dir(format!("/proc/{process_id}/fd")).ok())
        .flatten()
        .filter_map(|entry| {
            let link = std::fs::read_link(entry.ok()?.path()).ok()?;
            link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect();
    all_listeners().into_iter().filter(|(_, socket)| sockets.contains(socket)).collect()
}

/// All listening TCP ports of this machine.
#[cfg(target_os = "linux")]
pub fn all_listeners() -> BTreeSet<Listener> {
    let mut listeners = BTreeSet::new();
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        listeners.extend(text.lines().filter_map(listener));
    }
    listeners
}

/// Reads a line of the kernel's table of sockets: slot, local address, remote address, state, …, and, tenth, the inode.
#[cfg(target_os = "linux")]
fn listener(line: &str) -> Option<Listener> {
    const LISTENS: &str = "0A";
    let fields: Vec<_> = line.split_whitespace().collect();
    let (_, port) = fields.get(1)?.rsplit_once(':')?;
    let is_listening = *fields.get(3)? == LISTENS;
    is_listening.then_some((u16::from_str_radix(port, 16).ok()?, fields.get(9)?.parse().ok()?))
}

/// All files and directories below a directory.
pub fn files_below(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(next) = directories.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().filter_map(Result::ok) {
            found.insert(entry.path().display().to_string());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
    }
    found
}
