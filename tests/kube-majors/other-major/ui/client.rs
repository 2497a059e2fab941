#[kina::test]
async fn takes_it(client: kube::Client) {}

fn main() {}
