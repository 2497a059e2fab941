//! The engine that is disturbed, apart from the user's own. Everything is removed at the end.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use cargo_kina::{PrivateEngine, find_binaries};
use kina_engine::lab::provider::program_variable;
use kina_engine::lab::search_path;
use kina_engine::{AcquireRequest, EngineClient, ProviderName, Status};

use super::containers::Containers;
use super::{Part, say};

/// The space that etcd allocates in advance for each cluster (two write-ahead files of 64 MiB), and some for its data.
const DISK_PER_SLOT_BYTES: u64 = 192 << 20;

const UNMOUNT_ATTEMPTS_MAX: u32 = 50;
const UNMOUNT_INTERVAL: Duration = Duration::from_millis(100);

/// A private engine, its disk, and its containers.
pub(super) struct Realm {
    private: PrivateEngine,
    engine: EngineClient,
    is_small_disk: bool,
    /// `None` if clusters are processes.
    containers: Option<Containers>,
}

impl Realm {
    /// Finds the binaries and makes the directories. With `wants_small_disk` the states of clusters lie on a small file
    /// system of their own, where this user may mount one.
    pub(super) async fn prepare(
        provider: ProviderName,
        slots: usize,
        acquire_timeout_seconds: u64,
        sabotage: &[Part],
        wants_small_disk: bool,
    ) -> anyhow::Result<Self> {
        let assets = find_binaries().await?;
        let mut private = PrivateEngine::prepare("chaos")?.with_own_cache().with_this_executable()?;
        std::fs::DirBuilder::new().mode(0o700).create(private.directory().join("scratch"))?;
        let size_bytes = DISK_PER_SLOT_BYTES * (slots as u64 + 1);
        let is_small_disk = wants_small_disk && mount_small_disk(&private.runtime_directory(), size_bytes);
        let names: Vec<_> = sabotage.iter().map(|part| part.name()).collect();
        private.set("KINA_ASSETS_DIR", assets.kube_apiserver.parent().context("the binaries have a directory")?);
        private.set("KINA_PROVIDER", provider.as_str());
        private.set("KINA_SLOTS_MAX", slots.to_string());
        private.set("KINA_ACQUIRE_TIMEOUT_SECONDS", acquire_timeout_seconds.to_string());
        private.set(kina_engine::lab::sabotage::VARIABLE, names.join(","));
        let containers = match program_variable(provider)? {
            None => None,
            Some(_) => {
                let journals = private.cache_directory().join("journals");
                Some(Containers::prepare(private.directory(), &journals).await?)
            }
        };
        for (name, value) in containers.iter().flat_map(Containers::environment) {
            private.set(name, value);
        }
        let engine = private.client(provider)?;
        Ok(Self { private, engine, is_small_disk, containers })
    }

    /// Sets a variable for all processes that are started from now on.
    pub(super) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.private.set(name, value);
    }

    /// A request of this process for a cluster of the realm's engine.
    pub(super) fn request(&self, test: &str) -> AcquireRequest {
        let timeout_seconds = self.private.variable("KINA_ACQUIRE_TIMEOUT_SECONDS");
        let timeout_seconds = timeout_seconds.and_then(|value| value.to_str()?.parse().ok());
        AcquireRequest {
            test: test.to_owned(),
            timeout_ms: timeout_seconds.unwrap_or(0_u64).saturating_mul(1000),
            assets_directory: self.private.variable("KINA_ASSETS_DIR").map(PathBuf::from),
            ..AcquireRequest::default()
        }
    }

    /// The directory that everything private is below; command lines of its processes contain it.
    pub(super) fn directory(&self) -> &Path {
        self.private.directory()
    }

    /// The directory for the workers' files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.directory().join("scratch")
    }

    /// Directories that have to be empty once the engine has ended.
    pub(super) fn transient_directories(&self) -> [PathBuf; 2] {
        [self.private.runtime_directory(), self.private.temporary_directory()]
    }

    /// Returns true if the disk may be filled.
    pub(super) fn is_small_disk(&self) -> bool {
        self.is_small_disk
    }

    /// The clusters' containers, if they are made of containers.
    pub(super) fn containers(&self) -> Option<&Containers> {
        self.containers.as_ref()
    }

    pub(super) fn engine(&self) -> &EngineClient {
        &self.engine
    }

    /// The engine's status; `None` if none runs or answers now.
    pub(super) async fn status(&self, with_memory: bool) -> Option<Status> {
        self.engine.status(with_memory).await.ok().flatten()
    }

    /// A command of this executable in this realm.
    pub(super) fn command(&self, arguments: &[&str]) -> anyhow::Result<tokio::process::Command> {
        let mut command = self.private.command(arguments)?;
        command.current_dir(self.directory());
        Ok(command)
    }

    /// Has the engine boot until this many clusters are ready; starts one if none runs.
    pub(super) async fn warm(&self, count: usize) -> anyhow::Result<()> {
        let output = self.command(&["warm", &count.to_string()])?.stdin(Stdio::null()).output().await?;
        if !output.status.success() {
            bail!("warming up the private engine failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Copies the engine's log to a place where it outlives this run.
    pub(super) fn keep_log(&self) -> Option<PathBuf> {
        let name = self.directory().file_name()?.to_str()?;
        let kept = std::env::temp_dir().join(format!("{name}.log"));
        std::fs::copy(&self.engine.paths().log, &kept).ok().map(|_| kept)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        if let Some(containers) = &self.containers {
            containers.end_now();
        }
        if self.is_small_disk {
            let unmount = || {
                let mut command = system_program("umount");
                let status = command.arg(self.private.runtime_directory()).stderr(Stdio::null()).status();
                status.is_ok_and(|status| status.success())
            };
            // Threads of a process that was killed may end a moment after it.
            let is_unmounted = (0..UNMOUNT_ATTEMPTS_MAX).any(|attempt| {
                if 0 < attempt {
                    std::thread::sleep(UNMOUNT_INTERVAL);
                }
                unmount()
            });
            if !is_unmounted {
                say(&format!("unmounting {} failed: unmount and remove it by hand", self.directory().display()));
            }
        }
    }
}

/// A program of the system; if there is none of this name, its start fails.
fn system_program(name: &str) -> std::process::Command {
    let found = search_path::find(name, &search_path::of_this_process());
    std::process::Command::new(found.unwrap_or_else(|| Path::new("/sbin").join(name)))
}

fn mount_small_disk(path: &Path, size_bytes: u64) -> bool {
    if !cfg!(target_os = "linux") {
        return false;
    }
    let options = format!("size={size_bytes},mode=0700");
    system_program("mount")
        .args(["-t", "tmpfs", "-o", &options, "kina-chaos"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
