//! Feeds the assignment with events and carries its actions out. Everything that takes time is a task, which reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::assignment::{Action, Assignment, Event, HostId, HostKind, NamespaceLimits, TenantId};
use super::host::{Host, HostError};
use super::{NamespaceRequest, NamespacesInspection, Request};
use crate::daemon::boot::SlotSpec;
use crate::daemon::lease::{Lease, LeaseOwner};
use crate::daemon::lease_files::LeaseFiles;
use crate::daemon::message::{DispatcherSender, LeaseReply, Message};
use crate::daemon::numbers::Numbers;
use crate::error_text::with_causes;
use crate::gateway::{OpenGateway, TrafficLedger};
use crate::lingering::LeftBehind;
use crate::pool::{TemplateName, TimeMs, WaiterId};
use crate::protocol::{LeaseStatus, NamespaceStatus, Refusal, RefusalKind};
use crate::rewind::Template;
use crate::timings::Asker;

/// The interval of looks at idle hosts and deadlines, as long as there are any.
const TICK_INTERVAL: Duration = Duration::from_millis(500);

/// The report of a task that carries an action out.
pub(super) enum TaskReport {
    Host { host: HostId, result: Result<Host, Refusal> },
    Prepared { tenant: TenantId, result: Result<(OpenGateway, Lease), HostError> },
    Cleaned { tenant: TenantId, result: Result<(), HostError> },
}

pub(super) struct Actor {
    assignment: Assignment,
    lease_files: LeaseFiles,
    dispatcher: DispatcherSender,
    numbers: Arc<Numbers>,
    requests: mpsc::Sender<Request>,
    start: Instant,
    /// The sources of hosts, as long as there are hosts or tenants.
    sources: HashMap<HostKind, (Arc<SlotSpec>, Option<Arc<Template>>)>,
    hosts: HashMap<HostId, KnownHost>,
    tenants: HashMap<TenantId, Tenant>,
    tasks: JoinSet<()>,
    lease_count: u64,
    traffic: TrafficLedger,
}

struct KnownHost {
    /// The waiter that the pool knows it as.
    waiter: WaiterId,
    /// Present once it is ready.
    host: Option<Arc<Host>>,
}

struct Tenant {
    reply: Option<LeaseReply>,
    awaits_service_account: bool,
    /// Present once it has a place.
    tenancy: Option<ActiveTenancy>,
}

struct ActiveTenancy {
    lease_number: u64,
    cluster: String,
    namespace: String,
    /// Present once it is prepared, until it is cleaned.
    gateway: Option<OpenGateway>,
    /// Present once it is prepared, until it is granted.
    lease: Option<Lease>,
}

impl Actor {
    pub(super) fn new(
        limits: NamespaceLimits,
        lease_files: LeaseFiles,
        dispatcher: DispatcherSender,
        numbers: Arc<Numbers>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self {
            assignment: Assignment::new(limits),
            lease_files,
            dispatcher,
            numbers,
            requests,
            start: Instant::now(),
            sources: HashMap::new(),
            hosts: HashMap::new(),
            tenants: HashMap::new(),
            tasks: JoinSet::new(),
            lease_count: 0,
            traffic: TrafficLedger::default(),
        }
    }

    pub(super) async fn run(mut self, mut received: mpsc::Receiver<Request>) {
        let mut next_tick = tokio::time::Instant::now();
        loop {
            while self.tasks.try_join_next().is_some() {}
            let is_idle = self.assignment.is_empty();
            tokio::select! {
                request = received.recv() => match request {
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                () = tokio::time::sleep_until(next_tick), if !is_idle => {
                    let waiting = self.dispatcher.ask(|reply| Message::CountWaiting { reply }).await;
                    // An error means that the engine is ending.
                    let pool_waiting = waiting.unwrap_or_default();
                    self.feed(Event::Tick { pool_waiting }).await;
                    next_tick = tokio::time::Instant::now() + TICK_INTERVAL;
                }
            }
        }
    }

    async fn handle(&mut self, request: Request) {
        match request {
            Request::Acquire(request) => {
                let NamespaceRequest { waiter, client, key, spec, template, .. } = request;
                let NamespaceRequest { timeout_ms, awaits_service_account, reply, .. } = request;
                let name = template.as_ref().map(|template| TemplateName(template.name().into()));
                let kind = HostKind { key, template: name };
                self.sources.insert(kind.clone(), (spec, template));
                let tenant = TenantId(waiter.0);
                self.tenants.insert(tenant, Tenant { reply: Some(reply), awaits_service_account, tenancy: None });
                let deadline = self.now().saturating_add(timeout_ms);
                self.feed(Event::Acquire { tenant, client, kind, deadline }).await;
            }
            Request::Left { waiter } => {
                let tenant = TenantId(waiter.0);
                if let Some(found) = self.tenants.get_mut(&tenant) {
                    found.reply = None;
                    if found.tenancy.is_none() {
                        self.tenants.remove(&tenant);
                    }
                }
                self.feed(Event::Left { tenant }).await;
            }
            Request::Inspect { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.inspect());
            }
            Request::ReleaseIdle { reply } => {
                self.feed(Event::ReleaseIdle).await;
                let _ = reply.send(());
            }
            Request::Report(report) => self.report(*report).await,
        }
    }

    async fn report(&mut self, report: TaskReport) {
        match report {
            TaskReport::Host { host, result: Ok(ready) } => {
                // One that was released meanwhile is forgotten, and its lease has ended.
                if let Some(known) = self.hosts.get_mut(&host) {
                    known.host = Some(Arc::new(ready));
                    self.feed(Event::HostReady { host }).await;
                }
            }
            TaskReport::Host { host, result: Err(refusal) } => {
                if let Some(known) = self.hosts.remove(&host) {
                    self.tell_dispatcher(Message::Left { waiter: known.waiter }).await;
                }
                self.feed(Event::HostRefused { host, refusal }).await;
            }
            TaskReport::Prepared { tenant, result: Ok((gateway, lease)) } => {
                if let Some(tenancy) = self.tenants.get_mut(&tenant).and_then(|found| found.tenancy.as_mut()) {
                    self.traffic.open(gateway.network().traffic_counter());
                    tenancy.gateway = Some(gateway);
                    tenancy.lease = Some(lease);
                }
                self.feed(Event::Prepared { tenant }).await;
            }
            TaskReport::Prepared { tenant, result: Err(error) } => {
                let reason = format!("no namespace could be made: {}", with_causes(&error));
                tracing::error!(reason, "a host of namespaces takes no more");
                let is_gone = self.tenants.get_mut(&tenant).is_some_and(|found| {
                    found.tenancy = None;
                    found.reply.is_none()
                });
                if is_gone {
                    self.tenants.remove(&tenant);
                }
                self.feed(Event::PrepareFailed { tenant, reason }).await;
            }
            TaskReport::Cleaned { tenant, result } => {
                let is_clean = result.is_ok();
                if let Err(error) = result {
                    tracing::error!(error = with_causes(&error), "a host of namespaces takes no more");
                }
                self.tenants.remove(&tenant);
                self.feed(Event::Cleaned { tenant, is_clean }).await;
            }
        }
    }

    async fn feed(&mut self, event: Event) {
        for action in self.assignment.handle(event, self.now()) {
            self.carry_out(action).await;
        }
        if self.assignment.is_empty() {
            self.sources.clear();
        }
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::RequestHost { host, client, kind, deadline } => {
                let Some((spec, template)) = self.sources.get(&kind).cloned() else { return };
                let waiter = self.numbers.next_waiter();
                self.hosts.insert(host, KnownHost { waiter, host: None });
                let (reply, answer) = oneshot::channel();
                let timeout_ms = deadline.saturating_sub(self.now());
                let key = kind.key;
                let asker = Asker::internal("(has tests in namespaces)");
                let message = Message::Acquire { waiter, client, key, spec, template, timeout_ms, asker, reply };
                self.tell_dispatcher(message).await;
                self.spawn(async move { TaskReport::Host { host, result: prepare_host(answer).await } });
            }
            Action::ReleaseHost { host } => {
                if let Some(known) = self.hosts.remove(&host) {
                    self.tell_dispatcher(Message::Left { waiter: known.waiter }).await;
                }
            }
            Action::Prepare { host, tenant } => self.prepare(host, tenant),
            Action::Clean { host, tenant } => self.clean(host, tenant),
            Action::Grant { tenant } => {
                let Some(found) = self.tenants.get_mut(&tenant) else { return };
                let lease = found.tenancy.as_mut().and_then(|tenancy| tenancy.lease.take());
                if let (Some(reply), Some(lease)) = (found.reply.take(), lease) {
                    // The end of a client that has gone is reported separately.
                    let _ = reply.send(Ok(lease));
                }
            }
            Action::Refuse { tenant, refusal } => {
                if let Some(reply) = self.tenants.remove(&tenant).and_then(|found| found.reply) {
                    let _ = reply.send(Err(refusal));
                }
            }
        }
    }

    fn prepare(&mut self, id: HostId, tenant: TenantId) {
        let Some(host) = self.hosts.get(&id).and_then(|known| known.host.clone()) else { return };
        self.lease_count += 1;
        let (number, namespace) = (self.numbers.next_lease(), format!("kina-{}", self.lease_count));
        let directory = self.lease_files.directory_of(number);
        let tenancy = ActiveTenancy {
            lease_number: number,
            cluster: host.cluster().name().to_owned(),
            namespace: namespace.clone(),
            gateway: None,
            lease: None,
        };
        let mut awaits_service_account = false;
        if let Some(found) = self.tenants.get_mut(&tenant) {
            awaits_service_account = found.awaits_service_account;
            found.tenancy = Some(tenancy);
        }
        self.spawn(async move {
            let prepared = host.prepare_namespace(&namespace, awaits_service_account).await;
            let result = prepared.map(|(gateway, credentials)| {
                let (cluster, network) = (Arc::clone(host.cluster()), gateway.network().clone());
                let owner = LeaseOwner::Namespaces { namespace };
                let unix_entry = gateway.unix_entry().clone();
                (gateway, Lease { number, owner, cluster, credentials, network, unix_entry, directory })
            });
            TaskReport::Prepared { tenant, result }
        });
    }

    fn clean(&mut self, id: HostId, tenant: TenantId) {
        let host = self.hosts.get(&id).and_then(|known| known.host.clone());
        let tenancy = self.tenants.get_mut(&tenant).and_then(|found| found.tenancy.as_mut());
        let (Some(host), Some(tenancy)) = (host, tenancy) else { return };
        let (gateway, namespace, lease) = (tenancy.gateway.take(), tenancy.namespace.clone(), tenancy.lease_number);
        let files = self.lease_files.clone();
        self.spawn(async move {
            let start = Instant::now();
            if let Some(gateway) = gateway {
                host.cluster().leave(LeftBehind::of_gateway(gateway.close().await));
            }
            files.remove(lease).await;
            let result = host.clean(&namespace).await;
            tracing::debug!(namespace, clean_ms = start.elapsed().as_millis(), is_clean = result.is_ok(), "cleaned");
            TaskReport::Cleaned { tenant, result }
        });
    }

    fn inspect(&self) -> NamespacesInspection {
        let mut by_cluster: HashMap<String, Vec<NamespaceStatus>> = HashMap::new();
        for tenancy in self.tenants.values().filter_map(|tenant| tenant.tenancy.as_ref()) {
            let Some(gateway) = &tenancy.gateway else { continue };
            let network = gateway.network();
            let lease = LeaseStatus {
                lease: tenancy.lease_number,
                network: network.describe(),
                traffic: network.traffic(),
                holder: None,
            };
            let status = NamespaceStatus { namespace: tenancy.namespace.clone(), lease };
            by_cluster.entry(tenancy.cluster.clone()).or_default().push(status);
        }
        by_cluster.values_mut().for_each(|all| all.sort_by_key(|status| status.lease.lease));
        let (waiting, traffic) = (self.assignment.waiting(), self.traffic.total());
        NamespacesInspection { by_cluster, waiting, leases: self.lease_count, traffic }
    }

    async fn tell_dispatcher(&self, message: Message) {
        // Fails only when the engine is ending.
        let _ = self.dispatcher.tell(message).await;
    }

    fn spawn(&mut self, work: impl Future<Output = TaskReport> + Send + 'static) {
        self.spawn_boxed(Box::pin(work));
    }

    /// All work in one kind of task: each further kind would cost users' builds two thousand lines of machine code.
    fn spawn_boxed(&mut self, work: BoxFuture<'static, TaskReport>) {
        let requests = self.requests.clone();
        self.tasks.spawn(async move {
            let report = work.await;
            // Fails only when the engine is ending.
            let _ = requests.send(Request::Report(Box::new(report))).await;
        });
    }

    fn now(&self) -> TimeMs {
        TimeMs::try_from(self.start.elapsed().as_millis()).unwrap_or(TimeMs::MAX)
    }
}

/// Waits for the pool's cluster and makes a host of it.
async fn prepare_host(answer: oneshot::Receiver<Result<Lease, Refusal>>) -> Result<Host, Refusal> {
    let ending = || Refusal { kind: RefusalKind::Engine, message: "the engine is ending".to_owned() };
    let lease = answer.await.map_err(|_| ending())??;
    let cluster = Arc::clone(&lease.cluster);
    Host::prepare(lease).await.map_err(|error| {
        let message =
            format!("the cluster {} could not be prepared for namespaces: {}", cluster.name(), with_causes(&error));
        Refusal { kind: RefusalKind::Engine, message }
    })
}
