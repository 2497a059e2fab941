//! Starting the engine, once, even if several clients do it at the same time.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::connection::{ClientError, Connection};
use crate::ProviderName;
use crate::paths::EnginePaths;
use crate::protocol::VERSION;
use crate::settings::{BECOME_ENGINE, EngineSettings};
use crate::trust::search_path;

/// If the constructor is missing, these arguments keep a test executable from running tests.
const NO_TEST_ARGUMENTS: [&str; 2] = ["--exact", "kina-engine-is-not-a-test"];
/// The environment variables that the engine and its programs may need. No other is passed on: a coverage or nextest
/// variable must not outlive the test that happened to start the engine.
const ENVIRONMENT_NAMES: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];
const ENVIRONMENT_PREFIXES: [&str; 3] = ["KINA_", "XDG_", "GO"];
/// For glibc's allocator, and ignored by others: large allocations are returned to the system at once, regardless of
/// earlier ones. Without it, one listing of a large template stays in the engine's memory for its life.
const MEMORY_IS_GIVEN_BACK: [(&str, &str); 3] =
    [("MALLOC_MMAP_THRESHOLD_", "262144"), ("MALLOC_TRIM_THRESHOLD_", "524288"), ("MALLOC_ARENA_MAX", "2")];
const START_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// The program to start as the engine, after `KINA_ENGINE` and an installed `cargo-kina` of the same version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineProgram {
    /// This executable, which has a constructor (or a `main`) that checks [`BECOME_ENGINE`].
    ThisExecutable,
    /// No other program.
    InstalledOnly,
}

/// Starts an engine unless another process does, and connects to it.
pub(super) async fn start(
    paths: &EnginePaths,
    provider: ProviderName,
    program: &EngineProgram,
) -> Result<Connection, ClientError> {
    let _lock = lock(paths).await?;
    // The previous holder of the lock may have started an engine.
    if let Some(connection) = Connection::open_running(paths).await? {
        return Ok(connection);
    }
    // An engine with invalid settings would end, with the reason only in its log.
    EngineSettings::of_this_process()?;
    let program = choose(program, provider)?;
    let mut child = command(&program, provider)
        .spawn()
        .map_err(|source| ClientError::Start { program: program.path.clone(), source })?;
    let start = Instant::now();
    loop {
        if let Some(connection) = Connection::open_running(paths).await? {
            // An engine outlives the process that started it. If it ends first, it has to be reaped.
            std::thread::spawn(move || child.wait());
            return Ok(connection);
        }
        if let Ok(Some(status)) = child.try_wait() {
            // The new engine ends if another already serves, started by a process that has died since.
            if let Some(connection) = Connection::open_running(paths).await? {
                return Ok(connection);
            }
            return Err(ClientError::NotAnEngine {
                program: program.path,
                status: status.to_string(),
                log: paths.log.clone(),
                log_tail: crate::log_tail::log_tail(&paths.log),
            });
        }
        if START_TIMEOUT < start.elapsed() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(too_slow("the start of the engine", START_TIMEOUT, paths));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Opens the lock that the running engine holds. Must be called before the engine is asked to end: the file of that
/// name can soon belong to the next engine.
pub(super) fn open_running_lock(paths: &EnginePaths) -> Result<Option<File>, ClientError> {
    match std::fs::OpenOptions::new().write(true).open(&paths.running_lock) {
        Ok(file) => Ok(Some(file)),
        // The engine removes the file as one of its last acts.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::Lock { path: paths.running_lock.clone(), source }),
    }
}

/// Waits until the engine has released its lock.
pub(super) async fn wait_ended(running_lock: &File, paths: &EnginePaths) -> Result<(), ClientError> {
    poll_lock(running_lock, &paths.running_lock, END_TIMEOUT, paths, "the end of the engine").await
}

async fn lock(paths: &EnginePaths) -> Result<File, ClientError> {
    let path = &paths.start_lock;
    let open = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
    let file = open.map_err(|source| ClientError::Lock { path: path.clone(), source })?;
    poll_lock(&file, path, START_TIMEOUT * 2, paths, "another process that starts the engine").await?;
    Ok(file)
}

async fn poll_lock(
    file: &File,
    path: &Path,
    timeout: Duration,
    paths: &EnginePaths,
    what: &'static str,
) -> Result<(), ClientError> {
    let lock_error = |source| ClientError::Lock { path: path.to_owned(), source };
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if start.elapsed() < timeout => tokio::time::sleep(POLL_INTERVAL).await,
            Err(TryLockError::WouldBlock) => return Err(too_slow(what, timeout, paths)),
            Err(TryLockError::Error(source)) => return Err(lock_error(source)),
        }
    }
}

struct Chosen {
    path: PathBuf,
}

fn choose(program: &EngineProgram, provider: ProviderName) -> Result<Chosen, ClientError> {
    if let Some(named) = std::env::var_os("KINA_ENGINE").filter(|value| !value.is_empty()) {
        let path = search_path::resolve(Path::new(&named), &search_path::of_this_process());
        return Ok(Chosen { path: path.map_err(|source| ClientError::Start { program: named.into(), source })? });
    }
    if let Some(installed) = installed_engine() {
        return Ok(Chosen { path: installed });
    }
    match program {
        EngineProgram::ThisExecutable => {
            // An engine without it would end, with the reason only in its log.
            provider.expect_built()?;
            Ok(Chosen { path: this_executable()? })
        }
        EngineProgram::InstalledOnly => Err(ClientError::NoProgram { version: VERSION }),
    }
}

/// A `cargo-kina` on `PATH` that reports this version.
fn installed_engine() -> Option<PathBuf> {
    let candidate = search_path::find("cargo-kina", &search_path::of_this_process())?;
    let output = Command::new(&candidate).arg("--version").stdin(Stdio::null()).output().ok()?;
    let says = String::from_utf8_lossy(&output.stdout);
    (says.split_whitespace().last() == Some(VERSION)).then_some(candidate)
}

fn this_executable() -> Result<PathBuf, ClientError> {
    // On Linux this works even if a build has replaced the file meanwhile.
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().map_err(|source| ClientError::Start { program: "this executable".into(), source })
}

fn command(program: &Chosen, provider: ProviderName) -> Command {
    let mut command = Command::new(&program.path);
    command
        .arg0("kina-engine")
        .args(NO_TEST_ARGUMENTS)
        .env_clear()
        .envs(std::env::vars_os().filter(|(name, _)| is_passed_on(&name.to_string_lossy())))
        // The engine works in another directory than its client.
        .env("PATH", search_path::without_relative_entries(&search_path::of_this_process()))
        .env(BECOME_ENGINE, provider.as_str())
        .envs(MEMORY_IS_GIVEN_BACK)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/");
    command
}

fn is_passed_on(name: &str) -> bool {
    ENVIRONMENT_NAMES.contains(&name) || ENVIRONMENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn too_slow(what: &'static str, timeout: Duration, paths: &EnginePaths) -> ClientError {
    ClientError::TooSlow { what, waited_seconds: timeout.as_secs(), log: paths.log.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_gets_no_variable_of_a_test_run() {
        for name in ["LLVM_PROFILE_FILE", "NEXTEST_RUN_ID", "CARGO_MANIFEST_DIR", "RUST_LOG", "KUBECONFIG"] {
            assert!(!is_passed_on(name), "{name}");
        }
        for name in ["PATH", "HOME", "KINA_SLOTS_MAX", "XDG_CACHE_HOME", "GOPROXY"] {
            assert!(is_passed_on(name), "{name}");
        }
    }
}
