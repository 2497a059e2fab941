//! The private engine's directories and environment. Everything is removed at the end.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use cargo_kina::find_binaries;
use kina_engine::ProviderName;
use kina_engine::client::{EngineClient, EngineProgram};
use kina_engine::paths::EnginePaths;
use kina_engine::protocol::{AcquireRequest, Status};
use kina_engine::trust::search_path;

use super::containers::Containers;
use super::{Part, say};

/// The space that etcd allocates in advance for each cluster (two write-ahead files of 64 MiB), and some for its data.
const DISK_PER_SLOT_BYTES: u64 = 192 << 20;

const UNMOUNT_ATTEMPTS_MAX: u32 = 50;
const UNMOUNT_INTERVAL: Duration = Duration::from_millis(100);

/// A private engine's surroundings.
pub(super) struct Realm {
    directory: tempfile::TempDir,
    environment: Vec<(&'static str, OsString)>,
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
        let assets_directory = assets.kube_apiserver.parent().context("the binaries have a directory")?.to_owned();

        let only_mine = std::fs::Permissions::from_mode(0o700);
        let directory =
            tempfile::Builder::new().prefix("kina-chaos-").permissions(only_mine.clone()).tempdir_in("/tmp")?;
        for name in ["run", "tmp", "scratch"] {
            let path = directory.path().join(name);
            std::fs::create_dir(&path)?;
            std::fs::set_permissions(&path, only_mine.clone())?;
        }
        let size_bytes = DISK_PER_SLOT_BYTES * (slots as u64 + 1);
        let is_small_disk = wants_small_disk && mount_small_disk(&directory.path().join("run"), size_bytes);
        let names: Vec<_> = sabotage.iter().map(|part| part.name()).collect();
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("KINA_RUNTIME_DIR", directory.path().join("run").into()),
            ("KINA_CACHE_DIR", directory.path().join("cache").into()),
            ("TMPDIR", directory.path().join("tmp").into()),
            ("KINA_ASSETS_DIR", assets_directory.into()),
            ("KINA_ENGINE", std::env::current_exe()?.into()),
            ("KINA_PROVIDER", provider.as_str().into()),
            ("KINA_SLOTS_MAX", slots.to_string().into()),
            ("KINA_ACQUIRE_TIMEOUT_SECONDS", acquire_timeout_seconds.to_string().into()),
            (kina_engine::lab::sabotage::VARIABLE, names.join(",").into()),
            // The private engine ends by itself if this process is killed.
            ("KINA_IDLE_EXIT_SECONDS", "30".into()),
            ("RUST_BACKTRACE", "0".into()),
        ];
        // The provider's program is not among the capabilities of its clusters: only the name selects it.
        let containers = match provider {
            ProviderName::Process => None,
            ProviderName::Apple => {
                let journals = directory.path().join("cache").join("journals");
                Some(Containers::prepare(directory.path(), &journals).await?)
            }
        };
        environment.extend(containers.iter().flat_map(|containers| containers.environment().iter().cloned()));
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let paths = EnginePaths::resolve(provider, &variable)?;
        let engine = EngineClient::new(paths, provider, EngineProgram::InstalledOnly);
        Ok(Self { directory, environment, engine, is_small_disk, containers })
    }

    /// Sets a variable for all processes that are started from now on.
    pub(super) fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.push((name, value.into()));
    }

    /// A request of this process for a cluster of the realm's engine.
    pub(super) fn request(&self, test: &str) -> AcquireRequest {
        let variable = |name: &str| self.environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value);
        let timeout_seconds = variable("KINA_ACQUIRE_TIMEOUT_SECONDS").and_then(|value| value.to_str()?.parse().ok());
        AcquireRequest {
            test: test.to_owned(),
            timeout_ms: timeout_seconds.unwrap_or(0_u64).saturating_mul(1000),
            assets_directory: variable("KINA_ASSETS_DIR").map(PathBuf::from),
            ..AcquireRequest::default()
        }
    }

    /// The directory that everything private is below; command lines of its processes contain it.
    pub(super) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory for the workers' files.
    pub(super) fn scratch(&self) -> PathBuf {
        self.directory().join("scratch")
    }

    /// Directories that have to be empty once the engine has ended.
    pub(super) fn transient_directories(&self) -> [PathBuf; 2] {
        [self.directory().join("run"), self.directory().join("tmp")]
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
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command
            .args(arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.directory())
            .kill_on_drop(true);
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
                let status = command.arg(self.directory().join("run")).stderr(Stdio::null()).status();
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
