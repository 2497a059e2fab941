//! The error messages of `#[kina::test]`, with their places.
//!
//! The messages are recorded with the pinned toolchain. After an intended change, record them anew with
//! `TRYBUILD=overwrite cargo test -p kina-test-messages` and read the difference.

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
