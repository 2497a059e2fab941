//! `exec`: a process between the CLI and the command enters the machine's namespaces and starts the command there.

use std::io::{self, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use container_command_line::command::Process as ProcessOptions;
use container_command_line::{Code, Failure, messages};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use serde::{Deserialize, Serialize};

use super::containers::State;
use super::create;
use super::dispatch::{Call, Outcome};
use super::faults::Fault;
use super::processes::Process;
use super::runtime::{capabilities, users};
use super::store::Store;

/// Time that a command's output may stay open after its end.
const DRAIN: Duration = Duration::from_secs(3);
/// Interval between checks of a process.
const LOOK: Duration = Duration::from_millis(2);

/// The arguments of the process in between.
#[derive(Debug, Serialize, Deserialize)]
struct Inside {
    id: String,
    command: Vec<String>,
    environment: Vec<String>,
    directory: String,
    user: String,
    detach: bool,
}

/// The numbers of SIGTERM and SIGINT that have arrived and are to be passed on.
pub(crate) type Signals = (Arc<AtomicUsize>, Arc<AtomicUsize>);

/// Counts SIGTERM and SIGINT from now on, so that they do not end this process.
pub(crate) fn signals() -> Result<Signals, Failure> {
    let counter = |signal: Signal| {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        #[expect(unsafe_code, reason = "a signal handler may do little, and this one only counts")]
        // SAFETY: an addition to an atomic number is safe in a signal handler.
        let registered = unsafe {
            signal_hook_registry::register(signal.as_raw(), move || {
                counted.fetch_add(1, Ordering::SeqCst);
            })
        };
        registered.map(|_| count).map_err(|error| failed(&error))
    };
    Ok((counter(Signal::TERM)?, counter(Signal::INT)?))
}

impl Call {
    /// `exec`: returns the command's exit code.
    pub(crate) fn exec(&self, detach: bool, options: &ProcessOptions, id: &str, command: &[String]) -> Outcome {
        let record = self.store.container(id)?.ok_or_else(|| messages::get_failed(id))?;
        if self.state(&record)? != State::Running {
            return Err(messages::not_running(id));
        }
        if options.terminal {
            return Err(self.not_emulated("a terminal"));
        }
        let name =
            Path::new(&command[0]).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if self.settings.faults.has(Fault::NoNftables) && (name == "nft" || name.ends_with("tables-nft")) {
            eprintln!("{name}: Could not fetch rule set generation id: Invalid argument");
            return Err(Failure::Exit(1));
        }
        let process = &record.configuration.init_process;
        let mut environment = process.environment.clone();
        options.environment.iter().for_each(|entry| create::set(&mut environment, entry));
        let inside = Inside {
            id: id.to_owned(),
            command: command.to_vec(),
            environment,
            directory: options.directory.clone().unwrap_or_else(|| process.working_directory.clone()),
            user: options.user.clone().unwrap_or(record.machine.user),
            detach,
        };
        let inside = serde_json::to_string(&inside).map_err(|error| failed(&error))?;
        let program = std::env::current_exe().map_err(|error| failed(&error))?;
        let signals = signals()?;
        let mut child = Command::new(program)
            .arg(super::EXEC)
            .arg(&self.settings.root)
            .arg(inside)
            .stdin(if options.interactive && !detach { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let (done, drained) = mpsc::channel();
        let streams: [Option<Box<dyn Read + Send>>; 2] = [
            child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
            child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>),
        ];
        for (index, stream) in streams.into_iter().enumerate() {
            let (stream, done) = (stream.ok_or_else(|| failed(&"no pipe"))?, done.clone());
            std::thread::spawn(move || {
                if index == 0 {
                    relay(stream, io::stdout())
                } else {
                    relay(stream, io::stderr())
                }
                // The receiver may be gone.
                let _ = done.send(());
            });
        }
        let status = wait(&mut child, &signals)?;
        for _ in 0..2 {
            if drained.recv_timeout(DRAIN).is_err() {
                return Err(Failure::runtime(Code::Timeout, "failed to wait for the output of the process"));
            }
        }
        match code(status) {
            0 if detach => Ok(format!("{id}\n")),
            0 => Ok(String::new()),
            code => Err(Failure::Exit(code)),
        }
    }
}

/// Runs the process in between; returns the command's code.
pub(crate) fn inside(arguments: &[String]) -> u8 {
    match run(arguments) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("{}", failure.text().unwrap_or_default());
            failure.exit_code()
        }
    }
}

fn run(arguments: &[String]) -> Result<u8, Failure> {
    let [root, inside] = arguments else { return Err(failed(&"wrong arguments")) };
    // Without the CLI, this process is of no use. The command itself lives on inside.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| failed(&error))?;
    let inside: Inside = serde_json::from_str(inside).map_err(|error| failed(&error))?;
    let store = Store::open(Path::new(root))?;
    let signals = signals()?;
    let boot = store.boot_lock()?;
    let record = store.container(&inside.id)?.ok_or_else(|| messages::get_failed(&inside.id))?;
    let init = store.runtime_of(&inside.id)?.and_then(|runtime| runtime.init);
    enter(init.ok_or_else(|| messages::not_running(&inside.id))?)?;
    std::env::set_current_dir(&inside.directory).map_err(|error| failed(&error))?;
    let user = users::find(&inside.user)?;
    let program = users::executable(&inside.command[0], &inside.environment)?;
    capabilities::reduce(&record.machine)?;
    let mut command = Command::new(program);
    command.args(&inside.command[1..]).env_clear();
    command.envs(inside.environment.iter().filter_map(|entry| entry.split_once('=')));
    user.apply(&mut command);
    if inside.detach {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    let mut child = command.spawn().map_err(|_| messages::no_executable(&inside.command[0]))?;
    drop(boot);
    if inside.detach { Ok(0) } else { Ok(code(wait(&mut child, &signals)?)) }
}

/// Enters the namespaces of a machine. Only children of this process are in its process namespace.
fn enter(init: Process) -> Result<(), Failure> {
    let gone = || failed(&"cannot exec: container is not running");
    let pid = i32::try_from(init.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let descriptor = pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
    if !init.lives() {
        return Err(gone());
    }
    let mut types = ThreadNameSpaceType::NETWORK
        | ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION
        | ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME
        | ThreadNameSpaceType::PROCESS_ID
        | ThreadNameSpaceType::MOUNT;
    let user = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/user"));
    let (own, other) = (user("self"), user(&init.pid.to_string()));
    if own.map_err(|_| gone())? != other.map_err(|_| gone())? {
        types |= ThreadNameSpaceType::USER;
    }
    move_into_thread_name_spaces(std::os::fd::AsFd::as_fd(&descriptor), types).map_err(|error| failed(&error))
}

/// Waits for a child and passes signals on to it; the third one ends the wait.
fn wait(child: &mut Child, signals: &Signals) -> Result<ExitStatus, Failure> {
    let mut passed = 0;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| failed(&error))? {
            return Ok(status);
        }
        for (signal, count) in [(Signal::TERM, &signals.0), (Signal::INT, &signals.1)] {
            for _ in 0..count.swap(0, Ordering::SeqCst) {
                passed += 1;
                if passed >= 3 {
                    return Err(Failure::runtime(Code::Interrupted, "received 3 signals"));
                }
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                // The end of the child is noticed in the next round.
                let _ = pid.map(|pid| rustix::process::kill_process(pid, signal));
            }
        }
        std::thread::sleep(LOOK);
    }
}

fn relay(mut from: impl Read, mut to: impl Write) {
    let mut buffer = [0; 1 << 14];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).and_then(|()| to.flush()).is_err() {
            return;
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(1)
}

fn failed(why: &dyn std::fmt::Display) -> Failure {
    Failure::runtime(Code::InternalError, format!("failed to exec process (cause: \"{why}\")"))
}
