//! The bounds within which gateways let connections in.
//!
//! A loopback port is open to every user of the machine, and a client is known only by the certificate that it shows in
//! its handshake. Until then all connections of other users, over all gateways, share a small bound. One beyond it is
//! accepted and closed at once: in the listener's queue it would stand in the way of the user's own clients, and if let
//! in, it would take up some of the process's limited number of open files.
//!
//! If the system does not tell which user a connection comes from, all handshakes share the bound. They wait for it,
//! and those that take long give way while others wait.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::open_files::{Files, OpenFiles, ToldOnce};
use crate::peer_user::{self, PeerUser, PeerUsers};

/// The connections of other users that have shown no certificate, over all gateways.
const STRANGERS_MAX: usize = 64;
/// The open files of a connection: one towards the client, one towards the API server.
const FILES_PER_CONNECTION: u32 = 2;
/// Time limit of a client's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of the handshake of a client of an unknown user while others wait.
const CROWDED_HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2500);

/// The bounds that all gateways of an engine share.
pub(crate) struct Entrance {
    open_files: Arc<OpenFiles>,
    users: Arc<dyn PeerUsers>,
    strangers: Arc<Semaphore>,
    refusals: ToldOnce,
}

/// A decision about a connection.
pub(super) enum Entering {
    /// It is to be closed at once.
    Refused,
    Now(Permits),
    /// It has to wait.
    Later(Pin<Box<dyn Future<Output = Permits> + Send>>),
}

/// The part of the bounds that a connection takes for as long as this lives.
pub(super) struct Permits {
    files: Files,
    stranger: Option<Stranger>,
}

/// The place of a connection that has shown no certificate.
struct Stranger {
    user: PeerUser,
    strangers: Arc<Semaphore>,
    _place: Option<OwnedSemaphorePermit>,
}

/// The time allowed for a handshake.
pub(super) struct Patience {
    /// The next time to look at the clock.
    pub(super) step: Duration,
    deadline: Instant,
}

impl Entrance {
    /// Bounds connections by their user if this system tells it.
    pub(crate) fn new(open_files: Arc<OpenFiles>) -> Self {
        Self::with_users(open_files, peer_user::of_this_system())
    }

    pub(super) fn with_users(open_files: Arc<OpenFiles>, users: Arc<dyn PeerUsers>) -> Self {
        Self { open_files, users, strangers: Arc::new(Semaphore::new(STRANGERS_MAX)), refusals: ToldOnce::default() }
    }

    pub(super) fn open_files(&self) -> &OpenFiles {
        &self.open_files
    }

    /// Decides about a connection that was just accepted.
    pub(super) fn decide(&self, stream: &TcpStream, peer: SocketAddr) -> Entering {
        // Without an address it is no connection any more.
        let Ok(local) = stream.local_addr() else { return Entering::Refused };
        self.decide_by_user(self.users.user_of(peer, local))
    }

    /// Decides about a connection that this user's own process has made.
    pub(super) fn decide_own(&self) -> Entering {
        self.decide_by_user(PeerUser::Own)
    }

    fn decide_by_user(&self, user: PeerUser) -> Entering {
        let strangers = Arc::clone(&self.strangers);
        let stranger = match user {
            PeerUser::Own => None,
            PeerUser::Other | PeerUser::Unknown => match Arc::clone(&strangers).try_acquire_owned() {
                Ok(place) => Some(Stranger { user, strangers, _place: Some(place) }),
                Err(_) if user == PeerUser::Other => {
                    self.tell_of_refusal();
                    return Entering::Refused;
                }
                Err(_) => {
                    let files = self.open_files.gateways.clone();
                    return Entering::Later(Box::pin(async move {
                        // An error means that it is closed, which it never is.
                        let place = Arc::clone(&strangers).acquire_owned().await.ok();
                        let stranger = Some(Stranger { user, strangers, _place: place });
                        Permits { files: files.take(FILES_PER_CONNECTION).await, stranger }
                    }));
                }
            },
        };
        match self.open_files.gateways.try_take(FILES_PER_CONNECTION) {
            Some(files) => Entering::Now(Permits { files, stranger }),
            None => {
                let files = self.open_files.gateways.take(FILES_PER_CONNECTION);
                Entering::Later(Box::pin(async move { Permits { files: files.await, stranger } }))
            }
        }
    }

    fn tell_of_refusal(&self) {
        if let Some(untold) = self.refusals.note(Instant::now()) {
            tracing::warn!(
                open = STRANGERS_MAX,
                untold,
                "other users of this machine connect to gateways and show no certificate: more of that is closed at once"
            );
        }
    }
}

impl Permits {
    /// Notes the end of a handshake. After it the place is free, unless a connection of another user has shown no
    /// certificate of the lease.
    pub(super) fn shook_hands(&mut self, shows_certificate: bool) {
        self.stranger.take_if(|stranger| shows_certificate || stranger.user == PeerUser::Unknown);
    }

    /// Takes the files of the connection to the API server apart, which may end later.
    pub(super) fn split_upstream(&mut self) -> Files {
        self.files.split(1)
    }

    /// Begins to wait for a handshake.
    pub(super) fn patience(&self) -> Patience {
        let gives_way = self.stranger.as_ref().is_some_and(|stranger| stranger.user == PeerUser::Unknown);
        let step = if gives_way { CROWDED_HANDSHAKE_TIMEOUT } else { HANDSHAKE_TIMEOUT };
        Patience { step, deadline: Instant::now() + HANDSHAKE_TIMEOUT }
    }

    fn is_in_the_way(&self) -> bool {
        self.stranger
            .as_ref()
            .is_some_and(|stranger| stranger.user == PeerUser::Unknown && stranger.strangers.available_permits() == 0)
    }
}

impl Patience {
    /// Called after each step; returns true if the time is over. A client cannot be quicker than its network.
    pub(super) fn is_over(&mut self, permits: &Permits, network_is_normal: bool) -> bool {
        if permits.is_in_the_way() {
            return true;
        }
        if !network_is_normal {
            self.deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        }
        self.deadline <= Instant::now()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    struct Silent;

    impl PeerUsers for Silent {
        fn user_of(&self, _: SocketAddr, _: SocketAddr) -> PeerUser {
            PeerUser::Unknown
        }
    }

    fn entrance(files: u64) -> Entrance {
        Entrance::with_users(Arc::new(OpenFiles::new(files)), Arc::new(Silent))
    }

    fn enter(entrance: &Entrance, user: PeerUser) -> Permits {
        match entrance.decide_by_user(user) {
            Entering::Now(permits) => permits,
            Entering::Refused => panic!("refused"),
            Entering::Later(_) => panic!("it has to wait"),
        }
    }

    fn wait(entrance: &Entrance, user: PeerUser) -> Pin<Box<dyn Future<Output = Permits> + Send>> {
        match entrance.decide_by_user(user) {
            Entering::Later(permits) => permits,
            Entering::Refused => panic!("refused"),
            Entering::Now(_) => panic!("it need not wait"),
        }
    }

    #[test]
    fn strangers_beyond_the_bound_are_refused_and_the_users_own_connections_are_not() {
        let entrance = entrance(10_000);
        let mut strangers: Vec<_> = (0..STRANGERS_MAX).map(|_| enter(&entrance, PeerUser::Other)).collect();
        assert!(matches!(entrance.decide_by_user(PeerUser::Other), Entering::Refused));
        let own: Vec<_> = (0..1000).map(|_| enter(&entrance, PeerUser::Own)).collect();
        assert!(matches!(entrance.decide_by_user(PeerUser::Other), Entering::Refused));

        strangers[0].shook_hands(false);
        assert!(matches!(entrance.decide_by_user(PeerUser::Other), Entering::Refused), "it is still a stranger");
        strangers[0].shook_hands(true);
        strangers.push(enter(&entrance, PeerUser::Other));
        assert!(matches!(entrance.decide_by_user(PeerUser::Other), Entering::Refused));
        drop((own, strangers));
        assert_eq!(entrance.strangers.available_permits(), STRANGERS_MAX);
        assert_eq!(entrance.open_files.gateways.free(), 5000);
    }

    #[test]
    fn without_users_all_wait_until_a_handshake_has_ended() {
        let entrance = entrance(10_000);
        let mut inside: Vec<_> = (0..STRANGERS_MAX).map(|_| enter(&entrance, PeerUser::Unknown)).collect();
        let mut waiting = wait(&entrance, PeerUser::Unknown);
        assert!(waiting.as_mut().now_or_never().is_none());
        inside[0].shook_hands(false);
        let entered = waiting.now_or_never().expect("a place is free");
        assert!(wait(&entrance, PeerUser::Unknown).now_or_never().is_none());
        drop((inside, entered));
        assert_eq!(entrance.strangers.available_permits(), STRANGERS_MAX);
    }

    #[test]
    fn a_long_handshake_gives_way_only_while_others_wait() {
        let entrance = entrance(10_000);
        let first = enter(&entrance, PeerUser::Unknown);
        let mut patience = first.patience();
        assert_eq!(patience.step, CROWDED_HANDSHAKE_TIMEOUT);
        assert!(!patience.is_over(&first, true), "there is room");
        let others: Vec<_> = (1..STRANGERS_MAX).map(|_| enter(&entrance, PeerUser::Unknown)).collect();
        assert!(patience.is_over(&first, true));
        drop(others);
        patience.deadline = Instant::now();
        assert!(patience.is_over(&first, true));
        assert!(!patience.is_over(&first, false), "its network is slow");
        assert!(!patience.is_over(&first, true), "its network was slow until now");

        let own = enter(&entrance, PeerUser::Own);
        assert_eq!(own.patience().step, HANDSHAKE_TIMEOUT);
    }

    #[test]
    fn connections_wait_for_open_files() {
        // Half of it, two for each connection.
        let entrance = entrance(40);
        let mut inside: Vec<_> = (0..10).map(|_| enter(&entrance, PeerUser::Own)).collect();
        let mut waiting = wait(&entrance, PeerUser::Own);
        assert!(waiting.as_mut().now_or_never().is_none());
        let upstream = inside[0].split_upstream();
        inside.remove(0);
        assert!(waiting.as_mut().now_or_never().is_none(), "the API server has not ended its side");
        drop(upstream);
        assert!(waiting.now_or_never().is_some());
    }
}
