//! Finishing the deletion of a namespace. Without controllers nothing else does it; with them it takes five seconds.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kina_engine::RawClient;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::api_request::ApiRequest;
use crate::{ApiError, Cluster};

/// The discovery documents that list everything an API server serves (KEP-3352).
const DISCOVERY_ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const REQUESTS_AT_A_TIME: usize = 16;
/// Time limit for the owners of finalizers to remove them.
const FINALIZERS_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
const OBJECTS_SHOWN: usize = 5;
/// The API server adds it to claims, and only a controller removes it. With all pods gone there is nothing left to
/// protect.
const PVC_PROTECTION: &str = "kubernetes.io/pvc-protection";

/// The reason that a namespace could not be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeleteNamespaceError {
    /// The API server refused a request.
    #[error("{asked} failed while the namespace `{namespace}` was being deleted")]
    Api {
        /// The namespace.
        namespace: String,
        /// The request.
        asked: String,
        /// The answer.
        #[source]
        source: Box<ApiError>,
    },
    /// Some objects have finalizers that are not removed.
    #[error(
        "the namespace `{namespace}` still holds {objects} after {waited_seconds} s: run the controller that owns \
         these finalizers, or remove them in the test"
    )]
    Finalizers {
        /// The namespace.
        namespace: String,
        /// The objects, each with its finalizers.
        objects: String,
        /// The time waited, in seconds.
        waited_seconds: u64,
    },
}

impl Cluster {
    /// Deletes a namespace with its content, and returns when it is gone.
    ///
    /// Without controllers (profile `api`) nothing else finishes the deletion: the namespace stays `Terminating`. With
    /// them it takes a little over five seconds, as in any cluster. This method takes some 50 ms in both profiles, and
    /// does the work of the namespace controller: it deletes all objects, waits for their finalizers, and finalizes the
    /// namespace. Pods get no grace period.
    ///
    /// It is not needed at the end of a test, since the whole cluster is rewound.
    ///
    /// # Errors
    /// If the namespace does not exist, if the API server refuses a request, or if finalizers of objects in the
    /// namespace are not removed within 30 seconds.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use kina::kube::Api;
    /// # use k8s_openapi::api::core::v1::Namespace;
    /// # let cluster = kina::Cluster::acquire().await?;
    /// let namespaces = Api::<Namespace>::all(cluster.client());
    /// # let mut blue = Namespace::default();
    /// # blue.metadata.name = Some("blue".to_owned());
    /// namespaces.create(&Default::default(), &blue).await?;
    /// cluster.delete_namespace("blue").await?;
    /// assert!(namespaces.get_opt("blue").await?.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn delete_namespace(&self, name: &str) -> Result<(), DeleteNamespaceError> {
        let deletion = Arc::new(Deletion {
            client: self.raw_client().clone(),
            namespace: name.to_owned(),
            requests: Semaphore::new(REQUESTS_AT_A_TIME),
        });
        deletion.run().await
    }
}

struct Deletion {
    client: RawClient,
    namespace: String,
    requests: Semaphore,
}

/// The remaining objects of one resource: the last part of each object's path, with the object.
type Remaining = Vec<(String, Value)>;

impl Deletion {
    async fn run(self: Arc<Self>) -> Result<(), DeleteNamespaceError> {
        let namespace = format!("/api/v1/namespaces/{}", self.namespace);
        // From here on no object can be created in the namespace.
        self.ask(ApiRequest::delete(&namespace)).await?;
        let mut lists: Vec<String> = self.lists().await?;
        self.each(&lists, |deletion, list| async move { deletion.delete_all(&list).await }).await?;
        let start = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let remaining =
                self.each(&lists, |deletion, list| async move { Ok((deletion.remaining(&list).await?, list)) }).await?;
            let objects: Vec<(Remaining, String)> =
                remaining.into_iter().filter(|(objects, _)| !objects.is_empty()).collect();
            if objects.is_empty() {
                break;
            }
            if FINALIZERS_TIMEOUT < start.elapsed() {
                return Err(DeleteNamespaceError::Finalizers {
                    namespace: self.namespace.clone(),
                    objects: describe(&objects),
                    waited_seconds: start.elapsed().as_secs(),
                });
            }
            // A list that is empty stays empty.
            lists = objects.into_iter().map(|(_, list)| list).collect();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let mut object = match self.ask(ApiRequest::get(&namespace)).await {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error),
        };
        object["spec"]["finalizers"] = json!([]);
        // The namespace is empty now, whatever changed in its conditions meanwhile.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("resourceVersion");
        }
        match self.ask(ApiRequest::put(&format!("{namespace}/finalize"), &object)).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    /// The paths of all lists that can hold objects of the namespace.
    async fn lists(&self) -> Result<Vec<String>, DeleteNamespaceError> {
        let mut lists = BTreeSet::new();
        for (path, is_core) in [("/api", true), ("/apis", false)] {
            let document = self.ask(ApiRequest::get(path).accepting(DISCOVERY_ACCEPT)).await?;
            for group in document["items"].as_array().into_iter().flatten() {
                let group_name = group["metadata"]["name"].as_str().unwrap_or_default();
                // The events of this group are those of the core group.
                if group_name == "events.k8s.io" {
                    continue;
                }
                let mut known = BTreeSet::new();
                for version in group["versions"].as_array().into_iter().flatten() {
                    let version_name = version["version"].as_str().unwrap_or_default();
                    for resource in version["resources"].as_array().into_iter().flatten() {
                        let name = resource["resource"].as_str().unwrap_or_default();
                        // Versions come in the server's order of preference, and all show the same objects.
                        if is_deletable(resource) && known.insert(name.to_owned()) {
                            let base = if is_core { "/api".to_owned() } else { format!("/apis/{group_name}") };
                            lists.insert(format!("{base}/{version_name}/namespaces/{}/{name}", self.namespace));
                        }
                    }
                }
            }
        }
        Ok(lists.into_iter().collect())
    }

    async fn delete_all(&self, list: &str) -> Result<(), DeleteNamespaceError> {
        let path = format!("{list}?gracePeriodSeconds=0&propagationPolicy=Background");
        match self.ask(ApiRequest::delete(&path)).await {
            // The definition may be gone by now. Objects that cannot be deleted as a collection are deleted one by one.
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) if error.is_not_allowed() => {
                for (name, _) in self.remaining(list).await? {
                    let path = format!("{list}/{name}?gracePeriodSeconds=0&propagationPolicy=Background");
                    match self.ask(ApiRequest::delete(&path)).await {
                        Err(error) if !error.is_not_found() => return Err(error),
                        _ => {}
                    }
                }
                Ok(())
            }
            answer => answer.map(drop),
        }
    }

    async fn remaining(&self, list: &str) -> Result<Remaining, DeleteNamespaceError> {
        let answer = match self.ask(ApiRequest::get(&format!("{list}?limit=500"))).await {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            answer => answer?,
        };
        let mut remaining = Vec::new();
        for object in answer["items"].as_array().into_iter().flatten() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
            if finalizers(object).eq([PVC_PROTECTION]) {
                let patch = json!({ "metadata": { "finalizers": null } });
                match self.ask(ApiRequest::merge(&format!("{list}/{name}"), &patch)).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            remaining.push((name, object.clone()));
        }
        Ok(remaining)
    }

    /// Runs some work for each list, several at a time.
    async fn each<Output: Send + 'static, Work>(
        self: &Arc<Self>,
        lists: &[String],
        work: impl Fn(Arc<Self>, String) -> Work,
    ) -> Result<Vec<Output>, DeleteNamespaceError>
    where
        Work: Future<Output = Result<Output, DeleteNamespaceError>> + Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for list in lists {
            tasks.spawn(work(Arc::clone(self), list.clone()));
        }
        let mut outputs = Vec::with_capacity(lists.len());
        while let Some(task) = tasks.join_next().await {
            match task {
                Ok(output) => outputs.push(output?),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        Ok(outputs)
    }

    async fn ask(&self, request: ApiRequest<'_>) -> Result<Value, DeleteNamespaceError> {
        let asked = request.describe();
        // Fails only if the semaphore is closed, and it never is.
        let _permit = self.requests.acquire().await;
        request.send(&self.client).await.map_err(|source| DeleteNamespaceError::Api {
            namespace: self.namespace.clone(),
            asked,
            source: Box::new(source),
        })
    }
}

impl DeleteNamespaceError {
    fn status_code(&self) -> Option<u16> {
        match self {
            Self::Api { source, .. } => source.code(),
            Self::Finalizers { .. } => None,
        }
    }

    fn is_not_found(&self) -> bool {
        self.status_code() == Some(404)
    }

    fn is_not_allowed(&self) -> bool {
        self.status_code() == Some(405)
    }
}

fn is_deletable(resource: &Value) -> bool {
    let has_verb =
        |wanted: &str| resource["verbs"].as_array().is_some_and(|verbs| verbs.iter().any(|verb| verb == wanted));
    resource["scope"] == "Namespaced" && has_verb("list") && has_verb("delete")
}

fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// `deployments.apps a (finalizers x, y)` and so on, for a message.
fn describe(remaining: &[(Remaining, String)]) -> String {
    let all = remaining.iter().flat_map(|(objects, list)| objects.iter().map(move |object| (list, object)));
    let count = all.clone().count();
    let mut texts: Vec<String> = all
        .take(OBJECTS_SHOWN)
        .map(|(list, (name, object))| {
            let resource = list.rsplit('/').next().unwrap_or(list);
            let finalizers: Vec<&str> = finalizers(object).collect();
            match finalizers.is_empty() {
                true => format!("{resource}/{name}"),
                false => format!("{resource}/{name} (finalizers: {})", finalizers.join(", ")),
            }
        })
        .collect();
    if OBJECTS_SHOWN < count {
        texts.push(format!("{} more", count - OBJECTS_SHOWN));
    }
    texts.join(", ")
}
