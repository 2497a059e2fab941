use kina_engine::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};

use super::*;

fn phase(phase: Phase, slot: u64, start_unix_ms: f64, duration_ms: f64) -> PhaseLine {
    PhaseLine {
        engine: "e".to_owned(),
        phase,
        slot: (0 < slot).then_some(slot),
        start_unix_ms,
        duration_ms: Some(duration_ms),
        memory_bytes: if slot == 0 { 0 } else { 100 },
        ..PhaseLine::default()
    }
}

fn leased(slot: u64, lease: u64, test: &str, start_unix_ms: f64, duration_ms: f64, wait_ms: f64) -> PhaseLine {
    PhaseLine {
        lease: Some(lease),
        test: Some(test.to_owned()),
        wait_ms: Some(wait_ms),
        served_from: Some(ServedFrom::Ready),
        ..phase(Phase::Leased, slot, start_unix_ms, duration_ms)
    }
}

fn report(phases: Vec<PhaseLine>) -> Report {
    Report::new(phases.into_iter().map(TimingLine::Phase).collect(), None)
}

#[test]
fn a_report_adds_up() {
    let rewinding = PhaseLine {
        lease: Some(1),
        test: Some("a".to_owned()),
        changed_keys: Some(7),
        ..phase(Phase::Rewinding, 1, 1150.0, 20.0)
    };
    let refused = PhaseLine {
        test: Some("c".to_owned()),
        outcome: Some(WaitEnd::Refused),
        ..phase(Phase::Waiting, 0, 1100.0, 40.0)
    };
    let report = report(vec![
        rewinding,
        refused,
        leased(2, 2, "b", 1120.0, 60.0, 15.0),
        leased(1, 1, "a", 1100.0, 50.0, 100.0),
        phase(Phase::Booting, 1, 1010.0, 90.0),
    ]);
    assert_eq!((report.start_unix_ms, report.duration_ms), (1000.0, 180.0));
    let names: Vec<_> = report.leases.iter().map(|row| report.tests[row.test].as_str()).collect();
    assert_eq!(names, ["a", "c", "b"]);
    assert_eq!((report.leases[0].rewind_ms, report.leases[0].changed_keys), (Some(20.0), Some(7)));
    assert_eq!(report.leases[1].outcome, Some(WaitEnd::Refused));
    assert_eq!(report.queue, [(0.0, 1), (105.0, 2), (120.0, 1), (140.0, 0)]);
    assert_eq!(report.memory, [(10.0, 100), (120.0, 200), (170.0, 100), (180.0, 0)]);
    assert_eq!(report.slowest, [0, 1, 2]);
    let of_rewind = report.slots[0].spans.iter().find(|span| span.phase == Phase::Rewinding).expect("there");
    assert_eq!(of_rewind.lease, Some(0));
    let summary = &report.summary;
    assert_eq!((summary.tests, summary.leases, summary.without_lease, summary.boots, summary.rewinds), (3, 2, 1, 1, 1));
    assert_eq!((summary.wait_p50_ms, summary.wait_p95_ms, summary.wait_max_ms), (Some(15.0), Some(100.0), Some(100.0)));
    assert_eq!((summary.queue_most, summary.memory_most_bytes), (2, 200));
}

#[test]
fn leases_of_two_engines_are_not_mixed_up() {
    let other = |line: PhaseLine| PhaseLine { engine: "f".to_owned(), ..line };
    let rewinding =
        |keys: u64| PhaseLine { lease: Some(1), changed_keys: Some(keys), ..phase(Phase::Rewinding, 1, 20.0, 5.0) };
    let report = report(vec![
        leased(1, 1, "a", 10.0, 10.0, 0.0),
        other(leased(1, 1, "b", 11.0, 9.0, 0.0)),
        rewinding(3),
        other(rewinding(4)),
    ]);
    assert_eq!(report.slots.len(), 2);
    let of = |test: &str| report.leases.iter().find(|row| report.tests[row.test] == test).expect("there");
    assert_eq!((of("a").changed_keys, of("b").changed_keys), (Some(3), Some(4)));
    assert_ne!(of("a").slot, of("b").slot);
}

#[test]
fn simultaneous_namespaces_have_separate_lanes() {
    let namespace = |lease: u64, start_ms: f64, duration_ms: f64| PhaseLine {
        phase: Phase::Namespace,
        ..leased(1, lease, "n", start_ms, duration_ms, 0.0)
    };
    let report = report(vec![namespace(1, 0.0, 10.0), namespace(2, 5.0, 10.0), namespace(3, 10.0, 1.0)]);
    let lanes: Vec<_> = report.slots[0].spans.iter().map(|span| span.lane).collect();
    assert_eq!((lanes, report.slots[0].lanes), (vec![0, 1, 0], 2));
}

#[test]
fn phases_that_were_over_before_are_left_out() {
    let lines = vec![leased(1, 1, "early", 0.0, 10.0, 0.0), leased(1, 2, "late", 20.0, 10.0, 0.0)];
    let lines: Vec<_> = lines.into_iter().map(TimingLine::Phase).collect();
    let report = Report::new(lines, Some(15.0));
    assert_eq!(report.tests, ["late"]);
    assert_eq!((report.start_unix_ms, report.duration_ms, report.leases[0].asked_ms), (15.0, 15.0, 5.0));
}

#[test]
fn a_phase_under_way_lasts_until_the_time_of_the_answer() {
    let engine = EngineLine { engine: "e".to_owned(), asked_unix_ms: Some(100.0), ..EngineLine::default() };
    let under_way = PhaseLine { duration_ms: None, ..leased(1, 1, "a", 40.0, 0.0, 0.0) };
    let report = Report::new(vec![TimingLine::Engine(engine), TimingLine::Phase(under_way)], None);
    assert_eq!((report.leases[0].held_ms, report.leases[0].is_under_way), (Some(60.0), true));
    assert_eq!(report.duration_ms, 60.0);
}

#[test]
fn nothing_in_a_name_can_leave_its_string() {
    let name = "</script><script>alert('{{style}}')</script>\u{2028}&amp;<!--";
    let html = html(&report(vec![leased(1, 1, name, 0.0, 1.0, 0.0)]));
    assert_eq!(html.matches("</script>").count(), 2, "the page's own two");
    assert!(!html.contains("alert('*") && !html.contains("<!--"), "{html}");
    let (_, data) = html.split_once("id=\"data\">").expect("the data");
    let (data, _) = data.split_once("</script>").expect("their end");
    let data: serde_json::Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(data["tests"][0], name);
}

#[test]
fn the_page_loads_nothing() {
    let html = html(&report(vec![leased(1, 1, "a", 0.0, 1.0, 0.0)]));
    let without_names = html.replace("http://www.w3.org/2000/svg", "");
    for word in ["http:", "https:", "src=", "@import", "url(//", "fetch(", "import("] {
        assert!(!without_names.contains(word), "{word}");
    }
    assert!(html.contains("default-src 'none'"));
}
