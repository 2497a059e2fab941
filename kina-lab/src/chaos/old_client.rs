//! Credentials of a lease that has ended.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use kina::__private as kina_private;
use kina_engine::lab::lease_connector::of_secret;
use kina_engine::{LeaseConnector, LeaseGrant};
use serde::{Deserialize, Serialize};

use super::canary::{self, Api};

/// Time limit for a busy engine to close a gateway after the end of its lease.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Duration and interval of late writes.
const LATE_WRITES_FOR: Duration = Duration::from_millis(1000);
const LATE_WRITES_MAX: usize = 200;
const LATE_WRITE_INTERVAL: Duration = Duration::from_millis(4);

/// The content of a lease, as a client that kept it would have it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Credentials {
    address: std::net::SocketAddr,
    ca_pem: String,
    certificate_pem: String,
    key_pem: String,
    /// The engine's socket for leases, and the lease's secret there.
    socket: PathBuf,
    secret: String,
    /// True if the client comes in by the socket, false if by TLS.
    by_socket: bool,
}

/// A process that was left behind.
#[derive(Clone, Debug, Args)]
pub(super) struct LateWriterArguments {
    /// A file with credentials
    #[arg(long)]
    credentials: PathBuf,
    /// The lease they were for
    #[arg(long)]
    lease: usize,
}

impl Credentials {
    /// The credentials of a lease, whose client comes in by the socket for leases or by TLS.
    pub(super) fn of(grant: &LeaseGrant, socket: &Path, by_socket: bool) -> Self {
        Self {
            address: grant.address,
            ca_pem: grant.ca_pem.clone(),
            certificate_pem: grant.client_certificate_pem.clone(),
            key_pem: grant.client_key_pem.clone(),
            socket: socket.to_owned(),
            secret: grant.connection_secret.clone(),
            by_socket,
        }
    }

    /// A client that has nothing else of the lease.
    pub(super) fn connect(&self) -> anyhow::Result<Api> {
        self.connect_by(self.by_socket.then(|| of_secret(self.socket.clone(), self.secret.clone())))
    }

    /// A client that uses the connection with which the lease came, and further ones as [`Self::connect`].
    pub(super) fn connect_first(&self, connector: &LeaseConnector) -> anyhow::Result<Api> {
        self.connect_by(self.by_socket.then(|| connector.clone()))
    }

    /// A client by the socket for leases, whichever way these credentials are for.
    pub(super) fn connect_unused(&self, connector: &LeaseConnector) -> anyhow::Result<Api> {
        self.connect_by(Some(connector.clone()))
    }

    /// The same credentials on the other way.
    fn by_the_other_way(&self) -> Self {
        Self { by_socket: !self.by_socket, ..self.clone() }
    }

    fn connect_by(&self, connector: Option<LeaseConnector>) -> anyhow::Result<Api> {
        let auth_info = kina_private::auth_info(&self.certificate_pem, &self.key_pem);
        let config = kina_private::config_at(self.address, &self.ca_pem, auth_info)?;
        Ok(Api(match connector {
            Some(connector) => kina_private::client_of_lease(&connector, &config)?,
            None => kube::Client::try_from(config)?,
        }))
    }

    pub(super) fn save(&self, path: &Path) -> anyhow::Result<()> {
        let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        Ok(serde_json::to_writer(file, self)?)
    }

    /// `None` if there are none, or if the process that wrote them was killed meanwhile.
    pub(super) fn load(path: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    }
}

/// Returns true if the credentials of an earlier lease, its secret, or any of its connections that were kept, used or
/// not, are still of use when they no longer may be.
pub(super) async fn is_let_in(credentials: &Credentials, kept: &[Api]) -> anyhow::Result<bool> {
    let start = Instant::now();
    loop {
        let mut answered = is_answered(&credentials.connect()?).await;
        answered |= is_answered(&credentials.by_the_other_way().connect()?).await;
        for api in kept {
            answered |= is_answered(api).await;
        }
        if !answered {
            return Ok(false);
        }
        if CLOSE_TIMEOUT < start.elapsed() {
            return Ok(true);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// Goes on writing for a moment, even after the end of the lease.
pub(super) async fn write_late(arguments: &LateWriterArguments) -> anyhow::Result<()> {
    if let Some(credentials) = Credentials::load(&arguments.credentials) {
        go_on_writing(&credentials, arguments.lease).await;
    }
    Ok(())
}

/// The same within this process, on a thread of its own.
pub(super) fn write_late_on_thread(credentials: Credentials, lease: usize) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(go_on_writing(&credentials, lease));
        }
    });
}

async fn go_on_writing(credentials: &Credentials, lease: usize) {
    let writes = async {
        let Ok(api) = credentials.connect() else { return };
        for number in 0..LATE_WRITES_MAX {
            // A refusal has to happen sooner or later.
            let _ = canary::write_late(&api, lease, number).await;
            tokio::time::sleep(LATE_WRITE_INTERVAL).await;
        }
    };
    let _ = tokio::time::timeout(LATE_WRITES_FOR, writes).await;
}

/// Returns true if there is an answer of any kind; a refused or broken handshake is none.
async fn is_answered(api: &Api) -> bool {
    let request = http::Request::get("/version").body(Vec::new());
    let Ok(request) = request else { return false };
    match tokio::time::timeout(ANSWER_TIMEOUT, api.0.request_text(request)).await {
        Ok(Ok(_) | Err(kube::Error::Api(_))) => true,
        Ok(Err(_)) | Err(_) => false,
    }
}
