//! HTTP with a bound on everything: connect, silence, total time, size.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::time::Duration;

use ureq::{Agent, Proxy};

use super::request::AssetRequest;

/// The failure of a transfer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("the server answered with status {0}")]
    Status(u16),
    #[error("the request failed")]
    Request(#[source] ureq::Error),
    #[error("the transfer broke off after {received_bytes} bytes")]
    Transfer {
        received_bytes: u64,
        #[source]
        source: io::Error,
    },
    #[error("the answer is larger than {0} bytes")]
    TooLarge(u64),
}

/// A body that is being received.
pub(super) struct Body {
    reader: ureq::BodyReader<'static>,
    bytes_max: u64,
    /// The size that the server announced.
    pub(super) announced_bytes: Option<u64>,
    /// The size that was received so far.
    pub(super) received_bytes: u64,
}

impl HttpError {
    /// Returns true if the same request may succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Status(status) => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::Transfer { .. } => true,
            Self::TooLarge(_) => false,
            Self::Request(error) => matches!(
                error,
                ureq::Error::Io(_)
                    | ureq::Error::Timeout(_)
                    | ureq::Error::HostNotFound
                    | ureq::Error::ConnectionFailed
                    | ureq::Error::Protocol(_)
            ),
        }
    }
}

/// Begins to receive `url`.
pub(super) fn get(request: &AssetRequest, url: &str, timeout: Duration, bytes_max: u64) -> Result<Body, HttpError> {
    let limits = &request.limits;
    let agent: Agent = Agent::config_builder()
        // A secure address must not lead to an insecure one by redirection.
        .https_only(url.starts_with("https:"))
        .proxy(proxy(request))
        .user_agent(concat!("kina/", env!("CARGO_PKG_VERSION")))
        // The checksum is that of the archive as it is stored, so nothing may be decoded on the way.
        .accept_encoding("identity")
        .timeout_global(Some(timeout))
        .timeout_resolve(Some(limits.connect_timeout))
        .timeout_connect(Some(limits.connect_timeout))
        .timeout_per_read(Some(limits.idle_timeout))
        .timeout_per_write(Some(limits.idle_timeout))
        .build()
        .into();
    let response = agent.get(url).call().map_err(|error| match error {
        ureq::Error::StatusCode(status) => HttpError::Status(status),
        other => HttpError::Request(other),
    })?;
    let announced_bytes = response.body().content_length();
    if announced_bytes.is_some_and(|announced_bytes| announced_bytes > bytes_max) {
        return Err(HttpError::TooLarge(bytes_max));
    }
    Ok(Body { reader: response.into_body().into_reader(), bytes_max, announced_bytes, received_bytes: 0 })
}

impl Body {
    /// Receives some more bytes; none means that the body is complete.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, HttpError> {
        let broken = |source, received_bytes| HttpError::Transfer { received_bytes, source };
        let length = self.reader.read(buffer).map_err(|error| broken(error, self.received_bytes))?;
        self.received_bytes += length as u64;
        if self.received_bytes > self.bytes_max {
            return Err(HttpError::TooLarge(self.bytes_max));
        }
        if length == 0 && self.announced_bytes.is_some_and(|announced_bytes| announced_bytes > self.received_bytes) {
            return Err(broken(io::ErrorKind::UnexpectedEof.into(), self.received_bytes));
        }
        Ok(length)
    }

    /// Receives all of a body that is text.
    pub(super) fn receive_text(mut self) -> Result<String, HttpError> {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.receive(&mut buffer)? {
                0 => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
    }
}

/// The proxy that the request's environment names, together with the hosts that are reached without it.
fn proxy(request: &AssetRequest) -> Option<Proxy> {
    let variable = |names: &[&str]| {
        names.iter().find_map(|wanted| {
            let (_, value) = request.environment.iter().find(|(name, value)| name == wanted && !value.is_empty())?;
            OsStr::to_str(value)
        })
    };
    let address = variable(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])?;
    let named = Proxy::new(address)
        .inspect_err(|error| tracing::warn!(%error, "the proxy that the environment names is not understood"))
        .ok()?;
    let mut builder = Proxy::builder(named.protocol()).host(named.host()).port(named.port());
    if let Some(username) = named.username() {
        builder = builder.username(username);
    }
    if let Some(password) = named.password() {
        builder = builder.password(password);
    }
    for host in variable(&["NO_PROXY", "no_proxy"]).unwrap_or_default().split(',') {
        builder = builder.no_proxy(host.trim());
    }
    builder.build().ok()
}
