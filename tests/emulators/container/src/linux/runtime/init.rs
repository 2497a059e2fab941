//! The process that becomes PID 1: it makes the machine's file systems, then its program replaces it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use container_command_line::{Code, Failure, messages};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive, mount_remount, unmount};
use rustix::process::Signal;

use super::super::late::{self, View};
use super::super::store::{MachinePlan, MountPlan, Record, Store};
use super::{capabilities, roots, users};

/// Becomes PID 1. An earlier failure is reported through the pipe that is stdin.
pub(crate) fn main(arguments: &[String]) -> u8 {
    let Ok(pipe) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return 1 };
    let failure = match become_program(arguments, &pipe) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    let text = match failure {
        Failure::Runtime { text, .. } | Failure::Prefixed(text) => text,
        Failure::Usage(_) | Failure::Exit(_) => "emulator: no program".to_owned(),
    };
    // If the helper is gone, this process ends too.
    let _ = File::from(pipe).write_all(text.as_bytes());
    1
}

fn become_program(arguments: &[String], pipe: &OwnedFd) -> Result<std::convert::Infallible, Failure> {
    let [root, id, address, release, view] = arguments else { return Err(Failure::Exit(1)) };
    let failed = |error: io::Error| {
        let text = format!("failed to bootstrap container {id} (cause: \"unknown: \"{error}\"\")");
        Failure::runtime(Code::InternalError, text)
    };
    // No process of a machine outlives its helper.
    let bound = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    bound.map_err(|error| failed(error.into()))?;
    let mut watched = [PollFd::new(pipe, PollFlags::empty())];
    poll(&mut watched, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).map_err(|error| failed(error.into()))?;
    // The helper has ended before that took effect: the pipe has no reader.
    if watched[0].revents().contains(PollFlags::ERR) {
        return Err(Failure::Exit(1));
    }
    let store = Store::open(Path::new(root))?;
    let record = store.container(id)?.ok_or_else(|| messages::get_failed(id))?;
    let bundle = store.bundle(id);
    make_root(&record, &bundle, address, release, View::of_text(view)).map_err(failed)?;
    let process = &record.configuration.init_process;
    fs::create_dir_all(&process.working_directory).map_err(failed)?;
    std::env::set_current_dir(&process.working_directory).map_err(failed)?;
    let user = users::find(&record.machine.user)?;
    let program = users::executable(&process.executable, &process.environment)?;
    capabilities::reduce(&record.machine)?;
    let null = File::open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(|error| failed(error.into()))?;
    let mut command = Command::new(program);
    command.arg0(&process.executable).args(&process.arguments).env_clear();
    command.envs(process.environment.iter().filter_map(|entry| entry.split_once('=')));
    user.apply(&mut command);
    Err(failed(command.exec()))
}

fn make_root(record: &Record, bundle: &Path, address: &str, release: &str, view: View) -> io::Result<()> {
    let machine = &record.machine;
    roots::own_mount_namespace()?;
    let root = roots::mount_root(&machine.snapshot, bundle)?;
    kernel_file_systems(&root, machine)?;
    kernel_version(&root, bundle, release)?;
    names(&root, record, address)?;
    for (index, plan) in machine.mounts.iter().enumerate() {
        mount_one(&root, plan, late::source(view, bundle, plan, index).as_deref())?;
    }
    close(&root, machine)?;
    std::env::set_current_dir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")?;
    if record.configuration.read_only {
        mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}

fn kernel_file_systems(root: &Path, machine: &MachinePlan) -> io::Result<()> {
    let at = |name: &str| -> io::Result<PathBuf> {
        let path = root.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    };
    let safe = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let memory = |path: PathBuf, flags: MountFlags, options: &str| {
        let options = CString::new(options)?;
        io::Result::Ok(mount("tmpfs", &path, "tmpfs", flags, options.as_c_str())?)
    };
    mount("proc", at("proc")?, "proc", safe, None)?;
    // If the kernel does not allow a new one, the host's own is mounted.
    let sys = at("sys")?;
    if mount("sysfs", &sys, "sysfs", safe | MountFlags::RDONLY, None).is_err() {
        mount_bind_recursive("/sys", &sys)?;
    }
    memory(at("dev")?, MountFlags::NOSUID, "mode=755,size=65536k")?;
    for device in ["null", "zero", "full", "random", "urandom", "tty"] {
        let target = root.join("dev").join(device);
        File::create(&target)?;
        mount_bind(Path::new("/dev").join(device), &target)?;
    }
    let terminals = CString::new("newinstance,ptmxmode=0666,mode=0620")?;
    mount("devpts", at("dev/pts")?, "devpts", MountFlags::NOSUID | MountFlags::NOEXEC, terminals.as_c_str())?;
    std::os::unix::fs::symlink("pts/ptmx", root.join("dev/ptmx"))?;
    for (link, target) in [("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        std::os::unix::fs::symlink(format!("/proc/self/{target}"), root.join("dev").join(link))?;
    }
    let shared = format!("mode=1777,size={}", machine.shared_memory_bytes);
    memory(at("dev/shm")?, MountFlags::NOSUID | MountFlags::NODEV, &shared)
}

/// Makes /proc show the emulated version of the kernel.
fn kernel_version(root: &Path, bundle: &Path, release: &str) -> io::Result<()> {
    let files = [
        ("proc/version", format!("Linux version {release} (kina emulator)\n")),
        ("proc/sys/kernel/osrelease", format!("{release}\n")),
    ];
    for (path, text) in files {
        let source = bundle.join(path.replace('/', "-"));
        fs::write(&source, text)?;
        mount_bind(&source, root.join(path))?;
    }
    Ok(())
}

/// Writes /etc/hosts and /etc/resolv.conf, anew at each start.
fn names(root: &Path, record: &Record, address: &str) -> io::Result<()> {
    let directory = root.join("etc");
    fs::create_dir_all(&directory)?;
    let host = record.hostname();
    let own = if address.is_empty() { String::new() } else { format!("{address} {host}\n") };
    fs::write(directory.join("hosts"), format!("127.0.0.1 localhost\n{own}"))?;
    let gateway = address.rsplit_once('.').map(|(prefix, _)| format!("{prefix}.1"));
    let given = &record.machine.nameservers;
    let servers = if given.is_empty() { gateway.into_iter().collect() } else { given.clone() };
    let lines: String = servers.iter().map(|server| format!("nameserver {server}\n")).collect();
    fs::write(directory.join("resolv.conf"), lines)
}

/// Mounts this source, or memory if there is none.
fn mount_one(root: &Path, plan: &MountPlan, source: Option<&Path>) -> io::Result<()> {
    let target = root.join(plan.target.trim_start_matches('/'));
    let Some(source) = source else {
        fs::create_dir_all(&target)?;
        let options = CString::new(plan.options.as_str())?;
        let flags = if plan.read_only { MountFlags::RDONLY } else { MountFlags::empty() };
        return Ok(mount("tmpfs", &target, "tmpfs", flags, options.as_c_str())?);
    };
    if source.is_dir() {
        fs::create_dir_all(&target)?;
    } else {
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        File::options().create(true).truncate(false).write(true).open(&target)?;
    }
    mount_bind_recursive(source, &target)?;
    if plan.read_only { lock(&target) } else { Ok(()) }
}

/// Makes a mount read-only. The kernel refuses that unless flags that the host has set on it are kept.
fn lock(target: &Path) -> io::Result<()> {
    let flags = MountFlags::BIND | MountFlags::RDONLY;
    let kept = [MountFlags::empty(), MountFlags::NOSUID | MountFlags::NODEV];
    let kept = kept.into_iter().chain([MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC]);
    let mut outcome = Ok(());
    for more in kept {
        outcome = mount_remount(target, flags | more, "").map_err(Into::into);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Hides masked paths, and makes others read-only.
fn close(root: &Path, machine: &MachinePlan) -> io::Result<()> {
    for path in &machine.read_only_paths {
        let target = root.join(path.trim_start_matches('/'));
        if target.exists() {
            mount_bind_recursive(&target, &target)?;
            lock(&target)?;
        }
    }
    for path in &machine.masked_paths {
        let target = root.join(path.trim_start_matches('/'));
        if target.is_dir() {
            mount("tmpfs", &target, "tmpfs", MountFlags::RDONLY, None)?;
        } else if target.exists() {
            mount_bind("/dev/null", &target)?;
        }
    }
    Ok(())
}
