//! cargo-kina
fn main() {}
