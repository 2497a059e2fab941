#[kina::test]
async fn takes_it(api: kube::Api<k8s_openapi::api::core::v1::ConfigMap>) {}

fn main() {}
