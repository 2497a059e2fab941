//! State that the API server keeps in its memory or in a file, beside all keys.

use std::path::PathBuf;

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt};
use http::Method;
use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource};
use serde_json::{Value, json};

use super::super::api::{Api, wait_for};
use super::super::kind::{Former, Kind, Planted, Side, Start};

const ACCOUNTS: &str = "/api/v1/namespaces/default/serviceaccounts";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const TOKEN_REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const FLOW_CONTROL: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";
const FLOW_SCHEMA_HEADER: &str = "x-kubernetes-pf-flowschema-uid";
const PRIORITY_LEVEL_HEADER: &str = "x-kubernetes-pf-prioritylevel-uid";
const BACKLOG_USER: &str = "pair-backlog";
const BACKLOG: usize = 80;
const CONCURRENCY: usize = 8;
const API_SERVICES: &str = "/apis/apiregistration.k8s.io/v1/apiservices";
const DEAD_GROUP: &str = "dead.pairs.kina.test";
const TEMPLATE_ACCOUNT: &str = "pair-template";
/// The verbosity at which such requests are logged.
const VERBOSITY: i64 = 6;
const LOG_BYTES_MAX: u64 = 64 << 20;

pub(super) static KINDS: [Kind; 13] = [
    Kind::own(
        "account-token",
        "a token of a ServiceAccount that only A had, which the API server remembers for 10 s",
        |side| Box::pin(use_token(side, "pair-account")),
        |side, former| Box::pin(is_token_good(side, former)),
    )
    .restarting()
    .shown_without(&["tokens"]),
    Kind::own(
        "template-account-token",
        "a token of a template's ServiceAccount, which B has too",
        |side| Box::pin(use_token(side, TEMPLATE_ACCOUNT)),
        |side, former| Box::pin(is_token_good(side, former)),
    )
    .restarting()
    .starting(Start::SameTemplate(template_with_account))
    .shown_without(&["tokens"]),
    Kind::own(
        "token-review",
        "the review of a token of A",
        |side| Box::pin(review_token(side)),
        |side, former| Box::pin(is_reviewed_as_good(side, former)),
    )
    .restarting()
    .shown_without(&["tokens"]),
    Kind::own(
        "exact-list",
        "a Secret in a list at exactly an old revision",
        |side| Box::pin(list_secret(side)),
        |side, former| Box::pin(is_in_exact_list(side, former)),
    )
    .shown_without(&["history"]),
    Kind::own(
        "continued-list",
        "the next page of a list that A began",
        |side| Box::pin(begin_list(side)),
        |side, former| Box::pin(is_in_next_page(side, former)),
    )
    .shown_without(&["history"]),
    Kind::own(
        "verbosity",
        "the verbosity of the API server's log, set with a request",
        |side| Box::pin(set_verbosity(side)),
        |side, former| Box::pin(ask_to_be_logged(side, former)),
    )
    .looked_late(|side, former| Box::pin(is_request_logged(side, former)))
    .shown_without(&["debug-endpoints"]),
    Kind::own(
        "deleted-metrics",
        "the API server's metrics, begun anew with a request",
        |side| Box::pin(delete_metrics(side)),
        |side, former| Box::pin(are_metrics_lower(side, former)),
    )
    .shown_without(&["debug-endpoints"]),
    Kind::own(
        "log-lines",
        "what the API server logged of A, in the log that B is shown",
        |side| Box::pin(leave_log_line(side)),
        |side, former| Box::pin(is_in_log(side, former)),
    )
    .shown_without(&["cluster-logs"]),
    Kind::own(
        "flow-schema",
        "a FlowSchema that B's requests are classified by",
        |side| Box::pin(add_flow_schema(side, "pair-flow", "global-default", FLOW_SCHEMA_HEADER)),
        |side, former| Box::pin(is_classified(side, former, "pair-flow", FLOW_SCHEMA_HEADER)),
    )
    .restarting()
    .shown_without(&["informers"]),
    Kind::own(
        "priority-level",
        "a PriorityLevelConfiguration that B's requests wait in",
        |side| Box::pin(add_priority_level(side)),
        |side, former| Box::pin(is_classified(side, former, "pair-level", PRIORITY_LEVEL_HEADER)),
    )
    .restarting()
    .shown_without(&["informers"]),
    Kind::own(
        "flow-schema-backlog",
        "a FlowSchema that goes while the API server still writes the status of many others",
        |side| Box::pin(add_flow_schema_backlog(side)),
        |side, former| Box::pin(is_classified(side, former, BACKLOG_USER, FLOW_SCHEMA_HEADER)),
    )
    .restarting()
    .alone()
    .shown_without(&["informers"]),
    Kind::own(
        "api-service",
        "an APIService that answers nothing",
        |side| Box::pin(add_api_service(side)),
        |side, former| Box::pin(is_api_service_known(side, former)),
    ),
    Kind::own(
        "certificate-request",
        "a CertificateSigningRequest",
        |side| Box::pin(request_certificate(side)),
        |side, former| Box::pin(is_request_there(side, former)),
    ),
];

fn template_with_account() -> FixtureSet {
    let text =
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: {TEMPLATE_ACCOUNT}, namespace: default}}\n");
    let sources = vec![FixtureSource { name: "account.yaml".to_owned(), text }];
    FixtureSet { overlays: vec![FixtureOverlay { name: "pairs".to_owned(), sources }] }
}

/// Makes the account, if there is none, and a token of it.
async fn token_of(side: &Side, account: &str) -> anyhow::Result<String> {
    let made = side.api.post(ACCOUNTS, &json!({"metadata": {"name": account}})).await?;
    if !made.is_success() && made.status != 409 {
        made.expect_done("making a ServiceAccount")?;
    }
    let path = format!("{ACCOUNTS}/{account}/token");
    let request = side.api.create(&path, &json!({"spec": {"expirationSeconds": 3600}})).await?;
    Ok(request["status"]["token"].as_str().context("a token request has a token")?.to_owned())
}

async fn use_token(side: &Side, account: &str) -> anyhow::Result<Planted> {
    let token = token_of(side, account).await?;
    let review = Api::with_token(&side.grant, &token)?.create(REVIEWS, &json!({})).await?;
    let user = review["status"]["userInfo"]["username"].as_str().unwrap_or_default();
    if !user.ends_with(account) {
        bail!("the token is that of `{user}`");
    }
    Ok(Planted::with(token))
}

async fn is_token_good(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let token = former.trace.as_str().context("a token was kept")?;
    let answer = Api::with_token(&side.grant, token)?.post(REVIEWS, &json!({})).await?;
    match answer.status {
        401 => Ok(None),
        _ => Ok(Some(format!("the token was answered by {}: {}", answer.status, answer.text().trim()))),
    }
}

async fn review(side: &Side, token: &str) -> anyhow::Result<bool> {
    let review = side.api.create(TOKEN_REVIEWS, &json!({"spec": {"token": token}})).await?;
    Ok(review["status"]["authenticated"] == true)
}

async fn review_token(side: &Side) -> anyhow::Result<Planted> {
    let token = token_of(side, "pair-reviewed").await?;
    if !review(side, &token).await? {
        bail!("the token is not good");
    }
    Ok(Planted::with(token))
}

async fn is_reviewed_as_good(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let is_good = review(side, former.trace.as_str().context("a token was kept")?).await?;
    Ok(is_good.then(|| "the token is still good".to_owned()))
}

fn has_secret(list: &Value, name: &str) -> bool {
    list["items"].as_array().into_iter().flatten().any(|item| item["metadata"]["name"] == name)
}

async fn list_secret(side: &Side) -> anyhow::Result<Planted> {
    side.api.create(SECRETS, &json!({"metadata": {"name": "pair-exact"}})).await?;
    let list = side.api.read(SECRETS).await?;
    if !has_secret(&list, "pair-exact") {
        bail!("the list has not got the Secret");
    }
    let version = list["metadata"]["resourceVersion"].as_str().context("a list has a version")?;
    let path = format!("{SECRETS}?resourceVersion={version}&resourceVersionMatch=Exact");
    if !has_secret(&side.api.read(&path).await?, "pair-exact") {
        bail!("the exact list has not got the Secret");
    }
    Ok(Planted::with(path))
}

async fn is_in_exact_list(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let path = former.trace.as_str().context("a path was kept")?;
    let answer = side.api.get(path).await?;
    Ok((answer.is_success() && has_secret(&answer.json(), "pair-exact")).then(|| format!("the Secret in {path}")))
}

async fn begin_list(side: &Side) -> anyhow::Result<Planted> {
    for name in ["pair-first", "pair-second"] {
        let object = json!({"metadata": {"name": name, "labels": {"pair": "page"}}});
        side.api.create(SECRETS, &object).await?;
    }
    let first = side.api.read(&format!("{SECRETS}?labelSelector=pair%3Dpage&limit=1")).await?;
    let token = first["metadata"]["continue"].as_str().filter(|token| !token.is_empty());
    let token = token.context("the list has one page")?;
    // Base64 for addresses needs nothing escaped but its padding.
    let path = format!("{SECRETS}?labelSelector=pair%3Dpage&limit=10&continue={}", token.replace('=', "%3D"));
    if !has_secret(&side.api.read(&path).await?, "pair-second") {
        bail!("the next page has not got the Secret");
    }
    Ok(Planted::with(path))
}

async fn is_in_next_page(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let answer = side.api.get(former.trace.as_str().context("a path was kept")?).await?;
    Ok((answer.is_success() && has_secret(&answer.json(), "pair-second")).then(|| "the Secret in the page".to_owned()))
}

/// Returns true if this status shows that the API server refuses such requests to all clients.
fn is_refused(status: u16) -> bool {
    matches!(status, 403..=405)
}

fn logged_path(mark: &str) -> String {
    format!("/version?pair={mark}")
}

async fn set_verbosity(side: &Side) -> anyhow::Result<Planted> {
    let answer = side.api.put("/debug/flags/v", &VERBOSITY.into()).await?;
    if is_refused(answer.status) {
        return Ok(Planted { is_refused: true, ..Planted::default() });
    }
    answer.expect_done("setting the verbosity")?;
    let path = logged_path(&format!("{}-own", side.mark));
    side.api.read(&path).await?;
    wait_for("the request is in the log", async || Ok(api_server_log(side)?.contains(&path))).await?;
    Ok(Planted::default())
}

async fn ask_to_be_logged(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    side.api.read(&logged_path(&side.mark)).await?;
    Ok(None)
}

async fn is_request_logged(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    Ok(api_server_log(side)?.contains(&logged_path(&side.mark)).then(|| "a request in the log".to_owned()))
}

fn api_server_log(side: &Side) -> anyhow::Result<String> {
    let path: PathBuf = side.grant.log_directory.join("kube-apiserver.log");
    let length = std::fs::metadata(&path).with_context(|| format!("there is no {}", path.display()))?.len();
    if LOG_BYTES_MAX < length {
        bail!("{} has {length} bytes", path.display());
    }
    Ok(String::from_utf8_lossy(&std::fs::read(&path)?).into_owned())
}

/// The start time of the API server, and the number of requests that it has counted since.
async fn requests_counted(side: &Side) -> anyhow::Result<(f64, f64)> {
    let answer = side.api.get("/metrics").await?;
    answer.is_success().then_some(()).context("there are no metrics")?;
    let text = answer.text();
    let sum = |name: &str| {
        let lines = text.lines().filter(|line| line.starts_with(name));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).fold(0.0, |sum, value| sum + value)
    };
    Ok((sum("process_start_time_seconds "), sum("apiserver_request_total{")))
}

async fn delete_metrics(side: &Side) -> anyhow::Result<Planted> {
    let (start, before) = requests_counted(side).await?;
    let answer = side.api.delete("/metrics").await?;
    let (_, after) = requests_counted(side).await?;
    // If the request was served without a reset, the answer is a success all the same.
    let is_refused = is_refused(answer.status) || before <= after;
    Ok(Planted { is_refused, ..Planted::with(json!([start, before])) })
}

async fn are_metrics_lower(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let (start, now) = requests_counted(side).await?;
    let before = former.trace[1].as_f64().context("a count was kept")?;
    let is_same_process = former.trace[0].as_f64() == Some(start);
    let is_lower = is_same_process && now < before;
    Ok(is_lower.then(|| format!("{now} requests are counted, and were {before} before")))
}

/// Makes a Service, since the API server logs the addresses that it gave out before it answers. Its lines about the
/// groups of CRDs come late, which is one of kina's limits.
async fn leave_log_line(side: &Side) -> anyhow::Result<Planted> {
    let name = format!("{}-logged", side.mark);
    let object = json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}});
    side.api.create("/api/v1/namespaces/default/services", &object).await?;
    wait_for("the Service is in the log", async || Ok(api_server_log(side)?.contains(&name))).await?;
    Ok(Planted::with(name))
}

async fn is_in_log(side: &Side, former: &Former) -> anyhow::Result<Option<String>> {
    let name = former.trace.as_str().context("the name of a Service was kept")?;
    let log = api_server_log(side)?;
    Ok(log.lines().find(|line| line.contains(name)).map(|line| format!("in the log: {line}")))
}

async fn class_of_request(side: &Side, user: &str, header: &str) -> anyhow::Result<String> {
    let answer = side.api.get_as(user, "/version").await?;
    Ok(answer.header(header).context("the answer does not say how the request was classified")?.to_owned())
}

fn flow_schema(name: &str, user: &str, level: &str, precedence: u32) -> Value {
    let subjects = json!([{"kind": "User", "user": {"name": user}}]);
    let anything = json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]);
    json!({"metadata": {"name": name}, "spec": {
        "matchingPrecedence": precedence,
        "priorityLevelConfiguration": {"name": level},
        "rules": [{"subjects": subjects, "nonResourceRules": anything}],
    }})
}

async fn add_flow_schema(side: &Side, user: &str, level: &str, header: &str) -> anyhow::Result<Planted> {
    let object = flow_schema(user, user, level, 2);
    let before = class_of_request(side, user, header).await?;
    side.api.create(&format!("{FLOW_CONTROL}/flowschemas"), &object).await?;
    wait_for("requests are classified by it", async || Ok(class_of_request(side, user, header).await? != before))
        .await?;
    Ok(Planted::with(class_of_request(side, user, header).await?))
}

/// The API server follows a change of its configuration only once it has written the results of the change before.
async fn add_flow_schema_backlog(side: &Side) -> anyhow::Result<Planted> {
    let planted = add_flow_schema(side, BACKLOG_USER, "global-default", FLOW_SCHEMA_HEADER).await?;
    let creates = (0..BACKLOG).map(|number| async move {
        let object = flow_schema(&format!("{BACKLOG_USER}-{number}"), "pair-unused", "pair-missing", 9000);
        side.api.create(&format!("{FLOW_CONTROL}/flowschemas"), &object).await
    });
    futures::stream::iter(creates).buffer_unordered(CONCURRENCY).try_collect::<Vec<Value>>().await?;
    Ok(planted)
}

async fn add_priority_level(side: &Side) -> anyhow::Result<Planted> {
    let limited = json!({"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}});
    let object = json!({"metadata": {"name": "pair-level"}, "spec": {"type": "Limited", "limited": limited}});
    side.api.create(&format!("{FLOW_CONTROL}/prioritylevelconfigurations"), &object).await?;
    add_flow_schema(side, "pair-level", "pair-level", PRIORITY_LEVEL_HEADER).await
}

async fn is_classified(side: &Side, former: &Former, user: &str, header: &str) -> anyhow::Result<Option<String>> {
    let class = class_of_request(side, user, header).await?;
    Ok((former.trace == class).then(|| format!("{header} is still {class}")))
}

async fn add_api_service(side: &Side) -> anyhow::Result<Planted> {
    let object = json!({"metadata": {"name": format!("v1.{DEAD_GROUP}")}, "spec": {
        "group": DEAD_GROUP,
        "version": "v1",
        "service": {"name": "nothing", "namespace": "default", "port": 443},
        "insecureSkipTLSVerify": true,
        "groupPriorityMinimum": 1000,
        "versionPriority": 1,
    }});
    side.api.create(API_SERVICES, &object).await?;
    let path = format!("/apis/{DEAD_GROUP}/v1");
    wait_for("it is asked", async || Ok(side.api.get(&path).await?.status == 503)).await?;
    Ok(Planted::default())
}

async fn is_api_service_known(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    let path = format!("/apis/{DEAD_GROUP}/v1");
    let answer = side.api.get(&path).await?;
    if answer.status != 404 {
        return Ok(Some(format!("{path} was answered by {}", answer.status)));
    }
    let groups = side.api.send(Method::GET, "/apis", &[("accept", "application/json")], None).await?;
    Ok(groups.text().contains(DEAD_GROUP).then(|| format!("{DEAD_GROUP} in /apis")))
}

const CERTIFICATE_REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

async fn request_certificate(side: &Side) -> anyhow::Result<Planted> {
    let key = rcgen::KeyPair::generate()?;
    let request = rcgen::CertificateParams::new(Vec::new())?.serialize_request(&key)?.pem()?;
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, request);
    let object = json!({"metadata": {"name": "pair"}, "spec": {
        "request": encoded, "signerName": "pairs.kina.test/none", "usages": ["client auth"],
    }});
    side.api.create(CERTIFICATE_REQUESTS, &object).await?;
    side.api.read(&format!("{CERTIFICATE_REQUESTS}/pair")).await?;
    Ok(Planted::default())
}

async fn is_request_there(side: &Side, _: &Former) -> anyhow::Result<Option<String>> {
    for version in ["?resourceVersion=0", ""] {
        let answer = side.api.get(&format!("{CERTIFICATE_REQUESTS}/pair{version}")).await?;
        if answer.status != 404 {
            return Ok(Some(format!("the request{version} was answered by {}", answer.status)));
        }
    }
    Ok(None)
}
