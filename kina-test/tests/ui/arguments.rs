//! Arguments that nobody can make, each at its own place.

#[kina::test]
async fn unknown(number: u32, client: kube::Client, names: Vec<String>) {}

#[kina::test]
fn unknown_to_a_plain_function(cluster: kina::Cluster, number: u32) {}

fn main() {}
