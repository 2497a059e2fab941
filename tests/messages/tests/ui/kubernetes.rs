//! Values of `kubernetes` that are not known minors.

#[kina::test(kubernetes = "1.2")]
async fn unknown(client: kube::Client) {}

#[kina::test(kubernetes = "1.37.1")]
async fn patch(client: kube::Client) {}

#[kina::test(kubernetes = "v1.37")]
async fn prefix(client: kube::Client) {}

#[kina::test(kubernetes = 1.37)]
async fn float(client: kube::Client) {}

#[kina::test(kubernetes = 1.2)]
async fn unknown_float(client: kube::Client) {}

#[kina::test(kubernetes = "")]
async fn empty(client: kube::Client) {}

#[kina::test(kubernetes = "latest")]
async fn word(client: kube::Client) {}

const MINOR: &str = "1.37";

#[kina::test(kubernetes = MINOR)]
async fn constant(client: kube::Client) {}

fn main() {}
