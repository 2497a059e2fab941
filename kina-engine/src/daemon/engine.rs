//! The parts of the engine that all connections share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::binaries::Binaries;
use super::lease::HeldLeases;
use super::message::{DispatcherSender, Ending};
use super::metrics::MetricsSource;
use super::namespaces::Namespaces;
use super::numbers::Numbers;
use super::status::StatusSource;
use super::templates::TemplateMaker;
use crate::protocol::Status;
use crate::template_intake::TemplateRoom;

pub(super) struct Engine {
    pub(super) dispatcher: DispatcherSender,
    pub(super) namespaces: Namespaces,
    pub(super) binaries: Binaries,
    pub(super) template_maker: TemplateMaker,
    pub(super) template_room: TemplateRoom,
    pub(super) status_source: StatusSource,
    pub(super) metrics_source: MetricsSource,
    /// The address at which the metrics can be scraped.
    pub(super) metrics_address: Option<SocketAddr>,
    /// Set if clusters reach listeners on this machine's loopback.
    pub(super) shares_loopback: bool,
    pub(super) numbers: Arc<Numbers>,
    pub(super) held_leases: Arc<HeldLeases>,
    /// Asks the server to end. The inner sender gets its answer when everything is gone.
    pub(super) stop: mpsc::Sender<oneshot::Sender<()>>,
}

impl Engine {
    /// The status. Reading the memory of clusters takes some milliseconds for each.
    pub(super) async fn status(&self, with_memory: bool) -> Result<Status, Ending> {
        self.status_source.read(&self.dispatcher, &self.namespaces, with_memory).await
    }

    /// All metrics, as text. Takes some milliseconds for each cluster, whose memory is measured.
    pub(super) async fn metrics_text(&self) -> Result<String, Ending> {
        let status = self.status(true).await?;
        self.metrics_source.text(status).ok_or(Ending)
    }
}
