//! An example operator.
