//! kina
