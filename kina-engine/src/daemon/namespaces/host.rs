//! A cluster on which tests have namespaces.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::{Value, json};

use super::access::{self, USER};
use super::purge;
use crate::api_client::{Answer, ApiClient, NoAnswer, NoClient};
use crate::certificates::CertificateError;
use crate::cluster_access::ClusterAccess;
use crate::daemon::lease::Lease;
use crate::daemon::slot::SlotHandle;
use crate::etcd::{EtcdClient, EtcdError, WriteOperation};
use crate::gateway::{GatewayCredentials, GatewayError, NetworkControl, OpenGateway, PreparedGateway};
use crate::lingering::LeftBehind;
use crate::rewind::{PREFIX, transactions};

const DISCOVERY_ACCEPT: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const NAMESPACES: &str = "/api/v1/namespaces";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
/// Time limit for the proof of a host that was handed out.
const PROOF_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for informers inside an API server: usually a few milliseconds.
const FOLLOW_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The number of looks at storage until nothing of a namespace is left. Late writers are done after one or two.
const PASSES_MAX: usize = 6;
/// Before each look but the first.
const PASS_PAUSE: Duration = Duration::from_millis(5);

/// A cluster that is ready for namespaces.
pub(super) struct Host {
    cluster: Arc<SlotHandle>,
    /// Goes through the gateway of the host's own lease: once that has ended, none of its requests reaches the next
    /// client.
    api: ApiClient,
    etcd: EtcdClient,
}

/// A host or a namespace could not be prepared or cleaned.
#[derive(Debug, thiserror::Error)]
pub(super) enum HostError {
    #[error("the cluster {cluster} ended while it was handed out")]
    Gone { cluster: String },
    #[error(transparent)]
    Client(#[from] NoClient),
    #[error("asking the cluster's API server failed")]
    Api(#[from] NoAnswer),
    #[error("{what} was answered by HTTP status {status}: {text}")]
    Refused { what: String, status: StatusCode, text: String },
    #[error("the cluster's etcd failed")]
    Etcd(#[from] EtcdError),
    #[error("making the certificate of a namespace failed")]
    Certificate(#[from] CertificateError),
    #[error("opening the gateway of a namespace failed")]
    Gateway(#[from] GatewayError),
    #[error("{what} after {waited_seconds} s")]
    Lagging { what: String, waited_seconds: u64 },
    #[error("after {passes} passes there still is something of the namespace {namespace}")]
    Unclean { namespace: String, passes: usize },
}

impl Host {
    /// Waits until the cluster of this lease is proven, and lets tests with namespaces read resources outside of
    /// namespaces.
    pub(super) async fn prepare(lease: Lease) -> Result<Self, HostError> {
        let Lease { cluster, credentials, network, .. } = lease;
        let api = ApiClient::through_gateway(credentials.address, &credentials.ca_pem, &credentials.client)?;
        // Requests that tenants leave running are not seen before the host's own end. Then a look is taken.
        cluster.leave(LeftBehind::unknown());
        wait_proven(&api, &network, cluster.name()).await?;
        let access = cluster.cluster().access();
        let etcd = EtcdClient::connect(access.etcd_address, &access.etcd_ca_pem, &access.etcd_client).await?;
        let host = Self { cluster, api, etcd };
        let mut discovery = Vec::new();
        for path in ["/api", "/apis"] {
            let answer = host.api.get_accepting(path, DISCOVERY_ACCEPT).await?;
            discovery.push(expect(path, answer)?);
        }
        host.create(&format!("{RBAC}/clusterroles"), &access::cluster_role(&discovery)).await?;
        host.create(&format!("{RBAC}/clusterrolebindings"), &access::cluster_role_binding()).await?;
        host.wait_allowed(&access::cluster_review()).await?;
        Ok(host)
    }

    pub(super) fn cluster(&self) -> &Arc<SlotHandle> {
        &self.cluster
    }

    /// Makes a namespace, and a gateway through which its test is a user who may do everything there.
    pub(super) async fn prepare_namespace(
        &self,
        namespace: &str,
        awaits_service_account: bool,
    ) -> Result<(OpenGateway, GatewayCredentials), HostError> {
        let (gateway, ()) = tokio::try_join!(
            self.prepare_gateway(namespace),
            self.create_namespace(namespace, awaits_service_account)
        )?;
        let (gateway, admission, credentials) = gateway.open()?;
        admission.admit();
        Ok((gateway, credentials))
    }

    /// Takes a namespace away with all that is in it. Its gateway is closed.
    pub(super) async fn clean(&self, namespace: &str) -> Result<(), HostError> {
        self.delete_services(namespace).await?;
        for pass in 0..PASSES_MAX {
            if pass != 0 {
                tokio::time::sleep(PASS_PAUSE).await;
            }
            let operations = purge::deletions(&self.etcd.list_heads(PREFIX).await?, namespace);
            if operations.is_empty() {
                return Ok(());
            }
            for operations in transactions(&operations, WriteOperation::key) {
                self.etcd.write(operations).await?;
            }
        }
        Err(HostError::Unclean { namespace: namespace.to_owned(), passes: PASSES_MAX })
    }

    async fn prepare_gateway(&self, namespace: &str) -> Result<PreparedGateway, HostError> {
        let access = self.cluster.cluster().access();
        let identity = access.client_authority.issue_client(USER, Some(&access::group(namespace)))?;
        let access = ClusterAccess { admin: identity, ..access.clone() };
        let gateway = PreparedGateway::prepare(&access, self.cluster.has_ended(), self.cluster.entrance()).await?;
        gateway.upstream().warm_up().await;
        Ok(gateway)
    }

    async fn create_namespace(&self, namespace: &str, awaits_service_account: bool) -> Result<(), HostError> {
        self.create(NAMESPACES, &json!({"metadata": {"name": namespace}})).await?;
        let role_bindings = format!("{RBAC}/namespaces/{namespace}/rolebindings");
        self.create(&role_bindings, &access::role_binding(namespace)).await?;
        self.wait_allowed(&access::namespace_review(namespace)).await?;
        if awaits_service_account {
            self.wait_service_account(namespace).await?;
        }
        Ok(())
    }

    /// Through the API, which gives back their addresses and ports. Nothing else in a namespace holds resources outside of it.
    async fn delete_services(&self, namespace: &str) -> Result<(), HostError> {
        let path = format!("{NAMESPACES}/{namespace}/services");
        let services = expect(&path, self.api.get(&path).await?)?;
        for service in services["items"].as_array().into_iter().flatten() {
            let path = format!("{path}/{}", service["metadata"]["name"].as_str().unwrap_or_default());
            if service["metadata"]["finalizers"].is_array() {
                let patch = json!({"metadata": {"finalizers": null}});
                expect_unless_gone(&path, self.api.merge(&path, &patch).await?)?;
            }
            expect_unless_gone(&path, self.api.delete(&path).await?)?;
        }
        Ok(())
    }

    async fn create(&self, path: &str, object: &Value) -> Result<(), HostError> {
        expect(path, self.api.post(path, object).await?).map(drop)
    }

    async fn wait_allowed(&self, review: &Value) -> Result<(), HostError> {
        let start = Instant::now();
        loop {
            let answer = expect(REVIEWS, self.api.post(REVIEWS, review).await?)?;
            if answer["status"]["allowed"] == true {
                return Ok(());
            }
            still_waiting(start, "the API server does not know the rights of a namespace's test")?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// kube-controller-manager makes it, and pods need it.
    async fn wait_service_account(&self, namespace: &str) -> Result<(), HostError> {
        let path = format!("{NAMESPACES}/{namespace}/serviceaccounts/default");
        let start = Instant::now();
        while self.api.get(&path).await?.status != StatusCode::OK {
            still_waiting(start, "the namespace has no default service account")?;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

/// The lease's gateway lets nothing through until the cluster is proven.
async fn wait_proven(api: &ApiClient, network: &NetworkControl, cluster: &str) -> Result<(), HostError> {
    let start = Instant::now();
    loop {
        match api.get("/version").await {
            Ok(answer) => return expect("/version", answer).map(drop),
            Err(_) if network.has_ended() => return Err(HostError::Gone { cluster: cluster.to_owned() }),
            Err(error) if PROOF_TIMEOUT < start.elapsed() => return Err(error.into()),
            Err(_) => tokio::time::sleep(POLL_INTERVAL).await,
        }
    }
}

fn still_waiting(start: Instant, what: &str) -> Result<(), HostError> {
    if FOLLOW_TIMEOUT < start.elapsed() {
        return Err(HostError::Lagging { what: what.to_owned(), waited_seconds: FOLLOW_TIMEOUT.as_secs() });
    }
    Ok(())
}

fn expect(what: &str, answer: Answer) -> Result<Value, HostError> {
    if answer.status.is_success() {
        return Ok(serde_json::from_slice(&answer.body).unwrap_or_default());
    }
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    Err(HostError::Refused { what: what.to_owned(), status: answer.status, text })
}

fn expect_unless_gone(what: &str, answer: Answer) -> Result<(), HostError> {
    if answer.status == StatusCode::NOT_FOUND { Ok(()) } else { expect(what, answer).map(drop) }
}
