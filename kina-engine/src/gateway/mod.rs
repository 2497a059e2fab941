//! The listener of one lease, in front of its cluster's API server.
//!
//! A test only ever sees its own gateway: its own port, server certificate and client authority. No credential of the
//! cluster is given out, so what a test keeps is worthless once its gateway is closed, even where the port number
//! comes back.
//!
//! A gateway is a relay of bytes to a TLS connection, chosen when a connection is accepted: a client that shows
//! the lease's certificate is connected with the cluster administrator's; one that shows none, such as a client with a
//! service account's bearer token, is connected without any, or the API server would take the certificate over the
//! token.
//!
//! The client in the test's own process comes in by a Unix socket of the engine instead, without TLS: only this user can
//! open that, and only a holder of the lease's secret gets through. It is connected like one that shows the certificate.
//!
//! - `arrival`: the ways in. `socket`: the two kinds of connections.
//! - `stream`: the client's side of one, which counts, and on which the network can go wrong.
//! - `network`: the ways in which it does, and the commands for them.
//! - `delay_line`: bytes that are held back.
//! - `traffic`: the amount of data that went through.
//! - `entrance`: the number of connections that are let in.
//! - `lone`: a gateway without an engine, for the laboratory.
//! - `upstream`: the cluster's side. `requests`: the requests under way there. `draining`: their end.

mod arrival;
mod delay_line;
mod draining;
mod entrance;
#[cfg(feature = "lab")]
mod lone;
mod network;
mod requests;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod traffic;
mod upstream;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::arrival::{Arrival, Waiting};
pub(crate) use self::arrival::{CONNECTION_SECRET_BYTES, ConnectionSecret, NotEntered, UnixEntry};
pub(crate) use self::draining::Draining;
use self::draining::UpstreamConnection;
pub(crate) use self::entrance::Entrance;
use self::entrance::{Entering, Permits};
#[cfg(feature = "lab")]
pub use self::lone::LoneGateway;
use self::network::{Command, Network, NetworkState};
pub(crate) use self::network::{NetworkControl, NetworkError};
use self::socket::Socket;
use self::stream::ClientStream;
pub(crate) use self::traffic::TrafficLedger;
pub(crate) use self::upstream::HasEnded;
use self::upstream::Upstream;
use crate::certificates::{CertificateAuthority, CertificateError, IssuedIdentity};
use crate::cluster_access::ClusterAccess;
use crate::open_files::Acceptor;
use crate::protocol::CONNECTED;

/// Bytes in flight in each direction of one connection.
const RELAY_BUFFER_BYTES: usize = 32 << 10;
/// The connections that one lease may have at a time; further ones wait.
const CONNECTIONS_MAX: usize = 4096;
/// The connections that the kernel keeps until they are accepted.
const QUEUE_MAX: u32 = 1024;
/// Time limit for connections that have lost bytes to end by themselves when the network comes back.
const LOSSY_END_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);
/// Time limit for telling a client that its connection leads nowhere.
const REFUSAL_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// A gateway that is ready to be opened: everything that takes time is done.
pub(crate) struct PreparedGateway {
    /// Bound, and not listening before it is opened: strangers would fill its queue.
    socket: TcpSocket,
    entrance: Arc<Entrance>,
    acceptor: TlsAcceptor,
    upstream: Arc<Upstream>,
    credentials: GatewayCredentials,
}

/// The credentials that a test gets.
#[derive(Clone, Debug)]
pub(crate) struct GatewayCredentials {
    pub(crate) address: SocketAddr,
    pub(crate) ca_pem: String,
    pub(crate) client: IssuedIdentity,
    /// For connections over the engine's socket for leases.
    pub(crate) secret: ConnectionSecret,
}

/// Lets clients through an open gateway. If dropped without doing so, they are cut off.
pub(crate) struct Admission(watch::Sender<bool>);

/// An open gateway.
pub(crate) struct OpenGateway {
    stop: oneshot::Sender<()>,
    accepting: JoinHandle<()>,
    control: NetworkControl,
    unix_entry: UnixEntry,
    draining: Draining,
}

/// A gateway could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No certificate.
    #[error("making the gateway's certificates failed")]
    Certificates(#[from] CertificateError),
    /// TLS could not be set up with it.
    #[error("setting up the gateway's TLS failed")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The system gave no random numbers.
    #[error("making the secret of a lease's connections failed")]
    Secret,
    /// No port on loopback.
    #[error("opening the gateway's loopback port failed")]
    Listen(#[source] std::io::Error),
}

impl PreparedGateway {
    /// Makes certificates and listener. `has_ended` tells of the API server. [`Upstream::warm_up`] then opens connections to
    /// it in advance.
    pub(crate) async fn prepare(
        access: &ClusterAccess,
        has_ended: HasEnded,
        entrance: &Arc<Entrance>,
    ) -> Result<Self, GatewayError> {
        let authority = CertificateAuthority::generate("kina gateway")?;
        let server = authority.issue_server("kina-gateway", &[])?;
        let client = authority.issue_client("kina", None)?;
        let acceptor = tls::acceptor(&authority, &server)?;
        let upstream = Arc::new(Upstream::new(access, has_ended)?);
        let socket = TcpSocket::new_v4().map_err(GatewayError::Listen)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).map_err(GatewayError::Listen)?;
        let address = socket.local_addr().map_err(GatewayError::Listen)?;
        let secret = ConnectionSecret::generate()?;
        let credentials = GatewayCredentials { address, ca_pem: authority.certificate_pem(), client, secret };
        Ok(Self { socket, entrance: Arc::clone(entrance), acceptor, upstream, credentials })
    }

    /// The way to the API server, to be kept warm: the server closes connections on which no request came for a while.
    pub(crate) fn upstream(&self) -> Arc<Upstream> {
        Arc::clone(&self.upstream)
    }

    /// Starts to accept. Clients get as far as their TLS handshake; nothing of theirs reaches the cluster until
    /// [`Admission::admit`]. So the last proof of a cluster takes none of its client's time.
    pub(crate) fn open(self) -> Result<(OpenGateway, Admission, GatewayCredentials), GatewayError> {
        let Self { socket, entrance, acceptor, upstream, credentials } = self;
        let listener = socket.listen(QUEUE_MAX).map_err(GatewayError::Listen)?;
        let (stop, stopped) = oneshot::channel();
        let (admission, admitted) = watch::channel(false);
        let (control, commands) = NetworkControl::new();
        let draining = Draining::default();
        let relay = Relay { acceptor, upstream, admitted, network: control.network(), draining: draining.clone() };
        let (unix_entry, arrivals) = UnixEntry::new();
        let accepting = tokio::spawn(accept_all(listener, arrivals, entrance, relay, commands, stopped));
        Ok((OpenGateway { stop, accepting, control, unix_entry, draining }, Admission(admission), credentials))
    }
}

impl Admission {
    pub(crate) fn admit(self) {
        // Possibly no client has connected yet, so the value has to be there for later ones.
        self.0.send_replace(true);
    }
}

impl OpenGateway {
    /// The control of this lease's network. It may outlive the gateway.
    pub(crate) fn network(&self) -> &NetworkControl {
        &self.control
    }

    /// The way in for clients that the socket for leases has let in. It may outlive the gateway.
    pub(crate) fn unix_entry(&self) -> &UnixEntry {
        &self.unix_entry
    }

    /// Waits until a client has had an answer. The future may outlive the gateway.
    pub(crate) fn wait_answered(&self) -> impl Future<Output = ()> + Send + use<> {
        let draining = self.draining.clone();
        async move { draining.wait_answered().await }
    }

    /// Closes the listener and cuts every connection. When this returns, nothing that a client sends reaches the
    /// cluster any more. Returns the connections whose requests may not have ended yet.
    pub(crate) async fn close(self) -> Draining {
        if crate::sabotage::is_off(crate::sabotage::Part::Gateway) {
            std::mem::forget(self);
            return Draining::default();
        }
        // A send fails only if the task has ended already.
        let _ = self.stop.send(());
        let _ = self.accepting.await;
        self.draining
    }
}

async fn accept_all(
    listener: TcpListener,
    mut arrivals: mpsc::Receiver<Arrival>,
    entrance: Arc<Entrance>,
    relay: Relay,
    mut commands: mpsc::Receiver<Command>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut acceptor = Acceptor::new(listener, "gateway", entrance.open_files());
    let mut connections = JoinSet::new();
    // At most one: those behind it wait in the listener's queue, or in that of the arrivals.
    let mut entering = None;
    loop {
        while connections.try_join_next().is_some() {}
        let has_room = entering.is_none() && connections.len() + relay.draining.len() < CONNECTIONS_MAX;
        let (arrival, decision) = tokio::select! {
            biased;
            // Also if the gateway was dropped without being closed.
            _ = &mut stopped => break,
            Some(command) = commands.recv() => {
                if command.state == NetworkState::Cut
                    && let Some(Waiting { arrival, .. }) = entering.take()
                {
                    arrival.socket.reset();
                }
                obey(command, &relay.network, &mut connections).await;
                continue;
            }
            Some((arrival, permits)) = Waiting::entered(&mut entering) => (arrival, Entering::Now(permits)),
            (stream, peer) = acceptor.accept(), if has_room => {
                let decision = entrance.decide(&stream, peer);
                (Arrival::from(stream), decision)
            }
            Some(arrival) = arrivals.recv(), if has_room => (arrival, entrance.decide_own()),
            Some(_) = connections.join_next() => continue,
        };
        // The port itself is kept, or it could become another program's.
        if relay.network.state() == NetworkState::Cut {
            arrival.socket.reset();
            continue;
        }
        let permits = match decision {
            Entering::Now(permits) => permits,
            Entering::Later(permits) => {
                entering = Some(Waiting { arrival, permits });
                continue;
            }
            Entering::Refused => {
                arrival.socket.reset();
                continue;
            }
        };
        let relay = relay.clone();
        arrival.socket.send_at_once();
        connections.spawn(async move {
            if let Err(error) = relay.run(arrival, permits).await {
                tracing::debug!(%error, "a gateway connection ended");
            }
        });
    }
    drop((acceptor, arrivals));
    connections.shutdown().await;
}

/// Sets the network's state and answers when no connection behaves as before.
async fn obey(command: Command, network: &Network, connections: &mut JoinSet<()>) {
    network.set(command.state);
    match command.state {
        NetworkState::Cut => connections.shutdown().await,
        // They swallow, or hold back, all bytes that they read from now on.
        NetworkState::Drop => {}
        NetworkState::Normal | NetworkState::Delay(_) => {
            let all_ended =
                async { while network.has_lossy_connections() && connections.join_next().await.is_some() {} };
            if tokio::time::timeout(LOSSY_END_TIMEOUT, all_ended).await.is_err() {
                // One is stuck at a cluster that takes nothing. It must not go on, and cannot be told from the others.
                connections.shutdown().await;
            }
        }
    }
    // The requester may have gone.
    let _ = command.obeyed.send(());
}

/// The parts that all connections of a gateway share.
#[derive(Clone)]
struct Relay {
    acceptor: TlsAcceptor,
    upstream: Arc<Upstream>,
    admitted: watch::Receiver<bool>,
    network: Arc<Network>,
    draining: Draining,
}

impl Relay {
    async fn run(mut self, arrival: Arrival, permits: Permits) -> Result<(), std::io::Error> {
        let Arrival { socket, awaits_word } = arrival;
        let is_unix = matches!(socket, Socket::Unix(_));
        let stream = ClientStream::new(socket, Arc::clone(&self.network));
        match is_unix {
            true => self.run_plain(stream, awaits_word, permits).await,
            false => self.run_tls(stream, permits).await,
        }
    }

    async fn run_tls(&mut self, stream: ClientStream, mut permits: Permits) -> Result<(), std::io::Error> {
        let mut client = self.shake_hands(stream, &permits).await?;
        let session = client.get_ref().1;
        let shows_certificate = session.peer_certificates().is_some();
        permits.shook_hands(shows_certificate);
        let speaks_http_2 = session.alpn_protocol() == Some(tls::HTTP_2);
        self.wait_admitted().await?;
        let relayed = self.relay(&mut client, shows_certificate, speaks_http_2, &mut permits).await;
        if relayed.is_err() {
            client.get_mut().0.linger_while_dropped().await;
        }
        relayed
    }

    /// The same for a client of the socket for leases, which has proven itself by the lease's secret.
    async fn run_plain(
        &mut self,
        mut client: ClientStream,
        awaits_word: bool,
        mut permits: Permits,
    ) -> Result<(), std::io::Error> {
        permits.shook_hands(true);
        if awaits_word {
            // On the faulty path, if the network is faulty: a client learns of it as with a handshake.
            client.write_all(&[CONNECTED]).await?;
            client.flush().await?;
        }
        self.wait_admitted().await?;
        // The lease's first connection may stay unused, and the API server closes one on which no request comes.
        client.wait_readable().await?;
        let relayed = self.relay(&mut client, true, false, &mut permits).await;
        if relayed.is_err() {
            client.linger_while_dropped().await;
        }
        relayed
    }

    async fn shake_hands(
        &self,
        stream: ClientStream,
        permits: &Permits,
    ) -> Result<TlsStream<ClientStream>, std::io::Error> {
        let mut accepting = std::pin::pin!(self.acceptor.accept(stream));
        let mut patience = permits.patience();
        loop {
            match tokio::time::timeout(patience.step, &mut accepting).await {
                Ok(accepted) => return accepted,
                // One that lost its first words never hears anything.
                Err(timeout) if patience.is_over(permits, self.network.is_normal()) => return Err(timeout.into()),
                Err(_) => {}
            }
        }
    }

    async fn wait_admitted(&mut self) -> Result<(), std::io::Error> {
        match self.admitted.wait_for(|is_admitted| *is_admitted).await {
            Ok(_) => Ok(()),
            Err(_) => Err(std::io::Error::other("the cluster could not be proven pristine")),
        }
    }

    async fn relay(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        shows_certificate: bool,
        speaks_http_2: bool,
        permits: &mut Permits,
    ) -> Result<(), std::io::Error> {
        let server = match self.upstream.connect(shows_certificate, speaks_http_2).await {
            Ok(server) => server,
            Err(error) => {
                // Ended in order: a reset would be all that a client learns whose request was not read yet.
                let farewell = async {
                    client.shutdown().await?;
                    tokio::io::copy(client, &mut tokio::io::sink()).await
                };
                let _ = tokio::time::timeout(REFUSAL_TIMEOUT, farewell).await;
                return Err(error);
            }
        };
        let mut server =
            UpstreamConnection::new(server, speaks_http_2, self.draining.clone()).holding(permits.split_upstream());
        tokio::io::copy_bidirectional_with_sizes(client, &mut server, RELAY_BUFFER_BYTES, RELAY_BUFFER_BYTES).await?;
        Ok(())
    }
}
