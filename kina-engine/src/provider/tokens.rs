//! Tokens of service accounts, which would outlive the lease that asked for them.
//!
//! A token is valid as long as its account exists and its key is known, and for ten seconds after that, because the API
//! server caches authentications. Accounts of a baseline or a template stay, with their UIDs. A lease in which tokens
//! were made is therefore followed by a new key and a restart. An audit log that holds nothing else shows if any were:
//! each request for a token is written to it before it is carried out, even if it is then refused.
//!
//! kube-controller-manager's requests for its controllers' tokens do not count, because it ends with its lease. It also
//! fills Secrets with tokens that it signs itself. Nothing but those tokens makes it write Secrets, so such a write
//! counts.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use super::ProviderError;
use super::arguments::file;
use super::files::replace_private_file;
use crate::certificates::SigningKeyPair;

/// The audit log's name.
pub(super) const AUDIT_LOG: &str = "token-requests.log";
const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";

/// The keys of one cluster's tokens, and the log that shows their use.
#[derive(Debug)]
pub(super) struct TokenKeys {
    certificate_directory: PathBuf,
    audit_log: PathBuf,
    /// Length of the log when the keys were made.
    log_bytes: AtomicU64,
}

impl TokenKeys {
    /// Takes over the new and unused keys in this directory, of an API server that writes this log.
    pub(super) fn new(certificate_directory: PathBuf, audit_log: PathBuf) -> Self {
        Self { certificate_directory, audit_log, log_bytes: AtomicU64::new(0) }
    }

    /// Returns true if a token was asked for since the keys were made.
    pub(super) fn were_used(&self) -> Result<bool, ProviderError> {
        // A log that has reached its greatest length begins anew.
        Ok(self.audit_log_bytes()? != self.log_bytes.load(Ordering::Relaxed))
    }

    /// Replaces the keys, if they were used. Components know the new ones from their next start on. To be called when
    /// no lease can ask for tokens.
    pub(super) fn renew_if_used(&self) -> Result<(), ProviderError> {
        if self.were_used()? { self.renew() } else { Ok(()) }
    }

    /// The same, whether the log shows a use or not.
    pub(super) fn renew(&self) -> Result<(), ProviderError> {
        let log_bytes = self.audit_log_bytes()?;
        let keys = SigningKeyPair::generate()?;
        let path = |name: &str| self.certificate_directory.join(name);
        replace_private_file(&path(file::SERVICE_ACCOUNT_PRIVATE), &keys.private_pem)?;
        replace_private_file(&path(file::SERVICE_ACCOUNT_PUBLIC), &keys.public_pem)?;
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        Ok(())
    }

    fn audit_log_bytes(&self) -> Result<u64, ProviderError> {
        match std::fs::metadata(&self.audit_log) {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(ProviderError::Files { action: "looking at", path: self.audit_log.clone(), source }),
        }
    }
}

/// The policy of the API server's audit log (`audit.k8s.io/v1`). The first rule that matches a request decides.
pub(super) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["ResponseStarted", "ResponseComplete", "Panic"],
        "rules": [
            {
                "level": "Metadata",
                "users": [CONTROLLER_MANAGER],
                "verbs": ["create", "update", "patch"],
                "resources": [{"group": "", "resources": ["secrets"]}],
            },
            {"level": "None", "users": [CONTROLLER_MANAGER]},
            {
                "level": "Metadata",
                "verbs": ["create"],
                "resources": [{"group": "", "resources": ["serviceaccounts/token"]}],
            },
            {"level": "None"},
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_renewed_once_for_each_time_that_they_were_used() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (log, key) = (directory.path().join(AUDIT_LOG), directory.path().join(file::SERVICE_ACCOUNT_PRIVATE));
        let keys = TokenKeys::new(directory.path().to_owned(), log.clone());
        assert!(!keys.were_used().expect("looked at"), "there is no log yet");
        keys.renew_if_used().expect("nothing to do");
        assert!(!key.exists());
        for text in ["first", "first and second", "rotated"] {
            std::fs::write(&log, text).expect("written");
            assert!(keys.were_used().expect("looked at"), "{text}");
            let before = std::fs::read_to_string(&key).unwrap_or_default();
            keys.renew_if_used().expect("renewed");
            let after = std::fs::read_to_string(&key).expect("a key");
            assert!(after.contains("PRIVATE KEY") && after != before, "{text}");
            assert!(!keys.were_used().expect("looked at"), "{text}");
            keys.renew_if_used().expect("nothing to do");
            assert_eq!(std::fs::read_to_string(&key).expect("a key"), after);
        }
    }
}
