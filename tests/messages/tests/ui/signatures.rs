//! Functions that kina could not call.

type Any = kube::Client;

#[kina::test]
async fn no_arguments() {}

#[kina::test]
async fn nine_arguments(a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any, i: Any) {}

#[kina::test]
async fn borrowed(client: &kube::Client) {}

#[kina::test]
async fn unnamed_type(client: impl Into<kube::Client>) {}

#[kina::test]
async fn generic<T: From<kube::Client>>(client: T) {}

#[kina::test]
async fn bounded(client: kube::Client)
where
    kube::Client: Send,
{
}

#[kina::test]
const fn constant(client: kube::Client) {}

#[kina::test]
async unsafe fn not_safe(client: kube::Client) {}

#[kina::test]
async extern "C" fn foreign(client: kube::Client) {}

struct Suite;

impl Suite {
    #[kina::test]
    async fn method(&self, client: kube::Client) {}
}

fn main() {}
