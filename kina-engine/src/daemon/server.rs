//! The engine's sockets, and the end of everything.

use std::fs::{File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::binaries::Binaries;
use super::boot::Booter;
use super::client_socket::ClientSocket;
use super::dispatcher::{Dispatcher, DispatcherParts};
use super::engine::Engine;
use super::lease_files::LeaseFiles;
use super::lease_socket::LeaseSocket;
use super::limits::{MachineLimits, pool_limits};
use super::message::{DispatcherSender, Message};
use super::metrics::{Listener, MeteredProvider, Metrics, MetricsSource};
use super::namespaces::Namespaces;
use super::numbers::Numbers;
use super::old_logs;
use super::status::StatusSource;
use super::templates::{TemplateCache, TemplateMaker, TemplateStore};
use crate::ProviderName;
use crate::budget::{Budget, Total};
use crate::gateway::Entrance;
use crate::journal::{Journal, SweepReport, sweep};
use crate::open_files::OpenFiles;
use crate::paths::EnginePaths;
use crate::protocol::VERSION;
use crate::provider::{self, EngineParts, Provider};
use crate::settings::EngineSettings;
use crate::snapshot::SnapshotStore;
use crate::template_intake::{TemplateReader, TemplateRoom};
use crate::timings::{EngineLine, Recorder};

const TICK_INTERVAL: Duration = Duration::from_millis(500);
/// An engine all of whose clusters are frozen or stopped takes next to no processor time.
const TICK_INTERVAL_AT_REST: Duration = Duration::from_secs(5);
/// Clusters are looked after every so many ticks.
const TICKS_PER_LOOK: u64 = 20;
/// Time limit for the kernel to end killed processes.
const DEATH_TIMEOUT: Duration = Duration::from_secs(3);
/// Time limit for an engine that is just ending to let go of its lock.
const PREDECESSOR_TIMEOUT: Duration = Duration::from_secs(20);
/// The time that this engine gives its own clusters to end, so that the next one's patience is enough.
const END_MAX: Duration = Duration::from_secs(15);

/// Runs the engine until it is asked to end or has been unused for long.
pub(super) async fn serve(
    provider_name: ProviderName,
    paths: EnginePaths,
    settings: EngineSettings,
    open_files: Arc<OpenFiles>,
) -> Result<(), Box<dyn std::error::Error>> {
    // A constructor runs before Rust's own preparation of `main`, which would have ignored it.
    let _ignored_pipe_signal = signal(SignalKind::pipe())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let _lock = lock(&paths.running_lock, &paths.socket).await?;
    let metrics = Arc::new(Metrics::default());
    metrics.ended_orphans(sweep_journals(&paths).await);
    let journal = Arc::new(Journal::start(&paths.journal_directory)?);
    let (listener, lease_listener) = prepare(&paths)?;
    tracing::info!(process_id = std::process::id(), socket = %paths.socket.display(), "the engine runs");

    let (sender, mut received) = DispatcherSender::new();
    let (stop, mut stop_requests) = mpsc::channel::<oneshot::Sender<()>>(16);
    let engine_parts = EngineParts { paths: &paths, settings: &settings, journal: Arc::clone(&journal) };
    let provider = provider::connect(provider_name, engine_parts).await?;
    let provider: Arc<dyn Provider> = Arc::new(MeteredProvider::new(provider, Arc::clone(&metrics)));
    let capabilities = provider.capabilities();
    let machine = MachineLimits::of_this_machine(&settings);
    let limits = pool_limits(&settings, machine, &capabilities);
    let total = match settings.memory_max_bytes {
        Some(bytes) => Total::Fixed(bytes),
        None => Total::FreeNow(machine.memory_bytes),
    };
    let budget = match Budget::open(&paths.budget_directory, total) {
        Ok(budget) => {
            let others_bytes = budget.reserved_by_others_bytes().unwrap_or_default();
            tracing::info!(total_bytes = budget.total_bytes(), others_bytes, "memory for the clusters of all engines");
            Some(budget)
        }
        Err(error) => {
            tracing::warn!(%error, "the memory budget of all engines cannot be used: this engine minds only itself");
            None
        }
    };
    let booter = Booter {
        provider,
        snapshots: SnapshotStore::new(paths.cache_directory.join("snapshots")),
        entrance: Arc::new(Entrance::new(Arc::clone(&open_files))),
        baseline_directory: paths.cache_directory.join("baselines"),
        bootstrapping: tokio::sync::Mutex::new(()),
    };
    let store = TemplateStore::new(paths.cache_directory.join("templates"), booter.baseline_directory.clone());
    let templates = Arc::new(TemplateCache::new(store));
    let timings = Recorder::new(EngineLine {
        version: VERSION.to_owned(),
        provider: provider_name.to_string(),
        simulated: capabilities.simulated,
        slots_max: limits.slots_max,
        memory_max_bytes: limits.memory_max_bytes,
        ..EngineLine::default()
    });
    let lease_files = LeaseFiles::new(paths.lease_directory.clone());
    let numbers = Arc::new(Numbers::default());
    let mut dispatcher = Dispatcher::new(DispatcherParts {
        limits,
        budget,
        booter,
        templates: Arc::clone(&templates),
        lease_files: lease_files.clone(),
        numbers: Arc::clone(&numbers),
        timings,
        metrics: Arc::clone(&metrics),
        sender: sender.clone(),
    });
    let template_maker = TemplateMaker {
        cache: templates,
        reader: TemplateReader::new(),
        dispatcher: sender.clone(),
        numbers: Arc::clone(&numbers),
    };
    let namespaces = Namespaces::start(&settings, lease_files, sender.clone(), Arc::clone(&numbers));
    let metrics_listener = listen_for_scrapes(settings.metrics_port, &open_files).await;
    let engine = Arc::new(Engine {
        dispatcher: sender,
        namespaces,
        binaries: Binaries::new(paths.cache_directory.clone(), provider_name, &capabilities),
        template_maker,
        template_room: TemplateRoom::new(),
        status_source: StatusSource {
            start: Instant::now(),
            log: paths.log.clone(),
            provider: provider_name,
            simulated: capabilities.simulated,
            clients: Arc::default(),
        },
        metrics_source: MetricsSource { metrics, journal: Arc::clone(&journal) },
        metrics_address: metrics_listener.as_ref().map(Listener::address),
        shares_loopback: capabilities.shares_loopback,
        numbers,
        held_leases: Arc::default(),
        stop,
    });
    let scrapes = metrics_listener.map(|listener| {
        let engine = Arc::clone(&engine);
        listener.serve(move || {
            let engine = Arc::clone(&engine);
            async move { engine.metrics_text().await.ok() }
        })
    });
    let mut lease_socket = LeaseSocket::serve(lease_listener, Arc::clone(&engine.held_leases), &open_files);
    let mut client_socket = ClientSocket::serve(listener, Arc::clone(&engine), open_files);
    let mut accepted_before = 0;
    let mut next_tick = tokio::time::Instant::now();
    let mut tick_count: u64 = 0;
    let mut idle_since = Instant::now();
    let mut stop_replies = Vec::new();

    loop {
        tokio::select! {
            Some(message) = received.recv() => {
                dispatcher.handle(message);
                if !dispatcher.is_at_rest() {
                    next_tick = next_tick.min(tokio::time::Instant::now() + TICK_INTERVAL);
                }
            }
            () = tokio::time::sleep_until(next_tick) => {
                tick_count += 1;
                let interval = if dispatcher.is_at_rest() { TICK_INTERVAL_AT_REST } else { TICK_INTERVAL };
                next_tick = tokio::time::Instant::now() + interval;
                dispatcher.handle(Message::Tick { looks_after: tick_count.is_multiple_of(TICKS_PER_LOOK) });
                let accepted = client_socket.accepted();
                let is_used = std::mem::replace(&mut accepted_before, accepted) != accepted || 0 < client_socket.open();
                if is_used || !dispatcher.is_idle() {
                    idle_since = Instant::now();
                } else if Duration::from_secs(settings.idle_exit_seconds) < idle_since.elapsed() {
                    tracing::info!("the engine has been unused for a while: it ends");
                    break;
                }
            }
            Some(reply) = stop_requests.recv() => {
                tracing::info!("the engine was asked to end");
                stop_replies.push(reply);
                break;
            }
            _ = terminate.recv() => {
                tracing::info!("the engine got SIGTERM");
                break;
            }
        }
    }

    // From here on a new client finds no socket, and starts the next engine, which waits for the lock.
    client_socket.close().await;
    let _ = std::fs::remove_file(&paths.socket);
    lease_socket.close().await;
    let _ = std::fs::remove_file(&paths.lease_socket);
    engine.namespaces.end();
    if let Some(scrapes) = scrapes {
        scrapes.abort();
    }
    if tokio::time::timeout(END_MAX, dispatcher.shut_down()).await.is_err() {
        tracing::warn!("clusters took too long to end: their watchers end them once this engine is gone");
    }
    remove_state(&paths);
    if let Err(error) = journal.close() {
        tracing::warn!(%error, "the journal cannot be removed");
    }
    let _ = std::fs::remove_file(&paths.start_lock);
    let _ = std::fs::remove_file(&paths.ticket_lock);
    let _ = std::fs::remove_file(&paths.running_lock);
    tracing::info!("the engine has ended");
    for reply in stop_replies {
        let _ = reply.send(());
    }
    // The connections that asked get a moment to pass the answer on.
    let patience = Instant::now();
    while 0 < client_socket.open() && patience.elapsed() < Duration::from_millis(200) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Takes the lock that only one engine holds; waits for one that is just ending, but not for one that serves: should
/// that end later, no client would know of the engine that takes its place.
async fn lock(path: &Path, socket: &Path) -> Result<File, std::io::Error> {
    let start = Instant::now();
    loop {
        let file = std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
        match file.try_lock() {
            // The previous engine may have removed the file between our opening and our locking it.
            Ok(()) if is_same_file(&file, path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if start.elapsed() < PREDECESSOR_TIMEOUT && !is_served(socket).await => {}
            Err(TryLockError::WouldBlock) => {
                return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "another engine is running"));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns true if an engine listens, and goes on to. An engine that ends stops listening before it lets go of its
/// lock; for one that was killed, the kernel accepts connections for a moment, until it closes them all.
async fn is_served(socket: &Path) -> bool {
    let Ok(mut stream) = tokio::net::UnixStream::connect(socket).await else { return false };
    // An engine sends nothing before it gets a message: anything to read is the end of the connection.
    tokio::time::timeout(DEATH_TIMEOUT, stream.read_u8()).await.is_err()
}

fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(opened), Ok(named)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    opened.dev() == named.dev() && opened.ino() == named.ino()
}

/// Opens the port for Prometheus, if one is wanted. A port in use, perhaps by another engine, is no reason to run
/// no tests.
async fn listen_for_scrapes(port: Option<u16>, open_files: &OpenFiles) -> Option<Listener> {
    let port = port?;
    match Listener::bind(port, open_files).await {
        Ok(listener) => {
            tracing::info!(address = %listener.address(), "metrics can be scraped");
            Some(listener)
        }
        Err(error) => {
            tracing::warn!(port, %error, "the metrics' port cannot be opened: `cargo kina metrics` still tells them");
            None
        }
    }
}

/// Ends processes that outlived the engines that started them. Returns their number.
async fn sweep_journals(paths: &EnginePaths) -> usize {
    let (directory, state_roots) = (paths.journal_directory.clone(), paths.state_roots());
    match tokio::task::spawn_blocking(move || sweep(&directory, &state_roots)).await {
        Ok(report) => {
            if report != SweepReport::default() {
                tracing::info!(?report, "swept the journals");
            }
            report.killed.len()
        }
        Err(panic) => {
            tracing::error!(%panic, "bug: sweeping the journals");
            0
        }
    }
}

/// Removes what an engine that was killed left, makes the directories, opens the sockets for clients and for leases.
fn prepare(paths: &EnginePaths) -> Result<(UnixListener, UnixListener), std::io::Error> {
    remove_state(paths);
    for directory in [&paths.cluster_directory, &paths.cluster_log_directory] {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    old_logs::prune(paths);
    // That for leases first: a client that finds the engine may need it.
    let lease_listener = listen(&paths.lease_socket)?;
    Ok((listen(&paths.socket)?, lease_listener))
}

fn listen(socket: &Path) -> Result<UnixListener, std::io::Error> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the states of clusters and the files of leases, and the directories made for them where they are empty.
fn remove_state(paths: &EnginePaths) {
    for directory in [&paths.cluster_directory, &paths.lease_directory] {
        if let Err(error) = std::fs::remove_dir_all(directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, directory = %directory.display(), "not all of it could be removed");
        }
    }
    let mut parent = paths.cluster_directory.parent();
    while let Some(directory) = parent.filter(|directory| *directory != paths.runtime_directory) {
        if std::fs::remove_dir(directory).is_err() {
            break;
        }
        parent = directory.parent();
    }
}
