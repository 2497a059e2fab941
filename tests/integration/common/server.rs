//! An API server, with JSON requests.

use cargo_kina::bench::change::Change;
use http::{Method, Request};
use serde_json::{Value, json};

const TABLE_ACCEPT: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
/// The discovery documents that list everything about an API server's groups (KEP-3352).
const DISCOVERY_ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Changes under way at a time.
const CONCURRENCY: usize = 20;

/// An API server.
#[derive(Clone)]
pub struct Server(pub kube::Client);

/// The subject and the request of an access review.
pub struct Access<'a> {
    pub user: &'a str,
    pub groups: &'a [&'a str],
    pub verb: &'a str,
    pub group: &'a str,
    pub resource: &'a str,
    /// All namespaces, if empty.
    pub namespace: &'a str,
}

impl Server {
    pub async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        self.ask(Method::GET, path, "application/json", None).await
    }

    pub async fn discovery(&self, path: &str) -> Result<Value, kube::Error> {
        self.ask(Method::GET, path, DISCOVERY_ACCEPT, None).await
    }

    /// A collection as `kubectl get` requests it, with the columns of its kind.
    pub async fn table(&self, path: &str) -> Result<Value, kube::Error> {
        self.ask(Method::GET, path, TABLE_ACCEPT, None).await
    }

    pub async fn create(&self, path: &str, object: &Value) -> Result<Value, kube::Error> {
        self.ask(Method::POST, path, "application/json", Some(("application/json", object))).await
    }

    pub async fn merge(&self, path: &str, patch: &Value) -> Result<Value, kube::Error> {
        self.ask(Method::PATCH, path, "application/json", Some(("application/merge-patch+json", patch))).await
    }

    pub async fn delete(&self, path: &str) -> Result<Value, kube::Error> {
        self.ask(Method::DELETE, path, "application/json", None).await
    }

    /// Makes a change.
    pub async fn send(&self, change: &Change) -> Result<Value, kube::Error> {
        let content = change.object.as_ref().map(|object| (change.content_type(), object));
        self.ask(change.method.clone(), &change.path, "application/json", content).await
    }

    /// Makes changes that do not depend on each other.
    pub async fn send_all(&self, changes: &[Change]) -> anyhow::Result<()> {
        for batch in changes.chunks(CONCURRENCY) {
            futures::future::try_join_all(batch.iter().map(|change| self.send(change))).await?;
        }
        Ok(())
    }

    /// Runs an access review.
    pub async fn allows(&self, access: &Access<'_>) -> Result<bool, kube::Error> {
        let Access { user, groups, verb, group, resource, namespace } = access;
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user,
                "groups": groups,
                "resourceAttributes": {"verb": verb, "group": group, "resource": resource, "namespace": namespace},
            },
        });
        let answer = self.create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// Returns true if a write would be admitted, by a dry run.
    pub async fn admits(&self, path: &str, object: &Value) -> bool {
        self.create(&format!("{path}?dryRun=All"), object).await.is_ok()
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Option<(&str, &Value)>,
    ) -> Result<Value, kube::Error> {
        let mut request = Request::builder().method(method).uri(path).header("accept", accept);
        let mut bytes = Vec::new();
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type);
            bytes = body.to_string().into_bytes();
        }
        self.0.request(request.body(bytes).map_err(kube::Error::HttpError)?).await
    }
}

/// The HTTP status of an error response; `None` if there was no answer.
pub fn status_of(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}
