use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustls::pki_types::{IpAddr, ServerName};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::GatewayError;
use super::tls::{self, HTTP_1, HTTP_2};
use crate::cluster_access::ClusterAccess;
use crate::loopback;

/// Connections kept ready: a client's first one and a spare for concurrent requests.
const WARM_CONNECTIONS: usize = 2;
/// kube-apiserver closes a connection on which no request came for 32 s (`ReadHeaderTimeout` of its HTTP server).
const WARM_AGE_MAX: Duration = Duration::from_secs(25);
/// Time limit of a new connection to an API server on loopback that runs, on the busiest machine.
const DIAL_TIMEOUT: Duration = Duration::from_secs(30);

/// Interval between looks for the end of the API server during a dial.
const ENDED_POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Returns true if the API server is known to have ended.
pub(crate) type HasEnded = Arc<dyn Fn() -> bool + Send + Sync>;

/// The way from a gateway to its API server.
pub(crate) struct Upstream {
    address: SocketAddr,
    has_ended: HasEnded,
    administrator: Connectors,
    anonymous: Connectors,
    warm: Mutex<Vec<WarmConnection>>,
}

struct Connectors {
    http_1: TlsConnector,
    http_2: TlsConnector,
}

/// A connection with the administrator's certificate, over HTTP/1.1, on which nothing was sent yet.
struct WarmConnection {
    stream: TlsStream<TcpStream>,
    since: Instant,
}

impl Upstream {
    pub(super) fn new(access: &ClusterAccess, has_ended: HasEnded) -> Result<Self, GatewayError> {
        let connectors = |identity| {
            Ok::<_, GatewayError>(Connectors {
                http_1: tls::connector(&access.api_ca_pem, identity, HTTP_1)?,
                http_2: tls::connector(&access.api_ca_pem, identity, HTTP_2)?,
            })
        };
        Ok(Self {
            address: access.api_address,
            has_ended,
            administrator: connectors(Some(&access.admin))?,
            anonymous: connectors(None)?,
            warm: Mutex::new(Vec::new()),
        })
    }

    /// Makes sure that connections are ready and young. Failures only cost time later, so they are not reported.
    pub(crate) async fn warm_up(&self) {
        self.warm.lock().unwrap_or_else(PoisonError::into_inner).retain_mut(|warm| warm.is_fresh(WARM_AGE_MAX / 2));
        let missing = WARM_CONNECTIONS.saturating_sub(self.warm.lock().unwrap_or_else(PoisonError::into_inner).len());
        for _ in 0..missing {
            let Ok(stream) = self.dial(&self.administrator.http_1).await else { return };
            let connection = WarmConnection { stream, since: Instant::now() };
            self.warm.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }

    /// A connection for a client that did or did not show its certificate, over HTTP/2 or HTTP/1.1.
    pub(super) async fn connect(
        &self,
        shows_certificate: bool,
        speaks_http_2: bool,
    ) -> Result<TlsStream<TcpStream>, std::io::Error> {
        if shows_certificate
            && !speaks_http_2
            && let Some(stream) = self.take_warm()
        {
            return Ok(stream);
        }
        let connectors = if shows_certificate { &self.administrator } else { &self.anonymous };
        self.dial(if speaks_http_2 { &connectors.http_2 } else { &connectors.http_1 }).await
    }

    fn take_warm(&self) -> Option<TlsStream<TcpStream>> {
        let mut warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut connection) = warm.pop() {
            if connection.is_fresh(WARM_AGE_MAX) {
                return Some(connection.stream);
            }
        }
        None
    }

    async fn dial(&self, connector: &TlsConnector) -> Result<TlsStream<TcpStream>, std::io::Error> {
        let connect = async {
            let stream = self.reach().await?;
            stream.set_nodelay(true)?;
            connector.connect(ServerName::IpAddress(IpAddr::from(self.address.ip())), stream).await
        };
        tokio::select! {
            biased;
            () = self.wait_ended() => {
                Err(std::io::Error::new(std::io::ErrorKind::ConnectionRefused, "the API server has ended"))
            }
            connected = tokio::time::timeout(DIAL_TIMEOUT, connect) => connected?,
        }
    }

    /// Connects to the port, again and again while it does not answer: an API server that runs may have a full queue, and
    /// one that has ended leaves a silent port behind, which not every system refuses. The caller limits the time.
    async fn reach(&self) -> Result<TcpStream, std::io::Error> {
        loop {
            match loopback::connect(self.address).await {
                Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {}
                connected => return connected,
            }
        }
    }

    /// Waits until the API server is known to have ended. Its port may have taken a connection until then, which is
    /// never answered.
    async fn wait_ended(&self) {
        while !(self.has_ended)() {
            tokio::time::sleep(ENDED_POLL_INTERVAL).await;
        }
    }
}

impl WarmConnection {
    /// Young enough, and the other side has not closed it.
    fn is_fresh(&mut self, age_max: Duration) -> bool {
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // An idle connection has nothing to read; anything else, the end above all, makes it useless.
        let read = Pin::new(&mut self.stream).poll_read(&mut context, &mut buffer);
        self.since.elapsed() < age_max && matches!(read, Poll::Pending)
    }
}
