//! Macros of kina.
