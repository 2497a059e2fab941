//! Mistakes in a body are where the user made them.

#[kina::test]
async fn asynchronous(client: kube::Client) {
    let number: u32 = "no number";
}

#[kina::test]
fn plain(client: kube::Client) {
    unknown_function(client);
}

#[kina::tests(timeout = "30s")]
mod in_a_module {
    #[kina::test]
    async fn asynchronous(client: kube::Client) -> Result<(), kube::Error> {
        client.unknown_method().await?;
        Ok(3)
    }
}

fn main() {}
