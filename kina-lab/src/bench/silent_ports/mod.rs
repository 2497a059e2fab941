//! `cargo lab bench silent-ports`: the price of ports that do not answer, as those of macOS that are bound and silent.
//!
//! Two processes make clusters in network namespaces of their own, and are sampled by turns. One namespace is a double of
//! xnu: its loopback drops all resets, so that a connection to a bound, silent port gets no answer, and the system's next
//! attempt follows after a second.
//!
//! - `double`: the namespaces.
//! - `sampler`: the process in one of them. `sample`: one sample.

mod double;
mod sample;
mod sampler;

use anyhow::{Context, bail};
use cargo_kina::situation::UserError;
use kina_engine::ProviderName;

use self::double::Network;
use self::sample::Sample;
use self::sampler::Sampler;
use super::report::{Draft, Measurement, Report};
use super::say;
use super::statistics::median;

pub(super) use self::sampler::serve;

const ABOUT: &str = "clusters of processes where bound, silent ports do not answer, beside the same where they refuse";
/// `required` makes it a failure if there can be no double.
const VARIABLE: &str = "KINA_TEST_SILENT_PORTS";

const BOOT_RATIO_MAX: f64 = 1.2;
const START_RATIO_MAX: f64 = 1.2;
const DEATH_NOTICED_MS_MAX: f64 = 500.0;
const GATEWAY_REFUSED_MS_MAX: f64 = 200.0;

/// A time that is measured in both networks.
struct Compared {
    name: &'static str,
    what: &'static str,
    of: fn(&Sample) -> Option<f64>,
}

const COMPARED: [Compared; 5] = [
    Compared {
        name: "boot",
        what: "from the request for a cluster with a bootstrapped state until its API server is ready",
        of: |sample| Some(sample.boot_ms),
    },
    Compared {
        name: "start",
        what: "from the request to start a stopped cluster until its API server is ready",
        of: |sample| Some(sample.start_ms),
    },
    Compared {
        name: "start_without_wait",
        what: "the same if kube-apiserver is started beside etcd, as it is where silent ports refuse",
        of: |sample| sample.start_without_wait_ms,
    },
    Compared {
        name: "death_noticed",
        what: "from the death of a component that is waited for until the wait ends: the slowest of three",
        of: |sample| Some(sample.death_noticed_ms()),
    },
    Compared {
        name: "gateway_refused",
        what: "from a client's connection to a gateway whose API server has ended until the client has the refusal",
        of: |sample| Some(sample.gateway_refused_ms),
    },
];

/// Measures. Returns the report, and the targets that were missed.
pub(super) async fn measure(provider: ProviderName, samples: usize) -> anyhow::Result<(Report, Vec<String>)> {
    if provider != ProviderName::Process {
        bail!(UserError("only clusters of `process` have such ports: leave out `--provider`".to_owned()));
    }
    let mut draft = Draft::begin("silent-ports", ABOUT);
    if let Err(reason) = double::check().await {
        if std::env::var_os(VARIABLE).is_some_and(|value| value == "required") {
            bail!("there is no double of xnu, and {VARIABLE} requires it: {reason}");
        }
        say(&format!("SKIPPED: {reason}"));
        draft.figure("skipped", reason);
        draft.subject(provider.as_str(), "", false);
        return Ok((draft.finish(), Vec::new()));
    }
    say("both networks: clusters that bootstrap from nothing");
    let mut plain = Sampler::start(Network::Plain).await?;
    let mut double = Sampler::start(Network::Double).await?;
    let taken = take(&mut plain, &mut double, samples).await;
    let kubernetes = double.kubernetes().to_owned();
    plain.end().await?;
    double.end().await?;
    let (of_plain, of_double) = taken?;
    let missed = report(&mut draft, &of_plain, &of_double)?;
    draft.subject(provider.as_str(), &kubernetes, false);
    draft.note("the double of xnu is a network namespace of Linux, and shows only what silent ports cost");
    Ok((draft.finish(), missed))
}

/// Fails if a target was missed.
pub(super) fn expect_none_missed(missed: &[String]) -> anyhow::Result<()> {
    anyhow::ensure!(missed.is_empty(), "silent ports cost more than they may: {}", missed.join("; "));
    Ok(())
}

/// Samples both, and changes which of them is first.
async fn take(plain: &mut Sampler, double: &mut Sampler, count: usize) -> anyhow::Result<(Vec<Sample>, Vec<Sample>)> {
    let (mut of_plain, mut of_double) = (Vec::new(), Vec::new());
    for number in 1..=count {
        say(&format!("sample {number} of {count} of each"));
        if number.is_multiple_of(2) {
            of_plain.push(plain.sample().await?);
            of_double.push(double.sample().await?);
        } else {
            of_double.push(double.sample().await?);
            of_plain.push(plain.sample().await?);
        }
    }
    Ok((of_plain, of_double))
}

fn report(draft: &mut Draft, of_plain: &[Sample], of_double: &[Sample]) -> anyhow::Result<Vec<String>> {
    let values = |samples: &[Sample], of: fn(&Sample) -> Option<f64>| samples.iter().filter_map(of).collect::<Vec<_>>();
    for Compared { name, what, of } in COMPARED {
        let in_double = values(of_double, of);
        draft.add(Measurement::of(&format!("{name}_double_ms"), what, &in_double))?;
        let in_plain = values(of_plain, of);
        if !in_plain.is_empty() {
            draft.add(Measurement::of(
                &format!("{name}_plain_ms"),
                &format!("{what}, without the double"),
                &in_plain,
            ))?;
        }
    }
    let p50 = |samples: &[Sample], of: fn(&Sample) -> Option<f64>| {
        median(&values(samples, of)).context("no sample was taken")
    };
    let worst = |of: fn(&Sample) -> Option<f64>| values(of_double, of).into_iter().fold(0.0, f64::max);
    let [boot, start, start_without_wait, death_noticed, gateway_refused] = COMPARED.map(|compared| compared.of);
    let plain_start = p50(of_plain, start)?;
    let figures = [
        ("boot_ratio", p50(of_double, boot)? / p50(of_plain, boot)?, Some(BOOT_RATIO_MAX)),
        ("start_ratio", p50(of_double, start)? / plain_start, Some(START_RATIO_MAX)),
        // The second that the wait for etcd avoids.
        ("start_without_wait_ratio", p50(of_double, start_without_wait)? / plain_start, None),
        ("death_noticed_ms", worst(death_noticed), Some(DEATH_NOTICED_MS_MAX)),
        ("gateway_refused_ms", worst(gateway_refused), Some(GATEWAY_REFUSED_MS_MAX)),
    ];
    let mut missed = Vec::new();
    for (name, value, target) in figures {
        draft.figure(name, value);
        if let Some(target) = target {
            draft.figure(&format!("{name}_max"), target);
            if target < value {
                missed.push(format!("{name} is {value:.2} and may be {target}"));
            }
        }
    }
    draft.figure("ok", missed.is_empty());
    draft.figure("samples_of_each", of_double.len());
    Ok(missed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sample(scale: f64) -> Sample {
        Sample {
            boot_ms: 1000.0 * scale,
            start_ms: 800.0 * scale,
            start_without_wait_ms: (1.0 < scale).then_some(2000.0),
            deaths_noticed_ms: BTreeMap::from([("etcd".to_owned(), 3.0), ("kube-apiserver".to_owned(), 100.0 * scale)]),
            gateway_refused_ms: 100.0 * scale,
        }
    }

    #[test]
    fn figures_are_of_the_double_and_each_missed_target_is_named() {
        let mut draft = Draft::begin("silent-ports", ABOUT);
        let plain = [sample(1.0), sample(1.0)];
        assert!(report(&mut draft, &plain, &[sample(1.125), sample(1.1875)]).expect("samples").is_empty());
        let json = draft.finish().to_json().expect("JSON");
        assert_eq!((json["boot_ratio"].as_f64(), json["start_ratio"].as_f64()), (Some(1.15625), Some(1.15625)));
        assert_eq!(
            (json["death_noticed_ms"].as_f64(), json["gateway_refused_ms"].as_f64()),
            (Some(118.75), Some(118.75))
        );
        assert_eq!((json["start_without_wait_ratio"].as_f64(), json["ok"].as_bool()), (Some(2.5), Some(true)));

        let mut draft = Draft::begin("silent-ports", ABOUT);
        let missed = report(&mut draft, &plain, &[sample(6.0), sample(1.125)]).expect("samples");
        assert_eq!(missed.len(), 4, "{missed:?}");
        assert!(missed[0].starts_with("boot_ratio is 3.56 "), "{missed:?}");
        let error = expect_none_missed(&missed).expect_err("four").to_string();
        assert!(error.contains("gateway_refused_ms is 600.00 and may be 200"), "{error}");
    }
}
