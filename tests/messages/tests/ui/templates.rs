//! Templates with files that do not exist, or with entries of the wrong type.

#[kina::test(crds = ["nowhere/widget.yaml"])]
async fn no_file(client: kube::Client) {}

#[kina::test(fixtures = ["Cargo.toml", "nowhere/*.yaml"])]
async fn no_match(client: kube::Client) {}

#[kina::test(fixtures = ["/etc/*.yaml"])]
async fn on_one_machine(client: kube::Client) {}

#[kina::test(crds = "crds/*.yaml")]
async fn no_list(client: kube::Client) {}

#[kina::test(fixtures = [])]
async fn empty(client: kube::Client) {}

#[kina::test(fixtures = [String])]
async fn type_among_fixtures(client: kube::Client) {}

#[kina::test(template = "my_template")]
async fn function_in_quotes(client: kube::Client) {}

fn main() {}
