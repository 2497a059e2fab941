//! Runs the Rust compiler with a time limit, and keeps the end of its error output.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::error::SupervisorError;
use crate::backoff::Backoff;
use crate::log_tail::log_tail;
use crate::trust::search_path;

const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// A second is usual, but rustup's first start may download a whole compiler.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A Rust compiler.
#[derive(Clone, Debug)]
pub(super) struct Rustc {
    program: PathBuf,
}

/// The result of a run.
struct FinishedRun {
    command: String,
    status: ExitStatus,
    stdout: String,
    said: String,
}

impl Rustc {
    /// The compiler at `program`; a bare name is looked up in the absolute entries of the search path.
    pub(super) fn new(program: PathBuf) -> Self {
        Self { program }
    }

    /// The compiler's description of itself, which distinguishes it from others.
    pub(super) fn version(&self, scratch: &Path) -> Result<String, SupervisorError> {
        self.run(&["-vV".as_ref()], scratch).and_then(FinishedRun::must_succeed)
    }

    /// Compiles with `arguments` for `target`.
    pub(super) fn compile(
        &self,
        target: &'static str,
        arguments: &[&OsStr],
        scratch: &Path,
    ) -> Result<(), SupervisorError> {
        let outcome = self.run(arguments, scratch)?;
        if outcome.status.success() {
            return Ok(());
        }
        // Decided by the files on disk, because the compiler's messages change between versions.
        let sysroot = self.run(&["--print".as_ref(), "sysroot".as_ref()], scratch)?.must_succeed()?;
        if Path::new(&sysroot).join("lib/rustlib").join(target).is_dir() {
            return outcome.must_succeed().map(drop);
        }
        let toolchain = toolchain_name(&sysroot);
        Err(SupervisorError::NoTarget { sysroot, toolchain, target })
    }

    fn run(&self, arguments: &[&OsStr], scratch: &Path) -> Result<FinishedRun, SupervisorError> {
        // Files instead of pipes, which would have to be read while the compiler runs.
        let (stdout_path, stderr_path) = (scratch.join("stdout"), scratch.join("stderr"));
        let create = |path: &Path| File::create(path).map_err(|error| SupervisorError::store("write", path, error));
        let no_compiler = |source| SupervisorError::NoCompiler { rustc: self.program.clone(), source };
        let search_path = search_path::of_this_process();
        let program = search_path::resolve(&self.program, &search_path).map_err(no_compiler)?;
        let mut command = Command::new(program);
        command.env("PATH", search_path::without_relative_entries(&search_path));
        // The working directory stays the caller's: there, rustup chooses the compiler that this project uses.
        command.args(arguments).stdin(Stdio::null()).stdout(create(&stdout_path)?).stderr(create(&stderr_path)?);
        let mut said = vec![self.program.display().to_string()];
        said.extend(arguments.iter().map(|argument| argument.to_string_lossy().into_owned()));
        let said = said.join(" ");
        let mut running = Running(Some(command.spawn().map_err(no_compiler)?));
        let status = running.wait(TIMEOUT).map_err(no_compiler)?;
        let Some(status) = status else {
            return Err(SupervisorError::TimedOut { command: said, timeout: TIMEOUT });
        };
        let stdout = std::fs::read_to_string(&stdout_path)
            .map_err(|error| SupervisorError::store("read", &stdout_path, error))?;
        Ok(FinishedRun { command: said, status, stdout: stdout.trim().to_owned(), said: log_tail(&stderr_path) })
    }
}

impl FinishedRun {
    fn must_succeed(self) -> Result<String, SupervisorError> {
        let Self { command, status, stdout, said } = self;
        if status.success() { Ok(stdout) } else { Err(SupervisorError::Failed { command, status, said }) }
    }
}

/// A running compiler; killed when dropped.
struct Running(Option<Child>);

impl Running {
    /// Waits for the exit status; `None` if the compiler has not ended within `timeout`.
    fn wait(&mut self, timeout: Duration) -> Result<Option<ExitStatus>, std::io::Error> {
        let Some(child) = &mut self.0 else { return Ok(None) };
        let waited = Backoff::poll(POLL_INTERVAL, timeout).run_blocking(
            || match child.try_wait() {
                Ok(Some(status)) => Ok(status),
                Ok(None) => Err(None),
                Err(error) => Err(Some(error)),
            },
            Option::is_none,
            |_, _| {},
        );
        match waited {
            Ok(status) => {
                self.0 = None;
                Ok(Some(status))
            }
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take()
            && let Err(error) = child.kill().and_then(|()| child.wait())
        {
            tracing::warn!(%error, "cannot end a compiler");
        }
    }
}

/// rustup's name for the compiler whose own directory is `sysroot`.
fn toolchain_name(sysroot: &str) -> Option<String> {
    let path = Path::new(sysroot);
    let is_rustups = path.parent()?.file_name()? == "toolchains";
    Some(path.file_name()?.to_str()?.to_owned()).filter(|_| is_rustups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_compilers_installed_by_rustup_have_a_toolchain_name() {
        let name = toolchain_name("/home/u/.rustup/toolchains/1.95.0-aarch64-apple-darwin");
        assert_eq!(name.as_deref(), Some("1.95.0-aarch64-apple-darwin"));
        assert_eq!(toolchain_name("/usr"), None);
        assert_eq!(toolchain_name("/opt/homebrew/Cellar/rust/1.95.0"), None);
    }
}
