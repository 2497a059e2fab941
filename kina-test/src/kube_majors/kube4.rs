//! kina in the types of kube 4 and k8s-openapi 0.28.

#[allow(clippy::duplicate_mod, reason = "each major compiles the file with its own types")]
#[path = "interface.rs"]
mod interface;

pub use ::kube4 as kube;
pub use ::openapi4 as k8s_openapi;
pub use interface::*;

/// The settings that kube 3 lacks.
fn set_own(config: &mut kube::Config) {
    config.default_retry = false;
}
