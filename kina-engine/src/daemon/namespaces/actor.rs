//! Feeds the machine with events and carries its actions out. Everything that takes time is a task, which reports.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::host::{Host, HostError, Tenancy};
use super::machine::{Action, Event, HostId, HostKind, Machine, NamespaceLimits, TenantId};
use super::{FIRST_LEASE, NamespaceRequest, NamespacesInspection, Request};
use crate::daemon::boot::SlotSpec;
use crate::daemon::dispatcher::{Inspection, LeaseReply, Message};
use crate::daemon::lease_files::LeaseFiles;
use crate::error_text::with_causes;
use crate::gateway::{NetworkControl, OpenGateway, TrafficLedger};
use crate::lingering::LeftBehind;
use crate::pool::{TemplateName, TimeMs, WaiterId};
use crate::protocol::{LeaseGrant, LeaseStatus, NamespaceStatus, Refusal, RefusalKind};
use crate::rewind::Template;
use crate::timings::Asker;

/// The interval of looks at idle hosts and deadlines, as long as there are any.
const TICK_INTERVAL: Duration = Duration::from_millis(500);

/// The outcome of an action.
pub(super) enum Outcome {
    Host { host: HostId, result: Result<Host, Refusal> },
    Prepared { tenant: TenantId, result: Result<Tenancy, HostError> },
    Cleaned { tenant: TenantId, result: Result<(), HostError> },
}

pub(super) struct Actor {
    machine: Machine,
    lease_files: LeaseFiles,
    dispatcher: mpsc::Sender<Message>,
    next_waiter: Arc<AtomicU64>,
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
    lease: u64,
    cluster: String,
    namespace: String,
    /// Present until it is cleaned.
    gateway: Option<OpenGateway>,
    grant: Option<LeaseGrant>,
}

impl Actor {
    pub(super) fn new(
        limits: NamespaceLimits,
        lease_files: LeaseFiles,
        dispatcher: mpsc::Sender<Message>,
        next_waiter: Arc<AtomicU64>,
        requests: mpsc::Sender<Request>,
    ) -> Self {
        Self {
            machine: Machine::new(limits),
            lease_files,
            dispatcher,
            next_waiter,
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
            let is_idle = self.machine.is_empty();
            tokio::select! {
                request = received.recv() => match request {
                    Some(request) => self.handle(request).await,
                    None => return,
                },
                () = tokio::time::sleep_until(next_tick), if !is_idle => {
                    let pool_waiting = self.inspect_pool().await.map_or(0, |inspection| inspection.waiting);
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
            Request::FindNetwork { lease, cluster, reply } => {
                // The asker may have gone.
                let _ = reply.send(self.find_network(lease, &cluster));
            }
            Request::Inspect { reply } => {
                let _ = reply.send(self.inspect());
            }
            Request::ReleaseIdle { reply } => {
                self.feed(Event::ReleaseIdle).await;
                let _ = reply.send(());
            }
            Request::Outcome(outcome) => self.outcome(outcome).await,
        }
    }

    async fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Host { host, result: Ok(ready) } => {
                // One that was released meanwhile is forgotten, and its lease has ended.
                if let Some(known) = self.hosts.get_mut(&host) {
                    known.host = Some(Arc::new(ready));
                    self.feed(Event::HostReady { host }).await;
                }
            }
            Outcome::Host { host, result: Err(refusal) } => {
                if let Some(known) = self.hosts.remove(&host) {
                    self.tell_dispatcher(Message::Left { waiter: known.waiter }).await;
                }
                self.feed(Event::HostRefused { host, refusal }).await;
            }
            Outcome::Prepared { tenant, result: Ok(Tenancy { gateway, credentials }) } => {
                if let Some(tenancy) = self.tenants.get_mut(&tenant).and_then(|found| found.tenancy.as_mut()) {
                    self.traffic.open(gateway.network().traffic_counter());
                    tenancy.gateway = Some(gateway);
                    if let Some(grant) = &mut tenancy.grant {
                        grant.address = credentials.address;
                        grant.ca_pem = credentials.ca_pem;
                        grant.client_certificate_pem = credentials.client.certificate_pem;
                        grant.client_key_pem = credentials.client.key_pem;
                    }
                }
                self.feed(Event::Prepared { tenant }).await;
            }
            Outcome::Prepared { tenant, result: Err(error) } => {
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
            Outcome::Cleaned { tenant, result } => {
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
        for action in self.machine.handle(event, self.now()) {
            self.carry_out(action).await;
        }
        if self.machine.is_empty() {
            self.sources.clear();
        }
    }

    async fn carry_out(&mut self, action: Action) {
        match action {
            Action::RequestHost { host, client, kind, deadline } => {
                let Some((spec, template)) = self.sources.get(&kind).cloned() else { return };
                let waiter = WaiterId(self.next_waiter.fetch_add(1, Ordering::Relaxed));
                self.hosts.insert(host, KnownHost { waiter, host: None });
                let (reply, answer) = oneshot::channel();
                let timeout_ms = deadline.saturating_sub(self.now());
                let key = kind.key;
                let asker = Asker::internal("(has tests in namespaces)");
                let message = Message::Acquire { waiter, client, key, spec, template, timeout_ms, asker, reply };
                self.tell_dispatcher(message).await;
                let dispatcher = self.dispatcher.clone();
                self.spawn(async move { Outcome::Host { host, result: prepare_host(answer, &dispatcher).await } });
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
                let grant = found.tenancy.as_mut().and_then(|tenancy| tenancy.grant.take());
                if let (Some(reply), Some(grant)) = (found.reply.take(), grant) {
                    // The end of a client that has gone is reported separately.
                    let _ = reply.send(Ok(grant));
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
        let (lease, namespace) = (FIRST_LEASE + self.lease_count, format!("kina-{}", self.lease_count));
        let handle = host.handle();
        let grant = LeaseGrant {
            lease,
            cluster: handle.name().to_owned(),
            // These are filled in once there is a gateway.
            address: (std::net::Ipv4Addr::LOCALHOST, 0).into(),
            ca_pem: String::new(),
            client_certificate_pem: String::new(),
            client_key_pem: String::new(),
            kubernetes: handle.kubernetes().to_owned(),
            lease_directory: self.lease_files.directory_of(lease),
            log_directory: handle.log_directory(),
            namespace: Some(namespace.clone()),
        };
        let cluster = handle.name().to_owned();
        let tenancy = ActiveTenancy { lease, cluster, namespace: namespace.clone(), gateway: None, grant: Some(grant) };
        let mut awaits_service_account = false;
        if let Some(found) = self.tenants.get_mut(&tenant) {
            awaits_service_account = found.awaits_service_account;
            found.tenancy = Some(tenancy);
        }
        self.spawn(async move {
            let result = host.prepare_tenancy(&namespace, awaits_service_account).await;
            Outcome::Prepared { tenant, result }
        });
    }

    fn clean(&mut self, id: HostId, tenant: TenantId) {
        let host = self.hosts.get(&id).and_then(|known| known.host.clone());
        let tenancy = self.tenants.get_mut(&tenant).and_then(|found| found.tenancy.as_mut());
        let (Some(host), Some(tenancy)) = (host, tenancy) else { return };
        let (gateway, namespace, lease) = (tenancy.gateway.take(), tenancy.namespace.clone(), tenancy.lease);
        let files = self.lease_files.clone();
        self.spawn(async move {
            let start = Instant::now();
            if let Some(gateway) = gateway {
                host.handle().leave(LeftBehind::of_gateway(gateway.close().await));
            }
            files.remove(lease).await;
            let result = host.clean(&namespace).await;
            tracing::debug!(namespace, clean_ms = start.elapsed().as_millis(), is_clean = result.is_ok(), "cleaned");
            Outcome::Cleaned { tenant, result }
        });
    }

    fn find_network(&self, lease: u64, cluster: &str) -> Option<NetworkControl> {
        let mut tenancies = self.tenants.values().filter_map(|tenant| tenant.tenancy.as_ref());
        let tenancy = tenancies.find(|tenancy| tenancy.lease == lease && tenancy.cluster == cluster)?;
        tenancy.gateway.as_ref().map(|gateway| gateway.network().clone())
    }

    fn inspect(&self) -> NamespacesInspection {
        let mut by_cluster: HashMap<String, Vec<NamespaceStatus>> = HashMap::new();
        for tenancy in self.tenants.values().filter_map(|tenant| tenant.tenancy.as_ref()) {
            let Some(gateway) = &tenancy.gateway else { continue };
            let network = gateway.network();
            let lease = LeaseStatus {
                lease: tenancy.lease,
                network: network.describe(),
                traffic: network.traffic(),
                holder: None,
            };
            let status = NamespaceStatus { namespace: tenancy.namespace.clone(), lease };
            by_cluster.entry(tenancy.cluster.clone()).or_default().push(status);
        }
        by_cluster.values_mut().for_each(|all| all.sort_by_key(|status| status.lease.lease));
        let (waiting, traffic) = (self.machine.waiting(), self.traffic.total());
        NamespacesInspection { by_cluster, waiting, leases: self.lease_count, traffic }
    }

    async fn inspect_pool(&self) -> Option<Inspection> {
        inspect_pool(&self.dispatcher).await
    }

    async fn tell_dispatcher(&self, message: Message) {
        // Fails only when the engine is ending.
        let _ = self.dispatcher.send(message).await;
    }

    fn spawn(&mut self, work: impl Future<Output = Outcome> + Send + 'static) {
        let requests = self.requests.clone();
        self.tasks.spawn(async move {
            let outcome = work.await;
            // Fails only when the engine is ending.
            let _ = requests.send(Request::Outcome(outcome)).await;
        });
    }

    fn now(&self) -> TimeMs {
        TimeMs::try_from(self.start.elapsed().as_millis()).unwrap_or(TimeMs::MAX)
    }
}

/// Waits for the pool's cluster and makes a host of it.
async fn prepare_host(
    answer: oneshot::Receiver<Result<LeaseGrant, Refusal>>,
    dispatcher: &mpsc::Sender<Message>,
) -> Result<Host, Refusal> {
    let ending = || Refusal { kind: RefusalKind::Engine, message: "the engine is ending".to_owned() };
    let grant = answer.await.map_err(|_| ending())??;
    let slots = inspect_pool(dispatcher).await.ok_or_else(ending)?.slots;
    let handle = slots.into_iter().filter_map(|(_, _, handle)| handle).find(|handle| handle.name() == grant.cluster);
    let prepared = match handle {
        Some(handle) => Host::prepare(&grant, handle).await,
        None => Err(HostError::Gone { cluster: grant.cluster.clone() }),
    };
    prepared.map_err(|error| {
        let message =
            format!("the cluster {} could not be prepared for namespaces: {}", grant.cluster, with_causes(&error));
        Refusal { kind: RefusalKind::Engine, message }
    })
}

async fn inspect_pool(dispatcher: &mpsc::Sender<Message>) -> Option<Inspection> {
    let (reply, inspection) = oneshot::channel();
    dispatcher.send(Message::Inspect { reply }).await.ok()?;
    inspection.await.ok()
}
