use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kina_engine::RawClient;
use serde_json::{Value, json};

use super::WebhookError;
use super::reviewer::{PROBE_LABEL, Reviewer};
use super::server::{Server, random_name};
use crate::ApiError;
use crate::api_request::ApiRequest;

/// Time limit for an API server to act on a registration; usually it takes milliseconds.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_PAUSE: Duration = Duration::from_millis(2);
/// Time limit of one probe, in seconds.
const PROBE_TIMEOUT_SECONDS: u64 = 5;
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// The two kinds of admission webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AdmissionKind {
    Validating,
    Mutating,
}

/// A webhook's registration with the API server.
#[derive(Debug)]
pub(super) struct Registration {
    target: Target,
    name: String,
    client_config: Value,
}

enum Target {
    Admission { client: RawClient, kind: AdmissionKind },
    Conversion { client: RawClient, before: Value },
}

impl Registration {
    pub(super) fn admission(client: RawClient, kind: AdmissionKind, name: &str, server: &Server) -> Self {
        let target = Target::Admission { client, kind };
        Self { target, name: name.to_owned(), client_config: client_config(server) }
    }

    /// Registers an admission webhook and waits until the API server calls it.
    pub(super) async fn create_admission(&self, mut webhook: Value, reviewer: &Reviewer) -> Result<(), WebhookError> {
        let Target::Admission { client, kind } = &self.target else { return Ok(()) };
        webhook["clientConfig"] = self.client_config.clone();
        create(client, *kind, &self.name, webhook).await?;
        self.wait_noticed(client, *kind, reviewer).await
    }

    /// Sets the server as the conversion of a CustomResourceDefinition, and waits until that is in force.
    pub(super) async fn create_conversion(
        client: RawClient,
        name: &str,
        server: &Server,
    ) -> Result<Self, WebhookError> {
        let found = ApiRequest::get(&definition_path(name)).send(&client).await;
        let found = found.map_err(|source| failed("reading", definition(name), source))?;
        let before = found["spec"]["conversion"].clone();
        let client_config = client_config(server);
        let registration = Self { target: Target::Conversion { client, before }, name: name.to_owned(), client_config };
        let webhook = json!({"clientConfig": registration.client_config, "conversionReviewVersions": ["v1"]});
        registration.change_conversion(json!({"strategy": "Webhook", "webhook": webhook})).await?;
        Ok(registration)
    }

    /// Removes the registration and waits until the webhook is no longer called.
    pub(super) async fn remove(&self, reviewer: &Reviewer) -> Result<(), WebhookError> {
        match &self.target {
            Target::Admission { client, kind } => {
                delete(client, *kind, &self.name).await?;
                self.wait_noticed(client, *kind, reviewer).await
            }
            Target::Conversion { before, .. } => {
                let mut before = before.clone();
                if before["strategy"] != "Webhook" {
                    // A merge patch keeps the fields that it does not name.
                    before["webhook"] = Value::Null;
                }
                self.change_conversion(before).await
            }
        }
    }

    /// Waits until the API server acts on all changes of webhooks so far. It learns of them in order: once it calls a
    /// webhook that was registered later, it knows the earlier ones.
    async fn wait_noticed(
        &self,
        client: &RawClient,
        kind: AdmissionKind,
        reviewer: &Reviewer,
    ) -> Result<(), WebhookError> {
        let probe = random_name()?;
        let configuration = format!("kina-probe-{probe}");
        let webhook = json!({
            "name": "probe.webhook.kina.local",
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"]}],
            "objectSelector": {"matchLabels": {PROBE_LABEL: probe}},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "timeoutSeconds": PROBE_TIMEOUT_SECONDS,
            "clientConfig": self.client_config,
        });
        create(client, kind, &configuration, webhook).await?;
        let noticed = self.probe(client, &probe, kind, reviewer).await;
        delete(client, kind, &configuration).await?;
        noticed
    }

    /// Sends dry-run writes until the API server calls the webhook.
    async fn probe(
        &self,
        client: &RawClient,
        probe: &str,
        kind: AdmissionKind,
        reviewer: &Reviewer,
    ) -> Result<(), WebhookError> {
        let config_map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": format!("kina-probe-{probe}"), "labels": {PROBE_LABEL: probe}},
        });
        let start = Instant::now();
        loop {
            // A denial may come from another webhook, and proves nothing in either direction.
            let path = "/api/v1/namespaces/default/configmaps?dryRun=All";
            let answer = ApiRequest::post(path, &config_map).send(client).await;
            if reviewer.journal().take_probe(probe) {
                return Ok(());
            }
            if NOTICE_TIMEOUT < start.elapsed() {
                let last_answer = answer.map_or_else(|error| error.to_string(), |_| "admitted".to_owned());
                return Err(self.not_noticed(kind.object(&self.name), last_answer));
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    /// Sets the conversion of the definition, and waits until the API server uses it. It has no direct sign of that;
    /// but the columns of a table come from the same state, so an additional column shows that the change is in force.
    async fn change_conversion(&self, conversion: Value) -> Result<(), WebhookError> {
        let Target::Conversion { client, .. } = &self.target else { return Ok(()) };
        let definition_path = definition_path(&self.name);
        let reading = |source| failed("reading", definition(&self.name), source);
        let changing = |source| failed("setting the conversion of", definition(&self.name), source);
        let found = ApiRequest::get(&definition_path).send(client).await.map_err(reading)?;
        let versions = found["spec"]["versions"].clone();
        let mut probed = versions.clone();
        let column = format!("kina-probe-{}", random_name()?);
        let served = probed.as_array_mut().and_then(|all| all.iter_mut().find(|version| version["served"] == true));
        let path = served.map(|version| {
            let probe = json!({"name": column, "type": "string", "jsonPath": ".metadata.name"});
            match version["additionalPrinterColumns"].as_array_mut() {
                Some(columns) => columns.push(probe),
                None => version["additionalPrinterColumns"] = json!([probe]),
            }
            let text = |pointer: &str| found.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let version = version["name"].as_str().unwrap_or_default();
            format!("/apis/{}/{version}/{}?limit=1", text("/spec/group"), text("/spec/names/plural"))
        });
        // With the resource version just read, so that no other client's change of the versions is lost.
        let patch = |last: &Value, spec: Value| json!({"metadata": {"resourceVersion": last["metadata"]["resourceVersion"]}, "spec": spec});
        let probe = patch(&found, json!({"conversion": conversion, "versions": probed}));
        let changed = ApiRequest::merge(&definition_path, &probe).send(client).await.map_err(changing)?;
        // If no version is served, no object is converted.
        let noticed = match &path {
            Some(path) => self.wait_for_columns(client, path, |columns| columns.contains(&column.as_str())).await,
            None => Ok(()),
        };
        let restored = patch(&changed, json!({"versions": versions}));
        ApiRequest::merge(&definition_path, &restored).send(client).await.map_err(changing)?;
        noticed?;
        // A create that starts on a definition's old handlers is refused if it outlives them: they end one second after
        // the change, and the API server delays creates of a new kind by two seconds (`crdHandler.serveResource`).
        match &path {
            Some(path) => self.wait_for_columns(client, path, |columns| !columns.contains(&column.as_str())).await,
            None => Ok(()),
        }
    }

    /// Waits until the table has these column names.
    async fn wait_for_columns(
        &self,
        client: &RawClient,
        path: &str,
        wanted: impl Fn(&[&str]) -> bool,
    ) -> Result<(), WebhookError> {
        let start = Instant::now();
        loop {
            let answer = ApiRequest::get(path).accepting(TABLE).send(client).await;
            let columns = answer.as_ref().ok().and_then(|table| table["columnDefinitions"].as_array());
            let names = columns.map(|all| all.iter().filter_map(|column| column["name"].as_str()).collect::<Vec<_>>());
            if names.is_some_and(|names| wanted(&names)) {
                return Ok(());
            }
            if NOTICE_TIMEOUT < start.elapsed() {
                let last_answer = answer.map_or_else(|error| error.to_string(), |_| "other columns".to_owned());
                return Err(self.not_noticed(definition(&self.name), last_answer));
            }
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }

    fn not_noticed(&self, object: String, last_answer: String) -> WebhookError {
        WebhookError::NotNoticed { object, waited_seconds: NOTICE_TIMEOUT.as_secs(), last_answer }
    }
}

/// The only form that clients need.
impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Admission { .. } => "Admission",
            Self::Conversion { .. } => "Conversion",
        })
    }
}

impl AdmissionKind {
    fn kind(self) -> &'static str {
        match self {
            Self::Validating => "ValidatingWebhookConfiguration",
            Self::Mutating => "MutatingWebhookConfiguration",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Validating => "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
            Self::Mutating => "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
        }
    }

    fn object(self, name: &str) -> String {
        format!("{} {name}", self.kind())
    }
}

async fn create(client: &RawClient, kind: AdmissionKind, name: &str, webhook: Value) -> Result<(), WebhookError> {
    let configuration = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind.kind(),
        "metadata": {"name": name},
        "webhooks": [webhook],
    });
    let created = ApiRequest::post(kind.path(), &configuration).send(client).await;
    created.map(drop).map_err(|source| failed("creating", kind.object(name), source))
}

/// Deletes the configuration. One that is gone already is no error.
async fn delete(client: &RawClient, kind: AdmissionKind, name: &str) -> Result<(), WebhookError> {
    match ApiRequest::delete(&format!("{}/{name}", kind.path())).send(client).await {
        Err(source) if source.code() != Some(404) => Err(failed("deleting", kind.object(name), source)),
        _ => Ok(()),
    }
}

fn client_config(server: &Server) -> Value {
    json!({"url": server.url(), "caBundle": STANDARD.encode(server.ca_pem())})
}

fn definition_path(name: &str) -> String {
    format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}")
}

fn definition(name: &str) -> String {
    format!("CustomResourceDefinition {name}")
}

fn failed(action: &'static str, object: String, source: ApiError) -> WebhookError {
    WebhookError::Api { action, object, source: Box::new(source) }
}
