//! What `#[kina::test]` says about mistakes, word by word and place by place.
//!
//! The messages are recorded with the pinned toolchain. After a change on purpose, record them anew with
//! `TRYBUILD=overwrite cargo test -p kina-test --test ui` and read the difference.

#[test]
fn messages() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
