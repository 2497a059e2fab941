//! Restoring a used cluster's stored state to its baseline, and proving it.
//!
//! kube-apiserver keeps all of its state in etcd and follows it by watch. So a rewind writes to etcd alone, and then
//! waits until everything in the API server that follows etcd has seen it.
//!
//! - `baseline`: the state to restore.
//! - `template`: the additions to it on some slots; `take`: taking them from a slot.
//! - `sorted_keys`: the keys of both, in memory; `value_file`: their values, on disk.
//! - `fingerprint`: discovery and OpenAPI of a state.
//! - `server_owned`: the few keys that the servers renew by themselves.
//! - `plan`: the difference between a listing and the baseline, as writes. Pure.
//! - `expected_keys`: the keys that a template may have. Pure.
//! - `followed`: the writes that may be one transaction. Pure.
//! - `resource`: from storage keys to the API that serves them. Pure.
//! - `settle`: waiting until caches, discovery and authorization have followed.
//! - `allocators`: making the API server look for free addresses and ports.
//! - `in_force`: detection that admission, authorization and defaults have caught up.
//! - `controllers`: detection that controllers are at work.
//! - `history`: storage's memory of earlier leases.
//! - `identity_lease`: the API server's own Lease, which a test may write to.
//! - `canaries`: those of one pass; `namespace_canary`: detection that admission knows all namespaces.

mod allocators;
mod baseline;
mod canaries;
mod controllers;
mod expected_keys;
mod fingerprint;
mod followed;
mod history;
mod identity_lease;
mod in_force;
mod namespace_canary;
mod plan;
mod resource;
mod rewinder;
mod server_owned;
mod settle;
mod sorted_keys;
mod take;
mod template;
mod value_file;

pub(crate) use baseline::{Baseline, BaselineWriter};
pub(crate) use controllers::wait_controllers;
pub(crate) use expected_keys::ExpectedKeys;
pub use fingerprint::Fingerprint;
pub(crate) use followed::{is_followed, transactions};
#[cfg(feature = "lab")]
pub use resource::{UNFOLLOWED, api_name};
pub(crate) use rewinder::{RewindReport, Rewinder};
pub(crate) use server_owned::{ServerOwned, is_root_certificate};
pub use settle::read_fingerprint;
pub(crate) use template::{Template, TemplateWriter};

use crate::api_client::NoAnswer;
use crate::etcd::EtcdError;
use crate::lingering::ProfileError;
use crate::provider::ProviderError;

/// All of an API server's keys start with this (kube-apiserver's `--etcd-prefix`).
pub const PREFIX: &[u8] = b"/registry/";

/// The reason why a cluster could not be rewound. It is then destroyed, never handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewindError {
    /// etcd did not do its part.
    #[error("the cluster's etcd failed")]
    Etcd(#[from] EtcdError),
    /// The API server did not answer.
    #[error("the cluster's API server failed")]
    Api(#[from] NoAnswer),
    /// The baseline's values could not be read from disk.
    #[error("reading what {key} is put back to failed")]
    Value {
        /// The storage key.
        key: String,
        /// The fault of the file.
        #[source]
        source: std::io::Error,
    },
    /// The API server answered, but not as it must.
    #[error("{asked} was answered by {answered}")]
    Unexpected {
        /// The request.
        asked: String,
        /// The answer.
        answered: String,
    },
    /// The API server could not be restarted.
    #[error("restarting the cluster's API server failed")]
    Restart(#[from] ProviderError),
    /// A lease's changes to the cluster could not be recorded.
    #[error("writing the template to disk failed")]
    KeepTemplate(#[source] std::io::Error),
    /// A written rule has no effect yet, or another one stands before it.
    #[error(
        "after {waited_ms} ms nothing shows that rules of the kind {rule} are in force: the last probe was answered by \
         {answered}. If that is another rule, let it spare the namespaces kube-public and kube-node-lease, or \
         apply it later"
    )]
    NotInForce {
        /// Its kind.
        rule: String,
        /// The time waited.
        waited_ms: u128,
        /// The result of the last probe.
        answered: String,
    },
    /// Something other than the template's objects was written while they were applied.
    #[error("{key} was written or removed while a template was made, and belongs to none of its objects")]
    Intruder {
        /// The storage key.
        key: String,
    },
    /// The lease ended meanwhile.
    #[error("the lease ended while its rules were being brought in force")]
    LeaseEnded,
    /// The cluster kept changing while a template was to be taken.
    #[error("after {waited_ms} ms the cluster was still being written to, so no template was taken from it")]
    NotQuiet {
        /// The time waited.
        waited_ms: u128,
    },
    /// It is unknown if requests still run in the API server.
    #[error("looking for what earlier leases have left running failed")]
    Lingering(#[from] ProfileError),
    /// Something keeps writing.
    #[error("after {passes} passes {keys} keys still differ from the baseline, among them {example}")]
    Unsettled {
        /// The number of rewinds.
        passes: usize,
        /// The number of keys that differ.
        keys: usize,
        /// One of them.
        example: String,
    },
    /// The API server still shows objects that storage no longer has.
    #[error("{what} did not follow the rewind within {waited_ms} ms")]
    Lagging {
        /// The part of the API server.
        what: String,
        /// The time waited.
        waited_ms: u128,
    },
}
