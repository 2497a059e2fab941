//! The test, with the crate `envtest`.

include!("../../first_list.rs");

/// Uses the binaries in `KUBEBUILDER_ASSETS`: nothing is downloaded.
#[tokio::test]
async fn lists() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let mut environment = envtest::Environment::default();
    environment.binary_assets_settings.download_binary_assets = false;
    let server = environment.create().await?;
    // The crate's own client is from an older kube. Its kubeconfig, as text, suits every version.
    let kubeconfig: kube::config::Kubeconfig = serde_json::from_str(server.as_ref())?;
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    first_list(kube::Client::try_from(config)?).await?;
    server.destroy().await?;
    Ok(())
}
