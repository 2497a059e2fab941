//! The state on disk, and the two locks over it.
//!
//! `state.lock` guards every read and change of a file, for microseconds. `boot.lock` is the one that the real service
//! holds during a creation, a whole boot, every start of a process, a deletion, the end of a stop, and `system df`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use container_command_line::{Code, Failure, json};
use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::processes::Process;
use super::runtime::Runtime;

const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The state of the service apart from containers, images, networks and volumes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Set while the service runs.
    pub(crate) running: bool,
    /// Set if a kernel was installed.
    pub(crate) kernel_installed: bool,
    /// The third number of the default network's addresses.
    pub(crate) subnet: u8,
    /// The address that the next start tries first.
    pub(crate) next_address: u8,
    /// The number of calls so far, which determines the random numbers.
    pub(crate) calls: u64,
    /// The number of times that each fault has happened.
    pub(crate) faults: std::collections::BTreeMap<String, u64>,
    /// The number of upgrades so far, each to the next version.
    #[serde(default)]
    pub(crate) upgrades: u16,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            running: false,
            kernel_installed: false,
            subnet: 64,
            next_address: 2,
            calls: 0,
            faults: std::collections::BTreeMap::new(),
            upgrades: 0,
        }
    }
}

/// One container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The configuration that the CLI shows.
    pub(crate) configuration: json::Configuration,
    /// The description of its machine.
    pub(crate) machine: MachinePlan,
    /// Delete when stopped.
    pub(crate) remove: bool,
    /// Its last start, as far as the service remembers.
    pub(crate) started_date: Option<String>,
    /// Set if the service crashed while it ran, so that it lives without the service's knowledge.
    pub(crate) forgotten: bool,
    /// Set if it ever started.
    pub(crate) ever_started: bool,
}

/// The description of a machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MachinePlan {
    /// The image's unpacked root file system.
    pub(crate) snapshot: PathBuf,
    /// The host's side of each mount; `None` for memory.
    pub(crate) mounts: Vec<MountPlan>,
    /// The user, as given.
    pub(crate) user: String,
    /// All capabilities.
    pub(crate) all_capabilities: bool,
    /// Capabilities on top of the default ones.
    pub(crate) capabilities_added: Vec<String>,
    /// Capabilities that are missing.
    pub(crate) capabilities_dropped: Vec<String>,
    /// Paths to hide.
    pub(crate) masked_paths: Vec<String>,
    /// Paths that cannot be written.
    pub(crate) read_only_paths: Vec<String>,
    /// The size of /dev/shm.
    pub(crate) shared_memory_bytes: u64,
    /// The servers in /etc/resolv.conf; empty for the gateway.
    pub(crate) nameservers: Vec<String>,
    /// Nested virtualization, with which every start fails.
    pub(crate) virtualization: bool,
    /// Set if it has a network at all.
    pub(crate) networked: bool,
}

/// One mount.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MountPlan {
    /// The host's side; `None` for memory.
    pub(crate) source: Option<PathBuf>,
    /// The container's side.
    pub(crate) target: String,
    /// Set if it cannot be written.
    pub(crate) read_only: bool,
    /// Options of a mount in memory.
    pub(crate) options: String,
    /// The name of a volume.
    pub(crate) volume: Option<String>,
}

/// The directory that holds everything.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    root: PathBuf,
}

/// A lock that is held as long as this value lives. The kernel releases it when the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Store {
    /// Opens the store at this directory, and makes it if need be.
    pub(crate) fn open(root: &Path) -> Result<Self, Failure> {
        for part in ["containers", "blobs", "snapshots", "volumes"] {
            fs::create_dir_all(root.join(part)).map_err(|error| broken(&root.join(part), &error))?;
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Returns a path below the root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.root.join(below)
    }

    /// Takes the lock over the files. It is never held during a wait.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.take("state.lock")
    }

    /// Takes the service's one lock: over creations, boots, starts of processes, deletions, the ends of stops, and the
    /// look at the disk.
    pub(crate) fn boot_lock(&self) -> Result<Lock, Failure> {
        self.take("boot.lock")
    }

    /// The same, within a limit: `None` if others hold it for longer.
    pub(crate) fn boot_lock_within(&self, limit: Duration) -> Result<Option<Lock>, Failure> {
        let start = Instant::now();
        loop {
            if let Some(lock) = self.try_to_take("boot.lock")? {
                return Ok(Some(lock));
            }
            if limit < start.elapsed() {
                return Ok(None);
            }
            std::thread::sleep(LOCK_POLL_INTERVAL);
        }
    }

    fn try_to_take(&self, name: &str) -> Result<Option<Lock>, Failure> {
        let path = self.path(name);
        let file = self.open_lock(&path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => Ok(None),
            Err(error) => Err(broken(&path, &error.into())),
        }
    }

    fn open_lock(&self, path: &Path) -> Result<File, Failure> {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        file.map_err(|error| broken(path, &error))
    }

    fn take(&self, name: &str) -> Result<Lock, Failure> {
        let path = self.path(name);
        let file = self.open_lock(&path)?;
        loop {
            match flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                // A signal interrupted the wait.
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(broken(&path, &error.into())),
            }
        }
    }

    /// Reads a document; `None` if there is none.
    pub(crate) fn read<T: DeserializeOwned>(&self, below: &str) -> Result<Option<T>, Failure> {
        let path = self.path(below);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| broken(&path, &error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(&path, &error)),
        }
    }

    /// Writes a document atomically.
    pub(crate) fn write<T: Serialize>(&self, below: &str, document: &T) -> Result<(), Failure> {
        let path = self.path(below);
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let write = || -> io::Result<()> {
            fs::write(&temporary, serde_json::to_vec(document)?)?;
            fs::rename(&temporary, &path)
        };
        write().map_err(|error| broken(&path, &error))
    }

    /// Reads the service's own state.
    pub(crate) fn service(&self) -> Result<Service, Failure> {
        Ok(self.read("service.json")?.unwrap_or_default())
    }

    /// Returns the directory of a container.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.path("containers").join(id)
    }

    /// Reads a container.
    pub(crate) fn container(&self, id: &str) -> Result<Option<Record>, Failure> {
        // An id is one path component. No container has another name.
        if !container_command_line::name_is_valid(id) {
            return Ok(None);
        }
        self.read(&format!("containers/{id}/config.json"))
    }

    /// Writes a container.
    pub(crate) fn put_container(&self, record: &Record) -> Result<(), Failure> {
        self.write(&format!("containers/{}/config.json", record.configuration.id), record)
    }

    /// Reads all containers, in no particular order.
    pub(crate) fn containers(&self) -> Result<Vec<Record>, Failure> {
        let directory = self.path("containers");
        let entries = fs::read_dir(&directory).map_err(|error| broken(&directory, &error))?;
        let mut records = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| broken(&directory, &error))?;
            records.extend(self.container(&entry.file_name().to_string_lossy())?);
        }
        Ok(records)
    }

    /// Returns the machine of a container, if one lives, even if it is booting.
    pub(crate) fn runtime_of(&self, id: &str) -> Result<Option<Runtime>, Failure> {
        let runtime: Option<Runtime> = self.read(&format!("containers/{id}/runtime.json"))?;
        Ok(runtime.filter(|runtime| runtime.helper.lives() || runtime.init.is_some_and(Process::lives)))
    }

    /// Removes all files of a container from the disk.
    pub(crate) fn remove_bundle(&self, id: &str) -> Result<(), Failure> {
        let bundle = self.bundle(id);
        // Only root may enter the overlay's own directory.
        let closed = bundle.join("work/work");
        if closed.exists() {
            let _ = fs::set_permissions(&closed, fs::Permissions::from_mode(0o700));
        }
        match fs::remove_dir_all(&bundle) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(broken(&bundle, &error)),
            _ => Ok(()),
        }
    }

    /// Records a call, so that a test can count calls.
    pub(crate) fn note_call(&self, words: &str) -> Result<(), Failure> {
        self.append("calls", &format!("{words}\n"))
    }

    /// Records a process of a machine, so that a test can count those that are left.
    pub(crate) fn note_process(&self, kind: &str, id: &str, process: Process) -> Result<(), Failure> {
        self.append("processes", &format!("{} {} {kind} {id}\n", process.pid, process.start_time))
    }

    fn append(&self, name: &str, line: &str) -> Result<(), Failure> {
        let path = self.path(name);
        let write = || OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes());
        write().map_err(|error| broken(&path, &error))
    }
}

/// Makes the error of one of the emulator's own files.
pub(crate) fn broken(path: &Path, error: &io::Error) -> Failure {
    Failure::runtime(Code::InternalError, format!("emulator: {}: {error}", path.display()))
}
