//! Options of modules. What is wrong with them is told once.

#[kina::tests(kubernetes = "1.2", timeouts = "3s")]
mod with_wrong_options {
    #[kina::test]
    async fn one(client: kube::Client) {}

    #[kina::test]
    async fn two(client: kube::Client) {}
}

#[kina::tests(flavor = "current_thread")]
mod with_a_plain_function {
    #[kina::test]
    fn suits_it_not_and_runs_all_the_same(client: kube::Client) {}
}

#[kina::tests(timeout = "3s")]
mod with_a_wrong_test {
    #[kina::test(timeout = "soon")]
    async fn one(client: kube::Client) {}
}

#[kina::tests(timeout = "3s")]
async fn no_module(_client: kube::Client) {}

fn main() {}
