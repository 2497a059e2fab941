//! The engine of kina.

#[cfg(feature = "engine")]
pub mod assets;
#[cfg(feature = "engine")]
pub mod backoff;
