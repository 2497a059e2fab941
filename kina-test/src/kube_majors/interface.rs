//! The interface that all majors have in common. This file is a module of each of them, and `super` its types.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_timeout::TimeoutConnector;
use hyper_util::rt::TokioExecutor;
use kina_engine::{LeaseConnector, LeaseGrant};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tower::ServiceBuilder;
use tower::layer::layer_fn;

use super::super::BadCertificate;
use super::super::http_span::HttpSpan;
use super::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use super::kube::client::{Body, ConfigExt};
use super::kube::config::AuthInfo;
use super::kube::core::{ClusterResourceScope, DynamicResourceScope, NamespaceResourceScope};
use super::kube::{Api, Client, Config, CustomResourceExt, Resource, ResourceExt};
use crate::template::TypeWithDefinition;
use crate::wait::{AsObjectRef, Object, ObjectKind, ObjectRef, ObjectScope};
use crate::{Cluster, Context, Error, Fixtures, FromTest, IntoFixtures};

/// Time limit of a connection, including TLS, on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit of silence on a connection while an answer is due. An API server ends requests other than watches after a
/// minute, and kube's watches last less than five, so this cuts neither; it ends requests that would hang forever.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// Time limit for an API server to read what it is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// This major, where its types have to be told from those of another.
#[derive(Clone, Copy, Debug)]
pub struct Major;

/// A scope that arguments of the type `Api<K>` can have: known for every kind that has a Rust type.
#[diagnostic::on_unimplemented(
    message = "kina cannot tell whether these objects are in a namespace or in the cluster",
    label = "its scope is `{Self}`",
    note = "take a `kube::Client` and make the `Api` from it"
)]
pub trait ScopeInTest: Sized + sealed::Sealed {
    #[doc(hidden)]
    fn api<K>(client: Client, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default;
}

/// A scope of objects that can be waited for: namespaced, cluster-wide, or not known before run time.
pub trait WaitScope: sealed::Sealed {
    #[doc(hidden)]
    const SCOPE: ObjectScope;
}

/// Returns a client with all rights on the cluster. It belongs to the runtime that first asked for one.
///
/// It reaches the cluster through a Unix socket, without TLS, because it and kina's engine are processes of one user.
///
/// # Errors
/// If it cannot be made.
///
/// # Panics
/// Outside a tokio runtime, if it is the first one.
pub fn client(cluster: &Cluster) -> Result<Client, Error> {
    cluster.kept(|| client_of_lease(cluster.connector(), &plain_config(cluster)))
}

/// Returns a configuration for other clients of the same rights, over TLS on loopback.
///
/// # Errors
/// If the credentials of the lease cannot be read.
pub fn config(cluster: &Cluster) -> Result<Config, Error> {
    cluster.kept(|| {
        let mut config = config_of_lease(cluster.grant())?;
        config.headers.push((http::header::USER_AGENT, cluster.user_agent().clone()));
        Ok(config)
    })
}

/// Makes a client that reaches a lease's cluster through a Unix socket. Of the configuration, it has the address in
/// messages, the namespace, the headers, impersonation and the timeouts.
///
/// # Errors
/// If a header cannot be sent.
#[doc(hidden)]
pub fn client_of_lease(connector: &LeaseConnector, config: &Config) -> Result<Client, Error> {
    let mut connector = TimeoutConnector::new(connector.clone());
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    // Otherwise the connection's idle time before a request would count.
    connector.set_reset_reader_on_write(true);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer().map_err(|error| Error::Client(Box::new(error)))?)
        .layer(layer_fn(HttpSpan))
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}

/// The configuration of the clients in this process. It has no credentials: they need none.
pub(in super::super) fn plain_config(cluster: &Cluster) -> Config {
    let mut config = timed_config_at(cluster.grant().address);
    cluster.default_namespace().clone_into(&mut config.default_namespace);
    config.headers.push((http::header::USER_AGENT, cluster.user_agent().clone()));
    config
}

/// The object of this name: in the test's namespace, unless [`ObjectRef::within`] names another.
///
/// ```
/// use k8s_openapi::api::apps::v1::Deployment;
/// use k8s_openapi::api::core::v1::Node;
///
/// let deployment = kina::object::<Deployment>("web").within("shop");
/// assert_eq!(deployment.describe(), "Deployment shop/web");
/// assert_eq!(kina::object::<Node>("worker").describe(), "Node worker");
/// ```
pub fn object<K: Resource<DynamicType = (), Scope: WaitScope>>(name: impl Into<String>) -> ObjectRef<K> {
    object_of_dynamic_type(&(), name)
}

/// The object of this name, of a kind that is only known at run time (`kube::api::DynamicObject`).
///
/// The scope of such a kind is not known: the object is namespaced if [`ObjectRef::within`] names a namespace.
pub fn object_of_dynamic_type<K: Resource<Scope: WaitScope>>(
    dynamic_type: &K::DynamicType,
    name: impl Into<String>,
) -> ObjectRef<K> {
    ObjectRef::new(kind_of::<K>(dynamic_type), name.into(), None, None)
}

/// A configuration for a client that reads no kubeconfig and no environment.
///
/// It does not retry: a test sees the server's own answers, including 429, 503 and 504. Its timeouts end requests that
/// hang: 30 seconds for a connection, five minutes for an answer, counted from the request.
#[doc(hidden)]
pub fn config_at(address: SocketAddr, ca_pem: &str, auth_info: AuthInfo) -> Result<Config, BadCertificate> {
    // With two TLS providers in the graph and none installed, kube's client would panic. A provider that the user
    // installed first stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|source| BadCertificate { address, source })?;
    let mut config = timed_config_at(address);
    config.root_cert = Some(vec![ca.as_ref().to_vec()]);
    config.auth_info = auth_info;
    Ok(config)
}

fn timed_config_at(address: SocketAddr) -> Config {
    let uri = http::Uri::builder().scheme("https").authority(address.to_string()).path_and_query("/").build();
    let mut config = Config::new(uri.expect("an address is a valid authority"));
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // No proxy between a test and loopback.
    config.proxy_url = None;
    super::set_own(&mut config);
    config
}

/// The same for a lease's cluster, with the lease's credentials, and its namespace if it is limited to one.
#[doc(hidden)]
pub fn config_of_lease(grant: &LeaseGrant) -> Result<Config, BadCertificate> {
    let who = auth_info(&grant.client_certificate_pem, &grant.client_key_pem);
    let mut config = config_at(grant.address, &grant.ca_pem, who)?;
    if let Some(namespace) = &grant.namespace {
        config.default_namespace.clone_from(namespace);
    }
    Ok(config)
}

/// Client certificate and key, in kube's form.
#[doc(hidden)]
pub fn auth_info(certificate_pem: &str, key_pem: &str) -> AuthInfo {
    AuthInfo {
        client_certificate_data: Some(STANDARD.encode(certificate_pem)),
        client_key_data: Some(STANDARD.encode(key_pem).into()),
        ..AuthInfo::default()
    }
}

/// A client with all rights on the test's cluster. Its default namespace is the test's.
impl FromTest for Client {
    type Error = Error;

    async fn from_test(context: &Context) -> Result<Self, Error> {
        client(context.cluster())
    }
}

/// A configuration of the same rights, to make other clients.
impl FromTest for Config {
    type Error = Error;

    async fn from_test(context: &Context) -> Result<Self, Error> {
        config(context.cluster())
    }
}

/// The objects of this kind in the test's namespace, or in the cluster if the kind is not namespaced.
impl<K> FromTest for Api<K>
where
    K: Resource<Scope: ScopeInTest>,
    K::DynamicType: Default,
{
    type Error = Error;

    async fn from_test(context: &Context) -> Result<Self, Error> {
        let cluster = context.cluster();
        Ok(K::Scope::api(client(cluster)?, cluster.default_namespace()))
    }
}

impl IntoFixtures for CustomResourceDefinition {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        (&self).into_fixtures()
    }
}

impl IntoFixtures for &CustomResourceDefinition {
    fn into_fixtures(self) -> Result<Fixtures, Error> {
        // A definition always serializes to JSON.
        let text = serde_json::to_string(self).unwrap_or_default();
        Ok(Fixtures::new().text(format!("type `{}`", self.spec.names.kind), text))
    }
}

#[diagnostic::do_not_recommend]
impl<K: CustomResourceExt> TypeWithDefinition<Major> for K {
    fn definition_json() -> String {
        // A definition is plain data with string keys, so this cannot fail.
        serde_json::to_string(&K::crd()).expect("a CRD can be written as JSON")
    }
}

#[diagnostic::do_not_recommend]
impl<K: Resource<DynamicType = (), Scope: WaitScope> + Object> AsObjectRef<Major> for K {
    type Object = K;

    fn as_object_ref(&self) -> ObjectRef<K> {
        let metadata = self.meta();
        let name = metadata.name.clone().unwrap_or_default();
        ObjectRef::new(kind_of::<K>(&()), name, metadata.namespace.clone(), self.uid())
    }
}

impl ScopeInTest for NamespaceResourceScope {
    fn api<K>(client: Client, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default,
    {
        Api::namespaced(client, namespace)
    }
}

impl ScopeInTest for ClusterResourceScope {
    fn api<K>(client: Client, _namespace: &str) -> Api<K>
    where
        K: Resource<Scope = Self>,
        K::DynamicType: Default,
    {
        Api::all(client)
    }
}

impl WaitScope for NamespaceResourceScope {
    const SCOPE: ObjectScope = ObjectScope::Namespaced;
}

impl WaitScope for ClusterResourceScope {
    const SCOPE: ObjectScope = ObjectScope::Cluster;
}

impl WaitScope for DynamicResourceScope {
    const SCOPE: ObjectScope = ObjectScope::AsNamed;
}

mod sealed {
    pub trait Sealed {}

    impl Sealed for super::NamespaceResourceScope {}
    impl Sealed for super::ClusterResourceScope {}
    impl Sealed for super::DynamicResourceScope {}
}

fn kind_of<K: Resource<Scope: WaitScope>>(dynamic_type: &K::DynamicType) -> ObjectKind {
    ObjectKind {
        api_version: K::api_version(dynamic_type).into_owned(),
        kind: K::kind(dynamic_type).into_owned(),
        resource: Some(crate::wait::Resource {
            plural: K::plural(dynamic_type).into_owned(),
            scope: <K::Scope as WaitScope>::SCOPE,
        }),
    }
}
