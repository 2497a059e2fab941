//! Children that die with the engine.
//!
//! On Linux the kernel kills them: each child asks for a SIGKILL at the death of the thread that started it. A separate
//! thread ([`ChildStarter`]) that lives as long as the engine therefore starts them. On other systems a [`Watcher`]
//! kills them. On all systems each child is in the journal, so that the next engine can end those that outlived this
//! one.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use tokio::sync::{oneshot, watch};

use super::ProviderError;
use crate::bounded_log::ComponentLog;
use crate::journal::Journal;
use crate::provider::group_watcher::Watcher;
use crate::provider::readiness::Awaited;

/// Time for the kernel to end a process after SIGKILL.
const KILL_TIMEOUT: Duration = Duration::from_secs(10);
/// Permitted delay of a child's timers. An idle Go program wakes for them less often; more than this delays its start.
#[cfg(target_os = "linux")]
const TIMER_SLACK_NS: u64 = 4_000_000;

/// Starts children, on a thread that lives as long as the engine.
#[derive(Clone)]
pub(super) struct ChildStarter {
    requests: mpsc::SyncSender<StartRequest>,
    /// The number of children that have not been reaped yet.
    living: watch::Receiver<usize>,
}

/// The description of a child to start.
pub(super) struct ChildCommand {
    pub(super) component: &'static str,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<OsString>,
    /// Its complete environment.
    pub(super) environment: Vec<(&'static str, OsString)>,
    /// The directory in which it starts, to which relative paths among its arguments refer.
    pub(super) working_directory: PathBuf,
    pub(super) log: PathBuf,
    /// Its cluster, for the journal.
    pub(super) cluster: String,
    /// The directory to be removed if the engine dies.
    pub(super) state_directory: PathBuf,
}

/// A running or ended child, leader of its own process group.
pub(super) struct Child {
    component: &'static str,
    process_id: Pid,
    log: Arc<ComponentLog>,
    exit: watch::Receiver<Option<ExitStatus>>,
    /// True once the process may have been reaped, after which its number can be used again.
    reaped: Arc<Mutex<bool>>,
}

/// The journal and the watcher, which keep track of the children.
struct Registry {
    journal: Arc<Journal>,
    /// `None` if the kernel kills the children.
    watcher: Option<Mutex<Watcher>>,
    living_count: watch::Sender<usize>,
}

struct StartRequest {
    command: ChildCommand,
    answer: oneshot::Sender<Result<Child, std::io::Error>>,
}

impl ChildStarter {
    pub(super) fn start(journal: Arc<Journal>) -> Result<Self, ProviderError> {
        let (requests, receiver) = mpsc::sync_channel::<StartRequest>(16);
        let (living_count, living) = watch::channel(0);
        let watcher = (!cfg!(target_os = "linux")).then(Watcher::start).transpose();
        let watcher = watcher.map_err(|source| ProviderError::Spawn { program: "/bin/sh".into(), source })?;
        let registry = Arc::new(Registry { journal, watcher: watcher.map(Mutex::new), living_count });
        std::thread::Builder::new()
            .name("kina-children".to_owned())
            .spawn(move || {
                let_timers_be_late();
                while let Ok(request) = receiver.recv() {
                    // If the caller is gone, the child is killed.
                    if let Err(Ok(child)) = request.answer.send(spawn(request.command, &registry)) {
                        child.kill_group();
                    }
                }
            })
            .map_err(|source| ProviderError::Spawn { program: "the thread kina-children".into(), source })?;
        Ok(Self { requests, living })
    }

    pub(super) async fn spawn(&self, command: ChildCommand) -> Result<Child, ProviderError> {
        let program = command.program.clone();
        let gone = || std::io::Error::other("the thread that starts processes has ended");
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(StartRequest { command, answer });
        let result = match sent {
            Ok(()) => answered.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        result.map_err(|source| ProviderError::Spawn { program, source })
    }
}

impl ChildStarter {
    /// Waits until every child has ended and was reaped, including those that were dropped while they started.
    pub(super) async fn wait_all_ended(&self) {
        let mut living = self.living.clone();
        let all_ended = living.wait_for(|count| *count == 0 || crate::sabotage::is_off(crate::sabotage::Part::Reap));
        if tokio::time::timeout(KILL_TIMEOUT, all_ended).await.is_err() {
            tracing::error!(living = *self.living.borrow(), "processes did not end after SIGKILL");
        }
    }
}

impl Child {
    pub(super) fn process_id(&self) -> u32 {
        self.process_id.as_raw_nonzero().get().unsigned_abs()
    }

    /// All that it has written and will write.
    pub(super) fn written(&self) -> &Arc<ComponentLog> {
        &self.log
    }

    /// Waits until it has ended, for whatever reason.
    pub(super) async fn wait(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => (*status).unwrap_or_default(),
            Err(_) => ExitStatus::default(),
        }
    }

    /// Kills the whole group and waits until the child is gone.
    pub(super) async fn kill(&self) {
        self.kill_group();
        if crate::sabotage::is_off(crate::sabotage::Part::Reap) {
            return;
        }
        if tokio::time::timeout(KILL_TIMEOUT, self.wait()).await.is_err() {
            tracing::error!(component = self.component, process_id = self.process_id(), "did not end after SIGKILL");
        }
    }

    /// Stops or continues the whole group.
    pub(super) fn signal_group(&self, signal: Signal) -> Result<(), std::io::Error> {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if *reaped {
            return Err(std::io::Error::from(std::io::ErrorKind::NotFound));
        }
        Ok(rustix::process::kill_process_group(self.process_id, signal)?)
    }

    fn kill_group(&self) {
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if !*reaped && !crate::sabotage::is_off(crate::sabotage::Part::Reap) {
            let _ = rustix::process::kill_process_group(self.process_id, Signal::KILL);
        }
    }
}

impl Awaited for Child {
    fn component(&self) -> &'static str {
        self.component
    }

    fn log(&self) -> &Path {
        self.log.path()
    }

    fn ended(&self) -> Option<String> {
        self.exit.borrow().map(describe_exit)
    }

    async fn wait_ended(&self) -> String {
        describe_exit(self.wait().await)
    }
}

/// Kills a dropped child, so that it is not left behind.
impl Drop for Child {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// Describes an exit status in words.
pub(super) fn describe_exit(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

impl Registry {
    fn started(&self, process_id: Pid, command: &ChildCommand) -> std::io::Result<()> {
        if let Some(watcher) = &self.watcher {
            watcher.lock().unwrap_or_else(PoisonError::into_inner).watch(process_id)?;
        }
        let number = process_id.as_raw_nonzero().get().unsigned_abs();
        self.journal.started(number, command.component, &command.cluster, &command.state_directory)?;
        self.living_count.send_modify(|count| *count += 1);
        Ok(())
    }

    /// To be called before the process is reaped, after which its number can be used again.
    fn ended(&self, process_id: Pid) {
        self.journal.ended(process_id.as_raw_nonzero().get().unsigned_abs());
        if let Some(watcher) = &self.watcher {
            watcher.lock().unwrap_or_else(PoisonError::into_inner).forget(process_id);
        }
    }
}

fn spawn(command: ChildCommand, registry: &Arc<Registry>) -> Result<Child, std::io::Error> {
    let (log, output) = ComponentLog::start(command.component, &command.log).map_err(|error| {
        let what = format!("opening its log {} failed: {error}", command.log.display());
        std::io::Error::new(error.kind(), what)
    })?;
    let mut process = std::process::Command::new(&command.program);
    process
        .args(&command.arguments)
        .env_clear()
        .envs(command.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .current_dir(&command.working_directory)
        .process_group(0);
    keep_files_private(&mut process);
    if !crate::sabotage::is_off(crate::sabotage::Part::Reap) {
        die_with_this_thread(&mut process);
    }
    let mut child = process.spawn()?;
    let process_id = Pid::from_child(&child);
    if let Err(error) = registry.started(process_id, &command) {
        // A child that a later engine could not end must not run.
        let _ = rustix::process::kill_process_group(process_id, Signal::KILL);
        let _ = child.wait();
        return Err(std::io::Error::new(error.kind(), format!("writing it into the engine's journal failed: {error}")));
    }
    let (sender, exit) = watch::channel(None);
    let reaper = std::thread::Builder::new().name(format!("kina-reap-{}", command.component)).stack_size(64 << 10);
    let reaped = Arc::new(Mutex::new(false));
    let reaped_by_thread = Arc::clone(&reaped);
    let registry_of_thread = Arc::clone(registry);
    let log_of_thread = Arc::clone(&log);
    let spawned = reaper.spawn(move || {
        // The first wait does not reap, so that no signal is sent to the number while it is being given back.
        let wait_only = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let _ = rustix::process::waitid(WaitId::Pid(process_id), wait_only);
        *reaped_by_thread.lock().unwrap_or_else(PoisonError::into_inner) = true;
        registry_of_thread.ended(process_id);
        let status = child.wait().unwrap_or_default();
        // Its last lines are in the file before its end is told, because the reason is looked for there.
        log_of_thread.catch_up();
        let _ = sender.send(Some(status));
        registry_of_thread.living_count.send_modify(|count| *count -= 1);
    });
    if let Err(error) = spawned {
        registry.living_count.send_modify(|count| *count -= 1);
        let _ = rustix::process::kill_process_group(process_id, Signal::KILL);
        return Err(error);
    }
    Ok(Child { component: command.component, process_id, log, exit, reaped })
}

/// Sets the permitted delay of timers, which children inherit, so that the kernel can wake them up for several timers
/// at once. Go programs have many short timers that no client waits for (etcd's ticks, the API server's bookmarks).
/// With the usual 50 µs an idle cluster takes twice as much processor time, and a busy one is slower. Clients wait for
/// sockets, which no timer delays.
#[cfg(target_os = "linux")]
fn let_timers_be_late() {
    // A kernel without this setting only behaves as usual.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
}

#[cfg(not(target_os = "linux"))]
fn let_timers_be_late() {}

#[cfg(target_os = "linux")]
fn die_with_this_thread(process: &mut std::process::Command) {
    let engine = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // The engine may have died before the signal was armed.
        if rustix::process::getppid() != Some(engine) {
            return Err(rustix::io::Errno::SRCH.into());
        }
        Ok(())
    };
    #[expect(unsafe_code, reason = "only code that runs in the child itself can ask for the parent-death signal")]
    // SAFETY: between fork and exec the closure makes three system calls and neither allocates nor locks.
    unsafe {
        process.pre_exec(arm);
    }
}

/// Keeps the child from making files or sockets that other users can open, regardless of the mask of this process.
fn keep_files_private(process: &mut std::process::Command) {
    let mask = || {
        rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
        Ok(())
    };
    #[expect(unsafe_code, reason = "only code that runs in the child itself can set its mask")]
    // SAFETY: between fork and exec the closure makes one system call and neither allocates nor locks.
    unsafe {
        process.pre_exec(mask);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_this_thread(_process: &mut std::process::Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: PathBuf) -> ChildCommand {
        ChildCommand {
            component: "sleep",
            program: "/bin/sleep".into(),
            arguments: vec!["1000".into()],
            environment: Vec::new(),
            working_directory: "/".into(),
            cluster: "cluster-1".to_owned(),
            state_directory: log.with_file_name("state"),
            log,
        }
    }

    fn starter(directory: &Path) -> (ChildStarter, Arc<Journal>) {
        let journal = Arc::new(Journal::start(&directory.join("journals")).expect("begun"));
        (ChildStarter::start(Arc::clone(&journal)).expect("a thread"), journal)
    }

    #[tokio::test]
    async fn a_killed_child_has_ended_with_its_signal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (starter, _) = starter(directory.path());
        let child = starter.spawn(sleeper(directory.path().join("log"))).await.expect("sleep starts");
        assert_eq!(child.ended(), None);
        child.kill().await;
        assert_eq!(child.ended().as_deref(), Some("killed by signal 9"));
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_childs_timers_may_be_late_but_not_the_engines() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (starter, _) = starter(directory.path());
        let mut command = sleeper(directory.path().join("log"));
        (command.program, command.arguments) = ("/bin/cat".into(), vec!["/proc/self/timerslack_ns".into()]);
        let child = starter.spawn(command).await.expect("cat starts");
        child.wait().await;
        let printed = std::fs::read_to_string(child.log()).expect("readable");
        assert_eq!(printed.trim(), TIMER_SLACK_NS.to_string());
        assert_ne!(rustix::thread::current_timer_slack().expect("known"), TIMER_SLACK_NS);
    }

    #[tokio::test]
    async fn a_missing_program_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (starter, _) = starter(directory.path());
        let mut command = sleeper(directory.path().join("log"));
        command.program = "/nowhere/etcd".into();
        let error = starter.spawn(command).await.err().expect("no such program");
        assert!(error.to_string().contains("/nowhere/etcd"), "{error}");
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_written_is_told_apart_from_a_missing_program() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (starter, _) = starter(directory.path());
        let log = directory.path().join("nowhere/log");
        let error = starter.spawn(sleeper(log.clone())).await.err().expect("no such directory");
        let told = crate::with_causes(&error);
        assert!(told.contains(&format!("opening its log {}", log.display())), "{told}");
    }

    #[tokio::test]
    async fn a_child_is_in_the_journal_as_long_as_it_runs() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (starter, journal) = starter(directory.path());
        let child = starter.spawn(sleeper(directory.path().join("log"))).await.expect("sleep starts");
        let journals = std::fs::read_dir(directory.path().join("journals")).expect("listed");
        let path = journals.map(|entry| entry.expect("listed").path()).next().expect("one");
        let text = std::fs::read_to_string(&path).expect("readable");
        let record: serde_json::Value = serde_json::from_str(text.lines().nth(1).expect("a line")).expect("plain data");
        assert_eq!(record["process_id"], child.process_id());
        assert_eq!(record["cluster"], "cluster-1");
        let living: Vec<_> = journal.living().into_iter().map(|record| record.process_id).collect();
        assert_eq!(living, [child.process_id()]);
        journal.close().expect("closed");
        assert!(path.exists(), "it still runs");
        child.kill().await;
        starter.wait_all_ended().await;
        assert!(journal.living().is_empty());
        journal.close().expect("closed");
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_child_that_cannot_be_recorded_does_not_run() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        // There is no room for a line.
        let journal = Journal::full(&directory.path().join("journals"));
        let starter = ChildStarter::start(Arc::new(journal)).expect("a thread");
        let error = starter.spawn(sleeper(directory.path().join("log"))).await.err().expect("not recorded");
        assert!(crate::with_causes(&error).contains("journal"), "{error}");
        starter.wait_all_ended().await;
    }
}
