//! Raw requests to one API server, over HTTP/1.1. No retries, no cache, no types of Kubernetes.
//!
//! So the engine depends on no version of a Kubernetes client: its users bring their own.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{Stream, TryStreamExt};
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tower_service::Service;

use crate::lease_connector::LeaseConnector;

/// The largest answer that is taken.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The largest event of a watch. etcd stores no object of that size.
const LINE_BYTES_MAX: usize = 16 << 20;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A client of one API server, or of the gateway in front of it.
#[derive(Clone, Debug)]
pub struct RawClient {
    client: Client<Connector, Full<Bytes>>,
    address: SocketAddr,
    user_agent: Option<HeaderValue>,
}

/// The ways to an API server.
#[derive(Clone)]
enum Connector {
    Tls(HttpsConnector<HttpConnector>),
    Lease(LeaseConnector),
}

/// A connection on any of these ways.
struct RawConnection(Box<dyn Io>);

trait Io: Read + Write + Connection + Send + Unpin {}

impl<T: Read + Write + Connection + Send + Unpin> Io for T {}

/// The certificate of a client and its key, in PEM.
#[derive(Clone, Copy)]
pub struct ClientCertificate<'a> {
    /// The certificate.
    pub certificate_pem: &'a str,
    /// The private key.
    pub key_pem: &'a str,
}

/// A request without its method and path.
#[derive(Clone, Debug, Default)]
pub struct RequestContent<'a> {
    /// The headers, besides `Host` and `User-Agent`.
    pub headers: &'a [(HeaderName, &'a str)],
    /// The body.
    pub body: Vec<u8>,
}

/// An answer with any status.
#[derive(Clone, Debug)]
pub struct RawAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// The client of an API server could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making a client of {address} failed: {what}")]
pub struct NoClient {
    address: SocketAddr,
    what: &'static str,
    #[source]
    source: Cause,
}

/// A request got no answer.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} got no answer")]
pub struct NoAnswer {
    method: Method,
    path: String,
    #[source]
    source: Cause,
}

/// A line of a watch is longer than any event.
#[derive(Debug, thiserror::Error)]
#[error("an event is longer than {LINE_BYTES_MAX} bytes")]
struct LongLine;

impl RawClient {
    /// A client that trusts this authority alone, and shows this certificate. It connects with the first request.
    ///
    /// # Errors
    /// If a certificate or the key cannot be read.
    pub fn new(
        address: SocketAddr,
        ca_pem: &str,
        certificate: Option<ClientCertificate<'_>>,
    ) -> Result<Self, NoClient> {
        Self::connecting_within(None, address, ca_pem, certificate)
    }

    /// The same, with a time limit of each connection, the handshake of TLS not included.
    pub(crate) fn connecting_within(
        connect_timeout: Option<Duration>,
        address: SocketAddr,
        ca_pem: &str,
        certificate: Option<ClientCertificate<'_>>,
    ) -> Result<Self, NoClient> {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(connect_timeout);
        // The connector of TLS, above it, takes the scheme `https`.
        connector.enforce_http(false);
        // A request is written at once, however small.
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls_configuration(address, ca_pem, certificate)?)
            .https_only()
            .enable_http1()
            .wrap_connector(connector);
        Ok(Self::by(Connector::Tls(connector), address))
    }

    /// A client of the API server of a lease. Requests name this address.
    pub(crate) fn over(connector: LeaseConnector, address: SocketAddr) -> Self {
        Self::by(Connector::Lease(connector), address)
    }

    fn by(connector: Connector, address: SocketAddr) -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build(connector), address, user_agent: None }
    }

    /// Names the client in the server's log, and in the managed fields of writes that name no field manager.
    #[must_use]
    pub fn with_user_agent(self, user_agent: HeaderValue) -> Self {
        Self { user_agent: Some(user_agent), ..self }
    }

    /// Sends a request and reads the whole answer, both within the time limit.
    ///
    /// # Errors
    /// If there is no complete answer within the time limit, or it is longer than 64 MiB.
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        content: RequestContent<'_>,
        time_limit: Duration,
    ) -> Result<RawAnswer, NoAnswer> {
        let exchange = async {
            let (parts, body) = self.respond(&method, path, content).await?.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes().to_vec();
            Ok::<_, Cause>(RawAnswer { status: parts.status, headers: parts.headers, body })
        };
        let outcome = tokio::time::timeout(time_limit, exchange).await.unwrap_or_else(|elapsed| Err(elapsed.into()));
        outcome.map_err(|source| NoAnswer { method: method.clone(), path: path.to_owned(), source })
    }

    /// Sends a GET whose answer is a stream of lines, such as the events of a watch. The caller limits the time.
    ///
    /// # Errors
    /// If there is no answer. The lines end with an error if the connection does, or with a line of more than 16 MiB.
    pub async fn lines(
        &self,
        path: &str,
        headers: &[(HeaderName, &str)],
    ) -> Result<(StatusCode, impl Stream<Item = Result<Vec<u8>, NoAnswer>> + Send + use<>), NoAnswer> {
        let no_answer = |path: &str, source| NoAnswer { method: Method::GET, path: path.to_owned(), source };
        let content = RequestContent { headers, body: Vec::new() };
        let response = self.respond(&Method::GET, path, content).await.map_err(|source| no_answer(path, source))?;
        let status = response.status();
        let lines = lines_of(response.into_body());
        let path = path.to_owned();
        Ok((status, lines.map_err(move |source| no_answer(&path, source))))
    }

    async fn respond(
        &self,
        method: &Method,
        path: &str,
        content: RequestContent<'_>,
    ) -> Result<Response<Incoming>, Cause> {
        let uri = Uri::builder().scheme("https").authority(self.address.to_string()).path_and_query(path).build()?;
        let mut request = Request::builder().method(method).uri(uri);
        if let Some(user_agent) = &self.user_agent {
            request = request.header(USER_AGENT, user_agent);
        }
        for (name, value) in content.headers {
            request = request.header(name, *value);
        }
        Ok(self.client.request(request.body(Full::new(content.body.into()))?).await?)
    }
}

impl Service<Uri> for Connector {
    type Response = RawConnection;
    type Error = Cause;
    type Future = Pin<Box<dyn Future<Output = Result<RawConnection, Cause>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        match self {
            Self::Tls(connector) => connector.poll_ready(context),
            Self::Lease(connector) => connector.poll_ready(context).map_err(Cause::from),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        match self {
            Self::Tls(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async move { Ok(RawConnection(Box::new(connecting.await?))) })
            }
            Self::Lease(connector) => {
                let connecting = connector.call(uri);
                Box::pin(async move { Ok(RawConnection(Box::new(connecting.await?))) })
            }
        }
    }
}

impl Read for RawConnection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(context, buffer)
    }
}

impl Write for RawConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(context)
    }
}

impl Connection for RawConnection {
    fn connected(&self) -> Connected {
        self.0.connected()
    }
}

impl RawAnswer {
    /// The value of a header, if it is text.
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

fn tls_configuration(
    address: SocketAddr,
    ca_pem: &str,
    certificate: Option<ClientCertificate<'_>>,
) -> Result<ClientConfig, NoClient> {
    let no_client = |what| move |source: Cause| NoClient { address, what, source };
    let authority = CertificateDer::from_pem_slice(ca_pem.as_bytes())
        .map_err(|error| no_client("its certificate authority cannot be read")(error.into()))?;
    let mut authorities = RootCertStore::empty();
    authorities.add(authority).map_err(|error| no_client("its certificate authority is not valid")(error.into()))?;
    let configuration = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| no_client("TLS cannot be set up")(error.into()))?
        .with_root_certificates(authorities);
    let Some(certificate) = certificate else { return Ok(configuration.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(certificate.certificate_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| no_client("the client's certificate cannot be read")(error.into()))?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| no_client("the client's key cannot be read")(error.into()))?;
    configuration
        .with_client_auth_cert(chain, key)
        .map_err(|error| no_client("the client's certificate is not valid")(error.into()))
}

/// The lines of a body, without their ends. A last line without an end is a line, too.
fn lines_of(body: Incoming) -> impl Stream<Item = Result<Vec<u8>, Cause>> + Send {
    let unread = Unread { body, bytes: Vec::new(), searched: 0, is_over: false };
    futures::stream::try_unfold(unread, |mut unread| async move { Ok(unread.line().await?.map(|line| (line, unread))) })
}

/// A body that is read line by line.
struct Unread {
    body: Incoming,
    bytes: Vec<u8>,
    /// The number of bytes that are known to contain no end of a line.
    searched: usize,
    is_over: bool,
}

impl Unread {
    async fn line(&mut self) -> Result<Option<Vec<u8>>, Cause> {
        loop {
            if let Some(end) = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n') {
                let rest = self.bytes.split_off(self.searched + end + 1);
                self.bytes.pop();
                self.searched = 0;
                return Ok(Some(std::mem::replace(&mut self.bytes, rest)));
            }
            self.searched = self.bytes.len();
            if self.is_over {
                self.searched = 0;
                return Ok(Some(std::mem::take(&mut self.bytes)).filter(|line| !line.is_empty()));
            }
            if LINE_BYTES_MAX < self.bytes.len() {
                return Err(LongLine.into());
            }
            match self.body.frame().await.transpose()? {
                Some(frame) => self.bytes.extend(frame.into_data().unwrap_or_default()),
                None => self.is_over = true,
            }
        }
    }
}
