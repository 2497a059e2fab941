//! Clients that the socket for leases has let in.

use tokio::net::UnixStream;

use super::*;
use crate::gateway::arrival::NotEntered;
use crate::protocol::CONNECTED;

impl Echo {
    /// The connection with which the lease came.
    fn first(&self) -> UnixStream {
        UnixStream::from_std(self.gateway.unix_entry().open().expect("a connection")).expect("a stream")
    }

    /// A further one, which waits for the gateway's word.
    fn enter(&self) -> Result<UnixStream, NotEntered> {
        let (gateway, client) = UnixStream::pair().expect("a pair");
        self.gateway.unix_entry().enter(gateway)?;
        Ok(client)
    }
}

/// A gateway in front of a listener that only accepts.
async fn before_a_listener() -> (TcpListener, OpenGateway, Admission) {
    let authority = CertificateAuthority::generate("api").expect("an authority");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let access = access_to(listener.local_addr().expect("an address"), authority);
    let entrance = Arc::new(Entrance::new(Arc::new(OpenFiles::new(1024))));
    let prepared = PreparedGateway::prepare(&access, Arc::new(|| false), &entrance).await.expect("a gateway");
    let (gateway, admission, _) = prepared.open().expect("it listens");
    (listener, gateway, admission)
}

async fn is_echoed(client: &mut UnixStream, text: &str) -> bool {
    let mut heard = vec![0; text.len()];
    client.write_all(text.as_bytes()).await.is_ok()
        && within(client.read_exact(&mut heard)).await.is_ok()
        && heard == text.as_bytes()
}

async fn is_connected(client: &mut UnixStream) -> bool {
    within(client.read_u8()).await.is_ok_and(|word| word == CONNECTED)
}

#[tokio::test]
async fn they_reach_the_cluster_and_are_counted_apart() {
    let echo = Echo::start().await;
    let (mut first, mut further) = (echo.first(), echo.enter().expect("open"));
    assert!(is_connected(&mut further).await);
    for client in [&mut first, &mut further] {
        assert!(is_echoed(client, "hello").await);
        // The end is passed on in order, in both directions.
        client.shutdown().await.expect("half closed");
        assert_eq!(within(client.read(&mut [0])).await.expect("an end in order"), 0);
    }
    let traffic = echo.traffic();
    assert_eq!((traffic.unix_connections, traffic.connections), (2, 0));
    assert!(10 <= traffic.bytes_to_cluster && 11 <= traffic.bytes_from_cluster, "{traffic:?}");
    echo.end().await;
}

#[tokio::test]
async fn an_unused_connection_takes_none_to_the_api_server() {
    let (listener, gateway, admission) = before_a_listener().await;
    admission.admit();
    let mut client = UnixStream::from_std(gateway.unix_entry().open().expect("a connection")).expect("a stream");
    assert!(tokio::time::timeout(IMPATIENCE, listener.accept()).await.is_err(), "no request came");
    client.write_all(b"hello").await.expect("sent");
    within(listener.accept()).await.expect("a connection for the request");
    within(gateway.close()).await;
}

/// A gateway without room keeps few connections waiting. The next one is told so at once, and comes in later.
#[tokio::test]
async fn a_gateway_without_room_says_so() {
    // Half of the files are for gateways, two for each connection.
    let echo = Echo::behind(&Arc::new(Entrance::new(Arc::new(OpenFiles::new(8))))).await;
    let mut inside = [echo.first(), echo.first()];
    for client in &mut inside {
        assert!(is_echoed(client, "hello").await);
    }
    let mut waiting = Vec::new();
    let refused = loop {
        match echo.enter() {
            Ok(client) => waiting.push(client),
            Err(refused) => break refused,
        }
        // The gateway takes one, and finds that it has to wait.
        tokio::task::yield_now().await;
        assert!(waiting.len() < 100, "they are never refused");
    };
    assert!(matches!(refused, NotEntered::Busy(_)) && 1 < waiting.len());
    drop(inside);
    for mut client in waiting {
        assert!(is_connected(&mut client).await && is_echoed(&mut client, "hello").await);
    }
    let mut later = echo.enter().expect("there is room");
    assert!(is_connected(&mut later).await);
    echo.end().await;
}

#[tokio::test]
async fn they_are_cut_with_the_network_and_new_ones_are_let_in_after_it_is_restored() {
    let echo = Echo::start().await;
    let (mut used, mut unused) = (echo.first(), echo.first());
    assert!(is_echoed(&mut used, "hello").await);
    echo.change(NetworkChange::Cut).await;
    for client in [&mut used, &mut unused] {
        assert!(!matches!(within(client.read(&mut [0])).await, Ok(1..)));
    }
    let mut refused = echo.enter().expect("open");
    assert!(!is_connected(&mut refused).await);
    echo.change(NetworkChange::Restore).await;
    let mut client = echo.enter().expect("open");
    assert!(is_connected(&mut client).await && is_echoed(&mut client, "hello").await);
    echo.end().await;
}

#[tokio::test]
async fn the_gateways_word_takes_the_faulty_path() {
    const DELAY_MS: u64 = 100;
    let echo = Echo::start().await;
    echo.change(NetworkChange::Drop).await;
    let mut lost = echo.enter().expect("open");
    assert!(tokio::time::timeout(IMPATIENCE, lost.read_u8()).await.is_err(), "the word is lost");
    echo.change(NetworkChange::Restore).await;
    assert!(!is_connected(&mut lost).await, "what was lost never comes");

    echo.change(NetworkChange::Delay { delay_ms: DELAY_MS }).await;
    let start = Instant::now();
    let mut late = echo.enter().expect("open");
    assert!(is_connected(&mut late).await && is_echoed(&mut late, "hello").await);
    assert!(Duration::from_millis(3 * DELAY_MS) <= start.elapsed(), "{:?}", start.elapsed());
    echo.end().await;
}

#[tokio::test]
async fn nothing_passes_before_the_cluster_is_proven_or_after_the_lease() {
    let echo = Echo::start().await;
    let mut client = echo.first();
    assert!(is_echoed(&mut client, "hello").await);
    let entry = echo.gateway.unix_entry().clone();
    echo.end().await;
    assert!(!matches!(within(client.read(&mut [0])).await, Ok(1..)));
    let late = UnixStream::from_std(entry.open().expect("a pair")).expect("a stream");
    assert!(late.try_read(&mut [0]).is_ok_and(|count| count == 0) || within(late.readable()).await.is_ok());
    let (gateway, _client) = UnixStream::pair().expect("a pair");
    assert!(matches!(entry.enter(gateway), Err(NotEntered::Closed)));

    let (listener, gateway, admission) = before_a_listener().await;
    let mut client = UnixStream::from_std(gateway.unix_entry().open().expect("a connection")).expect("a stream");
    client.write_all(b"hello").await.expect("sent");
    assert!(tokio::time::timeout(IMPATIENCE, listener.accept()).await.is_err(), "it is not proven");
    drop(admission);
    assert!(!matches!(within(client.read(&mut [0])).await, Ok(1..)), "it never will be");
    within(gateway.close()).await;
}
