//! Gateways in front of a plain TLS server that echoes everything.

mod unix;

use std::future::Future;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::backoff::Backoff;
use crate::certificates::CertificateAuthority;
use crate::loopback::UnansweredPort;
use crate::open_files::OpenFiles;
use crate::peer_user::{PeerUser, PeerUsers};
use crate::protocol::NetworkChange;

/// Time limit for events that have to happen: far longer than they ever take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The wait for events that must not happen.
const IMPATIENCE: Duration = Duration::from_millis(200);

type TlsClient = tokio_rustls::client::TlsStream<TcpStream>;

/// An echo server behind an open gateway.
struct Echo {
    gateway: OpenGateway,
    credentials: GatewayCredentials,
    server: JoinHandle<()>,
}

impl Echo {
    async fn start() -> Self {
        let files = Arc::new(OpenFiles::new(1024));
        Self::behind(&Arc::new(Entrance::new(files))).await
    }

    async fn behind(entrance: &Arc<Entrance>) -> Self {
        let authority = CertificateAuthority::generate("echo").expect("an authority");
        let server = authority.issue_server("echo", &[]).expect("a certificate");
        let acceptor = tls::acceptor(&authority, &server).expect("TLS");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let access = access_to(listener.local_addr().expect("an address"), authority);
        let server = tokio::spawn(async move {
            // They end with the server.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let (mut reader, mut writer) = tokio::io::split(&mut stream);
                    tokio::io::copy(&mut reader, &mut writer).await?;
                    writer.shutdown().await
                });
            }
        });
        let (gateway, admission, credentials) = PreparedGateway::prepare(&access, Arc::new(|| false), entrance)
            .await
            .expect("a gateway")
            .open()
            .expect("it listens");
        admission.admit();
        Self { gateway, credentials, server }
    }

    async fn connect(&self) -> std::io::Result<TlsClient> {
        connect_to(&self.credentials).await
    }

    async fn change(&self, change: NetworkChange) {
        within(self.gateway.network().apply(change)).await.expect("the network changes");
    }

    fn traffic(&self) -> crate::protocol::Traffic {
        self.gateway.network().traffic()
    }

    async fn end(self) {
        within(self.gateway.close()).await;
        self.server.abort();
    }
}

fn access_to(address: SocketAddr, authority: CertificateAuthority) -> ClusterAccess {
    let admin = authority.issue_client("admin", None).expect("a certificate");
    ClusterAccess {
        api_address: address,
        api_ca_pem: authority.certificate_pem(),
        admin: admin.clone(),
        etcd_address: address,
        etcd_ca_pem: authority.certificate_pem(),
        etcd_client: admin,
        client_authority: Arc::new(authority),
    }
}

async fn connect_to(credentials: &GatewayCredentials) -> std::io::Result<TlsClient> {
    let GatewayCredentials { address, ca_pem, client, .. } = credentials;
    let connector = tls::connector(ca_pem, Some(client), tls::HTTP_1).expect("TLS");
    let stream = TcpStream::connect(address).await?;
    connector.connect(rustls::pki_types::ServerName::IpAddress(address.ip().into()), stream).await
}

async fn within<Output>(work: impl Future<Output = Output>) -> Output {
    tokio::time::timeout(PATIENCE, work).await.expect("it ends in time")
}

async fn say(client: &mut TlsClient, text: &str) -> std::io::Result<()> {
    client.write_all(text.as_bytes()).await?;
    client.flush().await
}

async fn hear(client: &mut TlsClient, text: &str) -> std::io::Result<()> {
    let mut heard = vec![0; text.len()];
    within(client.read_exact(&mut heard)).await?;
    assert_eq!(String::from_utf8_lossy(&heard), text);
    Ok(())
}

async fn is_answered(client: &mut TlsClient, text: &str) -> bool {
    say(client, text).await.is_ok() && hear(client, text).await.is_ok()
}

async fn is_silent(client: &mut TlsClient) -> bool {
    tokio::time::timeout(IMPATIENCE, client.read(&mut [0])).await.is_err()
}

#[tokio::test]
async fn connections_and_bytes_are_counted() {
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    assert!(is_answered(&mut client, "hello").await);
    let before = echo.traffic();
    assert_eq!((before.connections, before.connections_open), (1, 1));
    assert!(is_answered(&mut client, &"x".repeat(100_000)).await);
    // The gateway counts a chunk once it is on its way, so the client may have it a moment earlier.
    let patience = Backoff::poll(Duration::from_millis(1), IMPATIENCE * 100);
    let grown = patience.run(
        async || {
            let after = echo.traffic();
            let grown = [
                after.bytes_to_cluster - before.bytes_to_cluster,
                after.bytes_from_cluster - before.bytes_from_cluster,
            ];
            if grown.iter().all(|bytes| (100_000..110_000).contains(bytes)) { Ok(()) } else { Err(grown) }
        },
        |_| true,
        |_, _| {},
    );
    assert_eq!(grown.await, Ok(()), "100,000 bytes and TLS around them");
    drop(client);
    let control = echo.gateway.network().clone();
    echo.end().await;
    assert_eq!((control.traffic().connections, control.traffic().connections_open), (1, 0));
    assert!(matches!(control.apply(NetworkChange::Cut).await, Err(NetworkError::LeaseEnded)));
}

#[tokio::test]
async fn a_gateway_waits_for_an_api_server_that_runs_and_refuses_once_it_has_ended() {
    let authority = CertificateAuthority::generate("api").expect("an authority");
    let server = authority.issue_server("api", &[]).expect("a certificate");
    let acceptor = tls::acceptor(&authority, &server).expect("TLS");
    let port = UnansweredPort::open().await;
    let access = access_to(port.address(), authority);
    let has_ended = Arc::new(AtomicBool::new(false));
    let known = Arc::clone(&has_ended);
    let entrance = Arc::new(Entrance::new(Arc::new(OpenFiles::new(1024))));
    let prepared = PreparedGateway::prepare(&access, Arc::new(move || known.load(Ordering::SeqCst)), &entrance).await;
    let (gateway, admission, credentials) = prepared.expect("a gateway").open().expect("it listens");
    admission.admit();

    let mut waiting = connect_to(&credentials).await.expect("connected");
    assert!(is_silent(&mut waiting).await, "its API server may only be busy");
    let mut given_up = connect_to(&credentials).await.expect("connected");
    has_ended.store(true, Ordering::SeqCst);
    assert_eq!(within(given_up.read(&mut [0])).await.expect("an end in order"), 0);
    assert_eq!(within(waiting.read(&mut [0])).await.expect("an end in order"), 0);

    has_ended.store(false, Ordering::SeqCst);
    let mut waiting = connect_to(&credentials).await.expect("connected");
    assert!(is_silent(&mut waiting).await);
    let listener = port.into_listener();
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            // Those that filled the queue say nothing.
            connections.spawn(async move {
                let mut stream = acceptor.accept(stream).await?;
                stream.write_all(b"at last").await?;
                stream.flush().await?;
                tokio::io::copy(&mut stream, &mut tokio::io::sink()).await
            });
        }
    });
    hear(&mut waiting, "at last").await.expect("the API server has answered");
    within(gateway.close()).await;
    accepting.abort();
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let echo = Echo::start().await;
    for change in [NetworkChange::Restore, NetworkChange::Delay { delay_ms: 5 }] {
        echo.change(change).await;
        let mut client = within(echo.connect()).await.expect("connected");
        let text = "y".repeat(1 << 20);
        let (mut reader, mut writer) = tokio::io::split(&mut client);
        let send = async {
            writer.write_all(text.as_bytes()).await?;
            writer.shutdown().await
        };
        let mut heard = Vec::new();
        let (sent, read) = within(async { tokio::join!(send, reader.read_to_end(&mut heard)) }).await;
        sent.expect("sent");
        read.expect("a clean end");
        assert!(heard == text.as_bytes(), "{} bytes came back after {change:?}", heard.len());
    }
    echo.end().await;
}

#[tokio::test]
async fn a_cut_closes_and_refuses_until_the_network_is_restored() {
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    assert!(is_answered(&mut client, "hello").await);
    echo.change(NetworkChange::Cut).await;
    let end = within(client.read(&mut [0])).await;
    assert!(end.is_err(), "no farewell, but a broken connection: {end:?}");
    for _ in 0..3 {
        let error = within(echo.connect()).await.expect_err("the port is closed");
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}");
    }
    assert_eq!(echo.traffic().connections_open, 0);
    echo.change(NetworkChange::Restore).await;
    assert!(is_answered(&mut echo.connect().await.expect("connected"), "again").await);
    echo.end().await;
}

#[tokio::test]
async fn a_black_hole_swallows_and_what_lost_bytes_never_goes_on() {
    let echo = Echo::start().await;
    let mut used = echo.connect().await.expect("connected");
    let mut idle = echo.connect().await.expect("connected");
    assert!(is_answered(&mut used, "hello").await && is_answered(&mut idle, "hello").await);
    echo.change(NetworkChange::Drop).await;
    let before = echo.traffic();
    say(&mut used, "lost").await.expect("the loss is not reported");
    assert!(is_silent(&mut used).await);
    assert!(tokio::time::timeout(IMPATIENCE, echo.connect()).await.is_err(), "accepted, but never answered");
    assert_eq!(echo.traffic().bytes_to_cluster, before.bytes_to_cluster);
    assert_eq!(echo.traffic().bytes_from_cluster, before.bytes_from_cluster);
    echo.change(NetworkChange::Restore).await;
    assert!(!is_answered(&mut used, "on").await, "it would not be the stream that was sent");
    assert!(is_answered(&mut idle, "on").await, "it has lost nothing");
    assert!(is_answered(&mut echo.connect().await.expect("connected"), "again").await);
    echo.end().await;
}

#[tokio::test]
async fn a_black_hole_hides_that_the_server_has_gone() {
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    assert!(is_answered(&mut client, "hello").await);
    echo.change(NetworkChange::Drop).await;
    echo.server.abort();
    say(&mut client, "lost").await.expect("the loss is not reported");
    assert!(is_silent(&mut client).await);
    assert!(is_silent(&mut client).await);
    echo.change(NetworkChange::Cut).await;
    assert!(within(client.read(&mut [0])).await.is_err());
    echo.end().await;
}

#[tokio::test]
async fn a_delay_holds_back_in_order_and_ends_at_once() {
    const DELAY: Duration = Duration::from_millis(60);
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    assert!(is_answered(&mut client, "hello").await);
    echo.change(NetworkChange::Delay { delay_ms: 60 }).await;
    let start = Instant::now();
    say(&mut client, "one, ").await.expect("sent");
    say(&mut client, "two").await.expect("sent");
    hear(&mut client, "one, two").await.expect("heard");
    assert!(2 * DELAY <= start.elapsed(), "{:?}", start.elapsed());
    let start = Instant::now();
    let mut other = within(echo.connect()).await.expect("connected");
    assert!(is_answered(&mut other, "hello").await);
    assert!(4 * DELAY <= start.elapsed(), "{:?}", start.elapsed());

    echo.change(NetworkChange::Delay { delay_ms: 60_000 }).await;
    say(&mut client, "held ").await.expect("sent");
    assert!(is_silent(&mut client).await);
    echo.change(NetworkChange::Restore).await;
    say(&mut client, "back").await.expect("sent");
    hear(&mut client, "held back").await.expect("nothing is lost, nothing is late");

    echo.change(NetworkChange::Delay { delay_ms: 60_000 }).await;
    say(&mut client, "held").await.expect("sent");
    assert!(is_silent(&mut client).await);
    echo.change(NetworkChange::Drop).await;
    echo.change(NetworkChange::Restore).await;
    assert!(!is_answered(&mut client, "on").await, "what was held back has been lost");
    echo.end().await;
}

#[tokio::test]
async fn a_delay_lets_much_through() {
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    let text = "z".repeat(3 << 20);
    let (mut reader, mut writer) = tokio::io::split(&mut client);
    let mut heard = vec![0; text.len()];
    let turns = async {
        // All bytes under way when the network changes arrive once, and in order.
        for delay_ms in [1, 20, 0, 3, 40] {
            echo.change(NetworkChange::Delay { delay_ms }).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            echo.change(NetworkChange::Restore).await;
        }
    };
    let (sent, read, ()) =
        within(async { tokio::join!(writer.write_all(text.as_bytes()), reader.read_exact(&mut heard), turns) }).await;
    sent.expect("sent");
    read.expect("heard");
    assert!(heard == text.as_bytes());
    echo.end().await;
}

#[tokio::test]
async fn a_delay_of_more_than_a_minute_is_refused() {
    let echo = Echo::start().await;
    let error = echo.gateway.network().apply(NetworkChange::Delay { delay_ms: 60_001 }).await.expect_err("refused");
    let text = error.to_string();
    assert!(text.contains("60001 ms") && text.contains("60000 ms"), "{text}");
    assert_eq!(echo.gateway.network().describe(), "normal");
    echo.end().await;
}

/// The remains of a connection when its gateway closes, or its network is cut before.
async fn left_behind(text: &str, cuts_before: bool) -> Draining {
    let echo = Echo::start().await;
    let mut client = echo.connect().await.expect("connected");
    assert!(text.is_empty() || is_answered(&mut client, text).await);
    if cuts_before {
        echo.change(NetworkChange::Cut).await;
    }
    let Echo { gateway, server, .. } = echo;
    let draining = within(gateway.close()).await;
    let end = within(client.read(&mut [0])).await;
    assert!(end.is_err(), "a client is cut off at once: {end:?}");
    // The server echoes everything until the end, and ends only then.
    within(draining.wait_ended()).await;
    assert!(!server.is_finished());
    draining
}

#[tokio::test]
async fn connections_are_read_to_their_end_behind_a_closed_gateway() {
    for cuts_before in [false, true] {
        assert!(!left_behind("", cuts_before).await.may_have_written(), "nothing was asked");
        let answered = "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert!(left_behind(answered, cuts_before).await.may_still_run(), "an echo is no answer");
    }
}

#[tokio::test]
async fn a_connection_that_does_not_end_is_drained_for_as_long() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let authority = CertificateAuthority::generate("deaf").expect("an authority");
    let server = authority.issue_server("deaf", &[]).expect("a certificate");
    let acceptor = tls::acceptor(&authority, &server).expect("TLS");
    let connector = tls::connector(&authority.certificate_pem(), None, tls::HTTP_1).expect("TLS");
    let address = listener.local_addr().expect("an address");
    let connect = async {
        let stream = TcpStream::connect(address).await?;
        connector.connect(rustls::pki_types::ServerName::IpAddress(address.ip().into()), stream).await
    };
    let accept = async { acceptor.accept(listener.accept().await?.0).await };
    let (connected, accepted) = tokio::join!(connect, accept);
    let draining = Draining::default();
    let mut connection = UpstreamConnection::new(connected.expect("connected"), false, draining.clone());
    connection.write_all(b"DELETE /api/v1/pods HTTP/1.1\r\n\r\n").await.expect("sent");
    let mut accepted = accepted.expect("accepted");
    drop(connection);
    assert_eq!(draining.len(), 1);
    let mut heard = Vec::new();
    within(accepted.read_to_end(&mut heard)).await.expect("a clean end of what was sent");
    assert!(heard.starts_with(b"DELETE "));
    assert!(tokio::time::timeout(IMPATIENCE, draining.wait_ended()).await.is_err(), "the server still has its say");
    accepted.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("answered");
    accepted.shutdown().await.expect("ended");
    within(draining.wait_ended()).await;
    assert!(!draining.may_still_run(), "it was answered after its client had gone");
    assert!(draining.may_have_written(), "but not before");
}

/// Gives the same answer for each connection.
struct AllAre(PeerUser);

impl PeerUsers for AllAre {
    fn user_of(&self, _: SocketAddr, _: SocketAddr) -> PeerUser {
        self.0
    }
}

fn entrance_for(user: PeerUser) -> Arc<Entrance> {
    Arc::new(Entrance::with_users(Arc::new(OpenFiles::new(10_000)), Arc::new(AllAre(user))))
}

async fn connect_silently(echo: &Echo, count: usize) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(TcpStream::connect(echo.credentials.address).await.expect("connected"));
    }
    silent
}

#[tokio::test]
async fn silent_connections_of_the_user_are_not_counted() {
    let echo = Echo::behind(&entrance_for(PeerUser::Own)).await;
    let silent = connect_silently(&echo, 200).await;
    assert!(is_answered(&mut within(echo.connect()).await.expect("connected"), "hello").await);
    let is_open = |stream: &TcpStream| {
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    assert!(silent.iter().all(is_open));
    echo.end().await;
}

#[tokio::test]
async fn strangers_share_a_bound_over_all_gateways_and_leave_it_by_a_certificate() {
    let entrance = entrance_for(PeerUser::Other);
    let (first, second) = (Echo::behind(&entrance).await, Echo::behind(&entrance).await);
    let mut with_certificate = Vec::new();
    // More than the bound, one after another.
    for _ in 0..100 {
        let mut client = within(first.connect()).await.expect("connected");
        assert!(is_answered(&mut client, "hello").await);
        with_certificate.push(client);
    }
    let mut silent = connect_silently(&first, 64).await;
    // A gateway accepts in order, so those have all places by then.
    assert!(within(first.connect()).await.is_err());
    assert!(within(second.connect()).await.is_err());
    assert!(is_answered(&mut with_certificate[0], "again").await, "a client stays inside");
    silent.truncate(32);
    let patience = Backoff::poll(Duration::from_millis(1), PATIENCE);
    let entered = patience.run(async || second.connect().await, |_| true, |_, _| {});
    assert!(is_answered(&mut entered.await.expect("there is room again"), "hello").await);
    first.end().await;
    second.end().await;
}

#[tokio::test]
async fn where_users_are_not_known_handshakes_wait_for_silent_ones_to_give_way() {
    let echo = Echo::behind(&entrance_for(PeerUser::Unknown)).await;
    let mut silent = connect_silently(&echo, 70).await;
    // Not refused, although so many came before it.
    assert!(is_answered(&mut within(echo.connect()).await.expect("connected"), "hello").await);
    let end = within(silent[0].read(&mut [0])).await;
    assert!(!matches!(end, Ok(1..)), "the oldest gave way");
    echo.end().await;
}
