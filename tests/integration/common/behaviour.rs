//! The behaviour of an untouched cluster, as far as [`Pollution`](super::pollution::Pollution) changes it.

use anyhow::ensure;
use cargo_kina::bench::change::{self, Change};
use serde_json::json;

use super::pollution::{GROUP, INTRUDER, SHARED};
use super::server::{Access, Server, status_of};

/// Checks the behaviour of an untouched cluster. Creates the shared namespace and a ConfigMap in it.
pub async fn expect_untouched(server: &Server) -> anyhow::Result<()> {
    for namespace in ["", "default"] {
        let secrets = Access { user: INTRUDER, groups: &[], verb: "get", group: "", resource: "secrets", namespace };
        ensure!(!server.allows(&secrets).await?, "a stranger has kept the right to read secrets in `{namespace}`");
    }
    let nodes = Access {
        user: "system:kube-scheduler",
        groups: &[],
        verb: "list",
        group: "",
        resource: "nodes",
        namespace: "",
    };
    ensure!(server.allows(&nodes).await?, "the ClusterRole system:kube-scheduler is still empty");
    let reviews = Access {
        user: INTRUDER,
        groups: &["system:authenticated"],
        verb: "create",
        group: "authentication.k8s.io",
        resource: "selfsubjectreviews",
        namespace: "",
    };
    ensure!(server.allows(&reviews).await?, "the ClusterRole system:basic-user is still gone");
    for path in [format!("/apis/{GROUP}/v1/widgets"), "/apis/dead.example.com/v1".to_owned()] {
        let answer = server.get(&path).await;
        let status = answer.as_ref().err().and_then(status_of);
        ensure!(status == Some(404), "{path} is still served: {answer:?}");
    }

    server.send(&change::namespace(SHARED)).await?;
    server.send_all(&change::config_maps(SHARED, 1)).await?;
    let pod = json!({"metadata": {"name": "pod"}, "spec": {"containers": [{"name": "a", "image": "a"}]}});
    server.create(&format!("/api/v1/namespaces/{SHARED}/pods?dryRun=All"), &pod).await?;
    let service = change::service(SHARED);
    server.send(&Change { path: format!("{}?dryRun=All", service.path), ..service }).await?;
    Ok(())
}
