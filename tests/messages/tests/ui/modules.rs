//! Options of modules. Their errors are reported once.

#[kina::tests(kubernetes = "v1.2", timeouts = "3s")]
mod with_wrong_options {
    #[kina::test]
    async fn one(client: kube::Client) {}

    #[kina::test]
    async fn two(client: kube::Client) {}
}

#[kina::tests(flavor = "current_thread")]
mod with_a_plain_function {
    #[kina::test]
    fn is_not_affected_by_the_option(client: kube::Client) {}
}

#[kina::tests(timeout = "3s")]
mod with_a_wrong_test {
    #[kina::test(timeout = "soon")]
    async fn one(client: kube::Client) {}
}

#[kina::tests(timeout = "3s")]
async fn no_module(_client: kube::Client) {}

fn main() {}
