use std::time::{Duration, Instant};

use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, ObjectMeta};
use serde_json::{Value, json};

use super::WebhookError;
use super::reviewer::{PROBE_LABEL, Reviewer};
use super::server::{Server, random_name};

/// Time limit for an API server to act on a registration; usually it takes milliseconds.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(30);
const PROBE_PAUSE: Duration = Duration::from_millis(2);
/// Time limit of one probe, in seconds.
const PROBE_TIMEOUT_SECONDS: u64 = 5;

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
    Admission { client: kube::Client, kind: AdmissionKind },
    Conversion { client: kube::Client, before: Value },
}

impl Registration {
    pub(super) fn admission(client: kube::Client, kind: AdmissionKind, name: &str, server: &Server) -> Self {
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
        client: kube::Client,
        name: &str,
        server: &Server,
    ) -> Result<Self, WebhookError> {
        let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &definition_resource());
        let found = definitions.get(name).await.map_err(|source| failed("reading", definition(name), source))?;
        let before = found.data.pointer("/spec/conversion").cloned().unwrap_or_default();
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
        client: &kube::Client,
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
        client: &kube::Client,
        probe: &str,
        kind: AdmissionKind,
        reviewer: &Reviewer,
    ) -> Result<(), WebhookError> {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("", "v1", "ConfigMap"), "configmaps");
        let config_maps: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
        let mut config_map = DynamicObject::new("", &resource);
        config_map.metadata = ObjectMeta {
            name: Some(format!("kina-probe-{probe}")),
            labels: Some([(PROBE_LABEL.to_owned(), probe.to_owned())].into()),
            ..ObjectMeta::default()
        };
        let dry_run = PostParams { dry_run: true, ..PostParams::default() };
        let start = Instant::now();
        loop {
            // A denial may come from another webhook, and proves nothing in either direction.
            let answer = config_maps.create(&dry_run, &config_map).await;
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
        let definitions: Api<DynamicObject> = Api::all_with(client.clone(), &definition_resource());
        let reading = |source| failed("reading", definition(&self.name), source);
        let changing = |source| failed("setting the conversion of", definition(&self.name), source);
        let mut found = definitions.get(&self.name).await.map_err(reading)?;
        let versions = found.data.pointer("/spec/versions").cloned().unwrap_or_default();
        let mut probed = versions.clone();
        let column = format!("kina-probe-{}", random_name()?);
        let served = probed.as_array_mut().and_then(|all| all.iter_mut().find(|version| version["served"] == true));
        let path = served.map(|version| {
            let probe = json!({"name": column, "type": "string", "jsonPath": ".metadata.name"});
            match version["additionalPrinterColumns"].as_array_mut() {
                Some(columns) => columns.push(probe),
                None => version["additionalPrinterColumns"] = json!([probe]),
            }
            let text = |pointer: &str| found.data.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
            let version = version["name"].as_str().unwrap_or_default();
            format!("/apis/{}/{version}/{}?limit=1", text("/spec/group"), text("/spec/names/plural"))
        });
        // With the resource version just read, so that no other client's change of the versions is lost.
        let resource_version = found.metadata.resource_version.take();
        let patch = |resource_version: Option<String>, spec: Value| {
            Patch::Merge(json!({"metadata": {"resourceVersion": resource_version}, "spec": spec}))
        };
        let probe = patch(resource_version, json!({"conversion": conversion, "versions": probed}));
        let changed = definitions.patch(&self.name, &PatchParams::default(), &probe).await.map_err(changing)?;
        // If no version is served, no object is converted.
        let noticed = match &path {
            Some(path) => self.wait_for_columns(client, path, |columns| columns.contains(&column.as_str())).await,
            None => Ok(()),
        };
        let restored = patch(changed.metadata.resource_version, json!({"versions": versions}));
        definitions.patch(&self.name, &PatchParams::default(), &restored).await.map_err(changing)?;
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
        client: &kube::Client,
        path: &str,
        wanted: impl Fn(&[&str]) -> bool,
    ) -> Result<(), WebhookError> {
        let start = Instant::now();
        loop {
            let request = http::Request::get(path).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
            let request = request.body(Vec::new());
            let request = request.map_err(|error| failed("reading", path.to_owned(), kube::Error::HttpError(error)))?;
            let answer = client.request::<Value>(request).await;
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
    fn resource(self) -> ApiResource {
        let (kind, plural) = match self {
            Self::Validating => ("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
            Self::Mutating => ("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        };
        let kind = GroupVersionKind::gvk("admissionregistration.k8s.io", "v1", kind);
        ApiResource::from_gvk_with_plural(&kind, plural)
    }

    fn object(self, name: &str) -> String {
        format!("{} {name}", self.resource().kind)
    }
}

async fn create(client: &kube::Client, kind: AdmissionKind, name: &str, webhook: Value) -> Result<(), WebhookError> {
    let resource = kind.resource();
    let configurations: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let configuration = DynamicObject::new(name, &resource).data(json!({"webhooks": [webhook]}));
    let created = configurations.create(&PostParams::default(), &configuration).await;
    created.map(drop).map_err(|source| failed("creating", kind.object(name), source))
}

/// Deletes the configuration. One that is gone already is no error.
async fn delete(client: &kube::Client, kind: AdmissionKind, name: &str) -> Result<(), WebhookError> {
    let configurations: Api<DynamicObject> = Api::all_with(client.clone(), &kind.resource());
    match configurations.delete(name, &DeleteParams::default()).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(source) => Err(failed("deleting", kind.object(name), source)),
    }
}

fn client_config(server: &Server) -> Value {
    json!({"url": server.url(), "caBundle": k8s_openapi::ByteString(server.ca_pem().as_bytes().to_vec())})
}

fn definition_resource() -> ApiResource {
    let kind = GroupVersionKind::gvk("apiextensions.k8s.io", "v1", "CustomResourceDefinition");
    ApiResource::from_gvk_with_plural(&kind, "customresourcedefinitions")
}

fn definition(name: &str) -> String {
    format!("CustomResourceDefinition {name}")
}

fn failed(action: &'static str, object: String, source: kube::Error) -> WebhookError {
    WebhookError::Api { action, object, source: Box::new(source) }
}
