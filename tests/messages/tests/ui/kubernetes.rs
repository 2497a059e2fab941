//! Values of `kubernetes` that have another form than a minor.

#[kina::test(kubernetes = "1.37.1")]
async fn patch(client: kube::Client) {}

#[kina::test(kubernetes = "v1.37")]
async fn prefix(client: kube::Client) {}

#[kina::test(kubernetes = 1.37)]
async fn float(client: kube::Client) {}

#[kina::test(kubernetes = 1.2)]
async fn unknown_float(client: kube::Client) {}

const MINOR: &str = "1.37";

#[kina::test(kubernetes = MINOR)]
async fn constant(client: kube::Client) {}

fn main() {}
