//! Several mistakes, one compilation.

#[kina::test(kubernetes = "v1.36", timeout = 3, crate = "")]
#[test]
fn everything<T>(client: &T, name: impl ToString) {}

fn main() {}
