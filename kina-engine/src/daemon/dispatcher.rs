//! Feeds the pool with events and carries its actions out.
//!
//! The only owner of the pool and of what belongs to it. Everything that takes time runs as a task, which reports what
//! became of it as a [`Message`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::{AbortHandle, JoinSet};

use super::boot::{BootError, Booter, SlotSpec};
use super::high_water::HighWaterMark;
use super::slot::{SlotError, SlotHandle};
use crate::error_text::with_causes;
use crate::gateway::{Admission, GatewayCredentials, GatewayError, OpenGateway};
use crate::paths::EnginePaths;
use crate::pool::{Action, Event, Limits, Pool, PoolRefusal, SlotId, SlotKey, TimeMs, WaiterId};
use crate::protocol::{Counters, HighWater, LeaseGrant, Refusal, RefusalKind, ReleaseStatus};
use crate::rewind::RewindReport;

/// How many releases the status tells about.
const RELEASES_KEPT: usize = 256;
/// Messages that may be under way; who sends more waits.
pub(super) const MESSAGES_MAX: usize = 1024;

/// What reaches the dispatcher.
pub(super) enum Message {
    /// A client wants a lease.
    Acquire { waiter: WaiterId, key: SlotKey, spec: Arc<SlotSpec>, timeout_ms: u64, reply: LeaseReply },
    /// A client is gone, or its lease has ended.
    Left { waiter: WaiterId },
    /// So many clusters shall exist; the answer comes when they do.
    Warm { key: SlotKey, spec: Arc<SlotSpec>, count: usize, reply: oneshot::Sender<Result<(), Refusal>> },
    /// All idle clusters shall be stopped; the answer comes when they are.
    StopIdle { reply: oneshot::Sender<()> },
    /// What the pool looks like.
    Inspect { reply: oneshot::Sender<Inspection> },
    /// Time has passed. From time to time the prepared gateways' connections have to be renewed.
    Tick { keeps_warm: bool },
    /// An action's outcome.
    Outcome(Outcome),
}

/// How a waiting client is answered.
pub(super) type LeaseReply = oneshot::Sender<Result<LeaseGrant, Refusal>>;

/// What became of an action.
pub(super) enum Outcome {
    Booted {
        slot: SlotId,
        result: Result<Arc<SlotHandle>, BootError>,
    },
    Restarted {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Opened {
        slot: SlotId,
        waiter: WaiterId,
        result: Result<(OpenGateway, Admission, GatewayCredentials), GatewayError>,
    },
    Proven {
        late_writes: u64,
    },
    Rewound {
        slot: SlotId,
        release: Option<Release>,
        result: Result<RewindReport, SlotError>,
    },
    OpenApiFollowed {
        slot: SlotId,
        lease: Option<u64>,
        lag_ms: f64,
    },
    Stopped {
        slot: SlotId,
        result: Result<(), SlotError>,
    },
    Destroyed {
        slot: SlotId,
    },
    Died {
        slot: SlotId,
        reason: String,
    },
}

/// What the status is made from.
pub(super) struct Inspection {
    pub(super) slots: Vec<(SlotId, &'static str, Option<Arc<SlotHandle>>)>,
    pub(super) waiting: usize,
    pub(super) counters: Counters,
    pub(super) high_water: HighWater,
    pub(super) releases: Vec<ReleaseStatus>,
}

/// A lease that has ended, on its way to the next.
pub(super) struct Release {
    lease: u64,
    /// `None` once it is closed.
    gateway: Option<OpenGateway>,
    since: Instant,
}

struct ActiveLease {
    slot: SlotId,
    lease: u64,
    gateway: OpenGateway,
}

struct WarmWish {
    key: SlotKey,
    count: usize,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

/// The dispatcher's state.
pub(super) struct Dispatcher {
    pool: Pool,
    limits: Limits,
    booter: Arc<Booter>,
    paths: EnginePaths,
    messages: mpsc::Sender<Message>,
    start: Instant,
    specs: HashMap<SlotKey, Arc<SlotSpec>>,
    handles: HashMap<SlotId, Arc<SlotHandle>>,
    waiting: HashMap<WaiterId, LeaseReply>,
    leases: HashMap<WaiterId, ActiveLease>,
    ended: HashMap<SlotId, Release>,
    warm_wishes: Vec<WarmWish>,
    stop_idle_wishes: Vec<oneshot::Sender<()>>,
    followers: HashMap<SlotId, AbortHandle>,
    /// Each waits for the death of a cluster, and holds it for as long.
    watchers: HashMap<SlotId, AbortHandle>,
    tasks: JoinSet<()>,
    counters: Counters,
    high_water: HighWaterMark,
    releases: VecDeque<ReleaseStatus>,
    cluster_count: u64,
}

impl Dispatcher {
    pub(super) fn new(booter: Booter, limits: Limits, paths: EnginePaths, messages: mpsc::Sender<Message>) -> Self {
        Self {
            pool: Pool::new(limits),
            limits,
            booter: Arc::new(booter),
            paths,
            messages,
            start: Instant::now(),
            specs: HashMap::new(),
            handles: HashMap::new(),
            waiting: HashMap::new(),
            leases: HashMap::new(),
            ended: HashMap::new(),
            warm_wishes: Vec::new(),
            stop_idle_wishes: Vec::new(),
            followers: HashMap::new(),
            watchers: HashMap::new(),
            tasks: JoinSet::new(),
            counters: Counters::default(),
            high_water: HighWaterMark::default(),
            releases: VecDeque::new(),
            cluster_count: 0,
        }
    }

    /// Takes one message. Never waits.
    pub(super) fn handle(&mut self, message: Message) {
        while self.tasks.try_join_next().is_some() {}
        match message {
            Message::Acquire { waiter, key, spec, timeout_ms, reply } => {
                self.specs.insert(key.clone(), spec);
                self.waiting.insert(waiter, reply);
                let deadline = self.now().saturating_add(timeout_ms);
                self.feed(Event::Acquire { waiter, key, deadline });
            }
            Message::Left { waiter } => self.left(waiter),
            Message::Warm { key, spec, count, reply } => {
                self.specs.insert(key.clone(), spec);
                self.warm_wishes.push(WarmWish { key: key.clone(), count: count.min(self.limits.slots_max), reply });
                self.feed(Event::WarmUp { key, count });
            }
            Message::StopIdle { reply } => {
                self.stop_idle_wishes.push(reply);
                self.feed(Event::StopIdle);
            }
            Message::Inspect { reply } => {
                // The asker may have gone.
                let _ = reply.send(self.inspect());
            }
            Message::Tick { keeps_warm } => {
                if keeps_warm {
                    self.keep_all_warm();
                }
                self.feed(Event::Tick);
            }
            Message::Outcome(outcome) => self.outcome(outcome),
        }
        self.answer_wishes();
    }

    /// Whether nobody has, awaits or is being prepared a cluster.
    pub(super) fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }

    /// Ends everything. Nothing is left of any cluster but its logs.
    pub(super) async fn shut_down(mut self) {
        self.tasks.shutdown().await;
        let gateways = self.leases.drain().map(|(_, active)| active.gateway);
        let gateways: Vec<_> = gateways.chain(self.ended.drain().filter_map(|(_, release)| release.gateway)).collect();
        futures::future::join_all(gateways.into_iter().map(OpenGateway::close)).await;
        futures::future::join_all(self.handles.values().map(|handle| destroy(handle))).await;
        // A boot or a restart that was cut short has killed its processes, but not waited for their end.
        self.booter.provider.wait_all_ended().await;
    }

    fn feed(&mut self, event: Event) {
        let actions = self.pool.handle(event, self.now());
        self.high_water.note(&self.pool);
        for action in actions {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Boot { slot, key } => self.boot(slot, &key),
            Action::Start { slot } => {
                self.with_handle(slot, async move |handle| Outcome::Restarted { slot, result: handle.start().await })
            }
            Action::HandOut { slot, waiter } => {
                if let Some(follower) = self.followers.remove(&slot) {
                    follower.abort();
                }
                self.with_handle(slot, async move |handle| Outcome::Opened {
                    slot,
                    waiter,
                    result: handle.open_gateway().await,
                });
            }
            Action::Rewind { slot } => {
                let ended = self.ended.remove(&slot);
                self.with_handle(slot, async move |handle| {
                    let mut release = ended;
                    if let Some(release) = &mut release {
                        release.close_gateway().await;
                    }
                    Outcome::Rewound { slot, release, result: handle.rewind().await }
                });
            }
            Action::Stop { slot } => {
                self.with_handle(slot, async move |handle| Outcome::Stopped { slot, result: handle.stop().await })
            }
            Action::Destroy { slot } => self.destroy(slot),
            Action::Refuse { waiter, refusal } => {
                let Refusal { kind, message } = to_refusal(refusal);
                self.refuse(waiter, kind, message);
            }
        }
    }

    fn refuse(&mut self, waiter: WaiterId, kind: RefusalKind, message: String) {
        if let Some(reply) = self.waiting.remove(&waiter) {
            // The client may have gone.
            let _ = reply.send(Err(Refusal { kind, message }));
        }
    }

    fn boot(&mut self, slot: SlotId, key: &SlotKey) {
        let Some(spec) = self.specs.get(key).cloned() else {
            tracing::error!(?key, "bug: the pool wants a cluster of a kind that nobody asked for");
            return;
        };
        self.cluster_count += 1;
        let name = format!("cluster-{}-{}", std::process::id(), self.cluster_count);
        let booter = Arc::clone(&self.booter);
        self.spawn(async move {
            let result = booter.boot(name, &spec).await.map(Arc::new);
            Outcome::Booted { slot, result }
        });
    }

    fn destroy(&mut self, slot: SlotId) {
        let handle = self.forget(slot);
        let ended = self.ended.remove(&slot);
        let holder = self.leases.iter().find(|(_, active)| active.slot == slot).map(|(waiter, _)| *waiter);
        let active = holder.and_then(|waiter| self.leases.remove(&waiter));
        self.spawn(async move {
            if let Some(gateway) = ended.and_then(|ended| ended.gateway).or(active.map(|active| active.gateway)) {
                gateway.close().await;
            }
            if let Some(handle) = handle {
                destroy(&handle).await;
            }
            Outcome::Destroyed { slot }
        });
    }

    fn outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Booted { slot, result: Ok(handle) } => {
                self.counters.boots += 1;
                self.watch(slot, &handle);
                self.handles.insert(slot, handle);
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            Outcome::Booted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a boot failed");
                let is_user_error = error.is_user_error();
                self.feed(Event::StartFailed { slot, reason: with_causes(&error), is_user_error });
            }
            Outcome::Restarted { slot, result: Ok(()) } => {
                self.counters.starts += 1;
                self.follow_up(slot, None, Instant::now());
                self.feed(Event::Started { slot });
                self.keep_warm(slot);
            }
            Outcome::Restarted { slot, result: Err(error) } => {
                tracing::error!(error = with_causes(&error), "a stopped cluster did not start");
                self.counters.broken += 1;
                if let Some(handle) = self.forget(slot) {
                    self.tasks.spawn(async move { destroy(&handle).await });
                }
                self.feed(Event::StartFailed { slot, reason: with_causes(&error), is_user_error: false });
            }
            Outcome::Opened { slot, waiter, result } => self.opened(slot, waiter, result),
            Outcome::Proven { late_writes } => self.counters.late_writes += late_writes,
            Outcome::Rewound { slot, release, result } => self.rewound(slot, release, result),
            Outcome::OpenApiFollowed { slot, lease, lag_ms } => {
                self.followers.remove(&slot);
                if let Some(release) = self.releases.iter_mut().find(|release| Some(release.lease) == lease) {
                    release.openapi_lag_ms = Some(lag_ms);
                }
                self.feed(Event::Settled { slot });
            }
            Outcome::Stopped { slot, result: Ok(()) } => self.feed(Event::Stopped { slot }),
            Outcome::Stopped { slot, result: Err(error) } => self.broke(slot, &with_causes(&error)),
            Outcome::Destroyed { slot } => self.feed(Event::Destroyed { slot }),
            Outcome::Died { slot, reason } => self.broke(slot, &reason),
        }
    }

    fn opened(
        &mut self,
        slot: SlotId,
        waiter: WaiterId,
        result: Result<(OpenGateway, Admission, GatewayCredentials), GatewayError>,
    ) {
        let (gateway, admission, credentials) = match result {
            Ok(opened) => opened,
            Err(error) => {
                self.refuse(waiter, RefusalKind::Engine, with_causes(&error));
                self.broke(slot, &with_causes(&error));
                return;
            }
        };
        let Some(handle) = self.handles.get(&slot).cloned() else {
            self.refuse(waiter, RefusalKind::Engine, "the cluster ended while it was handed out".to_owned());
            return;
        };
        self.counters.leases += 1;
        let lease = self.counters.leases;
        let grant = LeaseGrant {
            lease,
            cluster: handle.name().to_owned(),
            address: credentials.address,
            ca_pem: credentials.ca_pem,
            client_certificate_pem: credentials.client.certificate_pem,
            client_key_pem: credentials.client.key_pem,
            kubernetes: handle.kubernetes().to_owned(),
            lease_directory: self.lease_directory(lease),
            log_directory: handle.log_directory(),
        };
        self.leases.insert(waiter, ActiveLease { slot, lease, gateway });
        self.spawn(async move {
            let outcome = match handle.prove().await {
                Ok(late_writes) => {
                    admission.admit();
                    Outcome::Proven { late_writes }
                }
                Err(error) => Outcome::Died { slot, reason: with_causes(&error) },
            };
            if let Err(error) = handle.prepare_gateway().await {
                tracing::warn!(
                    error = with_causes(&error),
                    "the next gateway could not be prepared: tried again later"
                );
            }
            outcome
        });
        let is_taken = self.waiting.remove(&waiter).is_some_and(|reply| reply.send(Ok(grant)).is_ok());
        if !is_taken {
            // The client went while its gateway was being opened.
            self.left(waiter);
        }
    }

    fn left(&mut self, waiter: WaiterId) {
        if self.waiting.remove(&waiter).is_some() {
            self.feed(Event::WaiterLeft { waiter });
            return;
        }
        let Some(ActiveLease { slot, lease, gateway }) = self.leases.remove(&waiter) else { return };
        let directory = self.lease_directory(lease);
        if let Err(error) = std::fs::remove_dir_all(&directory)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, directory = %directory.display(), "a lease's files could not be removed");
        }
        self.ended.insert(slot, Release { lease, gateway: Some(gateway), since: Instant::now() });
        self.feed(Event::Released { slot });
    }

    fn rewound(&mut self, slot: SlotId, release: Option<Release>, result: Result<RewindReport, SlotError>) {
        let report = match result {
            Ok(report) => report,
            Err(error) => {
                self.broke(slot, &with_causes(&error));
                return;
            }
        };
        self.counters.rewinds += 1;
        self.counters.api_server_restarts += u64::from(report.restarted);
        let lease = release.as_ref().map(|release| release.lease);
        let since = release.as_ref().map_or_else(Instant::now, |release| release.since);
        if let Some(release) = release {
            let status = ReleaseStatus {
                lease: release.lease,
                changed_keys: report.changed_keys,
                release_ms: milliseconds(release.since.elapsed()),
                openapi_lag_ms: None,
                api_server_restarted: report.restarted,
            };
            tracing::debug!(?status, passes = report.passes, rewind_ms = milliseconds(report.duration), "rewound");
            if self.releases.len() == RELEASES_KEPT {
                self.releases.pop_front();
            }
            self.releases.push_back(status);
        }
        if report.openapi_lags {
            self.follow_up(slot, lease, since);
        }
        self.feed(Event::Rewound { slot, is_settled: !report.openapi_lags });
        self.keep_warm(slot);
    }

    fn broke(&mut self, slot: SlotId, reason: &str) {
        if self.handles.contains_key(&slot) {
            tracing::error!(?slot, reason, "a cluster cannot be used any more and is replaced");
            self.counters.broken += 1;
        }
        self.feed(Event::Broke { slot });
    }

    /// Waits in the background for what nobody waits for: full readiness, and OpenAPI.
    fn follow_up(&mut self, slot: SlotId, lease: Option<u64>, since: Instant) {
        let Some(handle) = self.handles.get(&slot).cloned() else { return };
        let messages = self.messages.clone();
        let follower = self.tasks.spawn(async move {
            let followed = async {
                handle.follow_up_readiness().await?;
                handle.follow_openapi().await?;
                Ok::<_, SlotError>(())
            };
            let outcome = match followed.await {
                Ok(()) => Outcome::OpenApiFollowed { slot, lease, lag_ms: milliseconds(since.elapsed()) },
                Err(error) => Outcome::Died { slot, reason: with_causes(&error) },
            };
            let _ = messages.send(Message::Outcome(outcome)).await;
        });
        if let Some(before) = self.followers.insert(slot, follower) {
            before.abort();
        }
    }

    fn watch(&mut self, slot: SlotId, handle: &Arc<SlotHandle>) {
        let cluster = Arc::clone(handle.cluster());
        let watcher = self.spawn(async move { Outcome::Died { slot, reason: cluster.wait_died().await } });
        self.watchers.insert(slot, watcher);
    }

    /// Lets go of a slot's cluster.
    fn forget(&mut self, slot: SlotId) -> Option<Arc<SlotHandle>> {
        for task in [self.followers.remove(&slot), self.watchers.remove(&slot)].into_iter().flatten() {
            task.abort();
        }
        self.handles.remove(&slot)
    }

    fn keep_all_warm(&mut self) {
        let ready = self.pool.slots().filter(|(_, state)| *state == crate::pool::SlotState::Ready);
        let ready: Vec<_> = ready.map(|(slot, _)| slot).collect();
        for slot in ready {
            self.keep_warm(slot);
        }
    }

    fn keep_warm(&mut self, slot: SlotId) {
        if let Some(handle) = self.handles.get(&slot).cloned() {
            self.tasks.spawn(async move { handle.keep_warm().await });
        }
    }

    fn answer_wishes(&mut self) {
        let pool = &self.pool;
        let kept = std::mem::take(&mut self.warm_wishes).into_iter().filter_map(|wish| {
            let is_ready = pool.running(&wish.key) >= wish.count;
            let result = match (is_ready, pool.is_warming(&wish.key)) {
                (true, _) => Ok(()),
                (false, true) => return Some(wish),
                (false, false) => Err(Refusal {
                    kind: RefusalKind::Engine,
                    message: format!("only {} of {} clusters could be booted", pool.running(&wish.key), wish.count),
                }),
            };
            let _ = wish.reply.send(result);
            None
        });
        self.warm_wishes = kept.collect();
        let is_stopping = pool.slots().any(|(_, state)| state == crate::pool::SlotState::Stopping);
        if !is_stopping {
            for wish in self.stop_idle_wishes.drain(..) {
                let _ = wish.send(());
            }
        }
    }

    fn inspect(&self) -> Inspection {
        let slots = self.pool.slots().map(|(slot, state)| (slot, state.name(), self.handles.get(&slot).cloned()));
        Inspection {
            slots: slots.collect(),
            waiting: self.pool.waiting(),
            counters: self.counters,
            high_water: self.high_water.with_bounds(&self.limits, &self.booter.provider.capabilities()),
            releases: self.releases.iter().cloned().collect(),
        }
    }

    fn with_handle<Work>(&mut self, slot: SlotId, work: impl FnOnce(Arc<SlotHandle>) -> Work)
    where
        Work: Future<Output = Outcome> + Send + 'static,
    {
        match self.handles.get(&slot).cloned() {
            Some(handle) => self.spawn(work(handle)),
            None => self.spawn(async move { Outcome::Died { slot, reason: "it has no cluster".to_owned() } }),
        };
    }

    fn spawn(&mut self, work: impl Future<Output = Outcome> + Send + 'static) -> AbortHandle {
        let messages = self.messages.clone();
        self.tasks.spawn(async move {
            let outcome = work.await;
            // Fails only when the engine is ending.
            let _ = messages.send(Message::Outcome(outcome)).await;
        })
    }

    fn lease_directory(&self, lease: u64) -> std::path::PathBuf {
        self.paths.lease_directory.join(lease.to_string())
    }

    fn now(&self) -> TimeMs {
        TimeMs::try_from(self.start.elapsed().as_millis()).unwrap_or(TimeMs::MAX)
    }
}

impl Release {
    /// Cuts the old lease off.
    async fn close_gateway(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.close().await;
        }
    }
}

async fn destroy(handle: &SlotHandle) {
    if let Err(error) = handle.cluster().destroy().await {
        tracing::warn!(cluster = handle.name(), error = with_causes(&error), "destroying a cluster left something");
    }
}

fn to_refusal(refusal: PoolRefusal) -> Refusal {
    match refusal {
        PoolRefusal::Deadline { slots, waiting, slots_max } => Refusal {
            kind: RefusalKind::Timeout,
            message: format!(
                "no cluster became free in time: {slots} of at most {slots_max} slots, {waiting} other clients waiting. \
                 Run fewer tests at a time, raise KINA_SLOTS_MAX, or wait longer (KINA_ACQUIRE_TIMEOUT_SECONDS)"
            ),
        },
        PoolRefusal::StartFailed { reason, is_user_error } => {
            Refusal { kind: if is_user_error { RefusalKind::User } else { RefusalKind::Engine }, message: reason }
        }
        PoolRefusal::QueueFull { waiting_max } => Refusal {
            kind: RefusalKind::Timeout,
            message: format!("{waiting_max} clients wait for a cluster already: run fewer tests at a time"),
        },
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
