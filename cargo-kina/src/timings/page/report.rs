use std::collections::{BTreeMap, HashMap};

use kina_engine::{EngineLine, Phase, PhaseLine, ServedFrom, TimingLine, WaitEnd};
use serde::Serialize;

/// The largest number of phases that browsers can display well; the latest are shown.
const PHASES_MAX: usize = 20_000;
/// The number of slowest leases that are listed separately.
const SLOWEST_MAX: usize = 10;
/// Moments closer to each other than this count as one: a phase begins where the previous one ends.
const SAME_MOMENT_MS: f64 = 0.002;

/// The content of a page. Times are milliseconds since `start_unix_ms`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// The time of its beginning, since 1970.
    pub start_unix_ms: f64,
    /// The length of the covered time.
    pub duration_ms: f64,
    /// The engines in it.
    pub engines: Vec<EngineLine>,
    /// Names of tests, which other parts refer to by index.
    pub tests: Vec<String>,
    /// The slots, by engine and number.
    pub slots: Vec<SlotRow>,
    /// The number of waiting clients, from each of these moments on.
    pub queue: Vec<(f64, u64)>,
    /// The memory of the slots, in bytes, from each of these moments on.
    pub memory: Vec<(f64, u64)>,
    /// Each lease, and each wait without one, in the order of the requests.
    pub leases: Vec<LeaseRow>,
    /// The longest waits, as indexes into `leases`.
    pub slowest: Vec<usize>,
    /// A summary in a few figures.
    pub summary: Summary,
    /// The number of lines of the log that could not be read.
    pub unreadable_lines: usize,
    /// The number of phases left out because there are too many.
    pub omitted_phases: usize,
}

/// A slot and its phases.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SlotRow {
    /// Index of its engine in `engines`.
    pub engine: usize,
    /// Its number there.
    pub slot: u64,
    /// The version of its cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<String>,
    /// The largest number of its namespaces that tests had at the same time.
    pub lanes: usize,
    /// Its phases, one after the other except for namespaces.
    pub spans: Vec<Span>,
}

/// A phase of a slot.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Span {
    /// The kind of phase.
    pub phase: Phase,
    /// Its beginning.
    pub start_ms: f64,
    /// Its length.
    pub duration_ms: f64,
    /// Set while it is not over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_under_way: bool,
    /// The lane, for a namespace.
    pub lane: usize,
    /// Index in `leases` of the lease that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<usize>,
    /// The number of keys that a rewind changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_keys: Option<u64>,
    /// Set if the API server was restarted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub api_server_restarted: bool,
    /// The slot's memory, in bytes.
    pub memory_bytes: u64,
}

/// A test's request for a cluster, and its outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LeaseRow {
    /// Index in `tests`.
    pub test: usize,
    /// Index in `slots`, if it got one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slot: Option<usize>,
    /// The lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<u64>,
    /// Set if the lease was on a namespace.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_namespace: bool,
    /// The time of the request.
    pub asked_ms: f64,
    /// The length of the wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<f64>,
    /// The source of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_from: Option<ServedFrom>,
    /// The length of the lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_ms: Option<f64>,
    /// Set while it is not over.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_under_way: bool,
    /// The length of the rewind after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewind_ms: Option<f64>,
    /// The number of keys that the rewind changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changed_keys: Option<u64>,
    /// The template that the cluster started from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The reason why it got no lease.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<WaitEnd>,
}

/// A few figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The number of different tests.
    pub tests: usize,
    /// The number of leases.
    pub leases: usize,
    /// The number of requests that were refused or given up.
    pub without_lease: usize,
    /// The median wait.
    pub wait_p50_ms: Option<f64>,
    /// The 95th percentile of the waits.
    pub wait_p95_ms: Option<f64>,
    /// The longest wait.
    pub wait_max_ms: Option<f64>,
    /// The median length of rewinds.
    pub rewind_p50_ms: Option<f64>,
    /// The number of boots, including failed ones.
    pub boots: usize,
    /// The number of starts of stopped clusters.
    pub starts: usize,
    /// The number of thaws of frozen clusters.
    pub thaws: usize,
    /// The number of rewinds.
    pub rewinds: usize,
    /// The largest number of clients that waited at the same time.
    pub queue_most: u64,
    /// The largest memory of all clusters together, in bytes.
    pub memory_most_bytes: u64,
    /// The share of the clusters' time in which tests had them.
    pub leased_share: Option<f64>,
}

/// A report under construction.
struct Gathered {
    report: Report,
    test_places: HashMap<String, usize>,
    /// By engine and slot.
    slot_places: BTreeMap<(usize, u64), usize>,
    /// By engine and lease.
    lease_places: HashMap<(usize, u64), usize>,
    /// For each slot, the end of the last namespace in each lane.
    lane_ends_ms: Vec<Vec<f64>>,
    origin_ms: f64,
    end_ms: f64,
}

impl Report {
    /// Makes a report from lines in any order, without the phases that had ended before `since_unix_ms`.
    pub fn new(lines: Vec<TimingLine>, since_unix_ms: Option<f64>) -> Self {
        let mut engines: Vec<EngineLine> = Vec::new();
        let mut phases = Vec::new();
        for line in lines {
            match line {
                // An engine repeats its line at the beginning of each log.
                TimingLine::Engine(line) => match engines.iter_mut().find(|known| known.engine == line.engine) {
                    Some(known) => *known = line,
                    None => engines.push(line),
                },
                TimingLine::Phase(line) => phases.push(line),
            }
        }
        // The beginning of the log may be gone.
        for phase in &phases {
            if !engines.iter().any(|known| known.engine == phase.engine) {
                let (engine, simulated) = (phase.engine.clone(), phase.simulated);
                engines.push(EngineLine { engine, simulated, ..EngineLine::default() });
            }
        }
        let ends_ms = phases.iter().filter_map(|phase| Some(phase.start_unix_ms + phase.duration_ms?));
        let asked_ms = engines.iter().filter_map(|engine| engine.asked_unix_ms);
        let starts_ms = phases.iter().map(|phase| phase.start_unix_ms);
        let end_ms = ends_ms.chain(asked_ms).chain(starts_ms).fold(0.0, f64::max);
        if let Some(since_ms) = since_unix_ms {
            phases.retain(|phase| {
                phase.duration_ms.is_none_or(|duration_ms| since_ms <= phase.start_unix_ms + duration_ms)
            });
        }
        phases.sort_by(|one, other| one.start_unix_ms.total_cmp(&other.start_unix_ms));
        let omitted_phases = phases.len().saturating_sub(PHASES_MAX);
        phases.drain(..omitted_phases);
        let first_ms = phases.iter().map(asked_unix_ms).min_by(f64::total_cmp).unwrap_or(end_ms);
        let origin_ms = since_unix_ms.unwrap_or(first_ms);

        let mut gathered = Gathered {
            report: Self { start_unix_ms: origin_ms, engines, omitted_phases, ..Self::default() },
            test_places: HashMap::new(),
            slot_places: BTreeMap::new(),
            lease_places: HashMap::new(),
            lane_ends_ms: Vec::new(),
            origin_ms,
            end_ms,
        };
        gathered.make_slots(&phases);
        gathered.make_leases(&phases);
        for phase in &phases {
            gathered.add_span(phase);
        }
        gathered.finish()
    }
}

impl Gathered {
    fn make_slots(&mut self, phases: &[PhaseLine]) {
        for phase in phases {
            if let Some(slot) = phase.slot {
                self.slot_places.insert((self.engine_place(phase), slot), 0);
            }
        }
        for (place, ((engine, slot), found)) in self.slot_places.iter_mut().enumerate() {
            *found = place;
            self.report.slots.push(SlotRow { engine: *engine, slot: *slot, ..SlotRow::default() });
        }
        self.lane_ends_ms = vec![Vec::new(); self.report.slots.len()];
    }

    fn make_leases(&mut self, phases: &[PhaseLine]) {
        let mut rows: Vec<_> =
            phases.iter().filter_map(|phase| Some((self.engine_place(phase), self.lease(phase)?))).collect();
        rows.sort_by(|(_, one), (_, other)| one.asked_ms.total_cmp(&other.asked_ms));
        for (place, (engine, row)) in rows.into_iter().enumerate() {
            if let Some(lease) = row.lease {
                self.lease_places.insert((engine, lease), place);
            }
            self.report.leases.push(row);
        }
    }

    fn lease(&mut self, phase: &PhaseLine) -> Option<LeaseRow> {
        let duration_ms = Some(self.duration_ms(phase));
        let row = LeaseRow {
            test: self.test_place(phase.test.as_ref()?),
            asked_ms: self.since_origin_ms(asked_unix_ms(phase)),
            is_under_way: phase.duration_ms.is_none(),
            ..LeaseRow::default()
        };
        match phase.phase {
            Phase::Waiting => Some(LeaseRow { wait_ms: duration_ms, outcome: phase.outcome, ..row }),
            Phase::Leased | Phase::Namespace => Some(LeaseRow {
                slot: self.slot_place(phase),
                lease: phase.lease,
                is_namespace: phase.phase == Phase::Namespace,
                wait_ms: phase.wait_ms,
                served_from: phase.served_from,
                held_ms: duration_ms,
                template: phase.template.clone(),
                ..row
            }),
            _ => None,
        }
    }

    fn add_span(&mut self, phase: &PhaseLine) {
        let Some(place) = self.slot_place(phase) else { return };
        let engine = self.engine_place(phase);
        let lease = phase.lease.and_then(|lease| self.lease_places.get(&(engine, lease)).copied());
        if phase.phase == Phase::Rewinding
            && let Some(row) = lease.and_then(|place| self.report.leases.get_mut(place))
        {
            row.rewind_ms = phase.duration_ms;
            row.changed_keys = phase.changed_keys;
        }
        let mut span = Span {
            phase: phase.phase,
            start_ms: self.since_origin_ms(phase.start_unix_ms),
            duration_ms: self.duration_ms(phase),
            is_under_way: phase.duration_ms.is_none(),
            lane: 0,
            lease,
            changed_keys: phase.changed_keys,
            api_server_restarted: phase.api_server_restarted,
            memory_bytes: phase.memory_bytes,
        };
        let slot = &mut self.report.slots[place];
        if slot.kubernetes.is_none() {
            slot.kubernetes.clone_from(&phase.kubernetes);
        }
        if span.phase == Phase::Namespace {
            span.lane = take_lane(&mut self.lane_ends_ms[place], &span);
            slot.lanes = slot.lanes.max(span.lane + 1);
        }
        slot.spans.push(span);
    }

    fn finish(self) -> Report {
        let duration_ms = self.since_origin_ms(self.end_ms).max(0.0);
        let mut report = Report { duration_ms, ..self.report };
        report.queue = queue(&report.leases);
        report.memory = memory(&report.slots);
        let mut by_wait: Vec<usize> = (0..report.leases.len()).collect();
        let wait_of = |place: &usize| report.leases[*place].wait_ms.unwrap_or(0.0);
        by_wait.sort_by(|one, other| wait_of(other).total_cmp(&wait_of(one)));
        by_wait.truncate(SLOWEST_MAX);
        report.slowest = by_wait;
        report.summary = summarize(&report);
        report
    }

    fn engine_place(&self, phase: &PhaseLine) -> usize {
        self.report.engines.iter().position(|engine| engine.engine == phase.engine).unwrap_or(0)
    }

    fn slot_place(&self, phase: &PhaseLine) -> Option<usize> {
        self.slot_places.get(&(self.engine_place(phase), phase.slot?)).copied()
    }

    fn test_place(&mut self, test: &str) -> usize {
        if let Some(place) = self.test_places.get(test) {
            return *place;
        }
        let place = self.report.tests.len();
        self.report.tests.push(test.to_owned());
        self.test_places.insert(test.to_owned(), place);
        place
    }

    fn duration_ms(&self, phase: &PhaseLine) -> f64 {
        phase.duration_ms.unwrap_or_else(|| rounded(self.end_ms - phase.start_unix_ms).max(0.0))
    }

    fn since_origin_ms(&self, unix_ms: f64) -> f64 {
        rounded(unix_ms - self.origin_ms)
    }
}

fn asked_unix_ms(phase: &PhaseLine) -> f64 {
    phase.start_unix_ms - phase.wait_ms.unwrap_or(0.0)
}

/// Rounds to microseconds.
fn rounded(milliseconds: f64) -> f64 {
    (milliseconds * 1e3).round() / 1e3
}

/// Takes the first free lane, or a new one.
fn take_lane(ends_ms: &mut Vec<f64>, span: &Span) -> usize {
    let end_ms = span.start_ms + span.duration_ms;
    match ends_ms.iter().position(|lane_end_ms| *lane_end_ms <= span.start_ms) {
        Some(lane) => {
            ends_ms[lane] = end_ms;
            lane
        }
        None => {
            ends_ms.push(end_ms);
            ends_ms.len() - 1
        }
    }
}

fn queue(leases: &[LeaseRow]) -> Vec<(f64, u64)> {
    let waits = leases.iter().filter_map(|row| Some((row.asked_ms, row.wait_ms?)));
    steps(waits.map(|(asked_ms, wait_ms)| (asked_ms, asked_ms + wait_ms, 1)))
}

fn memory(slots: &[SlotRow]) -> Vec<(f64, u64)> {
    let spans = slots.iter().flat_map(|slot| &slot.spans);
    steps(spans.map(|span| (span.start_ms, span.start_ms + span.duration_ms, span.memory_bytes)))
}

/// The sum of all parts, from each moment on at which it changes. Each part has a beginning, an end and an amount.
fn steps(parts: impl Iterator<Item = (f64, f64, u64)>) -> Vec<(f64, u64)> {
    let mut changes: Vec<(f64, i128)> = Vec::new();
    for (start_ms, end_ms, amount) in parts.filter(|(_, _, amount)| 0 < *amount) {
        changes.extend([(start_ms, i128::from(amount)), (end_ms, -i128::from(amount))]);
    }
    changes.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut steps: Vec<(f64, u64)> = Vec::new();
    let mut total: i128 = 0;
    for (moment_ms, change) in changes {
        total += change;
        let amount = u64::try_from(total).unwrap_or(0);
        match steps.last_mut() {
            Some(last) if moment_ms - last.0 < SAME_MOMENT_MS => last.1 = amount,
            _ => steps.push((moment_ms, amount)),
        }
    }
    steps.dedup_by_key(|step| step.1);
    steps
}

fn summarize(report: &Report) -> Summary {
    let spans = || report.slots.iter().flat_map(|slot| &slot.spans);
    let count = |phase: Phase| spans().filter(|span| span.phase == phase).count();
    let time_ms = |is_counted: &dyn Fn(Phase) -> bool| {
        spans().filter(|span| is_counted(span.phase)).map(|span| span.duration_ms).sum::<f64>()
    };
    let leased_ms = time_ms(&|phase| phase == Phase::Leased);
    let running_ms = time_ms(&|phase| !matches!(phase, Phase::Namespace | Phase::Stopped));
    let has_lease = |row: &&LeaseRow| row.lease.is_some();
    let waits = sorted(report.leases.iter().filter(has_lease).filter_map(|row| row.wait_ms));
    let rewinds = sorted(spans().filter(|span| span.phase == Phase::Rewinding).map(|span| span.duration_ms));
    Summary {
        tests: report.tests.len(),
        leases: report.leases.iter().filter(has_lease).count(),
        without_lease: report.leases.iter().filter(|row| row.outcome.is_some()).count(),
        wait_p50_ms: percentile(&waits, 50),
        wait_p95_ms: percentile(&waits, 95),
        wait_max_ms: waits.last().copied(),
        rewind_p50_ms: percentile(&rewinds, 50),
        boots: count(Phase::Booting),
        starts: count(Phase::Starting),
        thaws: count(Phase::Thawing),
        rewinds: rewinds.len(),
        queue_most: report.queue.iter().map(|step| step.1).max().unwrap_or(0),
        memory_most_bytes: report.memory.iter().map(|step| step.1).max().unwrap_or(0),
        leased_share: (0.0 < running_ms).then(|| leased_ms / running_ms),
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The smallest value that `percent` of the values do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}
