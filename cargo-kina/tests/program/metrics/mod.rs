//! `cargo kina metrics`, the engine's port, and a real Prometheus that reads them.

mod engine;
mod http;
mod prometheus;
mod rules;

use self::engine::Engine;

/// Returns the comment lines, which describe the families.
fn comments(text: &str) -> Vec<&str> {
    text.lines().filter(|line| line.starts_with('#')).collect()
}

#[tokio::test]
async fn an_engine_serves_the_same_metrics_over_its_socket_and_its_port() {
    let engine = Engine::start(&[("KINA_METRICS_PORT", "0")]);
    engine.use_a_cluster().await;
    let told = engine.client().metrics().await.expect("answered").expect("it runs");
    let address = told.address.expect("a port was asked for");
    assert!(address.ip().is_loopback(), "{address}");
    assert!(told.text.ends_with("\n# EOF\n"), "{}", told.text);
    for series in [
        "kina_leases_total{layer=\"ready\"} 1\n",
        "kina_acquire_seconds_count{layer=\"ready\"} 1\n",
        "kina_boots_total 1\n",
        "kina_provider_call_seconds_count{call=\"create\"} 1\n",
        "kina_orphans 0\n",
    ] {
        assert!(told.text.contains(series), "no {series} in {}", told.text);
    }
    assert!(!told.text.contains("simulated"), "{}", told.text);

    let answer = http::get(address, "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(comments(&answer.body), comments(&told.text));
    assert_eq!(http::get(address, "/").status, 404);
    assert_eq!(http::say(address, "HELO\r\n\r\n").status, 400);

    let printed = engine.run(&["metrics"]);
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(comments(&String::from_utf8_lossy(&printed.stdout)), comments(&told.text));
    let notes = String::from_utf8_lossy(&printed.stderr).into_owned();
    assert!(notes.contains(&format!("http://{address}/metrics")), "{notes}");

    engine.stop();
    assert!(std::net::TcpStream::connect(address).is_err(), "the port outlives the engine");
    let printed = engine.run(&["metrics"]);
    assert!(printed.status.success(), "{printed:?}");
    assert_eq!(String::from_utf8_lossy(&printed.stdout), "# EOF\n");
}

#[tokio::test]
async fn an_engine_whose_port_is_taken_runs_without_one() {
    let taken = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let port = taken.local_addr().expect("bound").port().to_string();
    let engine = Engine::start(&[("KINA_METRICS_PORT", port.as_str())]);
    let told = engine.client().metrics().await.expect("answered").expect("it runs");
    assert_eq!(told.address, None);
    assert!(told.text.contains("kina_boots_total 1\n"), "{}", told.text);
}
