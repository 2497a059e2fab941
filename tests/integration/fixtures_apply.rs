//! Fixtures on real clusters: objects are applied in the right order and usable at once, and errors have messages that
//! help the author.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::server::Server;
use crate::common::wait_until;
use anyhow::ensure;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kina::{ApplyOptions, Cluster, Fixtures};
use serde_json::{Value, json};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn folder(name: &str) -> PathBuf {
    Path::new("tests/fixtures-apply").join(name)
}

/// A definition of `Gadget`, named `gadgets.<group>`.
fn definition(group: &str) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("gadgets.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": "Gadget", "plural": "gadgets"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
            }}}],
        },
    })
}

#[kina::test]
async fn a_whole_application_is_applied(cluster: Cluster) -> anyhow::Result<()> {
    let report = cluster.apply_fixtures(folder("shop")).await?;
    ensure!(report.applied == 15 && report.warnings.is_empty(), "{report:?}");
    let server = Server(cluster.client());
    for path in [
        "/apis/apps/v1/namespaces/shop/deployments/web",
        "/api/v1/namespaces/shop/services/web",
        "/api/v1/namespaces/shop/secrets/key",
        "/apis/rbac.authorization.k8s.io/v1/namespaces/shop/rolebindings/web",
        "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/shop",
        "/api/v1/namespaces/default/configmaps/others",
    ] {
        let object = server.get(path).await?;
        ensure!(object["metadata"]["managedFields"][0]["manager"] == "kina", "{object}");
    }
    let deployment = server.get("/apis/apps/v1/namespaces/shop/deployments/web").await?;
    let mode = &deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["defaultMode"];
    ensure!(*mode == 0o440, "an old octal number is read as {mode}");
    let widget = server.get("/apis/shop.example.com/v1/namespaces/shop/widgets/first").await?;
    let owned = server.get("/api/v1/namespaces/shop/configmaps/cache").await?;
    ensure!(owned["metadata"]["ownerReferences"][0]["uid"] == widget["metadata"]["uid"], "{owned}");
    // A second apply changes nothing. The webhook, which has no server, would refuse a widget that is new or different.
    let report = cluster.apply_fixtures(folder("shop")).await;
    let message = report.map_or_else(|error| kina_engine::with_causes(&error), |report| format!("{report:?}"));
    ensure!(message.contains("widgets.yaml, line 16, document 2, Widget `shop/first`"), "{message}");
    ensure!(message.contains("failed calling webhook"), "{message}");
    Ok(())
}

#[kina::test]
async fn instances_of_a_new_kind_are_created_at_once(cluster: Cluster) -> anyhow::Result<()> {
    let typed: CustomResourceDefinition = serde_json::from_value(definition("typed.example.com"))?;
    cluster.install_crds((typed, definition("text.example.com").to_string())).await?;
    let server = Server(cluster.client());
    for group in ["typed.example.com", "text.example.com"] {
        let gadget = json!({"apiVersion": format!("{group}/v1"), "kind": "Gadget", "metadata": {"name": "first"}});
        let path = format!("/apis/{group}/v1/namespaces/default/gadgets");
        // If delayed, it would take two seconds.
        tokio::time::timeout(Duration::from_millis(1900), server.create(&path, &gadget)).await??;
        ensure!(established_since(&server, group).await? == "2000-01-01T00:00:00Z");
    }
    let discovery = server.discovery("/apis").await?.to_string();
    ensure!(discovery.contains("typed.example.com") && discovery.contains("text.example.com"));
    Ok(())
}

#[kina::test]
async fn definitions_can_be_left_unmodified(cluster: Cluster) -> anyhow::Result<()> {
    let options = ApplyOptions { strict: true, ..ApplyOptions::default() };
    cluster.apply_fixtures_with(definition("strict.example.com").to_string(), &options).await?;
    let server = Server(cluster.client());
    let object = server.get(&format!("{DEFINITIONS}/gadgets.strict.example.com")).await?;
    let since = established_since(&server, "strict.example.com").await?;
    ensure!(
        object["metadata"]["creationTimestamp"].as_str().is_some_and(|creation| creation <= since.as_str()),
        "{object}"
    );
    Ok(())
}

async fn established_since(server: &Server, group: &str) -> anyhow::Result<String> {
    let definition = server.get(&format!("{DEFINITIONS}/gadgets.{group}")).await?;
    let conditions = definition["status"]["conditions"].as_array().into_iter().flatten();
    let mut established = conditions.filter(|condition| condition["type"] == "Established");
    let since = established.next().and_then(|condition| condition["lastTransitionTime"].as_str());
    since.map(str::to_owned).ok_or_else(|| anyhow::anyhow!("not established: {definition}"))
}

#[kina::test]
async fn objects_go_to_the_requested_namespace(cluster: Cluster) -> anyhow::Result<()> {
    let options = ApplyOptions { namespace: "elsewhere".to_owned(), ..ApplyOptions::default() };
    let settings = "{apiVersion: v1, kind: ConfigMap, metadata: {name: settings}}";
    let refused =
        cluster.apply_fixtures_with(settings, &options).await.map_err(|error| kina_engine::with_causes(&error));
    ensure!(
        refused.as_ref().is_err_and(|message| message.contains("the namespace `elsewhere` is neither")),
        "{refused:?}"
    );
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: elsewhere}}";
    let report = cluster.apply_fixtures_with([settings, namespace], &options).await?;
    let phases: Vec<_> = report.phases.iter().map(|phase| phase.name.as_str()).collect();
    let place = phases.iter().position(|name| *name == "applying the namespace elsewhere");
    ensure!(
        place.is_some_and(|place| place < phases.len() - 1),
        "the namespace is not applied before its objects: {phases:?}"
    );
    Server(cluster.client()).get("/api/v1/namespaces/elsewhere/configmaps/settings").await?;
    Ok(())
}

#[kina::test]
async fn an_overlay_replaces_an_object(cluster: Cluster) -> anyhow::Result<()> {
    let color = |color: &str| {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"color": color}});
        Fixtures::new().text(color, object.to_string())
    };
    cluster.apply_fixtures(color("red").overlay(color("blue"))).await?;
    let settings = Server(cluster.client()).get("/api/v1/namespaces/default/configmaps/settings").await?;
    ensure!(settings["data"]["color"] == "blue", "{settings}");
    let twice = cluster.apply_fixtures(color("red").and(color("blue"))).await;
    ensure!(twice.is_err(), "the same object twice: {twice:?}");
    Ok(())
}

/// Each folder in `broken/` gets the message in its file. With `KINA_BLESS=1` the messages are rewritten.
#[kina::test]
async fn each_kind_of_broken_fixture_gets_its_message(cluster: Cluster) -> anyhow::Result<()> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder("broken"));
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(&base)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    cases.sort();
    ensure!(cases.len() >= 7, "{cases:?}");
    let options = ApplyOptions::default();
    let mut wrong = Vec::new();
    for case in cases {
        let name = case.file_name().unwrap_or_default();
        let file = folder("broken").join(name).join("a.yaml");
        let error = match cluster.apply_fixtures_with(file, &options).await {
            Ok(report) => anyhow::bail!("{} was applied: {report:?}", case.display()),
            Err(error) => error,
        };
        ensure!(error.is_user_error(), "{error:?}");
        let message = format!("{}\n", kina_engine::with_causes(&error));
        let message = without_milliseconds(&message);
        let expected = case.join("message.txt");
        if std::env::var_os("KINA_BLESS").is_some() {
            std::fs::write(&expected, &message)?;
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        if message != expected {
            wrong.push(format!("{}\nexpected: {expected}but got:  {message}", case.display()));
        }
        // Definitions created here must not exist for the next folder.
        let server = Server(cluster.client());
        server.delete(DEFINITIONS).await?;
        wait_until("the kinds are gone", || async {
            server.discovery("/apis").await.is_ok_and(|groups| !groups.to_string().contains("shop.example.com"))
        })
        .await?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}

fn without_milliseconds(message: &str) -> String {
    let words = message.split_inclusive(' ').collect::<Vec<_>>();
    let is_count = |index: usize| words.get(index + 1).is_some_and(|next| next.starts_with("ms "));
    let words = words.iter().enumerate();
    words.map(|(index, word)| if is_count(index) { "(N " } else { *word }).collect()
}

/// A hundred kinds with a megabyte of schema between them, in three versions each, with rules and conversion.
fn operator() -> String {
    let description = "The purpose of a field is described at length, and more than once. ".repeat(4);
    let mut documents = Vec::new();
    for kind in 0..100 {
        let field = |name: usize| {
            let schema = json!({
                "type": "object",
                "description": description,
                "properties": {
                    "size": {"type": "integer", "minimum": 1, "maximum": 100},
                    "mode": {"type": "string", "enum": ["Fast", "Slow"], "default": "Fast"},
                    "quantity": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
                },
                "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size < 50", "message": "too large"}],
            });
            (format!("part{name}"), schema)
        };
        let schema = json!({"openAPIV3Schema": {
            "type": "object",
            "properties": {
                "spec": {"type": "object", "properties": (0..5).map(field).collect::<serde_json::Map<_, _>>()},
                "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            },
        }});
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == "v1", "schema": schema, "subresources": {"status": {}}});
        let conversion = json!({"strategy": "Webhook", "webhook": {
            "conversionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "operator", "name": "converter", "path": "/convert"}},
        }});
        documents.push(json!({
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("kind{kind}s.operator.example.com"), "creationTimestamp": null},
            "spec": {
                "group": "operator.example.com",
                "scope": "Namespaced",
                "names": {"kind": format!("Kind{kind}"), "plural": format!("kind{kind}s"), "listKind": format!("Kind{kind}List")},
                "versions": [version("v1"), version("v1beta1"), version("v1alpha1")],
                "conversion": conversion,
            },
        }));
    }
    documents.push(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "operator"}}));
    documents.push(json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "converter", "namespace": "operator"},
        "spec": {"ports": [{"port": 443}]},
    }));
    documents.push(json!({
        "apiVersion": "operator.example.com/v1", "kind": "Kind7", "metadata": {"name": "first"},
        "spec": {"part0": {"size": 3, "quantity": "3Gi"}},
    }));
    documents.iter().map(Value::to_string).collect::<Vec<_>>().join("\n---\n")
}

#[kina::test]
async fn the_definitions_of_a_large_operator_are_applied_without_a_warning(cluster: Cluster) -> anyhow::Result<()> {
    let text = operator();
    ensure!(text.len() > 1 << 20, "{} bytes are less than a megabyte", text.len());
    let report = cluster.apply_fixtures(text).await?;
    ensure!(report.applied == 103 && report.warnings.is_empty(), "{report:?}");
    let server = Server(cluster.client());
    let first = server.get("/apis/operator.example.com/v1/namespaces/default/kind7s/first").await?;
    ensure!(first["spec"]["part0"]["mode"] == "Fast", "the default is missing: {first}");
    let large = json!({"metadata": {"name": "large"}, "spec": {"part0": {"size": 60}}, "kind": "Kind7", "apiVersion": "operator.example.com/v1"});
    let refused = server.create("/apis/operator.example.com/v1/namespaces/default/kind7s", &large).await;
    ensure!(refused.as_ref().is_err_and(|error| error.to_string().contains("too large")), "{refused:?}");
    Ok(())
}
