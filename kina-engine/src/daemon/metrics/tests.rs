//! The text, compared with OpenMetrics and docs/metrics.md.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::export::Scrape;
use super::labels::{Label, ProviderCall, StartedFrom, TemplateFrom, Verification};
use super::recorder::{KnownCluster, Metrics};
use super::waits::Waits;
use crate::pool::{BreakerCounts, DestroyCause, WaiterId};
use crate::protocol::{Counters, HighWater, LeaseStatus, NamespaceStatus, RefusalKind, SlotStatus, Status, Traffic};
use crate::rewind::RewindReport;
use crate::timings::ServedFrom;

/// One family of the text.
#[derive(Debug, Default, PartialEq)]
struct Family {
    help: String,
    kind: String,
    unit: String,
    /// By name and labels.
    samples: BTreeMap<String, f64>,
}

fn lease() -> LeaseStatus {
    LeaseStatus { lease: 1, network: "normal".to_owned(), traffic: Traffic::default(), holder: None }
}

fn slot(slot: u64, state: &str) -> SlotStatus {
    SlotStatus {
        slot,
        state: state.to_owned(),
        cluster: Some(format!("cluster-1-{slot}")),
        kubernetes: None,
        process_ids: vec![],
        pss_bytes: 1000 * slot,
        database_bytes: 100 * slot,
        leases: 0,
        memory_bytes: 1000 * slot,
        uptime_ms: 1,
        lease: (state == "leased").then(lease),
        namespaces: Vec::new(),
    }
}

fn status(slots: Vec<SlotStatus>) -> Status {
    Status {
        version: "0.1.0-abc".to_owned(),
        engine_profile: "release".to_owned(),
        provider: "process".to_owned(),
        simulated: false,
        process_id: 1,
        log: "/nowhere".into(),
        uptime_ms: 1500,
        engine_rss_bytes: 17_000_000,
        slots,
        waiting: 3,
        waiters: Vec::new(),
        counters: Counters { boots: 2, ..Counters::default() },
        high_water: HighWater { slots_max: 4, ..HighWater::default() },
        traffic: Traffic {
            connections: 3,
            connections_open: 1,
            unix_connections: 4,
            unix_connections_open: 0,
            bytes_to_cluster: 10,
            bytes_from_cluster: 20,
        },
        releases: Vec::new(),
        sabotage: Vec::new(),
    }
}

fn text(metrics: &Arc<Metrics>, status: Status) -> String {
    let processor_seconds = HashMap::from([(1, 2.5)]);
    let scrape =
        Scrape { metrics: Arc::clone(metrics), status, orphans: 0, processor_seconds, engine_seconds: Some(0.25) };
    scrape.text().expect("written")
}

fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let body = text.strip_suffix("# EOF\n").expect("ends with # EOF");
    for line in body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let (what, rest) = comment.split_once(' ').expect("two words");
            let (name, value) = rest.split_once(' ').expect("three words");
            if what == "HELP" {
                assert!(!families.contains_key(name), "{name} comes twice");
                current = name.to_owned();
            }
            assert_eq!(current, name, "between the lines of another family: {line}");
            let family = families.entry(current.clone()).or_default();
            let field = match what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                other => panic!("what is {other}?"),
            };
            assert!(field.is_empty(), "said twice: {line}");
            *field = value.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            let family = families.get_mut(&current).expect("a family first");
            assert_eq!(family.samples.insert(series.to_owned(), value), None, "said twice: {line}");
        }
    }
    families
}

fn families() -> BTreeMap<String, Family> {
    parse(&text(&Arc::new(Metrics::default()), status(vec![slot(1, "ready")])))
}

#[test]
fn every_family_is_as_openmetrics_and_the_naming_rules_want_it() {
    for (name, family) in families() {
        let Family { help, kind, unit, samples } = &family;
        assert!(name.starts_with("kina_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert!(!help.is_empty() && !help.ends_with('.'), "{name}: {help}");
        assert!(unit.is_empty() || name.ends_with(&format!("_{unit}")), "{name} is in {unit}");
        assert!(unit.is_empty() != (name.ends_with("_seconds") || name.ends_with("_bytes")), "{name} is in {unit}");
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "info" => &["_info"],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("{name} is a {other}"),
        };
        assert!(!samples.is_empty(), "{name} has no sample");
        let mut used = BTreeSet::new();
        for series in samples.keys() {
            let sample = series.split('{').next().unwrap_or_default();
            let suffix = sample.strip_prefix(name.as_str()).unwrap_or_else(|| panic!("{series} in {name}"));
            assert!(suffixes.contains(&suffix), "{series} in the {kind} {name}");
            used.insert(suffix);
        }
        assert_eq!(used.len(), suffixes.len(), "{name}: {used:?}");
    }
}

#[test]
fn buckets_add_up() {
    let metrics = Arc::new(Metrics::default());
    for milliseconds in [0, 4, 24, 26, 400, 100_000] {
        metrics.acquired(ServedFrom::Ready, Duration::from_millis(milliseconds));
    }
    let families = parse(&text(&metrics, status(vec![])));
    let samples = &families["kina_acquire_seconds"].samples;
    let bucket = |limit: &str| samples[&format!("kina_acquire_seconds_bucket{{le=\"{limit}\",layer=\"ready\"}}")];
    let found = ["0.001", "0.005", "0.025", "0.03", "60.0", "+Inf"].map(bucket);
    assert_eq!(found, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(samples["kina_acquire_seconds_count{layer=\"ready\"}"], 6.0);
}

#[test]
fn what_happened_is_told() {
    let metrics = Arc::new(Metrics::default());
    metrics.started(StartedFrom::Snapshot, Duration::from_secs(1));
    metrics.start_failed(StartedFrom::Stopped);
    metrics.evicted(DestroyCause::Worn);
    metrics.rewound(&RewindReport {
        changed_keys: 251,
        duration: Duration::from_millis(20),
        ..RewindReport::default()
    });
    metrics.not_pristine(Verification::Rewound, 2);
    metrics.looked_for_template(TemplateFrom::Disk);
    metrics.called_provider(ProviderCall::Freeze, Duration::from_millis(2), false);
    metrics.looked_at_breakers(BreakerCounts { open: 1, ..BreakerCounts::default() });
    let mut leased = slot(2, "leased");
    leased.namespaces = vec![NamespaceStatus { namespace: "kina-1".to_owned(), lease: lease() }; 3];
    let families = parse(&text(&metrics, status(vec![slot(1, "frozen"), leased])));
    for (series, expected) in [
        ("kina_engine_info{version=\"0.1.0-abc\",engine_profile=\"release\",provider=\"process\"}", 1.0),
        ("kina_engine_uptime_seconds", 1.5),
        ("kina_engine_cpu_seconds_total", 0.25),
        ("kina_queue_depth", 3.0),
        ("kina_boots_total", 2.0),
        ("kina_slots{state=\"frozen\"}", 1.0),
        ("kina_slots{state=\"booting\"}", 0.0),
        ("kina_leases_active{isolation=\"cluster\"}", 1.0),
        ("kina_leases_active{isolation=\"namespace\"}", 3.0),
        ("kina_start_seconds_sum{from=\"snapshot\"}", 1.0),
        ("kina_start_failures_total{from=\"stopped\"}", 1.0),
        ("kina_evictions_total{cause=\"worn\"}", 1.0),
        ("kina_rewind_keys_sum", 251.0),
        ("kina_rewind_seconds_count{keys=\"251_to_5000\"}", 1.0),
        ("kina_verification_failures_total{outcome=\"rewound\"}", 2.0),
        ("kina_template_lookups_total{found=\"disk\"}", 1.0),
        ("kina_provider_call_seconds_count{call=\"freeze\"}", 1.0),
        ("kina_provider_errors_total{call=\"freeze\"}", 1.0),
        ("kina_breaker_kinds{state=\"open\"}", 1.0),
        ("kina_cluster_memory_bytes{slot=\"2\"}", 2000.0),
        ("kina_cluster_database_bytes{slot=\"1\"}", 100.0),
        ("kina_cluster_cpu_seconds_total{slot=\"1\"}", 2.5),
        ("kina_gateway_connections_open", 1.0),
        ("kina_gateway_bytes_total{direction=\"from_cluster\"}", 20.0),
    ] {
        let found = families.values().find_map(|family| family.samples.get(series));
        assert_eq!(found, Some(&expected), "{series}");
    }
}

#[test]
fn a_wait_is_told_from_the_request_to_the_proof() {
    let metrics = Arc::new(Metrics::default());
    let mut waits = Waits::new(Arc::clone(&metrics));
    let [served, refused, left, unproven] = [1, 2, 3, 4].map(WaiterId);
    for waiter in [served, refused, left, unproven] {
        waits.asked(waiter);
    }
    waits.chosen(served, ServedFrom::Frozen);
    waits.granted(served).expect("it waits").proven();
    waits.refused(refused, RefusalKind::Timeout);
    waits.gone(left);
    waits.chosen(unproven, ServedFrom::Ready);
    drop(waits.granted(unproven));
    assert!(waits.granted(refused).is_none(), "it is gone");
    let families = parse(&text(&metrics, status(vec![])));
    assert_eq!(families["kina_queue_wait_seconds"].samples["kina_queue_wait_seconds_count"], 4.0);
    let acquire = &families["kina_acquire_seconds"].samples;
    assert_eq!(acquire["kina_acquire_seconds_count{layer=\"frozen\"}"], 1.0);
    assert_eq!(acquire["kina_acquire_seconds_count{layer=\"ready\"}"], 0.0, "its proof failed");
    assert_eq!(families["kina_refusals"].samples["kina_refusals_total{kind=\"timeout\"}"], 1.0);
}

#[test]
fn a_cluster_is_known_as_long_as_it_has_a_holder() {
    let metrics = Arc::new(Metrics::default());
    let known = KnownCluster::new(&metrics, "cluster-1-1");
    assert!(metrics.has_cluster("cluster-1-1") && !metrics.has_cluster("cluster-1-2"));
    drop(known);
    assert!(!metrics.has_cluster("cluster-1-1"));
}

#[test]
fn figures_of_an_emulator_say_so() {
    let metrics = Arc::new(Metrics::default());
    let real = text(&metrics, status(vec![slot(1, "ready")]));
    assert!(!real.contains("simulated"));
    let emulated = text(&metrics, Status { simulated: true, ..status(vec![slot(1, "ready")]) });
    for line in emulated.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.contains("{simulated=\"true\"") || line.contains(",simulated=\"true\""), "{line}");
    }
}

#[test]
fn no_label_has_more_values_than_a_hand_can_count() {
    fn check<Value: Label>() {
        let texts: BTreeSet<_> = Value::ALL.iter().map(|value| value.text()).collect();
        assert_eq!(texts.len(), Value::ALL.len(), "{} has a value twice", Value::NAME);
        assert!(texts.len() <= 12, "{} has {} values", Value::NAME, texts.len());
    }
    check::<ServedFrom>();
    check::<StartedFrom>();
    check::<Verification>();
    check::<TemplateFrom>();
    check::<ProviderCall>();
    check::<DestroyCause>();
    check::<RefusalKind>();
    // The others are the pool's: slots and their states.
    let many = (1..=50).map(|number| slot(number, "ready")).collect();
    let few = parse(&text(&Arc::new(Metrics::default()), status(vec![slot(1, "ready")])));
    let many = parse(&text(&Arc::new(Metrics::default()), status(many)));
    for (name, family) in &many {
        let more = family.samples.len() - few[name].samples.len();
        assert!(more == 0 || (name.starts_with("kina_cluster_") && more < 50), "{name}: {more} more");
    }
}

/// The table in docs/metrics.md: name, type, unit, labels, meaning.
#[test]
fn the_documentation_lists_what_is_exported() {
    // The package alone, as it is published, comes without it.
    let Ok(page) = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md")) else { return };
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `kina_"));
    let documented: BTreeMap<String, Vec<String>> = rows
        .map(|row| {
            let cells: Vec<_> = row.trim_end_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
            (format!("kina_{}", cells[0].trim_end_matches('`')), cells)
        })
        .collect();
    let exported = families();
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(documented.keys().collect()), names(exported.keys().collect()));
    for (name, family) in &exported {
        let cells = &documented[name];
        assert_eq!(cells.len(), 5, "{name}: name, type, unit, labels, meaning");
        assert_eq!(cells[1], family.kind, "the type of {name}");
        assert_eq!(cells[2], family.unit, "the unit of {name}");
        let labels: BTreeSet<_> = family.samples.keys().flat_map(|series| labels_of(series)).collect();
        let written: BTreeSet<_> = cells[3].split(", ").map(|label| label.trim_matches('`').to_owned()).collect();
        let written: BTreeSet<_> = written.into_iter().filter(|label| !label.is_empty()).collect();
        assert_eq!(written, labels, "the labels of {name}");
        assert!(!cells[4].is_empty(), "the meaning of {name}");
    }
}

fn labels_of(series: &str) -> Vec<String> {
    let Some((_, labels)) = series.trim_end_matches('}').split_once('{') else { return Vec::new() };
    let names = labels.split("\",").filter_map(|label| label.split_once('='));
    names.map(|(name, _)| name.to_owned()).filter(|name| name != "le").collect()
}
