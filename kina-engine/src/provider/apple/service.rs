//! The service behind `container`, which nothing starts at login or after a reboot.

use std::time::Duration;

use super::cli::ContainerCli;
use super::command;
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::json::{self, DiskUsage, ServiceStatus};
use super::version::Version;
use crate::backoff::Backoff;

/// The status of a service that answers.
pub(super) const RUNNING: &str = "running";
/// Time for a service that was just started to report that it runs.
const STARTED_TIMEOUT: Duration = Duration::from_secs(10);
const STARTED_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The state of the service, and its start.
#[derive(Debug)]
pub(super) struct Service {
    may_start: bool,
    /// Held during a start.
    starting: tokio::sync::Mutex<()>,
}

impl Service {
    pub(super) fn new(may_start: bool) -> Self {
        Self { may_start, starting: tokio::sync::Mutex::new(()) }
    }

    /// Returns when the service runs, with its version, if it tells that. Starts it if that is allowed.
    pub(super) async fn ensure(&self, cli: &ContainerCli) -> Result<Option<String>, ContainerError> {
        let status = self.status(cli).await?;
        if status.status == RUNNING {
            return Ok(status.server_version);
        }
        let _starting = self.starting.lock().await;
        // It may have been started during the wait for the lock.
        let status = self.status(cli).await?;
        if status.status == RUNNING {
            return Ok(status.server_version);
        }
        let down = |said: String| ContainerError::new(Kind::ServiceDown, cli.describe(&command::system_status()), said);
        if !self.may_start {
            return Err(down(format!("printed \"{}\", and kina may not start the service", status.status)));
        }
        tracing::info!(status = status.status, "starting the service of `container`");
        // The status afterwards counts more than the outcome of the call.
        let said = cli.run(&command::system_start()).await.err();
        let running = Backoff::poll(STARTED_POLL_INTERVAL, STARTED_TIMEOUT)
            .run(
                || async {
                    match self.status(cli).await {
                        Ok(status) if status.status == RUNNING => Ok(status.server_version),
                        Ok(status) => Err(down(format!("printed \"{}\" after the service was started", status.status))),
                        Err(error) => Err(error),
                    }
                },
                |_| true,
                |_, _| {},
            )
            .await;
        match (running, said) {
            (Ok(version), said) => {
                if let Some(error) = said {
                    tracing::warn!(%error, "the service of `container` runs, although its start reported a failure");
                }
                Ok(version)
            }
            (Err(_), Some(error)) => Err(error),
            (Err(error), None) => Err(error),
        }
    }

    /// Returns true if the service certainly does not run. A call that failed or hung is no proof of that.
    pub(super) async fn is_down(&self, cli: &ContainerCli) -> bool {
        match self.status(cli).await {
            Ok(status) => status.status != RUNNING,
            Err(error) => error.kind == Kind::ServiceDown,
        }
    }

    /// Returns the versions of the program and of the service, if they differ: an upgrade leaves the old service
    /// running.
    pub(super) async fn version_skew(&self, cli: &ContainerCli) -> Result<Option<(String, String)>, ContainerError> {
        let parts = cli.look_at(&command::system_version(), json::parts).await?;
        let (servers, clients): (Vec<_>, Vec<_>) = parts.iter().partition(|part| part.name.contains("apiserver"));
        let (Some(server), Some(client)) = (servers.first(), clients.first()) else { return Ok(None) };
        match (Version::find(&client.version), Version::find(&server.version)) {
            (Some(client), Some(server)) if client != server => Ok(Some((client.to_string(), server.to_string()))),
            _ => Ok(None),
        }
    }

    /// Measures the disk space of `container`.
    pub(super) async fn disk_usage(&self, cli: &ContainerCli) -> Result<DiskUsage, ContainerError> {
        cli.look_at(&command::system_disk_usage(), json::disk_usage).await
    }

    /// Asks for the status. If the service is down, the exit code is 1, but the output is valid as well.
    pub(super) async fn status(&self, cli: &ContainerCli) -> Result<ServiceStatus, ContainerError> {
        let command = command::system_status();
        let twice = Backoff::poll(STARTED_POLL_INTERVAL, STARTED_POLL_INTERVAL);
        let asked = twice.run(
            || cli.run_whatever_it_says(&command),
            |error| error.kind.leaves_open_what_happened(),
            |error, _| tracing::info!(%error, "the status query failed: trying again"),
        );
        let answer = asked.await?;
        json::service_status(&answer.output).map_err(|unreadable| match answer.is_success() {
            true => cli.unreadable(&command, &unreadable),
            false => ContainerError::of_answer(cli.describe(&command), &answer),
        })
    }
}
