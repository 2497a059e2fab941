//! `kina-test` for tests of messages: the attribute, and the one constant function that its expansion calls for a
//! message.

pub use kina_test_macros::{test, tests};

#[path = "../../../../kina-engine/src/kubernetes_minor.rs"]
#[allow(dead_code, unexpected_cfgs, reason = "the engine's own source, of which only the check is called")]
mod kubernetes_minor;

#[doc(hidden)]
pub mod __private {
    pub use crate::kubernetes_minor::expect_known_minor;
}
