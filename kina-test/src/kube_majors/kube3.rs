//! kina in the types of kube 3 and k8s-openapi 0.27.

#[allow(clippy::duplicate_mod, reason = "each major compiles the file with its own types")]
#[path = "interface.rs"]
mod interface;

pub use ::kube3 as kube;
pub use ::openapi3 as k8s_openapi;
pub use interface::*;

/// Nothing: its client never retries.
fn set_own(_: &mut kube::Config) {}
