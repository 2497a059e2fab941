//! Limits and targets, beside the measurements.

use super::super::report::readable;
use super::data::{Data, Found};

/// A limit or a target.
pub(super) struct Budget {
    /// For remarks about it.
    pub(super) name: &'static str,
    pub(super) what: &'static str,
    scenario: &'static str,
    /// See [`Data::find`].
    measured: &'static str,
    limit: Limit,
    unit: &'static str,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

/// The result for a budget.
pub(super) struct Outcome {
    pub(super) limit: String,
    pub(super) measured: String,
    pub(super) interval: String,
    pub(super) samples: String,
    /// `None` if it was not measured.
    pub(super) is_met: Option<bool>,
}

/// Values that others published, and kina's goals beside them.
pub(super) struct Published {
    pub(super) what: &'static str,
    pub(super) theirs: f64,
    pub(super) times: f64,
    pub(super) figure: &'static str,
}

const fn at_most(
    name: &'static str,
    what: &'static str,
    (scenario, measured): (&'static str, &'static str),
    limit: f64,
    unit: &'static str,
) -> Budget {
    Budget { name, what, scenario, measured, limit: Limit::AtMost(limit), unit }
}

const fn at_least(
    name: &'static str,
    what: &'static str,
    (scenario, measured): (&'static str, &'static str),
    limit: f64,
    unit: &'static str,
) -> Budget {
    Budget { name, what, scenario, measured, limit: Limit::AtLeast(limit), unit }
}

/// The limits of the design.
pub(super) const BUDGETS: [Budget; 20] = [
    at_most("warm_p50", "warm acquire to usable client, p50", ("warm", "warm_ms.p50"), 5.0, "ms"),
    at_most("warm_p99", "the same, p99", ("warm", "warm_ms.p99"), 25.0, "ms"),
    at_most(
        "release_250",
        "release to ready again, 250 changed keys (ConfigMaps)",
        ("rewind", "release_250_ms.p50"),
        10.0,
        "ms",
    ),
    at_most(
        "release_thorough",
        "the same, 250 changed keys of many kinds: a CRD with resources, a terminating namespace, RBAC",
        ("rewind", "release_thorough_ms.p50"),
        25.0,
        "ms",
    ),
    at_most("release_5000", "the same, 5,000 changed keys", ("rewind", "release_5000_ms.p50"), 150.0, "ms"),
    at_most(
        "per_test",
        "1,000 tests under nextest, each with its own pristine cluster: overhead of each test",
        ("scale", "per_test_overhead_ms"),
        10.0,
        "ms",
    ),
    at_most(
        "cold_ratio",
        "cold boot, beside envtest's recipe with the same binaries",
        ("cold", "cold_to_envtest_ratio.p50"),
        0.45,
        "×",
    ),
    at_most("stopped", "from a stopped cluster to a usable client", ("stopped", "stopped_ms.p50"), 1000.0, "ms"),
    at_most("frozen", "from a frozen cluster to a usable client", ("frozen", "frozen_ms.p50"), 30.0, "ms"),
    at_most("first_object", "a new CRD to its first object", ("fixtures", "crd_to_first_object_ms.p50"), 50.0, "ms"),
    at_most(
        "cluster_memory",
        "memory of each further warm cluster after 300 leases, its etcd included (PSS)",
        ("memory", "further_cluster_mb"),
        200.0,
        "MB",
    ),
    at_most("engine_memory", "memory of the engine (RSS)", ("warm", "engine_memory_mb.p50"), 20.0, "MB"),
    at_most(
        "frozen_cpu",
        "idle processor time of a frozen pool, of one core",
        ("frozen", "frozen_cluster_cpu_percent.p50"),
        0.0,
        "%",
    ),
    at_most(
        "ready_cpu",
        "idle processor time of one ready cluster, of one core",
        ("warm", "ready_cluster_cpu_percent.p50"),
        2.0,
        "%",
    ),
    at_most(
        "gateway",
        "create, get, list, update and delete through a lease's gateway, beside the same straight to a cluster",
        ("gateway", "cycle.ratio"),
        1.05,
        "×",
    ),
    at_most("fixtures_first", "100 fixtures with CRDs, applied", ("fixtures", "apply_100_ms.p50"), 1000.0, "ms"),
    at_most("fixtures_template", "the same from a template", ("fixtures", "template_100_ms.p50"), 10.0, "ms"),
    at_most("status", "`cargo kina status`, the whole process", ("warm", "status_command_ms.p50"), 10.0, "ms"),
    at_least(
        "envtest_crate",
        "a warm test, beside the crate `envtest`: how many times faster",
        ("peers", "envtest_crate_ratio"),
        200.0,
        "×",
    ),
    at_least(
        "envtest_recipe",
        "a warm test, beside envtest's recipe: how many times faster",
        ("peers", "envtest_recipe_ratio"),
        200.0,
        "×",
    ),
];

/// The original goals of kina.
pub(super) const TARGETS: [Budget; 7] = [
    at_most("create", "creation of a cluster", ("lifecycle", "create_ms.value"), 30_000.0, "ms"),
    at_most("start", "start of a stopped cluster", ("lifecycle", "start_stopped_ms.value"), 15_000.0, "ms"),
    at_most("delete", "deletion", ("lifecycle", "delete_ms.value"), 10_000.0, "ms"),
    at_most(
        "kubectl",
        "from then on until a client may write (`kubectl` ready)",
        ("lifecycle", "kubectl_ready_ms.value"),
        5000.0,
        "ms",
    ),
    at_most("state", "the answer whether a cluster runs", ("lifecycle", "state_check_ms.value"), 100.0, "ms"),
    at_most("apply_10", "10 resources with CRDs applied", ("fixtures", "apply_10_ms.p50"), 10_000.0, "ms"),
    at_most("apply_100", "100 resources with CRDs applied", ("fixtures", "apply_100_ms.p50"), 30_000.0, "ms"),
];

/// The report of KRO on graphs of 30 nodes and 45 edges and on conditions, in operations a second.
pub(super) const PUBLISHED: [Published; 6] = [
    Published {
        what: "topological layerings a second, 30 nodes and 45 edges",
        theirs: 1287.0,
        times: 100.0,
        figure: "graph_30_traversals_per_s",
    },
    Published {
        what: "shortest paths a second, 30 nodes and 45 edges",
        theirs: 589.0,
        times: 100.0,
        figure: "graph_30_paths_per_s",
    },
    Published { what: "CEL, simple, a second", theirs: 9876.0, times: 10.0, figure: "cel_simple_per_s" },
    Published { what: "CEL, medium, a second", theirs: 5433.0, times: 10.0, figure: "cel_medium_per_s" },
    Published { what: "CEL, complex, a second", theirs: 1257.0, times: 10.0, figure: "cel_complex_per_s" },
    Published { what: "CEL, very complex, a second", theirs: 324.0, times: 10.0, figure: "cel_very_complex_per_s" },
];

impl Budget {
    /// The measured value of it.
    pub(super) fn found(&self, data: &Data) -> Option<Found> {
        data.find(self.scenario, self.measured)
    }

    pub(super) fn outcome(&self, data: &Data) -> Outcome {
        let with_unit = |value: f64| match self.unit {
            // Ratios read better without a space.
            "×" => format!("{}×", readable(value)),
            unit => format!("{} {unit}", readable(value)),
        };
        let limit = match self.limit {
            Limit::AtMost(0.0) => with_unit(0.0),
            Limit::AtMost(limit) => format!("≤ {}", with_unit(limit)),
            Limit::AtLeast(limit) => format!("≥ {}", with_unit(limit)),
        };
        let Some(found) = self.found(data) else {
            let nothing = || "–".to_owned();
            return Outcome {
                limit,
                measured: "not measured".to_owned(),
                interval: nothing(),
                samples: nothing(),
                is_met: None,
            };
        };
        let is_met = match self.limit {
            Limit::AtMost(limit) => found.value <= limit,
            Limit::AtLeast(limit) => limit <= found.value,
        };
        Outcome {
            limit,
            measured: with_unit(found.value),
            interval: found
                .ci95
                .map_or("–".to_owned(), |[low, high]| format!("{} … {}", readable(low), readable(high))),
            samples: found.samples.map_or("–".to_owned(), |samples| samples.to_string()),
            is_met: Some(is_met),
        }
    }

    /// The used part of the budget, if it is an upper limit.
    pub(super) fn used_percent(&self, data: &Data) -> Option<f64> {
        match self.limit {
            Limit::AtMost(limit) if 0.0 < limit => Some(100.0 * self.found(data)?.value / limit),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn budgets_are_met_broken_or_not_measured() {
        let warm =
            json!({"measurements": [{"name": "warm_ms", "p50": 6.0, "p99": 12.0, "samples": 9, "ci95": [5.0, 7.0]}]});
        let data = Data::of(&[("warm", warm), ("peers", json!({"envtest_recipe_ratio": 400.0}))]);
        let of = |name: &str| {
            let budget = BUDGETS.iter().find(|budget| budget.name == name).expect("a budget");
            (budget.outcome(&data), budget.used_percent(&data))
        };
        let (warm, used) = of("warm_p50");
        assert_eq!((warm.is_met, warm.measured.as_str(), used), (Some(false), "6 ms", Some(120.0)));
        assert_eq!(warm.interval, "5 … 7");
        assert_eq!(of("warm_p99").0.is_met, Some(true));
        let (ratio, used) = of("envtest_recipe");
        assert_eq!((ratio.is_met, ratio.limit.as_str(), used), (Some(true), "≥ 200×", None));
        assert_eq!(of("stopped").0.is_met, None);
    }
}
