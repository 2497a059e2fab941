//! Values of options that are words, numbers or durations.

#[kina::test(profile = "nodes")]
async fn no_such_profile(client: kube::Client) {}

#[kina::test(isolation = cluster)]
async fn without_quotes(client: kube::Client) {}

#[kina::test(flavor = "local")]
async fn no_such_flavor(client: kube::Client) {}

#[kina::test(flavor = "current_thread")]
fn flavor_of_a_plain_function(client: kube::Client) {}

#[kina::test(worker_threads = 2)]
async fn workers_of_the_other_flavor(client: kube::Client) {}

#[kina::test(flavor = "multi_thread", worker_threads = "two")]
async fn workers_in_words(client: kube::Client) {}

#[kina::test(start_paused = true)]
async fn paused(client: kube::Client) {}

#[kina::test(timeout = 30)]
async fn number(client: kube::Client) {}

#[kina::test(timeout = "30 seconds")]
async fn words(client: kube::Client) {}

#[kina::test(timeout = "0s")]
async fn no_time(client: kube::Client) {}

#[kina::test(timeout = "2000h")]
async fn for_ever(client: kube::Client) {}

fn main() {}
