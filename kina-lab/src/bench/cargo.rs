//! Cargo, as benchmarks of builds run it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use kina_engine::lab::{process_time, search_path};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;

use super::packages::last_lines;

/// A build of everything takes minutes.
const BUILD_TIMEOUT: Duration = Duration::from_secs(3600);
/// Time for killed compilers to end.
const END_OF_COMPILERS: Duration = Duration::from_millis(200);

/// Cargo in one workspace, with a directory of its own for what it builds.
pub(super) struct Cargo {
    program: PathBuf,
    directory: PathBuf,
    target_directory: PathBuf,
}

/// A running build, whose compilers end with it.
struct Group(Pid);

impl Cargo {
    pub(super) fn find(directory: &Path, target_directory: &Path) -> anyhow::Result<Self> {
        let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let program = search_path::resolve(Path::new(&program), &search_path::of_this_process())?;
        Ok(Self { program, directory: directory.to_owned(), target_directory: target_directory.to_owned() })
    }

    /// Runs cargo, and returns its output.
    pub(super) async fn run(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(&self.directory)
            .env("CARGO_TARGET_DIR", &self.target_directory)
            .env("CARGO_INCREMENTAL", "0")
            // A cache of a compiler's results would be measured instead of the compiler.
            .env_remove("RUSTC_WRAPPER")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().context("starting cargo failed")?;
        let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).map(Group);
        let output = tokio::time::timeout(BUILD_TIMEOUT, child.wait_with_output());
        let output = output.await.with_context(|| format!("cargo took more than {BUILD_TIMEOUT:?}"))??;
        // It has ended, and its number may soon be another's.
        std::mem::forget(group);
        if !output.status.success() {
            bail!(
                "cargo {} failed ({}) in {}:\n{}",
                arguments.join(" "),
                output.status,
                self.directory.display(),
                last_lines(&output.stderr)
            );
        }
        Ok(output.stdout)
    }

    /// Runs cargo, and returns the processor time that it and its compilers took, in seconds.
    pub(super) async fn run_timed(&self, arguments: &[&str]) -> anyhow::Result<f64> {
        let before = used_seconds()?;
        self.run(arguments).await?;
        Ok(used_seconds()? - before)
    }

    /// Removes everything that was built.
    pub(super) fn forget_builds(&self) -> anyhow::Result<()> {
        if self.target_directory.exists() {
            std::fs::remove_dir_all(&self.target_directory)
                .with_context(|| format!("removing {} failed", self.target_directory.display()))?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = kill_process_group(self.0, Signal::KILL);
        // They end a moment after the signal, and their directory is removed next.
        std::thread::sleep(END_OF_COMPILERS);
    }
}

/// The directory for builds: where those of the repository are. On a disk: a build takes a gigabyte and more, and /tmp may
/// be memory.
pub(super) fn build_directory(repository: &Path) -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let directory = named.unwrap_or_else(|| repository.join("target"));
    if directory.is_dir() { directory } else { std::env::temp_dir() }
}

/// The processor time of all children of this process so far.
fn used_seconds() -> anyhow::Result<f64> {
    let used = process_time::of_this_process().context("this system does not report processor time: use Linux")?;
    Ok(used.ended_children.as_secs_f64())
}
