//! kina brings the runtime and the test attribute, so a second one is a mistake.

#[kina::test]
#[tokio::test]
async fn tokio(client: kube::Client) {}

#[kina::test]
#[should_panic]
#[test]
async fn plain(client: kube::Client) {}

#[kina::test]
#[test_log::test(tokio::test)]
async fn another_in_it(client: kube::Client) {}

#[kina::test]
#[kina::test(kubernetes = "1.36")]
async fn kina_twice(client: kube::Client) {}

fn main() {}
