//! Requirements of every provider.

use std::error::Error;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kina_engine::{
    AssetRequest, Assets, AssetsError, ClientError, EngineClient, EnginePaths, EngineProgram, KubernetesMinor,
    PathsError, ProviderName, Status, WorkspaceSettings, doctor, with_causes,
};

use super::ask;
use super::check::{Check, Section};

const SECTION: Section = Section("common");
/// Time limit of an engine's answer, which takes milliseconds.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(10);
/// Disk space that is enough. Binaries take 200 MB, an image as much again, each cluster 100 MB and more.
const FREE_BYTES_ENOUGH: u64 = 2 << 30;
/// With less disk space than this, not even the binaries fit.
const FREE_BYTES_LEAST: u64 = 256 << 20;

/// Makes all checks of this section, after those of the settings.
pub(super) async fn examine(provider: ProviderName, workspace: &WorkspaceSettings, settings: Vec<Check>) -> Vec<Check> {
    let paths = EnginePaths::from_environment(provider);
    let mut checks = settings;
    checks.push(runtime_directory(&paths));
    let Ok(paths) = paths else { return checks };
    let cache_directory = paths.cache_directory.clone();
    checks.push(cache(&cache_directory, &try_to_write(&cache_directory)));
    checks.push(disk_space(&cache_directory, ask::free_bytes(&cache_directory)));
    checks.push(find_binaries(provider, workspace, cache_directory).await);
    let client = EngineClient::new(paths.clone(), provider, EngineProgram::ThisExecutable);
    let answer = tokio::time::timeout(ENGINE_TIMEOUT, client.status(false)).await;
    checks.push(match answer {
        Ok(answer) => engine(&answer),
        Err(_) => silent_engine(&paths),
    });
    checks.push(other_engines(&other_sockets_with_engines(&paths.runtime_directory)));
    checks.push(socket_path(&paths));
    checks.push(dead_engines(doctor::count_left(&paths.journal_directory)));
    checks
}

/// Checks that settings can be understood.
pub(super) fn settings<Settings>(name: &'static str, read: &Result<Settings, impl Error + 'static>) -> Check {
    match read {
        Ok(_) => SECTION.ok(name, "understood"),
        Err(error) => SECTION.wrong(
            name,
            with_causes(error),
            "no test gets a cluster until this is understood",
            "correct the file or the variable",
        ),
    }
}

fn runtime_directory(paths: &Result<EnginePaths, PathsError>) -> Check {
    let name = "runtime_directory";
    match paths {
        Ok(paths) => SECTION.ok(name, format!("{} is private", paths.runtime_directory.display())),
        Err(error) => {
            let repair = match error {
                PathsError::OpenToOthers { path, .. } => format!("chmod 700 {}", path.display()),
                PathsError::ForeignOwner { .. } | PathsError::Unusable { .. } => {
                    "export KINA_RUNTIME_DIR=\"$HOME/.kina-run\"".to_owned()
                }
                PathsError::DistrustedCache { distrust, .. } => {
                    distrust.repair().unwrap_or_else(|| "export KINA_CACHE_DIR=/a/directory/of/yours".to_owned())
                }
                PathsError::NoHome => "export KINA_CACHE_DIR=/a/directory/of/yours".to_owned(),
            };
            SECTION.wrong(name, with_causes(error), "no engine can be started or found", repair)
        }
    }
}

fn cache(directory: &Path, written: &io::Result<()>) -> Check {
    let name = "cache";
    match written {
        Ok(()) => SECTION.ok(name, format!("{} can be written", directory.display())),
        Err(error) => SECTION.wrong(
            name,
            format!("{} cannot be written: {error}", directory.display()),
            "there is no place for the binaries, states and logs of clusters",
            "export KINA_CACHE_DIR=/a/directory/of/yours",
        ),
    }
}

fn disk_space(directory: &Path, free_bytes: Option<u64>) -> Check {
    let name = "disk_space";
    let Some(free_bytes) = free_bytes else { return SECTION.skipped(name, "the system does not report it") };
    let found = format!("{} MB free on the disk of {}", free_bytes / 1_000_000, directory.display());
    let repair = "free some space, or set KINA_CACHE_DIR to a directory on another disk";
    if free_bytes < FREE_BYTES_LEAST {
        SECTION.wrong(name, found, "neither binaries nor clusters fit", repair)
    } else if free_bytes < FREE_BYTES_ENOUGH {
        SECTION.warning(name, found, "a few clusters fit, and no more", repair)
    } else {
        SECTION.ok(name, found)
    }
}

fn binaries(minor: KubernetesMinor, found: &Result<Assets, AssetsError>) -> Check {
    let name = "binaries";
    match found {
        Ok(assets) => {
            let version =
                assets.version.map_or_else(|| "of an unknown version".to_owned(), |version| version.to_string());
            SECTION.ok(name, format!("Kubernetes {version} from {}", assets.source))
        }
        Err(AssetsError::NoSource(_)) => SECTION.warning(
            name,
            format!("no binaries of Kubernetes {minor} are here yet"),
            "the first test waits until they are downloaded, or built with Go if no download is possible",
            "cargo kina warm 1",
        ),
        Err(error) => SECTION.wrong(
            name,
            with_causes(error),
            "no cluster can be made",
            "correct or unset the setting that names the directory (KINA_ASSETS_DIR, KUBEBUILDER_ASSETS, kina.toml)",
        ),
    }
}

fn engine(answer: &Result<Option<Status>, ClientError>) -> Check {
    let name = "engine";
    match answer {
        Ok(None) => SECTION.ok(name, "none is running; the first test starts it"),
        Ok(Some(status)) => {
            let Status { version, engine_profile, slots, waiting, .. } = status;
            let found =
                format!("{version} ({engine_profile}) answers: {} clusters, {waiting} requests waiting", slots.len());
            match status.sabotage.as_slice() {
                [] => SECTION.ok(name, found),
                parts => SECTION.wrong(
                    name,
                    format!("{found}; switched off: {}", parts.join(", ")),
                    "it was started to try kina's own tests: its clusters are deliberately faulty",
                    "cargo kina stop",
                ),
            }
        }
        Err(error) => SECTION.wrong(
            name,
            with_causes(error),
            "tests would fail in the same way",
            "cargo kina stop, and if that fails in the same way, see the engine's log",
        ),
    }
}

fn silent_engine(paths: &EnginePaths) -> Check {
    SECTION.wrong(
        "engine",
        format!("an engine listens at {} but does not answer", paths.socket.display()),
        "it hangs, or its process has been stopped: tests wait in vain",
        format!(
            "see its log, {}, and end the process that holds {}",
            paths.log.display(),
            paths.running_lock.display()
        ),
    )
}

fn other_engines(names: &[String]) -> Check {
    let name = "other_engines";
    match names {
        [] => SECTION.ok(name, "none of another version or build is running"),
        names => SECTION.warning(
            name,
            format!("also running: {}", names.join(", ")),
            "engines of other versions or builds of kina share memory and processors with this one; they end by \
             themselves after ten minutes without use",
            "cargo kina stop, of that version",
        ),
    }
}

/// Reports the socket's path if it is elsewhere because it would be too long.
fn socket_path(paths: &EnginePaths) -> Check {
    let name = "socket_path";
    let socket = paths.socket.display();
    if paths.socket.starts_with(&paths.runtime_directory) {
        return SECTION.ok(name, format!("{} bytes: {socket}", paths.socket.as_os_str().len()));
    }
    SECTION.warning(
        name,
        format!("{} is too long for a socket, which is {socket} instead", paths.runtime_directory.display()),
        "all works, but a container that shares that directory does not share the socket",
        "set KINA_RUNTIME_DIR to a shorter path",
    )
}

fn dead_engines(count: usize) -> Check {
    let name = "dead_engines";
    match count {
        0 => SECTION.ok(name, "no killed engine has left anything"),
        count => SECTION.warning(
            name,
            format!("{count} engines were killed, or the machine went down with them"),
            "processes and files of their clusters may be left, until the next engine starts and removes them",
            "cargo kina warm 1, then cargo kina stop",
        ),
    }
}

fn try_to_write(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    tempfile::tempfile_in(directory).map(drop)
}

/// Looks for binaries in all places, but neither downloads nor builds any.
async fn find_binaries(provider: ProviderName, workspace: &WorkspaceSettings, cache_directory: PathBuf) -> Check {
    let minor = workspace.kubernetes.as_deref().and_then(|minor| minor.parse().ok()).unwrap_or_default();
    let mut request = AssetRequest::from_environment(minor, cache_directory, &|name| std::env::var_os(name));
    request.explicit_directory = workspace.assets_directory.clone();
    request.offline = true;
    if let Ok(platform) = doctor::binaries_platform(provider) {
        request = request.for_platform(platform);
    }
    match tokio::task::spawn_blocking(move || kina_engine::provide_assets(&request, &|_| {})).await {
        Ok(found) => binaries(minor, &found),
        Err(panic) => SECTION.wrong("binaries", format!("bug: {panic}"), "this is a bug in kina", "please report it"),
    }
}

/// Returns the names of engines in the same directory that are of another version or build.
fn other_sockets_with_engines(runtime_directory: &Path) -> Vec<String> {
    let own = ProviderName::ALL.map(|provider| EnginePaths::from_environment(provider).ok().map(|paths| paths.socket));
    let Ok(entries) = std::fs::read_dir(runtime_directory) else { return Vec::new() };
    let mut names: Vec<_> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "sock"))
        .filter(|path| !own.iter().flatten().any(|own| own == path))
        .filter(|path| UnixStream::connect(path).is_ok())
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn a_runtime_directory_that_others_can_enter_is_wrong_and_its_repair_names_it() {
        let found = Err(PathsError::OpenToOthers { path: "/run/open".into(), mode: 0o755 });
        let check = runtime_directory(&found);
        assert_eq!((check.outcome, check.repair.as_deref()), (CheckOutcome::Wrong, Some("chmod 700 /run/open")));
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_wrong() {
        let denied = Err(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(cache(Path::new("/c"), &denied).outcome, CheckOutcome::Wrong);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let inner = directory.path().join("not/there");
        assert_eq!(cache(&inner, &try_to_write(&inner)).outcome, CheckOutcome::Ok);
        std::fs::write(directory.path().join("file"), "").expect("written");
        assert!(try_to_write(&directory.path().join("file/below")).is_err());
    }

    #[test]
    fn disk_space_gets_worse_in_steps() {
        let outcome = |free_bytes| disk_space(Path::new("/c"), free_bytes).outcome;
        let steps = [None, Some(0), Some(FREE_BYTES_LEAST), Some(FREE_BYTES_ENOUGH)].map(outcome);
        assert_eq!(steps, [CheckOutcome::Skipped, CheckOutcome::Wrong, CheckOutcome::Warning, CheckOutcome::Ok]);
    }

    #[test]
    fn binaries_that_are_not_here_yet_are_no_fault_but_a_named_directory_without_them_is() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut request =
            AssetRequest::from_environment(KubernetesMinor::DEFAULT, directory.path().to_owned(), &|_| None);
        request.offline = true;
        request.setup_envtest_root = None;
        let none = binaries(KubernetesMinor::DEFAULT, &kina_engine::provide_assets(&request, &|_| {}));
        assert_eq!(
            (none.outcome, none.repair.as_deref()),
            (CheckOutcome::Warning, Some("cargo kina warm 1")),
            "{none:?}"
        );
        request.explicit_directory = Some(directory.path().join("empty"));
        let wrong = binaries(KubernetesMinor::DEFAULT, &kina_engine::provide_assets(&request, &|_| {}));
        assert_eq!(wrong.outcome, CheckOutcome::Wrong, "{wrong:?}");
    }

    #[test]
    fn an_engine_of_another_version_is_seen_only_while_it_listens() {
        let directory = tempfile::Builder::new().prefix("kd").tempdir_in("/tmp").expect("a temporary directory");
        let socket = directory.path().join("engine-0-0.0.1.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket).expect("bound");
        assert_eq!(other_sockets_with_engines(directory.path()), ["engine-0-0.0.1"]);
        drop(listener);
        let start = std::time::Instant::now();
        // A process that another test has just forked holds the listener until it becomes another program.
        while !other_sockets_with_engines(directory.path()).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(30), "the socket is closed");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(other_engines(&[]).outcome, CheckOutcome::Ok);
        assert_eq!(other_engines(&["engine-0-0.0.1".to_owned()]).outcome, CheckOutcome::Warning);
    }

    #[test]
    fn remains_of_killed_engines_and_a_socket_elsewhere_are_warnings() {
        assert_eq!([0, 2].map(|count| dead_engines(count).outcome), [CheckOutcome::Ok, CheckOutcome::Warning]);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let outcome = |name: &str| {
            let runtime = directory.path().join(name).into_os_string();
            let paths = EnginePaths::resolve(ProviderName::Process, &|variable| match variable {
                "KINA_RUNTIME_DIR" => Some(runtime.clone()),
                "KINA_CACHE_DIR" => Some(directory.path().as_os_str().to_owned()),
                _ => None,
            });
            socket_path(&paths.expect("usable")).outcome
        };
        assert_eq!([outcome("short"), outcome(&"x".repeat(200))], [CheckOutcome::Ok, CheckOutcome::Warning]);
    }

    #[test]
    fn settings_that_cannot_be_understood_are_wrong() {
        let error = ProviderName::ALL[0].as_str().parse::<u64>();
        assert_eq!(settings("user_settings", &error).outcome, CheckOutcome::Wrong);
        assert_eq!(settings("user_settings", &Ok::<_, io::Error>(())).outcome, CheckOutcome::Ok);
    }
}
