//! `cargo kina timings`, through the program: the page of a log, drawn by a real browser. The document in the browser
//! is compared with the log.
//!
//! The browser is `chromium`, or the one that `KINA_TEST_CHROMIUM` names. Without one that part is skipped, with a
//! notice; `KINA_TEST_CHROMIUM=required` makes it a failure.
mod chromium;
mod png;
mod run;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use self::chromium::Chromium;
use kina_engine::{EngineLine, Phase, PhaseLine, TimingLine};

/// A test's name that tries to inject scripts into the page.
const EVIL_NAME: &str =
    "evil::</script><script>document.title='taken over'</script><img src=x onerror=alert(1)>&amp;\"'";

fn timings(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cargo-kina"))
        .arg("timings")
        .args(arguments)
        .current_dir(directory)
        .env("KINA_RUNTIME_DIR", directory.join("run"))
        .env("KINA_CACHE_DIR", directory.join("cache"))
        .env("XDG_CONFIG_HOME", directory)
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

fn text_of(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn write_log(path: &Path, lines: &[TimingLine]) {
    std::fs::write(path, lines.iter().map(TimingLine::to_text).collect::<String>()).expect("written");
}

fn phases(lines: &[TimingLine]) -> impl Iterator<Item = &PhaseLine> {
    lines.iter().filter_map(|line| match line {
        TimingLine::Phase(phase) => Some(phase),
        TimingLine::Engine(_) => None,
    })
}

/// Returns the texts between two marks, at all places.
fn between<'a>(text: &'a str, before: &str, after: &str) -> Vec<&'a str> {
    text.split(before).skip(1).filter_map(|rest| rest.split_once(after)).map(|(found, _)| found).collect()
}

fn only<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let found = between(text, before, after);
    assert_eq!(found.len(), 1, "{before}…{after}: {found:?}");
    found[0]
}

/// Returns the text without tags, with its HTML entities decoded.
fn words(html: &str) -> String {
    let mut words = String::new();
    for (index, part) in html.split('<').enumerate() {
        words.push_str(if index == 0 { part } else { part.split_once('>').map_or("", |(_, text)| text) });
    }
    words.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
}

#[test]
fn a_browser_draws_the_content_of_the_log() {
    let Some(chromium) = Chromium::find() else {
        test_support::skip!("{}", chromium::MISSING);
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (log, page) = (directory.path().join("log"), directory.path().join("page.html"));
    let lines = run::two_hundred_leases(EVIL_NAME);
    write_log(&log, &lines);
    let output = timings(&["--from", "log", "-o", "page.html"], directory.path());
    assert!(output.status.success(), "{}", text_of(&output));

    let dom = chromium.dom(&page);
    assert!(dom.contains("data-drawn=\"yes\""), "the script ran to its end");
    assert!(!dom.contains("<title>taken over"), "a name became a script");
    let (_, drawn) = dom.split_once("<body>").expect("a body");
    let (drawn, _) = drawn.split_once("<script type=\"application/json\"").expect("the data");

    let leases: Vec<_> = phases(&lines).filter(|phase| phase.phase == Phase::Leased).collect();
    let refused = phases(&lines).filter(|phase| phase.phase == Phase::Waiting).count();
    assert_eq!(leases.len(), 200);
    assert_eq!(only(drawn, "<dd id=\"sum-leases\">", "<"), "200");
    let boots = phases(&lines).filter(|phase| phase.phase == Phase::Booting).count();
    assert_eq!(only(drawn, "<dd id=\"sum-boots\">", "<"), boots.to_string());
    let rewinds = phases(&lines).filter(|phase| phase.phase == Phase::Rewinding).count();
    assert_eq!(only(drawn, "<dd id=\"sum-rewinds\">", "<"), rewinds.to_string());

    // A row for each slot, a bar for each of its phases.
    let slots = phases(&lines).filter_map(|phase| phase.slot).collect::<std::collections::BTreeSet<_>>();
    let rows: Vec<u64> =
        between(drawn, "data-slot=\"", "\"").iter().map(|row| row.parse().expect("a number")).collect();
    assert_eq!(rows, slots.into_iter().collect::<Vec<u64>>());
    for phase in [Phase::Leased, Phase::Booting, Phase::Rewinding, Phase::Frozen, Phase::Broken, Phase::Ready] {
        let name = serde_json::to_value(phase).expect("a name");
        let class = format!("<rect class=\"span {}\"", name.as_str().expect("text"));
        let in_log = phases(&lines).filter(|line| line.phase == phase).count();
        let bars = drawn.matches(&format!("{class} x=")).count() + drawn.matches(&format!("{class}\" x=")).count();
        assert!(0 < in_log);
        assert_eq!(bars, in_log, "{phase:?}");
    }

    // A line for each test, with the figures of the log.
    let table = only(drawn, "<table id=\"tests\">", "</table>");
    let table_rows = between(table, "<tr data-lease=\"", "</tr>");
    assert_eq!(table_rows.len(), leases.len() + refused);
    let mut held_in_table: Vec<f64> = Vec::new();
    let mut waits_in_table: Vec<f64> = Vec::new();
    let mut keys_in_table = 0;
    for row in &table_rows {
        let values = between(row, "data-value=\"", "\"");
        let number = |index: usize| values[index].parse::<f64>();
        if let (Ok(wait), Ok(held)) = (number(2), number(4)) {
            waits_in_table.push(wait);
            held_in_table.push(held);
        }
        keys_in_table += values[6].parse::<u64>().unwrap_or(0);
    }
    let of_log = |value: fn(&PhaseLine) -> Option<f64>| leases.iter().filter_map(|phase| value(phase)).collect();
    assert_eq!(sorted(waits_in_table), sorted(of_log(|phase| phase.wait_ms)));
    assert_eq!(sorted(held_in_table), sorted(of_log(|phase| phase.duration_ms)));
    let keys: u64 = phases(&lines).filter_map(|phase| phase.changed_keys).sum();
    assert_eq!(keys_in_table, keys);
    assert!(table_rows.iter().any(|row| words(row).contains(EVIL_NAME)), "the name is shown as it is");
    assert!(!drawn.contains("<img"), "and as nothing else");

    // The longest wait comes first among the slowest.
    let slowest = only(drawn, "<table id=\"slowest\">", "</table>");
    let first = between(slowest, "data-value=\"", "\"")[0].parse::<f64>().expect("a number");
    let longest = phases(&lines).filter_map(|phase| match phase.phase {
        Phase::Waiting => phase.duration_ms,
        _ => phase.wait_ms,
    });
    assert_eq!(first, longest.fold(0.0, f64::max));

    // The page is visible.
    let (width, height) = (1400, 1200);
    let image = chromium.screenshot(&page, width, height);
    assert_eq!((image.width, image.height), (width, height));
    let colours = image.colours();
    assert!(30 < colours.len(), "more than a plain surface: {} colours", colours.len());
    // Leases are drawn in this colour, and there is one most of the time.
    let leased_pixels = colours.get(&[0x00, 0x72, 0xb2]).copied().unwrap_or(0);
    assert!(10_000 < leased_pixels, "{leased_pixels} pixels");
    if let Some(kept) = std::env::var_os("KINA_TEST_KEEP_PAGE").map(std::path::PathBuf::from) {
        std::fs::copy(&page, kept.join("timings.html")).expect("kept");
        std::fs::copy(&log, kept.join("timings.jsonl")).expect("kept");
    }
}

/// Uses the page without a mouse: sorts the table, looks for a test, walks along the bars.
#[test]
fn the_page_answers_to_its_keys_and_buttons() {
    let Some(chromium) = Chromium::find() else {
        test_support::skip!("{}", chromium::MISSING);
        return;
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let lines = run::two_hundred_leases("suite::the_one::that_is_looked_for");
    write_log(&directory.path().join("log"), &lines);
    let output = timings(&["--from", "log", "-o", "-"], directory.path());
    let html = String::from_utf8(output.stdout).expect("text");
    let (before, after) = html.rsplit_once("</body>").expect("a body");
    let hands = "<script>
        const press = (key) =>
            document.getElementById('timeline').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        const button = (name) => [...document.querySelectorAll('#tests th button')].find((found) => found.textContent === name);
        button('Waited').click();
        document.documentElement.dataset.first = document.querySelector('#tests tbody [data-value]').parentNode.dataset.lease;
        ['ArrowDown', 'ArrowDown', 'ArrowRight', 'ArrowRight', '+', '+'].forEach(press);
        const find = document.getElementById('find');
        find.value = 'The_One';
        find.dispatchEvent(new Event('input'));
        document.documentElement.dataset.left = document.querySelectorAll('#tests tbody tr:not([hidden])').length;
        document.documentElement.dataset.wide = document.querySelector('#scroller svg').getAttribute('width');
    </script>";
    let page = directory.path().join("page.html");
    std::fs::write(&page, format!("{before}{hands}</body>{after}")).expect("written");
    let dom = chromium.dom(&page);
    let (root, _) = dom.split_once("<head>").expect("a head");
    let slowest = between(only(&dom, "<table id=\"slowest\">", "</table>"), "data-lease=\"", "\"")[0];
    assert_eq!(only(root, "data-first=\"", "\""), slowest, "the largest numbers come first");
    assert!(dom.contains("aria-sort=\"descending\""));
    assert_eq!(only(root, "data-left=\"", "\""), "1");
    assert_eq!(only(&dom, "<span id=\"found\" aria-live=\"polite\">", "<"), "1 of 201 leases");
    let detail = words(only(&dom, "<p id=\"detail\" aria-live=\"polite\">", "</p>"));
    assert!(detail.contains("slot 2") && detail.contains(" for "), "the selected bar is described: {detail}");
    let wide: f64 = only(root, "data-wide=\"", "\"").parse().expect("a number");
    assert!(2000.0 < wide, "four times as wide as it was: {wide}");
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

#[test]
fn unreadable_lines_of_a_log_are_counted_and_left_out() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut text = run::two_hundred_leases("plain").iter().map(TimingLine::to_text).collect::<String>().into_bytes();
    text.extend(b"{\"kind\":\"of a newer kina\"}\n\xff\xfe\n{\"kind\":\"phase\",\"engi");
    std::fs::write(directory.path().join("log"), text).expect("written");
    let output = timings(&["--from", "log", "-o", "-"], directory.path());
    assert!(output.status.success(), "{}", text_of(&output));
    let html = String::from_utf8(output.stdout).expect("text");
    let data = only(&html, "id=\"data\">", "</script>");
    let report: serde_json::Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&report["unreadable_lines"], &report["summary"]["leases"]), (&3.into(), &200.into()));
}

#[test]
fn figures_of_an_emulation_are_marked() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let engine = EngineLine { engine: "apple-1-1".to_owned(), simulated: true, ..EngineLine::default() };
    let mut lines = run::two_hundred_leases("plain");
    lines[0] = TimingLine::Engine(engine);
    write_log(&directory.path().join("log"), &lines);
    let output = timings(&["--from", "log", "-o", "-"], directory.path());
    let html = String::from_utf8(output.stdout).expect("text");
    assert!(html.contains("\"simulated\":true"), "{html}");
}

#[test]
fn a_log_that_cannot_be_shown_is_an_error_with_a_reason() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(directory.path().join("empty"), "").expect("written");
    let expect = |arguments: &[&str], words: &str| {
        let output = timings(arguments, directory.path());
        assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
        assert!(text_of(&output).contains(words), "{}", text_of(&output));
    };
    expect(&[], "no running engine");
    expect(&["--from", "empty"], "no line");
    expect(&["--from", "nowhere"], "nowhere");
    expect(&["--from", "empty", "--since", "soon"], "such as 90s");
    assert!(!directory.path().join("kina-timings.html").exists());
}
