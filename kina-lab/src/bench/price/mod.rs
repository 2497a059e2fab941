//! `cargo lab bench price`: the price that an ordinary lease pays for the parts that keep leases apart beside their
//! keys.
//!
//! Two private engines, one with all of these parts and one without, are sampled by turns, and the one that goes first
//! changes from sample to sample: so both meet the same machine.

mod samples;

use anyhow::bail;
use cargo_kina::situation::UserError;
use kina_engine::ProviderName;
use kina_engine::lab::sabotage::{self, Part};

use self::samples::Samples;
use super::report::{Draft, Measurement, Report};
use super::statistics::median;
use super::{Bench, SLOTS, say};

const ABOUT: &str = "what an ordinary lease pays for the parts that keep leases apart beside their keys";
/// Uncounted samples of each engine.
const WARM_UP: usize = 3;

/// The measurements of both engines.
struct Compared {
    name: &'static str,
    what: &'static str,
    of: fn(&Samples) -> &Vec<f64>,
}

const COMPARED: [Compared; 4] = [
    Compared {
        name: "warm",
        what: "a test process, from its first line to the answer of its first list",
        of: |samples| &samples.warm_ms,
    },
    Compared {
        name: "release_250",
        what: "from the end of a lease that made 250 ConfigMaps until its cluster is ready again",
        of: |samples| &samples.release_250_ms,
    },
    Compared {
        name: "release_mixed",
        what: "the same of a lease that changed keys of many kinds",
        of: |samples| &samples.release_mixed_ms,
    },
    Compared {
        name: "release_watches",
        what: "the same of a lease that ends with four open watches",
        of: |samples| &samples.release_watches_ms,
    },
];

/// Measures both.
pub(super) async fn measure(provider: ProviderName, samples: usize) -> anyhow::Result<Report> {
    let parts: Vec<_> = Part::keeping_apart().map(Part::name).collect();
    if !sabotage::IS_POSSIBLE {
        bail!(UserError("this program cannot switch any part off: run `cargo lab` in kina's repository".to_owned()));
    }
    let mut draft = Draft::begin("price", ABOUT);
    let with = Bench::prepare_with(provider, SLOTS, &SETTINGS).await?;
    let names = parts.join(",");
    let without = [&SETTINGS[..], &[(sabotage::VARIABLE, &*names)]].concat();
    let without = Bench::prepare_with(provider, SLOTS, &without).await?;
    let measured = take(&with, &without, samples, &mut draft).await;
    let ended = without.end(Ok(())).await;
    with.end(measured).await?;
    ended?;
    draft.figure("parts", parts);
    Ok(draft.finish())
}

/// Keeps the clusters of an engine that waits for its turn as they are.
const SETTINGS: [(&str, &str); 1] = [("KINA_FREEZE_AFTER_IDLE_SECONDS", "30")];

async fn take(with: &Bench, without: &Bench, count: usize, draft: &mut Draft) -> anyhow::Result<()> {
    let (mut samples_with, mut samples_without) = (Samples::default(), Samples::default());
    for bench in [with, without] {
        bench.warm_up().await?;
        for _ in 0..WARM_UP {
            Samples::default().take(bench).await?;
        }
    }
    let restarts_before = with.status(false).await?.counters.api_server_restarts;
    for number in 0..count {
        if number.is_multiple_of(10) {
            say(&format!("{number} of {count} samples of each"));
        }
        if number.is_multiple_of(2) {
            samples_with.take(with).await?;
            samples_without.take(without).await?;
        } else {
            samples_without.take(without).await?;
            samples_with.take(with).await?;
        }
    }
    for Compared { name, what, of } in COMPARED {
        let (values_with, values_without) = (of(&samples_with), of(&samples_without));
        draft.add(Measurement::of(&format!("{name}_ms"), what, values_with))?;
        draft.add(Measurement::of(
            &format!("{name}_without_ms"),
            &format!("{what}, without the parts"),
            values_without,
        ))?;
        if let (Some(p50), Some(p50_without)) = (median(values_with), median(values_without)) {
            draft.figure(&format!("{name}_p50_ms"), p50);
            draft.figure(&format!("{name}_without_p50_ms"), p50_without);
            draft.figure(&format!("{name}_added_p50_ms"), p50 - p50_without);
        }
    }
    let status = with.status(false).await?;
    let kubernetes = status.slots.iter().find_map(|slot| slot.kubernetes.clone()).unwrap_or_default();
    draft.subject(&status.provider, &kubernetes, status.simulated);
    draft.figure("engine_profile", status.engine_profile);
    draft.figure("mixed_changed_keys_p50", median(&samples_with.mixed_keys));
    draft.figure("api_server_restarts", status.counters.api_server_restarts - restarts_before);
    draft.figure("broken", status.counters.broken);
    Ok(())
}
