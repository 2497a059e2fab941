//! The types of kube: one file for each of its majors, with a feature of its own.
//!
//! - `interface`: the interface that all majors have in common, compiled once for each.
//! - `http_span`: the span of each request.
//! - `kube3`, `kube4`, `kube5`: the majors, and their differences.
//! - `main_major`: the interface that only one of them can have, in the types of the newest major that is on.

mod http_span;
#[cfg(feature = "kube3")]
pub mod kube3;
#[cfg(feature = "kube4")]
pub mod kube4;
#[cfg(feature = "kube5")]
pub mod kube5;
mod main_major;

use crate::Error;

#[cfg(all(feature = "kube3", not(any(feature = "kube4", feature = "kube5"))))]
pub(crate) use kube3 as main;
#[cfg(all(feature = "kube4", not(feature = "kube5")))]
pub(crate) use kube4 as main;
#[cfg(feature = "kube5")]
pub(crate) use kube5 as main;

/// The certificate authority of a cluster is not valid PEM.
#[derive(Debug, thiserror::Error)]
#[error("the certificate authority of {address} cannot be read")]
pub struct BadCertificate {
    address: std::net::SocketAddr,
    #[source]
    source: rustls::pki_types::pem::Error,
}

impl From<BadCertificate> for Error {
    fn from(error: BadCertificate) -> Self {
        Self::Client(Box::new(error))
    }
}
