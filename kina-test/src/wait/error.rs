use super::Unmet;
use crate::ApiError;

/// The reason that a wait failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The deadline passed.
    #[error(transparent)]
    Unmet(Box<Unmet>),
    /// The condition is not valid.
    #[error("{object} cannot be waited for")]
    Condition {
        /// The object.
        object: String,
        /// The mistake, and its place.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The condition can never fit the object.
    #[error("the condition can never fit {object}, as seen in version {resource_version}")]
    Unfit {
        /// The object.
        object: String,
        /// The version that was examined.
        resource_version: String,
        /// The part that does not fit, and the reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The reference names no object.
    #[error("a {kind} without a name cannot be waited for: create it first, and wait for the result")]
    NoName {
        /// Its kind.
        kind: String,
    },
    /// The server refuses to show the object.
    #[error("the server does not show {object}{}", remark(source))]
    Refused {
        /// The object.
        object: String,
        /// The server's answer.
        #[source]
        source: Box<ApiError>,
    },
    /// The server's object does not fit its Rust type.
    #[error("{object}, as it was in version {resource_version}, does not fit its Rust type")]
    Unreadable {
        /// The object.
        object: String,
        /// The version that was read.
        resource_version: String,
        /// The part that does not fit.
        #[source]
        source: serde_json::Error,
    },
}

impl WaitError {
    /// Returns true if the user of kina, or the code under test, can fix it, false if it is a bug in kina.
    pub fn is_user_error(&self) -> bool {
        match self {
            Self::Unmet(_) | Self::Condition { .. } | Self::Unfit { .. } | Self::NoName { .. } => true,
            Self::Refused { source, .. } => matches!(**source, ApiError::Refused { .. }),
            Self::Unreadable { .. } => true,
        }
    }

    /// The state at the deadline, if the deadline passed.
    pub fn unmet(&self) -> Option<&Unmet> {
        match self {
            Self::Unmet(unmet) => Some(unmet),
            _ => None,
        }
    }
}

fn remark(error: &ApiError) -> &'static str {
    match error.code() {
        Some(404) => ": it does not know this kind; is its CRD installed?",
        Some(403) => ": the client may not list and watch it",
        _ => "",
    }
}
