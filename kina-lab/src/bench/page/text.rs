//! The page itself, in Markdown.

use super::super::machine_description::MachineDescription;
use super::super::report::readable;
use super::SCENARIOS;
use super::budgets::{BUDGETS, Budget, PUBLISHED, TARGETS};
use super::data::Data;
use super::tables::{figures, measurements, plain};

/// Subjects of the scenarios whose reports have forms of their own.
const ABOUT: [(&str, &str); 5] = [
    (
        "scale",
        "tests under nextest, each in a pristine cluster of its own, beside the same calls on one shared cluster",
    ),
    ("peers", "the same test with kina, with the crate `envtest`, and by envtest's recipe, in turns; kina is warm"),
    (
        "crud",
        "requests to a leased cluster, through its gateway: by verb, by workers, and by ConfigMaps that are there",
    ),
    (
        "stress",
        "leases in turns: on the calm machine, beside processes that use the processor, beside one that holds much memory, \
         beside both; and with an engine that may use the memory of one cluster alone",
    ),
    ("self-test", "the gate itself: runs in which nothing changed, and runs that were slowed down on purpose"),
];

const HEAD: &str = "\
# Benchmarks

This page is generated from the files in [benchmarks/](benchmarks):

```sh
cargo lab bench report                   # measures, and writes this page
cargo lab bench report --scenarios warm   # measures one scenario again
cargo lab bench report --render           # only writes the page, from existing files
```

Times in milliseconds are those of one machine; ratios are more meaningful.
Compared values were measured in the same run, alternately.
Run it on your own machine, in a release build.
";

const METHOD: &str = "\
## Method

- Every sample is a process of its own, against a private engine; the time is from the first line of its work, behind its command line, to the answer of its first list of namespaces.
- Samples for warming up are not counted; the files contain their number.
- Medians have 95 % intervals that assume no distribution (those of the sign test); fewer than six samples have none.
- Outliers (Tukey: further than 1.5 times the distance of the quartiles beyond these) are counted and are part of every figure.
- A p95 is given for 20 samples or more, a p99 for 100 or more.
- The files contain every single sample, and the load of the machine.
";

const GATE: &str = "\
## The gate

`cargo kina bench --save NAME` measures and saves, `cargo kina bench --compare NAME` measures and compares; its exit code is 3 if something has become slower (1 and 2 are errors, 0 is success).
Every value is divided by a yardstick that is measured around it: the same list straight to a running cluster, objects created and deleted straight in one, or hashing on all cores.
A value counts as slower if it is slower by 15 % or more, with a chance below 1 % (over all series together, Mann and Whitney's test) that nothing has changed, and if a second measurement, twice as long, confirms it.
Each run is a line of `target/kina-bench/history.jsonl` and a point of `target/kina-bench/trend.html`.
";

const NOT_MEASURED: &str = "\
- Anything on a Mac or with Apple's `container`: none was available. Figures from its emulator are not figures of a virtual machine, and are not on this page.
- The profile `nodes` (kubelet, pods), which does not exist yet.
- Networks, disks and machines other than the one above.
";

/// The page.
pub(super) fn page(data: &Data, pictures: &[&str], has_flamegraph: bool) -> String {
    let mut page = HEAD.to_owned();
    page += &machines(data);
    page += "\n## Budgets\n\n";
    page += &budget_table(data, &BUDGETS);
    page += &picture(pictures, "budgets", "the used part of each budget");
    page += "\n## Targets\n\nkina's original goals, with plain processes on this machine:\n\n";
    page += &budget_table(data, &TARGETS);
    page += &published(data);
    page += "\n## Sources of clusters\n";
    page += &picture(pictures, "ways", "the wait of a test, by the source of its cluster");
    page += &picture(pictures, "warm", "the distribution of warm leases beside direct lists");
    for (name, _, _) in SCENARIOS {
        page += &scenario(data, name, pictures);
    }
    if has_flamegraph {
        page += "\n## The engine's processor time\n\n`cargo lab bench flamegraph` takes this picture (it needs Linux's \
                 `perf`): the engine's processor time while two test processes at a time lease clusters, one of them leaving \
                 250 ConfigMaps each time. Frames of the async runtime are left out, and of each \
                 library only the outermost and the innermost frame is shown. Open it by itself to point at \
                 boxes.\n\n![flame graph of the engine under load](benchmarks/flamegraph.svg)\n";
    }
    page += &format!("\n{METHOD}\n{GATE}\n## Not measured\n\n{NOT_MEASURED}");
    for (name, _, _) in SCENARIOS {
        if let Some(reason) = data.why_not_measured(name) {
            page += &format!("- `{name}`: {}.\n", plain(&reason).trim_end_matches('.'));
        }
    }
    page
}

/// The machines of all measurements.
fn machines(data: &Data) -> String {
    let mut seen: Vec<(String, Vec<String>)> = Vec::new();
    for (name, _, _) in SCENARIOS {
        let Some(whole) = data.scenario(name) else { continue };
        let Ok(machine) = serde_json::from_value::<MachineDescription>(whole["machine"].clone()) else { continue };
        let kubernetes = whole["kubernetes"].as_str().unwrap_or_default();
        let load = |load: Option<[f64; 3]>| load.map_or("?".to_owned(), |load| readable(load[0]));
        let when = whole["taken_at"].as_str().unwrap_or_default();
        let run = format!(
            "| `{name}` | {when} | {:.0} s | {kubernetes} | {} | {} | {} |",
            whole["took_s"].as_f64().unwrap_or_default(),
            load(machine.load_before),
            load(machine.load_after),
            machine.stolen_percent.map_or("?".to_owned(), |percent| format!("{percent:.1} %")),
        );
        let place = format!(
            "{} × {} ({}{}), {:.0} GB of memory, {}, kernel {}; **{}** build of kina {}",
            machine.cores,
            machine.cpu,
            machine.architecture,
            if machine.virtual_machine { ", a virtual machine" } else { "" },
            machine.memory_mb / 1e3,
            machine.system,
            machine.kernel,
            machine.build,
            machine.kina,
        );
        match seen.iter_mut().find(|(known, _)| *known == place) {
            Some((_, runs)) => runs.push(run),
            None => seen.push((place, vec![run])),
        }
    }
    seen.iter().fold(String::new(), |text, (place, runs)| {
        text + &format!(
            "\n{place}:\n\n| scenario | when | took | Kubernetes | load before | load after | stolen |\n\
             |---|---|---|---|---|---|---|\n{}\n",
            runs.join("\n")
        )
    })
}

fn budget_table(data: &Data, budgets: &[Budget]) -> String {
    let mut text =
        "| what | budget | measured | 95 % interval of p50 | samples | |\n|---|---|---|---|---|---|\n".to_owned();
    let mut remarks = String::new();
    for budget in budgets {
        let outcome = budget.outcome(data);
        let verdict = match outcome.is_met {
            Some(true) => "met",
            Some(false) => "**over**",
            None => "",
        };
        text += &format!(
            "| {} | {} | {} | {} | {} | {verdict} |\n",
            budget.what, outcome.limit, outcome.measured, outcome.interval, outcome.samples
        );
        if let Some(remark) = data.remarks.get(budget.name) {
            remarks += &format!("- {}: {remark}\n", budget.what);
        }
    }
    if !remarks.is_empty() {
        text += &format!("\n{remarks}");
    }
    text
}

fn published(data: &Data) -> String {
    let mut text = "\n## Beside KRO's published figures\n\nFigures of KRO's own report, from another machine and another \
                    language: only the order of magnitude is meaningful.\n\n| what | KRO | goal | kina | times KRO | |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    for row in &PUBLISHED {
        let goal = row.theirs * row.times;
        let (measured, times, verdict) = match data.find("fixtures", row.figure) {
            Some(found) => (
                readable(found.value),
                readable(found.value / row.theirs),
                if goal <= found.value { "met" } else { "**under**" },
            ),
            None => ("not measured".to_owned(), "–".to_owned(), ""),
        };
        text += &format!(
            "| {} | {} | ≥ {} | {measured} | {times} | {verdict} |\n",
            row.what,
            readable(row.theirs),
            readable(goal)
        );
    }
    text
}

fn scenario(data: &Data, name: &str, pictures: &[&str]) -> String {
    let Some(whole) = data.scenario(name) else { return String::new() };
    let mut text = format!("\n## `{name}`\n\n");
    if whole["simulated"] == true {
        text += "**Simulated**: the provider is an emulation; no figure says anything about the real thing.\n\n";
    }
    let report = data.report(name);
    if let Some(report) = &report {
        text += &format!("{}.\n\n{}", capitalised(&report.about), measurements(report));
    } else if let Some((_, about)) = ABOUT.iter().find(|(known, _)| *known == name) {
        text += &format!("{}.\n", capitalised(about));
    }
    if name != "warm" {
        text += &picture(pictures, name, &format!("measured by {name}"));
    }
    text += &figures(whole, report.is_some());
    for note in report.iter().flat_map(|report| &report.notes) {
        text += &format!("\nNote: {note}.\n");
    }
    text
}

fn picture(pictures: &[&str], name: &str, what: &str) -> String {
    if pictures.contains(&name) { format!("\n![{what}](benchmarks/{name}.svg)\n") } else { String::new() }
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::report::{Draft, Measurement};
    use serde_json::json;

    #[test]
    fn a_page_names_measured_and_unmeasured_scenarios() {
        let mut draft = Draft::begin("warm", "clusters are ready");
        draft.add(Measurement::of("warm_ms", "a lease", &[6.0; 30])).expect("samples");
        draft.add(Measurement::of("direct_ms", "a list", &[5.0; 30])).expect("samples");
        let warm = draft.finish().to_json().expect("JSON");
        let crud = json!({"simulated": true, "rows": [{"verb": "create", "p50_ms": 1.5}, {"verb": "a|b", "more": 2}]});
        let data = Data::of(&[("warm", warm), ("crud", crud), ("peers", json!({"not_measured": "no Go"}))]);
        let pictures = super::super::pictures::draw(&data).expect("drawn");
        let names: Vec<&str> = pictures.iter().map(|(name, _)| name.as_str()).collect();
        let page = page(&data, &names, false);
        for part in [
            "| warm acquire to usable client, p50 | ≤ 5 ms | 6 ms | 6 … 6 | 30 | **over** |",
            "Clusters are ready.",
            "| `warm_ms`: a lease | ms | 30 | 6 |",
            "![the distribution of warm leases beside direct lists](benchmarks/warm.svg)",
            "**Simulated**",
            "| create | 1.5 | – |",
            "a\\|b",
            "- `peers`: no Go.",
            "- `cold`: it was not run.",
            "not measured",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
        assert!(!page.contains("flamegraph.svg"));
    }
}
