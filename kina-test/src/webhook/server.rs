use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use kina_engine::{CertificateAuthority, IssuedIdentity};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::WebhookError;
use super::reviewer::Reviewer;

/// An object may have 3 MiB, and a review of an update holds the old one too.
const BODY_BYTES_MAX: usize = 16 << 20;
/// An API server keeps one connection for each request in flight.
const CONNECTIONS_MAX: usize = 1024;
/// Time limit of a client's TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of an idle connection. Go's clients close their own after 90 s.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Time limit for reading the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener on loopback. It closes, with all its connections, when this is dropped.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    ca_pem: String,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(super) async fn start(reviewer: Arc<Reviewer>) -> Result<Self, WebhookError> {
        let authority =
            CertificateAuthority::generate("kina webhook").map_err(|error| WebhookError::Tls(error.into()))?;
        let identity = authority.issue_server("kina-webhook", &[]).map_err(|error| WebhookError::Tls(error.into()))?;
        let acceptor = acceptor(&identity).map_err(WebhookError::Tls)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(WebhookError::Listen)?;
        let address = listener.local_addr().map_err(WebhookError::Listen)?;
        let path: Arc<str> = format!("/{}", random_name()?).into();
        let url = url(address, &path);
        let accepting = tokio::spawn(accept_all(listener, acceptor, path, reviewer));
        Ok(Self { url, ca_pem: authority.certificate_pem(), accepting })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Thirty-two random hexadecimal digits. Every user of a machine can reach a loopback port, and only the API server
/// knows the path.
pub(super) fn random_name() -> Result<String, WebhookError> {
    let mut bytes = [0; 16];
    let filled = default_provider().secure_random.fill(&mut bytes);
    filled.map_err(|_| WebhookError::Tls("the system gives no random numbers".into()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

fn url(address: SocketAddr, path: &str) -> String {
    format!("https://{address}{path}")
}

fn acceptor(identity: &IssuedIdentity) -> Result<TlsAcceptor, Box<dyn std::error::Error + Send + Sync>> {
    let certificate = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept_all(listener: TcpListener, acceptor: TlsAcceptor, path: Arc<str>, reviewer: Arc<Reviewer>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if CONNECTIONS_MAX <= connections.len() {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&path), Arc::clone(&reviewer)));
            }
            // Most likely out of file descriptors: other connections will close.
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, path: Arc<str>, reviewer: Arc<Reviewer>) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await else { return };
    let service = service_fn(move |request| respond(request, Arc::clone(&path), Arc::clone(&reviewer)));
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // The client handles errors: an API server tries again, or denies.
    let _ = connection.await;
}

async fn respond(
    request: Request<Incoming>,
    path: Arc<str>,
    reviewer: Arc<Reviewer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = if request.method() == Method::POST && request.uri().path() == &*path {
        answer(request.into_body(), &reviewer).await
    } else {
        Err(StatusCode::NOT_FOUND)
    };
    Ok(match answer {
        Ok(body) => {
            let mut response = Response::new(Full::new(body));
            let json = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
            response
        }
        Err(status) => {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        }
    })
}

async fn answer(body: Incoming, reviewer: &Reviewer) -> Result<Bytes, StatusCode> {
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = collected.map_err(|_| StatusCode::REQUEST_TIMEOUT)?.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?;
    let body = body.to_bytes();
    let review = serde_json::from_slice(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let answer = reviewer.review(review, body.len()).await.ok_or(StatusCode::BAD_REQUEST)?;
    Ok(Bytes::from(answer.to_string()))
}
