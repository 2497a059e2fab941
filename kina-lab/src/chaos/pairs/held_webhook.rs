//! An admission webhook that answers late, and then allows everything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use kina_engine::CertificateAuthority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// No review is larger.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Time after which a webhook no longer listens.
const LIFETIME: Duration = Duration::from_secs(60);

/// Listens on loopback until it is dropped or left.
pub(super) struct HeldWebhook {
    address: SocketAddr,
    ca_pem: String,
    is_asked: Arc<AtomicBool>,
    server: Option<JoinHandle<()>>,
}

impl HeldWebhook {
    /// Delay of its answer.
    pub(super) const HOLD: Duration = Duration::from_millis(1200);

    pub(super) async fn start() -> anyhow::Result<Self> {
        let authority = CertificateAuthority::generate("pairs")?;
        let identity = authority.issue_server("pairs", &["localhost"])?;
        let chain = vec![CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes())?;
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let is_asked = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&is_asked);
        let server = tokio::spawn(async move {
            let serving = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, asked) = (acceptor.clone(), Arc::clone(&asked));
                    tokio::spawn(async move { tokio::time::timeout(LIFETIME, serve(&acceptor, stream, &asked)).await });
                }
            };
            let _ = tokio::time::timeout(LIFETIME, serving).await;
        });
        Ok(Self { address, ca_pem: authority.certificate_pem(), is_asked, server: Some(server) })
    }

    /// The part of a registration that holds its address.
    pub(super) fn client_configuration(&self) -> Value {
        let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &self.ca_pem);
        json!({"url": format!("https://localhost:{}/", self.address.port()), "caBundle": bundle})
    }

    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::Relaxed)
    }

    /// Resets the webhook to the state before its first request.
    pub(super) fn forget(&self) {
        self.is_asked.store(false, Ordering::Relaxed);
    }

    /// Leaves it running for as long as it listens at all.
    pub(super) fn leave_running(mut self) {
        self.server = None;
    }
}

impl Drop for HeldWebhook {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn serve(acceptor: &TlsAcceptor, stream: TcpStream, asked: &AtomicBool) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    loop {
        let review = read_request(&mut stream).await?;
        asked.store(true, Ordering::Relaxed);
        tokio::time::sleep(HeldWebhook::HOLD).await;
        let response = json!({"uid": review["request"]["uid"], "allowed": true});
        let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await?;
        stream.flush().await?;
    }
}

/// Reads one request of HTTP/1.1, whose length is given.
async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> anyhow::Result<Value> {
    let mut bytes = Vec::new();
    while bytes.len() < REQUEST_BYTES_MAX {
        if 0 == stream.read_buf(&mut bytes).await? {
            anyhow::bail!("the API server has closed");
        }
        let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(bytes.get(..at).unwrap_or_default()).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
        let end = at + 4 + length.context("a request has no length")?;
        if let Some(body) = bytes.get(at + 4..end) {
            return Ok(serde_json::from_slice(body)?);
        }
    }
    anyhow::bail!("a request is larger than {REQUEST_BYTES_MAX} bytes")
}
