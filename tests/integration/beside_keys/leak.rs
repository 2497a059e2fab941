//! Traces that a lease can leave behind beside etcd's keys, and ways to look for them.

use std::collections::BTreeSet;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request};
use kina::Cluster;
use serde_json::{Value, json};

use crate::common::server::{Server, status_of};
use crate::common::wait_until;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const LIST_LENGTH: usize = 3;
const IDENTITY_LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const PODS: &str = "/api/v1/namespaces/default/pods";
const CLAIMS: &str = "/api/v1/namespaces/default/persistentvolumeclaims";
const INGRESSES: &str = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
const CONFIG_MAPS_OF_PLANTED: &str = "/api/v1/namespaces/planted/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LOGGED_GROUP: &str = "planted.example.com";
const PLANTED_NAME: &str = "planted";

/// One thing that an earlier lease must not leave to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leak {
    /// The verbosity of the API server's log.
    Verbosity,
    /// A reset of its metrics.
    ResetMetrics,
    /// A Secret, in a list at the revision at which it existed.
    ExactList,
    /// The same, in the second page of a list.
    ContinuedList,
    /// An annotation on the API server's own Lease.
    IdentityAnnotation,
    /// The same, once the API server has renewed it.
    RenewedAnnotation,
    /// Another holder of that Lease.
    IdentityHolder,
    /// A namespace, in which objects can be created.
    Namespace,
    /// The requirements of the namespace `default` on its pods.
    PodSecurity,
    /// The default priority of pods.
    DefaultPriority,
    /// The default class of volume claims.
    DefaultStorageClass,
    /// The default class of ingresses.
    DefaultIngressClass,
    /// The overhead of pods of a runtime class.
    RuntimeClass,
    /// A token of a service account that is deleted with its lease.
    AccountToken,
    /// A token of a service account that every cluster with controllers has.
    SystemAccountToken,
    /// A token that kube-controller-manager has put into a Secret.
    SecretToken,
    /// A line in the API server's log.
    LogLine,
}

impl Leak {
    const ALL: [Self; 17] = [
        Self::Verbosity,
        Self::ResetMetrics,
        Self::ExactList,
        Self::ContinuedList,
        Self::IdentityAnnotation,
        Self::RenewedAnnotation,
        Self::IdentityHolder,
        Self::Namespace,
        Self::PodSecurity,
        Self::DefaultPriority,
        Self::DefaultStorageClass,
        Self::DefaultIngressClass,
        Self::RuntimeClass,
        Self::AccountToken,
        Self::SystemAccountToken,
        Self::SecretToken,
        Self::LogLine,
    ];

    pub(super) fn name(self) -> String {
        format!("{self:?}")
    }

    pub(super) fn named(name: &str) -> Self {
        Self::ALL.into_iter().find(|leak| leak.name() == name).unwrap_or_else(|| panic!("no leak is called {name}"))
    }

    /// Plants the leak. Returns the information for looking for it.
    pub(super) async fn plant(self, cluster: &Cluster) -> anyhow::Result<Value> {
        let server = Server(cluster.client());
        match self {
            Self::Verbosity => {
                // The API server must refuse this to every client.
                let _ = send(cluster, Method::PUT, "/debug/flags/v", "6").await;
                Ok(Value::Null)
            }
            Self::ResetMetrics => {
                let before = metric_names(cluster).await?;
                let _ = send(cluster, Method::DELETE, "/metrics", "").await;
                Ok(json!(before))
            }
            Self::ExactList => {
                let revision = create_secrets(&server).await?;
                anyhow::ensure!(lists_secrets(&server, &exact_list(&revision)).await, "the lease's own list is empty");
                Ok(revision.into())
            }
            Self::ContinuedList => {
                create_secrets(&server).await?;
                let list = server.get(&format!("{SECRETS}?limit=1")).await?;
                let token = list["metadata"]["continue"].as_str().context("the list has no second page")?;
                Ok(token.into())
            }
            Self::IdentityAnnotation | Self::RenewedAnnotation => {
                // The API server creates it some time after its start.
                wait_until("the API server has its Lease", || async { identity_lease(&server).await.is_ok() }).await?;
                let lease = identity_lease(&server).await?;
                let renewed = merge_identity_lease(
                    &server,
                    &lease,
                    json!({"metadata": {"annotations": {PLANTED_NAME: PLANTED_NAME}}}),
                )
                .await?;
                if self == Self::RenewedAnnotation {
                    let renewed_again = || async {
                        let lease = identity_lease(&server).await;
                        lease.is_ok_and(|lease| lease["spec"]["renewTime"] != renewed["spec"]["renewTime"])
                    };
                    wait_until("the API server renews its Lease", renewed_again).await?;
                }
                Ok(lease["metadata"]["uid"].clone())
            }
            Self::IdentityHolder => {
                wait_until("the API server has its Lease", || async { identity_lease(&server).await.is_ok() }).await?;
                let lease = identity_lease(&server).await?;
                merge_identity_lease(&server, &lease, json!({"spec": {"holderIdentity": PLANTED_NAME}})).await?;
                Ok(lease["spec"]["holderIdentity"].clone())
            }
            Self::Namespace => {
                let namespace = json!({"metadata": {"name": PLANTED_NAME}});
                server.create("/api/v1/namespaces", &namespace).await?;
                anyhow::ensure!(
                    server.admits(CONFIG_MAPS_OF_PLANTED, &config_map()).await,
                    "the namespace accepts no objects"
                );
                Ok(Value::Null)
            }
            Self::PodSecurity => {
                let labels = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
                server.merge("/api/v1/namespaces/default", &labels).await?;
                wait_until("pods are refused", || async { !server.admits(PODS, &pod(json!({}))).await }).await?;
                Ok(Value::Null)
            }
            Self::DefaultPriority => {
                let class = json!({"metadata": {"name": PLANTED_NAME}, "value": 1000, "globalDefault": true});
                server.create("/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
                self.wait_effect(&server).await
            }
            Self::DefaultStorageClass => {
                let class = json!({
                    "metadata": {
                        "name": PLANTED_NAME,
                        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
                    },
                    "provisioner": "example.com/none",
                });
                server.create("/apis/storage.k8s.io/v1/storageclasses", &class).await?;
                self.wait_effect(&server).await
            }
            Self::DefaultIngressClass => {
                let class = json!({
                    "metadata": {
                        "name": PLANTED_NAME,
                        "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"},
                    },
                    "spec": {"controller": "example.com/none"},
                });
                server.create("/apis/networking.k8s.io/v1/ingressclasses", &class).await?;
                self.wait_effect(&server).await
            }
            Self::RuntimeClass => {
                let class = json!({
                    "metadata": {"name": PLANTED_NAME},
                    "handler": "none",
                    "overhead": {"podFixed": {"cpu": "1"}},
                });
                server.create("/apis/node.k8s.io/v1/runtimeclasses", &class).await?;
                self.wait_effect(&server).await
            }
            Self::AccountToken => {
                server.create(ACCOUNTS, &json!({"metadata": {"name": PLANTED_NAME}})).await?;
                request_token(cluster, "default", PLANTED_NAME).await
            }
            Self::SystemAccountToken => request_token(cluster, "kube-system", "deployment-controller").await,
            Self::SecretToken => {
                let annotations = json!({"kubernetes.io/service-account.name": "default"});
                let secret = json!({
                    "metadata": {"name": PLANTED_NAME, "annotations": annotations},
                    "type": "kubernetes.io/service-account-token",
                });
                server.create(SECRETS, &secret).await?;
                let path = format!("{SECRETS}/{PLANTED_NAME}");
                let is_filled =
                    || async { server.get(&path).await.is_ok_and(|secret| secret["data"]["token"].is_string()) };
                wait_until("the Secret has a token", is_filled).await?;
                let encoded = server.get(&path).await?["data"]["token"].as_str().unwrap_or_default().to_owned();
                let token = String::from_utf8(STANDARD.decode(encoded)?)?;
                anyhow::ensure!(is_token_good(cluster, &token).await?, "the token is not valid");
                Ok(token.into())
            }
            Self::LogLine => {
                // The API server logs the groups that it starts to serve.
                let schema = json!({"openAPIV3Schema": {"type": "object"}});
                let definition = json!({
                    "metadata": {"name": "planteds.planted.example.com"},
                    "spec": {
                        "group": LOGGED_GROUP,
                        "scope": "Namespaced",
                        "names": {
                            "plural": "planteds", "singular": "planted", "kind": "Planted", "listKind": "PlantedList",
                        },
                        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
                    },
                });
                server.create(DEFINITIONS, &definition).await?;
                wait_until("the group is in the log", || async { api_server_logged(cluster, LOGGED_GROUP) }).await?;
                Ok(Value::Null)
            }
        }
    }

    /// Waits until the lease that planted it sees its effect.
    async fn wait_effect(self, server: &Server) -> anyhow::Result<Value> {
        let has_effect = || async { self.is_in_effect(server).await.unwrap_or(false) };
        wait_until("what was planted takes effect", has_effect).await?;
        Ok(Value::Null)
    }

    /// Returns true if it affects the API server's decision about a dry run.
    async fn is_in_effect(self, server: &Server) -> anyhow::Result<bool> {
        Ok(match self {
            Self::DefaultPriority => {
                !dry_run(server, PODS, &pod(json!({}))).await?["spec"]["priorityClassName"].is_null()
            }
            Self::DefaultStorageClass => {
                !dry_run(server, CLAIMS, &volume_claim()).await?["spec"]["storageClassName"].is_null()
            }
            Self::DefaultIngressClass => {
                !dry_run(server, INGRESSES, &ingress()).await?["spec"]["ingressClassName"].is_null()
            }
            Self::RuntimeClass => server.admits(PODS, &pod(json!({"runtimeClassName": PLANTED_NAME}))).await,
            _ => anyhow::bail!("{self:?} has no such effect"),
        })
    }

    pub(super) async fn is_seen(self, cluster: &Cluster, planted: &Value) -> anyhow::Result<bool> {
        let server = Server(cluster.client());
        let planted_text = planted.as_str().unwrap_or_default();
        match self {
            Self::Verbosity => {
                let path = "/api/v1/namespaces/default/configmaps?labelSelector=looked-for";
                server.get(path).await?;
                Ok(api_server_logged(cluster, path))
            }
            Self::ResetMetrics => {
                let before: BTreeSet<String> = serde_json::from_value(planted.clone())?;
                let after = metric_names(cluster).await?;
                Ok(before.difference(&after).next().is_some())
            }
            Self::ExactList => Ok(lists_secrets(&server, &exact_list(planted_text)).await),
            Self::ContinuedList => {
                Ok(lists_secrets(&server, &format!("{SECRETS}?limit=1&continue={planted_text}")).await)
            }
            Self::IdentityAnnotation | Self::RenewedAnnotation => {
                let lease = identity_lease(&server).await?;
                anyhow::ensure!(lease["metadata"]["uid"] == *planted, "it is another Lease: {lease}");
                Ok(lease.to_string().contains(PLANTED_NAME))
            }
            Self::IdentityHolder => Ok(identity_lease(&server).await?["spec"]["holderIdentity"] != *planted),
            Self::Namespace => Ok(server.admits(CONFIG_MAPS_OF_PLANTED, &config_map()).await),
            Self::PodSecurity => Ok(!server.admits(PODS, &pod(json!({}))).await),
            Self::DefaultPriority | Self::DefaultStorageClass | Self::DefaultIngressClass | Self::RuntimeClass => {
                self.is_in_effect(&server).await
            }
            Self::AccountToken | Self::SystemAccountToken | Self::SecretToken => {
                is_token_good(cluster, planted_text).await
            }
            Self::LogLine => Ok(api_server_logged(cluster, LOGGED_GROUP)),
        }
    }
}

/// Returns true if the lease's log contains this text.
fn api_server_logged(cluster: &Cluster, text: &str) -> bool {
    let log = std::fs::read(cluster.log_directory().join("kube-apiserver.log"));
    log.is_ok_and(|log| String::from_utf8_lossy(&log).contains(text))
}

/// Creates Secrets and returns the revision at which all of them exist.
async fn create_secrets(server: &Server) -> anyhow::Result<String> {
    let mut revision = String::new();
    for number in 0..LIST_LENGTH {
        let secret = json!({"metadata": {"name": format!("planted-{number}")}, "stringData": {"a": "b"}});
        let created = server.create(SECRETS, &secret).await?;
        revision = created["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    }
    Ok(revision)
}

async fn identity_lease(server: &Server) -> anyhow::Result<Value> {
    let leases = server.get(&format!("{IDENTITY_LEASES}?labelSelector=apiserver.kubernetes.io/identity")).await?;
    let lease = leases["items"].as_array().and_then(|items| items.first());
    lease.cloned().context("the API server has no Lease of its own")
}

async fn merge_identity_lease(server: &Server, lease: &Value, patch: Value) -> anyhow::Result<Value> {
    let name = lease["metadata"]["name"].as_str().context("a Lease without a name")?;
    Ok(server.merge(&format!("{IDENTITY_LEASES}/{name}"), &patch).await?)
}

/// A token that the API server has accepted.
pub(super) async fn request_token(cluster: &Cluster, namespace: &str, account: &str) -> anyhow::Result<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let request = Server(cluster.client()).create(&path, &json!({"spec": {}})).await?;
    let token = request["status"]["token"].as_str().context("no token")?.to_owned();
    anyhow::ensure!(is_token_good(cluster, &token).await?, "the token is not valid");
    Ok(token.into())
}

/// Returns true if the API server accepts the token.
async fn is_token_good(cluster: &Cluster, token: &str) -> anyhow::Result<bool> {
    let mut config = cluster.config();
    config.auth_info = kube::config::AuthInfo { token: Some(token.to_owned().into()), ..Default::default() };
    let review = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
    let answer = Server(kube::Client::try_from(config)?).create(REVIEWS, &review).await;
    match answer {
        Ok(_) => Ok(true),
        Err(error) if status_of(&error) == Some(401) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn dry_run(server: &Server, path: &str, object: &Value) -> anyhow::Result<Value> {
    Ok(server.create(&format!("{path}?dryRun=All"), object).await?)
}

fn config_map() -> Value {
    json!({"metadata": {"name": "looked-for"}})
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "looked-for"}, "spec": spec});
    pod["spec"]["containers"] = json!([{"name": "main", "image": "none"}]);
    pod
}

fn volume_claim() -> Value {
    let resources = json!({"requests": {"storage": "1Gi"}});
    json!({"metadata": {"name": "looked-for"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}})
}

fn ingress() -> Value {
    let backend = json!({"service": {"name": "looked-for", "port": {"number": 80}}});
    json!({"metadata": {"name": "looked-for"}, "spec": {"defaultBackend": backend}})
}

fn exact_list(revision: &str) -> String {
    format!("{SECRETS}?resourceVersion={revision}&resourceVersionMatch=Exact")
}

async fn lists_secrets(server: &Server, path: &str) -> bool {
    let list = server.get(path).await;
    list.is_ok_and(|list| list["items"].as_array().is_some_and(|items| !items.is_empty()))
}

/// The names of the API server's metrics with their labels.
async fn metric_names(cluster: &Cluster) -> anyhow::Result<BTreeSet<String>> {
    let text = send(cluster, Method::GET, "/metrics", "").await?;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let names = samples.filter_map(|line| line.rsplit_once(' ')).map(|(name, _)| name.to_owned());
    // The metrics that only a boot has.
    Ok(names.filter(|name| name.starts_with("apiserver_storage_decode") || name.starts_with("etcd_")).collect())
}

async fn send(cluster: &Cluster, method: Method, path: &str, body: &str) -> anyhow::Result<String> {
    let request = Request::builder().method(method).uri(path).body(body.as_bytes().to_vec())?;
    Ok(cluster.client().request_text(request).await?)
}
