//! A real Prometheus that scrapes a real engine.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::engine::Engine;
use super::http;
use super::rules::{operations, said};

/// The variable that is `required` if a missing Prometheus is a failure.
const VARIABLE: &str = "KINA_TEST_PROMETHEUS";
/// The reason of a test that is skipped.
pub(super) const MISSING: &str = "there is no prometheus or no promtool on PATH (Debian: apt-get install prometheus)";
/// Time limit of Prometheus to start and to scrape.
const PATIENCE: Duration = Duration::from_secs(60);
/// Values for the variables that Grafana fills in.
const FILLED_IN: [(&str, &str); 2] = [("$__rate_interval", "1m"), ("$instance", ".*")];

/// Finds a program of Prometheus. Debian's package is `prometheus`.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file());
    let required = std::env::var(VARIABLE).is_ok_and(|value| value == "required");
    assert!(found.is_some() || !required, "{VARIABLE}=required, but there is no {program} on PATH");
    found
}

/// A Prometheus that scrapes an engine. It ends with this value.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(program: &Path, target: SocketAddr, rules: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let configuration = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n\
             - job_name: kina\n  static_configs:\n  - targets: ['{target}']\n",
            rules.display()
        );
        std::fs::write(directory.path().join("prometheus.yml"), configuration).expect("written");
        // It cannot let the system choose a port. If this one is taken meanwhile, the test fails with its log.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let log = std::fs::File::create(directory.path().join("log")).expect("made");
        let child = Command::new(program)
            .arg(format!("--config.file={}", directory.path().join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let mut prometheus = Self { child, address, directory };
        prometheus.wait("is ready", |prometheus| {
            http::try_get(prometheus.address, "/-/ready").is_some_and(|answer| answer.status == 200)
        });
        prometheus
    }

    fn wait(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            let ended = self.child.try_wait().expect("asked");
            assert!(ended.is_none(), "prometheus ended: {}", self.log());
            assert!(start.elapsed() < PATIENCE, "never: prometheus {what}; {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    fn ask(&self, path: &str) -> Value {
        let answer = http::get(self.address, path);
        let body: Value = serde_json::from_str(&answer.body).expect("an answer of Prometheus");
        assert_eq!((answer.status, &body["status"]), (200, &Value::from("success")), "{path}: {body}");
        body["data"].clone()
    }

    fn query(&self, expression: &str) -> Vec<Value> {
        let data = self.ask(&format!("/api/v1/query?query={}", http::encoded(expression)));
        data["result"].as_array().cloned().unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Collects all queries of a dashboard, as Grafana would send them.
fn queries(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::String(expression)) = object.get("expr") {
                let filled_in = FILLED_IN.iter().fold(expression.clone(), |text, (from, to)| text.replace(from, to));
                found.push(filled_in);
            }
            object.values().for_each(|value| queries(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| queries(value, found)),
        _ => {}
    }
}

/// Returns the names of the families in an expression.
fn names_in(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| word.starts_with("kina_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn prometheus_scrapes_an_engine_and_every_query_of_dashboard_and_rules_has_an_answer() {
    let (Some(program), Some(promtool)) = (find("prometheus"), find("promtool")) else {
        test_support::skip!("{MISSING}");
        return;
    };
    let operations = operations();
    let dashboard = std::fs::read_to_string(operations.join("grafana-dashboard.json")).expect("read");
    let dashboard: Value = serde_json::from_str(&dashboard).expect("JSON");
    let mut expressions = Vec::new();
    queries(&dashboard, &mut expressions);
    assert!(!expressions.is_empty());

    let engine = Engine::start(&[("KINA_METRICS_PORT", "0")]);
    let told = engine.client().metrics().await.expect("answered").expect("it runs");
    let rules = operations.join("alerts.yaml").canonicalize().expect("an absolute path");
    let mut prometheus = Prometheus::start(&program, told.address.expect("a port was asked for"), &rules);
    engine.use_a_cluster().await;
    // Rates of counters need several samples.
    prometheus.wait("has scraped", |prometheus| {
        !prometheus.query("count_over_time(kina_cluster_cpu_seconds_total[1m]) >= 3").is_empty()
            && !prometheus.query("count_over_time(kina_cluster_database_bytes[1m]) >= 1").is_empty()
    });

    for expression in &expressions {
        assert!(!prometheus.query(expression).is_empty(), "the dashboard would show nothing of: {expression}");
    }

    prometheus.wait("has evaluated the rules", |prometheus| {
        let groups = prometheus.ask("/api/v1/rules");
        let rules = groups["groups"][0]["rules"].as_array().cloned().unwrap_or_default();
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")
    });
    let groups = prometheus.ask("/api/v1/rules");
    for rule in groups["groups"][0]["rules"].as_array().expect("rules") {
        assert_eq!(rule["health"], "ok", "{rule}");
        let names = names_in(rule["query"].as_str().expect("a query"));
        assert!(!names.is_empty(), "{rule}");
        for name in names {
            assert!(!prometheus.query(&name).is_empty(), "there is no {name} for {rule}");
        }
    }

    // Only OpenMetrics has units, so the text was read as that.
    let metadata = prometheus.ask("/api/v1/targets/metadata");
    let metadata = metadata.as_array().expect("a list");
    let acquire = metadata.iter().find(|entry| entry["metric"] == "kina_acquire_seconds").expect("known");
    assert_eq!((&acquire["type"], &acquire["unit"]), (&Value::from("histogram"), &Value::from("seconds")));
    lint(&promtool, &engine.client().metrics().await.expect("answered").expect("it runs").text);
}

/// Runs `promtool check metrics`. It knows only the older text format, so the text is translated: in that format,
/// comments also have the suffixes of counters and infos.
fn lint(promtool: &Path, text: &str) {
    let types: Vec<(&str, &str)> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let translated: String = text
        .lines()
        .filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF")
        .map(|line| {
            let Some((what, name, rest)) = comment(line) else { return format!("{line}\n") };
            let kind = types.iter().find(|(other, _)| *other == name).map_or("", |(_, kind)| kind);
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            format!("# {what} {name}{suffix} {}\n", if rest == "info" { "gauge" } else { rest })
        })
        .collect();
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    child.stdin.take().expect("piped").write_all(translated.as_bytes()).expect("read by promtool");
    let output = child.wait_with_output().expect("promtool ends");
    assert!(output.status.success(), "{}\n{translated}", said(&output));
}

/// Splits a comment into keyword, name and the rest.
fn comment(line: &str) -> Option<(&str, &str, &str)> {
    let (what, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, rest) = rest.split_once(' ')?;
    Some((what, name, rest))
}
