//! The life of the one machine: made, started, asked, stopped, removed.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use kina_engine::{Architecture, EnginePaths};
use serde_json::Value;

use super::answers::Answers;
use super::container::{Container, Signal};
use super::guest::Guest;
use super::host_memory::{self, Processes};
use super::question::{Finding, Question};
use super::visibility::{self, Append};
use super::{ANSWER_TIMEOUT, within_limit};

const NAME: &str = "kina-apple-probe";
/// The label by which the container of an earlier probe is recognised.
const LABEL: &str = "dev.kina.probe";
/// The guest fills half of it.
const MEMORY: &str = "1024m";
/// Time to end by itself, which the guest does at once.
const STOP_SECONDS: &str = "10";
/// The port of the guest, its directory that is mounted, and its files there, as in the layout of kina's image.
const GUEST_PORT: u16 = 6443;
const GUEST_DIRECTORY: &str = "/kina/log";
const PLAIN_LOG: &str = "probe.log";
const SYNCED_LOG: &str = "probe-synced.log";
/// Time limits of the calls that no answer measures. The first start of the service downloads a kernel.
const SERVICE_START_TIMEOUT: Duration = Duration::from_secs(600);
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
const CREATE_TIMEOUT: Duration = Duration::from_secs(60);
const REMOVE_TIMEOUT: Duration = Duration::from_secs(60);

/// The directory of a probe, which nothing else uses meanwhile. Removed with this value.
struct Room {
    directory: tempfile::TempDir,
    _lock: File,
}

/// Makes the machine, asks everything, and removes what it made. Returns the reason if some questions could not be asked.
///
/// # Errors
/// If answers cannot be written.
pub(super) async fn examine(
    container: &Container,
    paths: &EnginePaths,
    answers: &mut Answers,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<Option<String>> {
    let room = match Room::enter(&paths.cache_directory) {
        Ok(room) => room,
        Err(error) => return Ok(Some(format!("{error:#}"))),
    };
    let mut reference = None;
    let asked = tokio::select! {
        asked = ask_all(container, paths, &room, &mut reference, answers) => Some(asked),
        () = interrupted => None,
    };
    if reference.is_some() {
        let mut removed = vec![container.call(REMOVE_TIMEOUT, &["delete", "-f", NAME]).await];
        if let Some(reference) = &reference {
            removed.push(container.call(REMOVE_TIMEOUT, &["image", "delete", "-f", reference]).await);
        }
        // It may not have been made yet.
        let is_left = |reason: &String| !reason.contains("not found");
        for reason in removed.into_iter().filter_map(Result::err).filter(is_left) {
            eprintln!("apple-probe: something is left: {reason}");
        }
    }
    match asked {
        Some(Ok(outcome)) => Ok(outcome.err()),
        Some(Err(error)) => Err(error),
        None => {
            answers.interrupt();
            Ok(Some("the probe was interrupted".to_owned()))
        }
    }
}

/// Asks everything that needs a machine. The reference of the image is set before anything is made that has to be removed.
/// The inner result has the reason if some questions could not be asked.
async fn ask_all(
    container: &Container,
    paths: &EnginePaths,
    room: &Room,
    reference: &mut Option<String>,
    answers: &mut Answers,
) -> anyhow::Result<Result<(), String>> {
    let (port, logs) = match make(container, paths, room, reference).await {
        Ok(made) => made,
        Err(reason) => return Ok(Err(reason)),
    };
    let earlier = Processes::now().await;
    let started = timed(container, &["start", NAME]).await;
    let runs = matches!(started, Finding::Number(_));
    answers.add(Question::StartMs, started)?;
    if !runs {
        return Ok(Err("the machine did not start".to_owned()));
    }
    let guest = Guest::reach(port).await;
    if let Err(reason) = &guest {
        eprintln!("apple-probe: {reason}");
    }
    answers.add(Question::PortReachable, Finding::Flag(guest.is_ok()))?;
    let mut guest = guest.ok();
    for (question, file, append) in [
        (Question::AppendVisibleMs, PLAIN_LOG, Append { command: "append", signal: Signal::User1 }),
        (Question::SyncedAppendVisibleMs, SYNCED_LOG, Append { command: "append-synced", signal: Signal::Hangup }),
    ] {
        let file = logs.join(file);
        let visible = visibility::append_visible(append, &file, guest.as_mut(), container, NAME);
        answers.add(question, within_limit(visible).await)?;
    }
    let returned = match &mut guest {
        Some(guest) => within_limit(host_memory::memory_returned(guest, &earlier)).await,
        None => Finding::Unknown("the machine cannot be asked to fill its memory".to_owned()),
    };
    answers.add(Question::MemoryReturnedMb, returned)?;
    drop(guest);
    answers.add(Question::StopMs, timed(container, &["stop", "-t", STOP_SECONDS, NAME]).await)?;
    Ok(Ok(()))
}

/// Makes the image and the container. Returns the port and the mounted directory.
async fn make(
    container: &Container,
    paths: &EnginePaths,
    room: &Room,
    reference: &mut Option<String>,
) -> Result<(u16, PathBuf), String> {
    let logs = room.mounted_directory()?;
    ensure_service(container).await?;
    expect_no_foreign_container(container).await?;
    let archive = room.directory.path().join("probe.tar");
    let (directory, at) = (kina_engine::image_directory(&paths.cache_directory), archive.clone());
    let built = tokio::task::spawn_blocking(move || {
        let architecture = Architecture::host().map_err(|error| error.to_string())?;
        kina_engine::build_probe_image(architecture, &directory, &at).map_err(|error| kina_engine::with_causes(&error))
    });
    let image = built.await.map_err(|panic| panic.to_string())??;
    *reference = Some(image.reference.clone());
    let words: [OsString; 4] = ["image".into(), "load".into(), "-i".into(), archive.into()];
    container.call(LOAD_TIMEOUT, &words).await?;
    // Nothing else is likely to take it before the machine does.
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map_err(|error| format!("there is no free port on loopback: {error}"))?
        .port();
    container.call(CREATE_TIMEOUT, &create_words(port, &logs, &image.reference)).await?;
    Ok((port, logs))
}

fn create_words(port: u16, logs: &Path, reference: &str) -> Vec<OsString> {
    let mut mount = OsString::from("type=bind,source=");
    mount.push(logs);
    mount.push(format!(",target={GUEST_DIRECTORY}"));
    let mut words: Vec<OsString> = ["create", "--name", NAME, "--label", &format!("{LABEL}=1")].map(Into::into).into();
    words.extend(["--cpus", "1", "--memory", MEMORY, "--publish"].map(OsString::from));
    words.extend([format!("127.0.0.1:{port}:{GUEST_PORT}").into(), "--mount".into(), mount, reference.into()]);
    words
}

/// Measures a call that has to succeed.
async fn timed(container: &Container, words: &[&str]) -> Finding {
    let start = Instant::now();
    match container.call(ANSWER_TIMEOUT, words).await {
        Ok(_) => Finding::milliseconds(start.elapsed()),
        Err(_) if ANSWER_TIMEOUT <= start.elapsed() => Finding::Never,
        Err(reason) => Finding::Unknown(reason),
    }
}

async fn ensure_service(container: &Container) -> Result<(), String> {
    let is_running = |said: Result<String, String>| {
        let status: Option<Value> = said.ok().and_then(|said| serde_json::from_str(&said).ok());
        status.is_some_and(|status| status["status"] == "running")
    };
    let status = ["system", "status", "--format", "json"];
    if is_running(container.look(&status).await) {
        return Ok(());
    }
    eprintln!("apple-probe: starting the service of `container`, which downloads a kernel the first time");
    let start = ["system", "start", "--enable-kernel-install", "--timeout", "60"];
    let said = container.call(SERVICE_START_TIMEOUT, &start).await;
    match is_running(container.look(&status).await) {
        true => Ok(()),
        false => {
            Err(said.err().unwrap_or_else(|| "the service of `container` does not run after its start".to_owned()))
        }
    }
}

/// Deletes the container of an earlier probe that was killed. Fails if another one has its name.
async fn expect_no_foreign_container(container: &Container) -> Result<(), String> {
    let listed = container.look(&["list", "-a", "--format", "json"]).await?;
    let listed: Value = serde_json::from_str(&listed).map_err(|error| format!("the list cannot be read: {error}"))?;
    let found = listed.as_array().into_iter().flatten().find(|one| one["configuration"]["id"] == NAME);
    match found {
        None => Ok(()),
        Some(earlier) if earlier["configuration"]["labels"][LABEL].is_string() => {
            container.call(REMOVE_TIMEOUT, &["delete", "-f", NAME]).await.map(drop)
        }
        Some(_) => Err(format!("a container `{NAME}` exists that is not kina's: delete it, or give it another name")),
    }
}

impl Room {
    fn enter(cache_directory: &Path) -> anyhow::Result<Self> {
        let parent = cache_directory.join("apple-probe");
        std::fs::create_dir_all(&parent).with_context(|| format!("making {} failed", parent.display()))?;
        let path = parent.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = lock.with_context(|| format!("opening {} failed", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => anyhow::bail!("another probe is under way: wait for its end"),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {} failed", path.display()));
            }
        }
        let directory = tempfile::tempdir_in(&parent)
            .with_context(|| format!("making a directory in {} failed", parent.display()))?;
        Ok(Self { directory, _lock: lock })
    }

    /// The directory for the guest's files.
    fn mounted_directory(&self) -> Result<PathBuf, String> {
        let path = self.directory.path().join("log");
        std::fs::create_dir(&path).map_err(|error| format!("making {} failed: {error}", path.display()))?;
        let path = path.canonicalize().map_err(|error| format!("finding {} failed: {error}", path.display()))?;
        match path.to_str() {
            Some(text) if !text.contains([',', '=']) => Ok(path),
            _ => Err(format!("{} cannot be mounted: set KINA_CACHE_DIR to a path without `,` and `=`", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use kina_engine::lab::image::layout;

    use super::*;

    #[test]
    fn the_guest_is_where_the_image_has_it() {
        assert_eq!((GUEST_PORT, GUEST_DIRECTORY), (layout::API_PORT, layout::LOG_DIRECTORY));
        assert_eq!((PLAIN_LOG, SYNCED_LOG), (layout::PROBE_LOG, layout::PROBE_SYNCED_LOG));
    }

    #[test]
    fn a_room_is_for_one_probe_and_is_removed() {
        let cache = tempfile::tempdir().expect("a temporary directory");
        let room = Room::enter(cache.path()).expect("free");
        let path = room.mounted_directory().expect("made");
        let error = Room::enter(cache.path()).err().expect("taken").to_string();
        assert!(error.contains("another probe"), "{error}");
        drop(room);
        assert!(!path.exists());
        Room::enter(cache.path()).expect("free again");
    }

    #[test]
    fn a_path_that_cannot_be_mounted_is_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for name in ["a,b", "a=b"] {
            let cache = directory.path().join(name);
            let error = Room::enter(&cache).expect("free").mounted_directory().expect_err("refused");
            assert!(error.contains("KINA_CACHE_DIR"), "{error}");
        }
    }

    #[test]
    fn the_machine_is_created_with_these_words() {
        let words = create_words(40001, Path::new("/cache/log"), "kina.local/probe:1");
        let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        assert_eq!(
            words.join(" "),
            "create --name kina-apple-probe --label dev.kina.probe=1 --cpus 1 --memory 1024m --publish \
             127.0.0.1:40001:6443 --mount type=bind,source=/cache/log,target=/kina/log kina.local/probe:1"
        );
    }
}
