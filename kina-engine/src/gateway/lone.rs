use std::net::SocketAddr;
use std::sync::Arc;

use super::{Entrance, GatewayCredentials, GatewayError, HasEnded, OpenGateway, PreparedGateway};
use crate::certificates::IssuedIdentity;
use crate::cluster_access::ClusterAccess;
use crate::open_files::OpenFiles;

/// The open files that such a gateway may have.
const OPEN_FILES_MAX: u64 = 1024;

/// An open gateway in front of a cluster that belongs to no engine.
pub struct LoneGateway {
    gateway: OpenGateway,
    credentials: GatewayCredentials,
}

impl LoneGateway {
    /// Opens a gateway, and lets clients through it. `has_ended` tells of the API server.
    pub async fn open(access: &ClusterAccess, has_ended: HasEnded) -> Result<Self, GatewayError> {
        let entrance = Arc::new(Entrance::new(Arc::new(OpenFiles::new(OPEN_FILES_MAX))));
        let prepared = PreparedGateway::prepare(access, has_ended, &entrance).await?;
        let (gateway, admission, credentials) = prepared.open()?;
        admission.admit();
        Ok(Self { gateway, credentials })
    }

    pub fn address(&self) -> SocketAddr {
        self.credentials.address
    }

    pub fn ca_pem(&self) -> &str {
        &self.credentials.ca_pem
    }

    pub fn client(&self) -> &IssuedIdentity {
        &self.credentials.client
    }

    pub async fn close(self) {
        drop(self.gateway.close().await);
    }
}
