//! Connections on which a client sends what no library would: bytes behind a request, requests whose answers are never
//! read, requests that are cancelled.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kina_engine::LeaseGrant;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const HTTP_1: &[u8] = b"http/1.1";
const HTTP_2: &[u8] = b"h2";
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types and flags of frames (RFC 9113).
const FRAME_HEADERS: u8 = 1;
const FRAME_RESET: u8 = 3;
const FRAME_SETTINGS: u8 = 4;
const FLAG_ACKNOWLEDGED: u8 = 1;
const FLAG_END_STREAM: u8 = 1;
const FLAG_END_HEADERS: u8 = 4;
const ERROR_CANCEL: u32 = 8;
/// The first stream of a client.
const STREAM: u32 = 1;

/// A TLS connection of the lease's client.
pub(super) struct Raw(TlsStream<TcpStream>);

impl Raw {
    /// Speaks HTTP/1.1.
    pub(super) async fn http_1(grant: &LeaseGrant) -> anyhow::Result<Self> {
        Self::connect(grant, HTTP_1).await
    }

    /// Speaks HTTP/2, and has sent its preface.
    pub(super) async fn http_2(grant: &LeaseGrant) -> anyhow::Result<Self> {
        let mut raw = Self::connect(grant, HTTP_2).await?;
        raw.say(HTTP_2_PREFACE).await?;
        raw.say(&frame(FRAME_SETTINGS, 0, 0, &[])).await?;
        raw.say(&frame(FRAME_SETTINGS, FLAG_ACKNOWLEDGED, 0, &[])).await?;
        Ok(raw)
    }

    pub(super) async fn say(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// Sends the headers of a request without a body, as the first stream of an HTTP/2 connection.
    pub(super) async fn ask_http_2(&mut self, method: &str, path: &str) -> anyhow::Result<()> {
        let mut block = Vec::new();
        for (name, value) in [(":method", method), (":scheme", "https"), (":path", path), (":authority", "kina")] {
            // A literal that is not indexed, its name neither, nothing compressed (RFC 7541, 6.2.2).
            block.push(0);
            for text in [name, value] {
                block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).context("a long header")?);
                block.extend(text.bytes());
            }
        }
        self.say(&frame(FRAME_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS, STREAM, &block)).await
    }

    /// Cancels that request.
    pub(super) async fn cancel_http_2(&mut self) -> anyhow::Result<()> {
        self.say(&frame(FRAME_RESET, 0, STREAM, &ERROR_CANCEL.to_be_bytes())).await
    }

    /// Reads the beginning of an answer.
    pub(super) async fn expect_answer(&mut self) -> anyhow::Result<String> {
        let mut buffer = [0; 4096];
        let count = tokio::time::timeout(CONNECT_TIMEOUT, self.0.read(&mut buffer)).await.context("no answer")??;
        Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned())
    }

    /// Reads until the other side closes or the time limit. Returns true if it has closed.
    pub(super) async fn is_closed_within(&mut self, timeout: Duration) -> bool {
        let mut buffer = [0; 4096];
        let read_all = async { while self.0.read(&mut buffer).await.is_ok_and(|count| 0 < count) {} };
        tokio::time::timeout(timeout, read_all).await.is_ok()
    }

    async fn connect(grant: &LeaseGrant, protocol: &[u8]) -> anyhow::Result<Self> {
        let connecting = async {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(grant.ca_pem.as_bytes())?)?;
            let chain = vec![CertificateDer::from_pem_slice(grant.client_certificate_pem.as_bytes())?];
            let key = PrivateKeyDer::from_pem_slice(grant.client_key_pem.as_bytes())?;
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut config = rustls::ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)?;
            config.alpn_protocols = vec![protocol.to_vec()];
            let stream = TcpStream::connect(grant.address).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::from(grant.address.ip());
            anyhow::Ok(Self(TlsConnector::from(Arc::new(config)).connect(name, stream).await?))
        };
        tokio::time::timeout(CONNECT_TIMEOUT, connecting)
            .await
            .context("connecting took too long")?
            .context("connecting failed")
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    // Three bytes of length.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut frame = length.into_iter().skip(1).collect::<Vec<_>>();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}
