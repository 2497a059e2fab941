//! The calls of `container` as typed functions. The outcome that a call reports is not trusted: its effect is looked up
//! by `list -a` or `inspect`, and the call is repeated only if that shows that repeating is harmless.

use std::time::Duration;

use super::boot_queue::{BootQueue, Turn};
use super::call::{Answer, CallFailure, Caller};
use super::command::{self, Command, DOUBT_AFTER};
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::failures::Failures;
use super::json::{self, Container, ContainerState, Unreadable};
use super::labels::Owner;
use super::version::Program;
use crate::backoff::Backoff;

/// Limit of the wait for a turn to boot. On a busy machine, calls that would wait longer are refused.
const BOOT_WAIT_MAX: Duration = Duration::from_secs(300);
/// Repetition of queries, which is always harmless.
const LOOK_AGAIN: Backoff = Backoff {
    first_delay: Duration::from_millis(200),
    longest_delay: Duration::from_secs(1),
    retries_max: 2,
    elapsed_max: Duration::from_secs(20),
    jitter: false,
};
/// Number of times that a create, start, stop, signal or delete is tried, with a query in between.
pub(super) const TRIES_MAX: usize = 3;
const LIST_POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The program `container`.
pub(super) struct ContainerCli {
    caller: Caller,
    boot_queue: BootQueue,
    patience: Patience,
}

/// Limits of the wait for the effects of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Time that the list may lag behind a call.
    pub(super) list_lag_max: Duration,
    /// Time for a guest to act on a signal. It restarts a server at once.
    pub(super) signal_acted_max: Duration,
    /// Time for the guest's file of events to show an event, before its output is asked for as well.
    pub(super) file_lag_max: Duration,
    /// Time after which a create or a start that still runs is doubted.
    pub(super) doubt_after: Duration,
}

impl Patience {
    /// Enough for a busy machine.
    pub(super) const USUAL: Self = Self {
        list_lag_max: Duration::from_secs(3),
        signal_acted_max: Duration::from_secs(10),
        file_lag_max: Duration::from_millis(250),
        doubt_after: DOUBT_AFTER,
    };
}

impl ContainerCli {
    pub(super) fn new(caller: Caller, patience: Patience) -> Self {
        Self { caller, boot_queue: BootQueue::new(BOOT_WAIT_MAX), patience }
    }

    pub(super) fn program(&self) -> &std::path::Path {
        self.caller.program()
    }

    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Returns the version of `container`. Refuses versions that are too old for kina.
    pub(super) async fn version(&self) -> Result<Program, ContainerError> {
        let command = command::version();
        let answer = self.look(&command).await?;
        let output = String::from_utf8_lossy(&answer.output).into_owned();
        let error = |kind| ContainerError::new(kind, self.describe(&command), format!("printed \"{}\"", output.trim()));
        let program = Program::parse(&output).ok_or_else(|| error(Kind::Unreadable))?;
        if program.older_than_allowed().is_some() {
            return Err(error(Kind::TooOld));
        }
        Ok(program)
    }

    /// Lists all containers, also stopped ones and those that are not kina's.
    pub(super) async fn list(&self) -> Result<Vec<Container>, ContainerError> {
        self.look_at(&command::list(), json::containers).await
    }

    /// The same, without retries.
    pub(super) async fn list_once(&self) -> Result<Vec<Container>, ContainerError> {
        let command = command::list();
        let answer = self.run(&command).await?;
        json::containers(&answer.output).map_err(|unreadable| self.unreadable(&command, &unreadable))
    }

    /// Finds the container of this name, if there is one.
    pub(super) async fn find(&self, name: &str) -> Result<Option<Container>, ContainerError> {
        Ok(self.list().await?.into_iter().find(|container| container.id == name))
    }

    /// Inspects the container of this name; an error of kind `Missing` if there is none.
    pub(super) async fn inspect(&self, name: &str) -> Result<Container, ContainerError> {
        let command = command::inspect(name);
        let containers = self.look_at(&command, json::containers).await?;
        let found = containers.into_iter().find(|container| container.id == name);
        found.ok_or_else(|| ContainerError::new(Kind::Missing, self.describe(&command), "did not list it"))
    }

    /// Starts a container; returns it as it is then listed: running.
    pub(super) async fn start(&self, name: &str) -> Result<Container, ContainerError> {
        let command = command::start(name);
        let mut failures = Failures::default();
        loop {
            let turn = self.turn(&command).await?;
            let started = self.run_unless(&turn, &command, || self.is_running(name)).await;
            drop(turn);
            let error = match started {
                Ok(_) => ContainerError::new(Kind::NotRunning, self.describe(&command), "ended with exit code 0"),
                Err(error) => error,
            };
            if !error.kind.leaves_open_what_happened() && error.kind != Kind::NotRunning {
                return Err(error);
            }
            if let Some(container) = self.wait_running(name).await? {
                return Ok(container);
            }
            // A machine that was started and does not run has ended.
            if error.kind == Kind::NotRunning || !failures.allow_another(&error, TRIES_MAX) {
                return Err(error);
            }
        }
    }

    /// Stops a container, gently at first, and returns when it is listed as stopped.
    pub(super) async fn stop(&self, name: &str) -> Result<(), ContainerError> {
        let command = command::stop(name);
        let mut failures = Failures::default();
        loop {
            let said = self.run(&command).await.err();
            let stopped = self
                .poll_listed(|containers| match containers.iter().find(|container| container.id == name) {
                    None => Some(Err(ContainerError::new(Kind::Missing, self.describe(&command), "left no container"))),
                    Some(container) if container.state == ContainerState::Stopped => Some(Ok(())),
                    Some(_) => None,
                })
                .await?;
            if let Some(stopped) = stopped {
                return stopped;
            }
            let error = said.unwrap_or_else(|| {
                let answer = "succeeded, but it is still listed as running";
                ContainerError::new(Kind::Mismatch, self.describe(&command), answer)
            });
            if !failures.allow_another(&error, TRIES_MAX) {
                return Err(error);
            }
        }
    }

    /// Ends and removes a container, and returns when it is no longer listed. A container of another realm is left
    /// alone.
    pub(super) async fn delete(&self, name: &str, owner: &Owner) -> Result<(), ContainerError> {
        let command = command::delete(name);
        let mut failures = Failures::default();
        loop {
            match self.find(name).await? {
                None => return Ok(()),
                Some(container) if !owner.is_of_realm(&container.labels) => {
                    tracing::warn!(name, "a container has the name of one of kina's, but is not kina's: left alone");
                    return Ok(());
                }
                Some(_) => {}
            }
            // Only the list shows if it is deleted.
            let said = self.run(&command).await.err();
            let gone = |containers: &[Container]| containers.iter().all(|container| container.id != name).then_some(());
            if self.poll_listed(gone).await?.is_some() {
                return Ok(());
            }
            let error = said.unwrap_or_else(|| {
                ContainerError::new(Kind::Mismatch, self.describe(&command), "succeeded, but it is still listed")
            });
            if !failures.allow_another(&error, TRIES_MAX) {
                return Err(error);
            }
        }
    }

    /// Returns the end of the output of a container's first process, for messages.
    pub(super) async fn log_tail(&self, name: &str) -> String {
        match self.look(&command::log_tail(name)).await {
            Ok(answer) => String::from_utf8_lossy(&answer.output).trim_end().to_owned(),
            Err(error) => format!("({error})"),
        }
    }

    /// Waits for the turn that a call which boots something needs.
    pub(super) async fn turn(&self, command: &Command) -> Result<Turn<'_>, ContainerError> {
        self.boot_queue.turn().await.map_err(|slow| {
            let answer = format!("was not run: other calls that boot clusters took {} s", slow.waited.as_secs());
            ContainerError::new(Kind::QueueTooSlow, self.describe(command), answer)
        })
    }

    /// Runs a call that boots something, in this turn; an error unless it reports success. A call that takes long may
    /// wait behind others. It is given up before its deadline only if `is_pointless` then returns true.
    pub(super) async fn run_unless<Looked: Future<Output = bool>>(
        &self,
        _turn: &Turn<'_>,
        command: &Command,
        is_pointless: impl FnOnce() -> Looked,
    ) -> Result<Answer, ContainerError> {
        let doubt_after = self.patience.doubt_after;
        let mut call = std::pin::pin!(self.run(command));
        tokio::select! {
            answered = &mut call => return answered,
            () = tokio::time::sleep(doubt_after) => {}
        }
        tokio::select! {
            answered = &mut call => answered,
            // Dropping the call kills it.
            true = is_pointless() => {
                let failure = CallFailure::TimedOut { deadline: doubt_after, messages: String::new() };
                Err(ContainerError::of_failure(self.describe(command), failure))
            }
        }
    }

    /// Runs a call; an error unless it reports success. A call that boots something needs a turn as well.
    pub(super) async fn run(&self, command: &Command) -> Result<Answer, ContainerError> {
        let answer = self.run_whatever_it_says(command).await?;
        if answer.is_success() {
            return Ok(answer);
        }
        Err(ContainerError::of_answer(self.describe(command), &answer))
    }

    /// The same, but returns the answer even if it reports a failure.
    pub(super) async fn run_whatever_it_says(&self, command: &Command) -> Result<Answer, ContainerError> {
        let answered = self.caller.call(&command.arguments, command.deadline).await;
        answered.map_err(|failure| ContainerError::of_failure(self.describe(command), failure))
    }

    /// Runs a query, and again if it hung or the service died.
    pub(super) async fn look(&self, command: &Command) -> Result<Answer, ContainerError> {
        let mut failures = Failures::default();
        let worth_another =
            |error: &ContainerError| error.kind.leaves_open_what_happened() && failures.allow_another(error, TRIES_MAX);
        LOOK_AGAIN
            .run(
                || self.run(command),
                worth_another,
                |error, _| tracing::info!(%error, "a query of `container` failed: trying again"),
            )
            .await
    }

    /// Runs a query and reads its output.
    pub(super) async fn look_at<Read>(
        &self,
        command: &Command,
        read: impl Fn(&[u8]) -> Result<Read, Unreadable>,
    ) -> Result<Read, ContainerError> {
        let answer = self.look(command).await?;
        read(&answer.output).map_err(|unreadable| self.unreadable(command, &unreadable))
    }

    pub(super) fn unreadable(&self, command: &Command, unreadable: &Unreadable) -> ContainerError {
        ContainerError::new(
            Kind::Unreadable,
            self.describe(command),
            format!("printed something unexpected ({})", unreadable.0),
        )
    }

    pub(super) fn describe(&self, command: &Command) -> String {
        let words = command.arguments.iter().map(|argument| argument.to_string_lossy());
        let program = self.program().display().to_string();
        std::iter::once(program.into()).chain(words).collect::<Vec<_>>().join(" ")
    }

    /// Returns true if the container is certainly listed as running.
    async fn is_running(&self, name: &str) -> bool {
        let is_it = |container: &Container| container.id == name && container.state == ContainerState::Running;
        self.list_once().await.is_ok_and(|containers| containers.iter().any(is_it))
    }

    async fn wait_running(&self, name: &str) -> Result<Option<Container>, ContainerError> {
        let mut found = false;
        let running = self
            .poll_listed(|containers| {
                let container = containers.iter().find(|container| container.id == name);
                found = container.is_some();
                match container {
                    Some(container) if container.state != ContainerState::Running => None,
                    other => Some(other.cloned()),
                }
            })
            .await?;
        match (running, found) {
            (Some(Some(container)), _) => Ok(Some(container)),
            (_, true) => Ok(None),
            (_, false) => {
                let call = self.describe(&command::list());
                Err(ContainerError::new(Kind::Missing, call, format!("did not list {name}, which was just started")))
            }
        }
    }

    /// Lists until `decided` returns a decision, for as long as the list may lag.
    async fn poll_listed<Decision>(
        &self,
        mut decided: impl FnMut(&[Container]) -> Option<Decision>,
    ) -> Result<Option<Decision>, ContainerError> {
        let start = tokio::time::Instant::now();
        loop {
            if let Some(decision) = decided(&self.list().await?) {
                return Ok(Some(decision));
            }
            if self.patience.list_lag_max < start.elapsed() {
                return Ok(None);
            }
            tokio::time::sleep(LIST_POLL_INTERVAL).await;
        }
    }
}
