#[kina::test]
async fn takes_it(config: kube::Config) {}

fn main() {}
