// The body of the test that every peer runs.

/// The line on standard output that `cargo lab bench peers` waits for.
const ANSWERED: &str = "first list answered:";

async fn first_list(client: kube::Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::{Api, ListParams};

    let namespaces: Api<Namespace> = Api::all(client);
    let count = namespaces.list(&ListParams::default()).await?.items.len();
    println!("{ANSWERED} {count} namespaces");
    Ok(())
}
