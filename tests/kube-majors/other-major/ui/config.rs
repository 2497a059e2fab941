// `#[kina::test]` calls this for each argument, with the type as the test has it. trybuild compiles no tests.
fn main() {
    let _ = kina::__private::argument::<kube::Config>();
}
