//! The errors of the compiler for each argument and option that takes a type of kube. Recorded with the pinned toolchain: after
//! an intended change, record them anew with `TRYBUILD=overwrite` and read the difference.

#[test]
fn each_message_names_the_feature() {
    trybuild::TestCases::new().compile_fail("ui/*.rs");
}
