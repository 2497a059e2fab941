//! kina in the types of kube 5 and k8s-openapi 0.29.

#[allow(clippy::duplicate_mod, reason = "each major compiles the file with its own types")]
#[path = "interface.rs"]
mod interface;

pub use ::k8s_openapi;
pub use ::kube;
pub use interface::*;

/// The settings that older majors lack.
fn set_own(config: &mut kube::Config) {
    config.default_retry = false;
    // Otherwise the connection's idle time before a request would count.
    config.reset_reader_on_write = true;
}
