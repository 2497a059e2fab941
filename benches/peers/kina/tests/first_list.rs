//! The test, with kina.

include!("../../first_list.rs");

#[kina::test]
async fn lists(client: kube::Client) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    first_list(client).await
}
