//! Changes that a test makes to the network between its clients and its cluster.
//!
//! The state is the lease's own and ends with it: the engine's connections to a cluster do not pass through here, so a
//! rewind and the next lease know nothing of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use super::traffic::TrafficCounter;
use crate::protocol::{NetworkChange, Traffic};

/// Longest time for which bytes are held back.
const DELAY_MAX: Duration = Duration::from_secs(60);

/// The behaviour of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NetworkState {
    /// Normal.
    Normal,
    /// The API server is gone: connections are closed, new ones are reset.
    Cut,
    /// A partition: data that is sent vanishes without an error.
    Drop,
    /// Everything arrives, but later by this much.
    Delay(Duration),
}

/// The network of one lease, as its connections see it.
#[derive(Debug)]
pub(super) struct Network {
    /// Set while the state is [`NetworkState::Normal`], for a quick look at each chunk of bytes.
    is_normal: AtomicBool,
    state: watch::Sender<NetworkState>,
    /// The number of times that it began to drop everything: a connection that was not looked at in between has lost
    /// its bytes too.
    drop_count: AtomicU64,
    /// Open connections that have lost bytes.
    lossy_connections: AtomicUsize,
    pub(super) traffic: Arc<TrafficCounter>,
}

/// Changes the network of an open gateway.
#[derive(Clone, Debug)]
pub(crate) struct NetworkControl {
    network: Arc<Network>,
    commands: mpsc::Sender<Command>,
}

/// A new state, on its way to the task that has the connections. The answer comes when all of them obey.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) state: NetworkState,
    pub(super) obeyed: oneshot::Sender<()>,
}

/// The network was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error(
        "a delay of {delay_ms} ms was asked for, but bytes are held back for at most {max} ms: \
         ask for less, or drop packets to have them never arrive",
        max = DELAY_MAX.as_millis()
    )]
    DelayTooLong { delay_ms: u64 },
    #[error("the lease ended while its network was being changed: change it before the test ends")]
    LeaseEnded,
}

impl NetworkControl {
    pub(super) fn new() -> (Self, mpsc::Receiver<Command>) {
        // One at a time is taken; a few may wait.
        let (commands, received) = mpsc::channel(8);
        (Self { network: Arc::new(Network::new()), commands }, received)
    }

    pub(super) fn network(&self) -> Arc<Network> {
        Arc::clone(&self.network)
    }

    /// Changes the network. When this returns, every connection obeys.
    pub(crate) async fn apply(&self, change: NetworkChange) -> Result<(), NetworkError> {
        let state = match change {
            NetworkChange::Cut => NetworkState::Cut,
            NetworkChange::Drop => NetworkState::Drop,
            NetworkChange::Restore => NetworkState::Normal,
            NetworkChange::Delay { delay_ms } => match Duration::from_millis(delay_ms) {
                delay if delay <= DELAY_MAX => NetworkState::Delay(delay),
                _ => return Err(NetworkError::DelayTooLong { delay_ms }),
            },
        };
        let (obeyed, answer) = oneshot::channel();
        self.commands.send(Command { state, obeyed }).await.map_err(|_| NetworkError::LeaseEnded)?;
        answer.await.map_err(|_| NetworkError::LeaseEnded)
    }

    /// Returns true if the gateway is closed: then nothing of the lease reaches the cluster any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// The state, in the words of the status.
    pub(crate) fn describe(&self) -> String {
        match self.network.state() {
            NetworkState::Normal => "normal".to_owned(),
            NetworkState::Cut => "cut".to_owned(),
            NetworkState::Drop => "drop".to_owned(),
            NetworkState::Delay(delay) => format!("delay {} ms", delay.as_millis()),
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.network.traffic.read()
    }

    pub(crate) fn traffic_counter(&self) -> Arc<TrafficCounter> {
        Arc::clone(&self.network.traffic)
    }
}

impl Network {
    fn new() -> Self {
        Self {
            is_normal: AtomicBool::new(true),
            state: watch::Sender::new(NetworkState::Normal),
            drop_count: AtomicU64::new(0),
            lossy_connections: AtomicUsize::new(0),
            traffic: Arc::default(),
        }
    }

    pub(super) fn set(&self, state: NetworkState) {
        if state == NetworkState::Drop {
            self.drop_count.fetch_add(1, Ordering::SeqCst);
        }
        self.state.send_replace(state);
        self.is_normal.store(state == NetworkState::Normal, Ordering::SeqCst);
    }

    /// The only question on the common path, so it takes no lock.
    pub(super) fn is_normal(&self) -> bool {
        self.is_normal.load(Ordering::SeqCst)
    }

    pub(super) fn state(&self) -> NetworkState {
        *self.state.borrow()
    }

    pub(super) fn drop_count(&self) -> u64 {
        self.drop_count.load(Ordering::SeqCst)
    }

    pub(super) fn changes(&self) -> watch::Receiver<NetworkState> {
        self.state.subscribe()
    }

    pub(super) fn connection_lost_bytes(&self) {
        self.lossy_connections.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn lossy_connection_closed(&self) {
        self.lossy_connections.fetch_sub(1, Ordering::SeqCst);
    }

    pub(super) fn has_lossy_connections(&self) -> bool {
        0 < self.lossy_connections.load(Ordering::SeqCst)
    }
}
