//! Putting a used cluster's stored state back to its baseline, and proving that it is.
//!
//! kube-apiserver keeps all of its state in etcd and follows it by watch. So a rewind writes to etcd alone, and then
//! waits until everything in the API server that follows etcd has seen it.
//!
//! - `baseline`: what the state is put back to.
//! - `template`: what some slots have beyond that; `take`: how it is taken from one of them.
//! - `sorted_keys`: the keys of both, in memory; `value_file`: their values, on disk.
//! - `server_owned`: the few keys that the servers renew by themselves.
//! - `plan`: the difference between a listing and the baseline, as writes. Pure.
//! - `expected_keys`: which keys a template may have. Pure.
//! - `followed`: which of them may be one transaction. Pure.
//! - `resource`: from storage keys to the API that serves them. Pure.
//! - `settle`: waiting until caches, discovery and authorization have followed.
//! - `allocators`: making the API server look at what is free.
//! - `in_force`: how to know that admission, authorization and defaults have caught up.
//! - `controllers`: how to know that controllers are at work.
//! - `history`: what storage remembers of earlier leases.
//! - `identity_lease`: the API server's own Lease, which a test may write to.
//! - `canaries`: those of one pass; `namespace_canary`: how to know that admission has heard of all namespaces.

mod allocators;
mod baseline;
mod canaries;
mod controllers;
mod expected_keys;
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

pub(crate) use baseline::{Baseline, BaselineWriter, Fingerprint};
pub(crate) use controllers::wait_controllers;
pub(crate) use expected_keys::ExpectedKeys;
pub(crate) use followed::{is_followed, transactions};
#[cfg(feature = "cli")]
pub(crate) use resource::{UNFOLLOWED, api_name};
pub(crate) use rewinder::{RewindReport, Rewinder};
pub(crate) use server_owned::ServerOwned;
pub(crate) use settle::read_fingerprint;
pub(crate) use template::{Template, TemplateWriter};

use crate::api_client::NoAnswer;
use crate::etcd::EtcdError;
use crate::lingering::ProfileError;
use crate::provider::ProviderError;

/// All of an API server's keys start with this (kube-apiserver's `--etcd-prefix`).
pub(crate) const PREFIX: &[u8] = b"/registry/";

/// Why a cluster could not be rewound. It is then destroyed, never handed out.
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
        /// What is wrong with the file.
        #[source]
        source: std::io::Error,
    },
    /// The API server answered, but not as it must.
    #[error("{asked} was answered by {answered}")]
    Unexpected {
        /// What was asked.
        asked: String,
        /// What came back.
        answered: String,
    },
    /// The API server could not be restarted.
    #[error("restarting the cluster's API server failed")]
    Restart(#[from] ProviderError),
    /// What a lease made of the cluster could not be taken down.
    #[error("writing the template to disk failed")]
    KeepTemplate(#[source] std::io::Error),
    /// A rule that was written has no effect yet, or another one stands before it.
    #[error(
        "after {waited_ms} ms nothing shows that rules of the kind {rule} are in force: the last probe was answered by \
         {answered}. If that is another rule, let it spare the namespace kube-public, or apply it later"
    )]
    NotInForce {
        /// Its kind.
        rule: String,
        /// How long it was waited for.
        waited_ms: u128,
        /// The result of the last probe.
        answered: String,
    },
    /// Something else than the template's objects was written while they were applied.
    #[error("{key} was written or removed while a template was made, and belongs to none of its objects")]
    Intruder {
        /// The storage key.
        key: String,
    },
    /// The lease ended meanwhile.
    #[error("the lease ended while its rules were being brought in force")]
    LeaseEnded,
    /// What a lease made of the cluster kept changing.
    #[error("after {waited_ms} ms the cluster was still being written to, so no template was taken from it")]
    NotQuiet {
        /// For how long it was waited.
        waited_ms: u128,
    },
    /// It is not known what still runs in the API server.
    #[error("looking for what earlier leases have left running failed")]
    Lingering(#[from] ProfileError),
    /// Something keeps writing.
    #[error("after {passes} passes {keys} keys still differ from the baseline, among them {example}")]
    Unsettled {
        /// How often it was rewound.
        passes: usize,
        /// How many keys differ.
        keys: usize,
        /// One of them.
        example: String,
    },
    /// The API server still shows what storage no longer has.
    #[error("{what} did not follow the rewind within {waited_ms} ms")]
    Lagging {
        /// Which part of the API server.
        what: String,
        /// How long it was waited for.
        waited_ms: u128,
    },
}
