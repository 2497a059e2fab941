//! Connections on which the test determines every byte.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use kina_engine::LeaseGrant;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const PATIENCE: Duration = Duration::from_secs(30);

/// The form in which a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    /// With one more byte after the request.
    Http1Ahead,
    Http2,
}

/// The sender: the holder of the lease's certificate, or of a bearer token.
#[derive(Clone, Debug)]
pub enum Credential {
    Certificate,
    Token(String),
}

pub struct Connection {
    stream: TlsStream<TcpStream>,
    protocol: Protocol,
    headers: Vec<(&'static str, String)>,
}

impl Connection {
    pub async fn open(grant: &LeaseGrant, protocol: Protocol, credential: &Credential) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(grant.ca_pem.as_bytes())?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = builder.with_root_certificates(roots);
        let mut headers = vec![("content-type", "application/json".to_owned())];
        let mut config = match credential {
            Credential::Certificate => {
                let certificate = CertificateDer::from_pem_slice(grant.client_certificate_pem.as_bytes())?;
                let key = PrivateKeyDer::from_pem_slice(grant.client_key_pem.as_bytes())?;
                builder.with_client_auth_cert(vec![certificate], key)?
            }
            Credential::Token(token) => {
                headers.push(("authorization", format!("Bearer {token}")));
                builder.with_no_client_auth()
            }
        };
        let alpn: &[u8] = if protocol == Protocol::Http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(grant.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(grant.address.ip().into());
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let agreed = stream.get_ref().1.alpn_protocol();
        ensure!(agreed == Some(alpn), "the gateway speaks {agreed:?}");
        Ok(Self { stream, protocol, headers })
    }

    /// Sends a request without waiting for its answer.
    pub async fn send(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        if self.protocol == Protocol::Http2 {
            return self.send_http2(method, path, body).await;
        }
        let request = self.http1(method, path, body);
        self.stream.write_all(request.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// Sends the start of another request, over HTTP/1.1. Once the API server has read it while serving a request, it
    /// no longer notices that the connection ends.
    pub async fn send_one_more_byte(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(b"G").await?;
        Ok(self.stream.flush().await?)
    }

    /// Requests another protocol, and waits for the agreement.
    pub async fn upgrade(&mut self, path: &str) -> anyhow::Result<()> {
        for (name, value) in [
            ("origin", "https://kina"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            self.headers.push((name, value.to_owned()));
        }
        self.send("GET", path, "").await?;
        self.expect(b"HTTP/1.1 101 ").await
    }

    /// Waits for the start of an answer.
    pub async fn expect(&mut self, beginning: &[u8]) -> anyhow::Result<()> {
        let mut heard = vec![0; beginning.len()];
        tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut heard)).await.context("no answer")??;
        ensure!(heard == beginning, "the answer begins with {:?}", String::from_utf8_lossy(&heard));
        Ok(())
    }

    fn http1(&self, method: &str, path: &str, body: &str) -> String {
        let headers: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        format!("{method} {path} HTTP/1.1\r\nhost: kina\r\n{headers}{length}\r\n{body}")
    }

    async fn send_http2(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<()> {
        let pseudo = [(":method", method), (":scheme", "https"), (":authority", "kina"), (":path", path)];
        let own = self.headers.iter().map(|(name, value)| (*name, value.as_str()));
        let block: Vec<u8> = pseudo.into_iter().chain(own).flat_map(|(name, value)| field(name, value)).collect();
        // The last frame marks the end of the stream.
        let (headers_flags, data) = match body {
            "" => (0x5, Vec::new()),
            body => (0x4, frame(0, 0x1, 1, body.as_bytes())),
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        let bytes = [preface, frame(4, 0, 0, &[]), frame(1, headers_flags, 1, &block), data].concat();
        self.stream.write_all(&bytes).await?;
        Ok(self.stream.flush().await?)
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header, spelled out (RFC 7541, 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0][..], &text(name), &text(value)].concat()
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    match text.len().checked_sub(127) {
        None => bytes.push(u8::try_from(text.len()).expect("short")),
        Some(mut rest) => {
            bytes.push(127);
            while 127 < rest {
                bytes.push((rest & 127) as u8 | 128);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        }
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes
}
