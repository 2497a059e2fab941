//! Leases on single namespaces, many on one cluster.
//!
//! To the pool this is a client like any other: it holds ordinary leases, the hosts, and gives out namespaces on them.
//! When a host has been without namespaces for a while, has served many, or other clients wait for a cluster, its
//! lease ends and the pool rewinds it.
//!
//! Each namespace has a gateway of its own, with an identity of its own towards the API server, which may do everything
//! in its namespace, read resources outside of namespaces, and nothing else. So RBAC refuses any request by which one
//! test would reach another. Names of namespaces are never used twice.
//!
//! - `assignment`: the assignment of namespaces to tests, and its times. Pure.
//! - `host`: a cluster that has namespaces: makes one, takes it away.
//! - `access`: the permissions of their tests. Pure.
//! - `purge`: the removal of a namespace from storage. Pure.
//! - `actor`: feeds it with events and carries its actions out.

mod access;
mod actor;
mod assignment;
#[cfg(test)]
mod assignment_tests;
mod host;
mod purge;

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::actor::{Actor, TaskReport};
use self::assignment::NamespaceLimits;
use super::boot::SlotSpec;
use super::lease_files::LeaseFiles;
use super::message::{DispatcherSender, Ending, LeaseReply};
use super::numbers::Numbers;
use crate::pool::{ClientId, SlotKey, WaiterId};
use crate::protocol::{NamespaceStatus, Traffic};
use crate::rewind::Template;
use crate::settings::EngineSettings;

/// Messages that may be under way; further senders wait.
const MESSAGES_MAX: usize = 1024;
/// Namespaces that a host serves before its cluster is rewound: each leaves a little in the API server's memory.
const HOST_NAMESPACES_MAX: u64 = 1000;
/// The time for which a host is kept for the next test.
const HOST_IDLE_MS: u64 = 10_000;
const ATTEMPTS_MAX: u32 = 3;

/// A client's request for a namespace.
pub(super) struct NamespaceRequest {
    pub(super) waiter: WaiterId,
    pub(super) client: ClientId,
    pub(super) key: SlotKey,
    pub(super) spec: Arc<SlotSpec>,
    /// The template of its cluster. Only its objects outside of namespaces are of use.
    pub(super) template: Option<Arc<Template>>,
    pub(super) timeout_ms: u64,
    /// Set if something makes a service account in each namespace, which has to be there.
    pub(super) awaits_service_account: bool,
    pub(super) reply: LeaseReply,
}

/// The namespaces' part of the status.
#[derive(Default)]
pub(super) struct NamespacesInspection {
    /// Those of each cluster, by its name.
    pub(super) by_cluster: HashMap<String, Vec<NamespaceStatus>>,
    /// The number of clients that wait for one.
    pub(super) waiting: usize,
    /// The number of leases so far.
    pub(super) leases: u64,
    /// The traffic of all of their gateways.
    pub(super) traffic: Traffic,
}

/// A message to the actor.
enum Request {
    Acquire(NamespaceRequest),
    Left { waiter: WaiterId },
    Inspect { reply: oneshot::Sender<NamespacesInspection> },
    ReleaseIdle { reply: oneshot::Sender<()> },
    Report(Box<TaskReport>),
}

/// The engine's namespaces. Their task ends with this.
pub(super) struct Namespaces {
    requests: mpsc::Sender<Request>,
    task: AbortHandle,
}

impl Namespaces {
    pub(super) fn start(
        settings: &EngineSettings,
        lease_files: LeaseFiles,
        dispatcher: DispatcherSender,
        numbers: Arc<Numbers>,
    ) -> Self {
        let limits = NamespaceLimits {
            per_host_max: settings.namespaces_max,
            host_namespaces_max: HOST_NAMESPACES_MAX,
            idle_ms: HOST_IDLE_MS,
            attempts_max: ATTEMPTS_MAX,
            waiting_max: settings.waiting_max,
        };
        let (requests, received) = mpsc::channel(MESSAGES_MAX);
        let actor = Actor::new(limits, lease_files, dispatcher, numbers, requests.clone());
        Self { requests, task: tokio::spawn(actor.run(received)).abort_handle() }
    }

    pub(super) async fn acquire(&self, request: NamespaceRequest) -> Result<(), Ending> {
        self.tell(Request::Acquire(request)).await
    }

    /// The client that waited or had one has gone.
    pub(super) async fn left(&self, waiter: WaiterId) -> Result<(), Ending> {
        self.tell(Request::Left { waiter }).await
    }

    pub(super) async fn inspect(&self) -> NamespacesInspection {
        let (reply, inspection) = oneshot::channel();
        let _ = self.tell(Request::Inspect { reply }).await;
        inspection.await.unwrap_or_default()
    }

    /// Gives back the clusters that have no namespaces.
    pub(super) async fn release_idle(&self) {
        let (reply, done) = oneshot::channel();
        let _ = self.tell(Request::ReleaseIdle { reply }).await;
        let _ = done.await;
    }

    /// Cuts all namespaces off.
    pub(super) fn end(&self) {
        self.task.abort();
    }

    async fn tell(&self, request: Request) -> Result<(), Ending> {
        self.requests.send(request).await.map_err(|_| Ending)
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.end();
    }
}
