//! Items that are not functions, or that lack a body.

#[kina::test]
struct Thing;

#[kina::test]
const LIMIT: u32 = 3;

#[kina::test]
mod module {}

trait Suite {
    #[kina::test]
    async fn no_body(client: kube::Client);
}

fn main() {}
