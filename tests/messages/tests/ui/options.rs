//! Options that do not exist, are given twice or are written wrongly.

#[kina::test(flavour = "multi_thread")]
async fn unknown(client: kube::Client) {}

#[kina::test("1.37")]
async fn value_alone(client: kube::Client) {}

#[kina::test(kubernetes)]
async fn name_alone(client: kube::Client) {}

#[kina::test(kubernetes("1.37"))]
async fn in_parentheses(client: kube::Client) {}

#[kina::test(kubernetes = "1.37", kubernetes = "1.36")]
async fn twice(client: kube::Client) {}

#[kina::test(kubernetes = "1.37" crate = "::kina")]
async fn no_comma(client: kube::Client) {}

#[kina::test(crate = kina)]
async fn path_without_quotes(client: kube::Client) {}

#[kina::test(crate = "a path")]
async fn no_path(client: kube::Client) {}

fn main() {}
