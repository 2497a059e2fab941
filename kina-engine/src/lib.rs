//! The engine of kina.
