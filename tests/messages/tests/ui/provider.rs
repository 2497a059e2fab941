//! Values of `provider` that kina does not know.

#[kina::test(provider = "docker")]
async fn unknown(client: kube::Client) {}

#[kina::test(provider = apple)]
async fn without_quotes(client: kube::Client) {}

fn main() {}
