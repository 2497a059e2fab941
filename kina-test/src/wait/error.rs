use super::Unmet;

/// Why a wait did not end as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline came first.
    #[error(transparent)]
    Unmet(Box<Unmet>),
    /// What was waited for is no condition.
    #[error("{object} cannot be waited for")]
    Condition {
        /// Which object.
        object: String,
        /// What is wrong, and where.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The condition cannot fit the object, whatever becomes of it.
    #[error("waiting for {object} is in vain, as it was in version {resource_version}")]
    Unfit {
        /// Which object.
        object: String,
        /// The version that was looked at.
        resource_version: String,
        /// Which part does not fit, and why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The reference names no object.
    #[error("a {kind} without a name cannot be waited for: create it first, and wait for what the server returns")]
    NoName {
        /// Of which kind.
        kind: String,
    },
    /// The server refuses to tell of the object.
    #[error("the server does not tell of {object}{}", remark(source))]
    Refused {
        /// Which object.
        object: String,
        /// What the server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The server sent something else than the type of the object.
    #[error("{object}, as it was in version {resource_version}, does not fit its Rust type")]
    Unreadable {
        /// Which object.
        object: String,
        /// The version that was read.
        resource_version: String,
        /// What does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl WaitError {
    /// Whether you, or the code under test, can do something about it, rather than kina's makers.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::Unmet(_) | Self::Condition { .. } | Self::Unfit { .. } | Self::NoName { .. } => true,
            Self::Refused { source, .. } => matches!(**source, kube::Error::Api(_)),
            Self::Unreadable { .. } => true,
        }
    }

    /// What is known at the deadline, if that came first.
    pub fn unmet(&self) -> Option<&Unmet> {
        match self {
            Self::Unmet(unmet) => Some(unmet),
            _ => None,
        }
    }
}

fn remark(error: &kube::Error) -> &'static str {
    match error {
        kube::Error::Api(status) if status.code == 404 => ": it knows no such kind; is its CRD installed?",
        kube::Error::Api(status) if status.code == 403 => ": the client may not list and watch it",
        _ => "",
    }
}
