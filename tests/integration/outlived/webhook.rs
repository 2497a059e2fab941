//! A slow webhook that still runs when the lease that registered it has ended.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::common::server::Server;

const CONFIGURATIONS: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const NAME: &str = "slow.example.com";
/// Longer than the engine waits for requests of a lease that still run.
const HOLD: Duration = Duration::from_millis(2500);
const PROBE: &str = "probe";
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
const PROBES_MAX: usize = 500;

/// The label of the ConfigMaps that are reviewed.
pub const LABEL: &str = "slow";

pub struct SlowWebhook {
    /// Names of held objects.
    held: mpsc::Receiver<String>,
}

impl SlowWebhook {
    /// Registers it, and waits until the API server calls it.
    pub async fn start(server: &Server) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.self_signed(&key)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().expect("a key"))?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (holds, held) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, holds) = (acceptor.clone(), holds.clone());
                // A broken connection ends the requests on it.
                tokio::spawn(async move { review_all(acceptor, stream, holds).await });
            }
        });
        let webhook = json!({
            "name": NAME, "admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 10,
            "clientConfig": {
                "url": format!("https://127.0.0.1:{port}/"), "caBundle": STANDARD.encode(certificate.pem()),
            },
            "rules": [
                {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]},
            ],
            "objectSelector": {"matchLabels": {LABEL: "true"}},
        });
        server.create(CONFIGURATIONS, &json!({"metadata": {"name": NAME}, "webhooks": [webhook]})).await?;
        let mut webhook = Self { held };
        let probe = json!({"metadata": {"name": PROBE, "labels": {LABEL: "true"}}});
        for _ in 0..PROBES_MAX {
            server.create("/api/v1/namespaces/default/configmaps?dryRun=All", &probe).await?;
            if webhook.held.try_recv().is_ok() {
                return Ok(webhook);
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        anyhow::bail!("the webhook was never called")
    }

    /// Waits until the creation of an object with this name is held, and removes the registration. The held request
    /// stays held, and a rewind finds no webhook.
    pub async fn unregister_once_held(&mut self, server: &Server, name: &str) -> anyhow::Result<()> {
        while self.held.recv().await.context("the webhook has ended")? != name {}
        server.delete(&format!("{CONFIGURATIONS}/{NAME}")).await?;
        Ok(())
    }
}

async fn review_all(acceptor: TlsAcceptor, stream: TcpStream, holds: mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut heard = Vec::new();
    loop {
        let (length, review) = loop {
            if let Some(found) = parse(&heard)? {
                break found;
            }
            if stream.read_buf(&mut heard).await? == 0 {
                return Ok(());
            }
        };
        heard.drain(..length);
        let request = &review["request"];
        let name = request["name"].as_str().unwrap_or_default().to_owned();
        let is_probe = name == PROBE;
        holds.send(name).await?;
        if !is_probe {
            tokio::time::sleep(HOLD).await;
        }
        let answer = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "response": {"uid": request["uid"], "allowed": true},
        });
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", answer.len());
        stream.write_all((head + &answer).as_bytes()).await?;
        stream.flush().await?;
    }
}

/// A complete request, if there is one: its length, and its body.
fn parse(heard: &[u8]) -> anyhow::Result<Option<(usize, Value)>> {
    let Some(head_end) = heard.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&heard[..head_end])?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).context("no length")?;
    let end = head_end + 4 + length.trim().parse::<usize>()?;
    let Some(body) = heard.get(head_end + 4..end) else { return Ok(None) };
    Ok(Some((end, serde_json::from_slice(body)?)))
}
