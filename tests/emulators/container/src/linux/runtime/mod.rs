//! The runtime helper: one process for each machine, from its boot to its end.

pub(crate) mod capabilities;
mod init;
mod network;
mod proxy;
pub(crate) mod roots;
pub(crate) mod users;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use container_command_line::{Code, Failure, iso_8601, messages};
use rustix::thread::UnshareFlags;
use serde::{Deserialize, Serialize};

pub(crate) use init::main as init;

use super::late::{self, Carrier, View};
use super::processes::Process;
use super::store::{Lock, Record, Store, broken};

/// A machine that lives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Runtime {
    /// The helper itself.
    pub(crate) helper: Process,
    /// PID 1 inside, as a process of the host; `None` while it boots.
    pub(crate) init: Option<Process>,
    /// The address of this start.
    pub(crate) address: Option<Ipv4Addr>,
    /// The hardware address of this start.
    pub(crate) hardware_address: String,
}

/// A report of the helper to the call that started it, on one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// PID 1 runs.
    Started,
    /// PID 1 could not be started.
    Failed {
        /// The error's text.
        text: String,
    },
    /// PID 1 ended.
    Exited {
        /// Its code.
        code: u8,
    },
}

/// The last number of the first and of the last address of a subnet that a machine can get.
const ADDRESSES: (u8, u8) = (2, 253);

/// Runs a machine from its boot to its end.
pub(crate) fn main(arguments: &[String]) -> u8 {
    let [root, id, delay_ms, kernel, view] = arguments else { return 1 };
    // The terminal of the call that started this process must not end it.
    let _ = rustix::process::setsid();
    let delay = Duration::from_millis(delay_ms.parse().unwrap_or(0));
    match Helper::run(Path::new(root), id, delay, kernel, View::of_text(view)) {
        Ok(()) => 0,
        Err(failure) => {
            let text = match failure {
                Failure::Runtime { text, .. } | Failure::Prefixed(text) => text,
                Failure::Usage(_) | Failure::Exit(_) => "emulator: no boot".to_owned(),
            };
            tell(&Report::Failed { text });
            1
        }
    }
}

fn tell(report: &Report) {
    let mut stdout = io::stdout().lock();
    // The call that started this process may be gone, which does not matter.
    let _ = serde_json::to_writer(&mut stdout, report);
    let _ = stdout.write_all(b"\n").and_then(|()| stdout.flush());
}

struct Helper {
    store: Store,
    id: String,
}

impl Helper {
    fn run(root: &Path, id: &str, delay: Duration, kernel: &str, view: View) -> Result<(), Failure> {
        let helper = Self { store: Store::open(root)?, id: id.to_owned() };
        // All other creations, boots and starts of processes wait for the end of this boot.
        let boot = helper.store.boot_lock()?;
        std::thread::sleep(delay);
        let Some((record, runtime)) = helper.claim()? else {
            tell(&Report::Started);
            return Ok(());
        };
        let booted = helper.boot(&record, runtime, kernel, view);
        let Booted { waiting, listeners, address, carrier } = match booted {
            Ok(booted) => booted,
            Err(failure) => {
                helper.forget()?;
                return Err(failure);
            }
        };
        drop::<Lock>(boot);
        tell(&Report::Started);
        if let Some(address) = address {
            proxy::serve(listeners, address);
        }
        if let (Some(carrier), View::Late(lag)) = (&carrier, view) {
            carrier.start(lag);
        }
        let code = waiting.join().ok().and_then(Result::ok).map_or(255, code);
        if let (Some(carrier), View::Late(_)) = (&carrier, view) {
            carrier.finish();
        }
        helper.forget()?;
        tell(&Report::Exited { code });
        Ok(())
    }

    /// Makes this process the container's machine; `None` if another one was faster.
    fn claim(&self) -> Result<Option<(Record, Runtime)>, Failure> {
        let _lock = self.store.lock()?;
        let record = self.store.container(&self.id)?.ok_or_else(|| messages::get_failed(&self.id))?;
        if !self.store.service()?.running {
            return Err(messages::service_down("Connection interrupted"));
        }
        if self.store.runtime_of(&self.id)?.is_some() {
            return Ok(None);
        }
        let helper = Process::of(std::process::id()).ok_or_else(|| self.failed(&"no process"))?;
        let (address, hardware_address) = match record.machine.networked {
            true => self.address()?,
            false => (None, String::new()),
        };
        let runtime = Runtime { helper, init: None, address, hardware_address };
        self.put(&runtime)?;
        self.store.note_process("helper", &self.id, helper)?;
        Ok(Some((record, runtime)))
    }

    /// Returns the next address of the pool, which is circular, so that a freed address is used last.
    fn address(&self) -> Result<(Option<Ipv4Addr>, String), Failure> {
        let mut service = self.store.service()?;
        let mut used = Vec::new();
        for record in self.store.containers()? {
            used.extend(self.store.runtime_of(&record.configuration.id)?.and_then(|runtime| runtime.address));
        }
        for _ in ADDRESSES.0..=ADDRESSES.1 {
            let last = service.next_address.clamp(ADDRESSES.0, ADDRESSES.1);
            service.next_address = if last >= ADDRESSES.1 { ADDRESSES.0 } else { last + 1 };
            let address = Ipv4Addr::new(192, 168, service.subnet, last);
            if !used.contains(&address) {
                self.store.write("service.json", &service)?;
                let time =
                    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.subsec_nanos());
                let [a, b, c, _] = time.to_be_bytes();
                return Ok((Some(address), format!("f2:{a:02x}:{b:02x}:{c:02x}:00:{last:02x}")));
            }
        }
        Err(Failure::runtime(Code::InvalidState, "no address is left on network default"))
    }

    fn boot(&self, record: &Record, mut runtime: Runtime, kernel: &str, view: View) -> Result<Booted, Failure> {
        let bundle = self.store.bundle(&self.id);
        let carrier = match view {
            View::Direct => None,
            View::Late(_) | View::Never => Some(late::copy(record, &bundle).map_err(|error| self.failed(&error))?),
        };
        eprintln!("[    0.000000] Linux version {} (kina emulator)", release(kernel));
        // Bound before the process leaves the host's network, because a socket stays in the network of its creation.
        let listeners = proxy::listen(&record.configuration.published_ports, &self.id)?;
        let log = bundle.join("container.log");
        let log = File::create(&log).map_err(|error| broken(&log, &error))?;
        self.enter_namespaces(&record.hostname()).map_err(|error| self.failed(&error))?;
        network::up(runtime.address).map_err(|error| self.failed(&error))?;
        let (mut errors, report) = io::pipe().map_err(|error| self.failed(&error))?;
        let program = std::env::current_exe().map_err(|error| self.failed(&error))?;
        let mut command = Command::new(program);
        let address = runtime.address.map_or_else(String::new, |address| address.to_string());
        command.arg(super::INIT).arg(self.store.path("")).arg(&self.id).arg(address).arg(release(kernel));
        command.arg(view.text()).env_clear();
        let output = log.try_clone().map_err(|error| self.failed(&error))?;
        command.stdin(OwnedFd::from(report)).stdout(output).stderr(log);
        let (pid, waiting) = start(command);
        let pid = pid.recv().map_err(|error| self.failed(&error))?.map_err(|error| self.failed(&error))?;
        let init = Process::of(pid).ok_or_else(|| self.failed(&"PID 1 ended at once"))?;
        self.store.note_process("init", &self.id, init)?;
        let mut text = String::new();
        // PID 1 holds the other end until its program has replaced it.
        errors.read_to_string(&mut text).map_err(|error| self.failed(&error))?;
        if !text.is_empty() {
            return Err(Failure::runtime(Code::InternalError, text));
        }
        let _lock = self.store.lock()?;
        let mut record = self.store.container(&self.id)?.ok_or_else(|| messages::get_failed(&self.id))?;
        record.started_date = Some(iso_8601(SystemTime::now()));
        (record.forgotten, record.ever_started) = (false, true);
        self.store.put_container(&record)?;
        runtime.init = Some(init);
        self.put(&runtime)?;
        Ok(Booted { waiting, listeners, address: runtime.address, carrier })
    }

    fn enter_namespaces(&self, hostname: &str) -> io::Result<()> {
        roots::own_user_namespace()?;
        // There is only one thread so far, so all later ones are inside.
        roots::unshare(UnshareFlags::NEWNET | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)?;
        Ok(rustix::system::sethostname(hostname.as_bytes())?)
    }

    fn put(&self, runtime: &Runtime) -> Result<(), Failure> {
        self.store.write(&format!("containers/{}/runtime.json", self.id), runtime)
    }

    /// Forgets the machine, which has ended, and removes its container if that has `--rm`.
    fn forget(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let Some(mut record) = self.store.container(&self.id)? else { return Ok(()) };
        let path = self.store.bundle(&self.id).join("runtime.json");
        fs::remove_file(&path).map_err(|error| broken(&path, &error))?;
        if record.remove {
            return self.store.remove_bundle(&self.id);
        }
        record.forgotten = false;
        self.store.put_container(&record)
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> Failure {
        let text = format!("failed to bootstrap container {} (cause: \"unknown: \"{why}\"\")", self.id);
        Failure::runtime(Code::InternalError, text)
    }
}

type Waiting = JoinHandle<io::Result<ExitStatus>>;

struct Booted {
    waiting: Waiting,
    listeners: Vec<proxy::Listener>,
    address: Option<Ipv4Addr>,
    /// Carries what the machine writes to the host, if it has copies.
    carrier: Option<Carrier>,
}

/// Starts PID 1 from a separate thread: a thread that has asked for a process namespace cannot make threads any more,
/// and PID 1 is killed when its parent thread ends.
fn start(mut command: Command) -> (mpsc::Receiver<io::Result<u32>>, Waiting) {
    let (tell, told) = mpsc::channel();
    let waiting = std::thread::spawn(move || {
        let spawned = roots::unshare(UnshareFlags::NEWPID).and_then(|()| command.spawn());
        // The command holds the writing end of the pipe, which must be closed for the reader to see the end.
        drop(command);
        match spawned {
            Ok(mut child) => {
                let _ = tell.send(Ok(child.id()));
                child.wait()
            }
            Err(error) => {
                let _ = tell.send(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    });
    (told, waiting)
}

/// Returns the version of the kernel that the machine shows.
fn release(kernel: &str) -> &'static str {
    if kernel == "old" { "6.12.28-153" } else { "6.18.15-186" }
}

fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code & 0xff).unwrap_or(1)
}
