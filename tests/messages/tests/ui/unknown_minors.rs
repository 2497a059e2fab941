//! Values of `kubernetes` that are minors that kina does not know, or no minors at all.

#[kina::test(kubernetes = "1.2")]
async fn unknown(client: kube::Client) {}

#[kina::test(kubernetes = "1.370")]
fn plain(client: kube::Client) {}

#[kina::test(kubernetes = "")]
async fn empty(client: kube::Client) {}

#[kina::test(kubernetes = "latest")]
async fn word(client: kube::Client) {}

#[kina::tests(kubernetes = "1.3")]
mod reported_once {
    #[kina::test]
    async fn one(client: kube::Client) {}

    #[kina::test(kubernetes = "1.36")]
    async fn with_its_own(client: kube::Client) {}
}

fn main() {}
