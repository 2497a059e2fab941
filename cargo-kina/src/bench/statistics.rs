//! Statistics of samples, and tests for a difference between two sets of them.
//!
//! Nothing here assumes a shape: times of programs have long tails. Outliers are counted and stay in every figure.

use serde::{Deserialize, Serialize};

/// The chance of error that is left on both sides of an interval together.
const INTERVAL_ERROR: f64 = 0.05;
/// Tukey's fences: this many times the distance of the quartiles beyond them.
const FENCE: f64 = 1.5;

/// The statistics of samples, in their unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub samples: usize,
    pub mean: f64,
    pub standard_deviation: f64,
    pub min: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
    /// The interval of the true median, with 95 % confidence; absent if there are too few samples.
    pub ci95: Option<[f64; 2]>,
    pub outliers: Outliers,
}

/// The number of samples beyond Tukey's fences. They are part of all figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outliers {
    pub low: usize,
    pub high: usize,
}

impl Summary {
    /// `None` of no samples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let sorted = sorted(samples);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let count = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        let at = |fraction| at_rank(&sorted, fraction);
        let (low_quartile, high_quartile) = (at(0.25)?, at(0.75)?);
        let reach = FENCE * (high_quartile - low_quartile);
        Some(Self {
            samples: sorted.len(),
            mean,
            standard_deviation: if sorted.len() < 2 { 0.0 } else { (squares / (count - 1.0)).sqrt() },
            min,
            p50: middle(&sorted)?,
            p95: at(0.95)?,
            p99: at(0.99)?,
            max,
            ci95: median_interval(&sorted),
            outliers: Outliers {
                low: sorted.iter().filter(|value| **value < low_quartile - reach).count(),
                high: sorted.iter().filter(|value| high_quartile + reach < **value).count(),
            },
        })
    }
}

/// The value below which a fraction of the samples lies, by nearest rank; `None` of no samples.
pub fn percentile(samples: &[f64], fraction: f64) -> Option<f64> {
    at_rank(&sorted(samples), fraction)
}

/// The middle one, or halfway between the two in the middle.
pub fn median(samples: &[f64]) -> Option<f64> {
    middle(&sorted(samples))
}

/// The interval of the true median, with at least 95 % confidence for any distribution: it lies between two of the
/// sorted samples, chosen by the binomial distribution. Fewer than six samples have none.
fn median_interval(sorted: &[f64]) -> Option<[f64; 2]> {
    let count = sorted.len();
    // Logarithm of the chance that exactly `below` of the samples lie below the median.
    let mut chance_ln = -(count as f64) * std::f64::consts::LN_2;
    let mut chance_of_fewer = 0.0;
    let mut cut = 0;
    for below in 0..count / 2 {
        chance_of_fewer += chance_ln.exp();
        if INTERVAL_ERROR / 2.0 < chance_of_fewer {
            break;
        }
        cut = below + 1;
        chance_ln += ((count - below) as f64 / (below + 1) as f64).ln();
    }
    if cut == 0 {
        return None;
    }
    Some([*sorted.get(cut - 1)?, *sorted.get(count - cut)?])
}

/// The probability of samples that are larger by at least this much if both sets come from the same distribution: the
/// one-sided test of Mann and Whitney, with its normal approximation, corrected for ties and for continuity. For few
/// samples that is slightly larger than the exact value, so it errs on the side of silence. 1 if a set is empty.
pub fn chance_of_larger(before: &[f64], after: &[f64]) -> f64 {
    let (count_before, count_after) = (before.len() as f64, after.len() as f64);
    if before.is_empty() || after.is_empty() {
        return 1.0;
    }
    let count = count_before + count_after;
    let mut pooled: Vec<(f64, bool)> = before.iter().map(|value| (*value, false)).collect();
    pooled.extend(after.iter().map(|value| (*value, true)));
    pooled.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum_after, mut ties) = (0.0, 0.0);
    let mut ranks_given = 0.0;
    for equal in pooled.chunk_by(|one, other| one.0 == other.0) {
        let size = equal.len() as f64;
        let rank = ranks_given + (size + 1.0) / 2.0;
        rank_sum_after += rank * equal.iter().filter(|(_, is_after)| *is_after).count() as f64;
        ties += size.powi(3) - size;
        ranks_given += size;
    }
    let larger_pairs = rank_sum_after - count_after * (count_after + 1.0) / 2.0;
    let expected = count_before * count_after / 2.0;
    let variance = count_before * count_after / 12.0 * (count + 1.0 - ties / (count * (count - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    normal_upper_tail((larger_pairs - expected - 0.5) / variance.sqrt())
}

/// The factor by which the second set is larger: the median of all quotients of pairs (the estimator of Hodges and
/// Lehmann, on logarithms). `None` if a set is empty.
pub fn typical_quotient(before: &[f64], after: &[f64]) -> Option<f64> {
    let quotients: Vec<f64> =
        after.iter().flat_map(|later| before.iter().map(move |earlier| later / earlier)).collect();
    median(&quotients)
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn middle(sorted: &[f64]) -> Option<f64> {
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

fn at_rank(sorted: &[f64], fraction: f64) -> Option<f64> {
    let rank = (fraction * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// The chance of a standard normal value above this one: the continued fraction of Laplace where it converges fast, and
/// the series of the distribution's odd powers elsewhere.
fn normal_upper_tail(deviation: f64) -> f64 {
    const TERMS: u32 = 200;
    let size = deviation.abs();
    let density = (-size * size / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let above = if size < 3.0 {
        let (mut term, mut sum) = (size, size);
        for number in 1..TERMS {
            term *= size * size / f64::from(2 * number + 1);
            sum += term;
        }
        0.5 - density * sum
    } else {
        density / (1..TERMS).rev().fold(size, |below, number| size + f64::from(number) / below)
    };
    if deviation < 0.0 { 1.0 - above } else { above }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-4 * other.abs().max(1e-9)
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(median(&samples), Some(50.5));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(percentile(&samples, 0.99), Some(99.0));
        assert_eq!(percentile(&samples, 1.0), Some(100.0));
        assert_eq!(percentile(&[7.0], 0.99), Some(7.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn outliers_are_counted_and_kept() {
        let mut samples: Vec<f64> = (1..=20).map(f64::from).collect();
        samples.push(1000.0);
        let summary = Summary::of(&samples).expect("samples");
        assert_eq!(summary.outliers, Outliers { low: 0, high: 1 });
        assert_eq!((summary.samples, summary.max), (21, 1000.0));
        assert!(50.0 < summary.mean, "the mean knows of it: {}", summary.mean);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn intervals_of_medians_are_those_of_the_tables() {
        let interval = |count: i32| median_interval(&(1..=count).map(f64::from).collect::<Vec<_>>());
        // Ranks as in tables of the sign test.
        assert_eq!(interval(5), None);
        assert_eq!(interval(6), Some([1.0, 6.0]));
        assert_eq!(interval(10), Some([2.0, 9.0]));
        assert_eq!(interval(20), Some([6.0, 15.0]));
        assert_eq!(interval(100), Some([40.0, 61.0]));
        assert!(interval(5000).is_some());
    }

    #[test]
    fn tails_of_the_normal_distribution_are_those_of_the_tables() {
        for (deviation, above) in [(0.0, 0.5), (1.0, 0.158_655), (1.96, 0.024_998), (3.1, 9.676e-4), (6.0, 9.866e-10)] {
            assert!(near(normal_upper_tail(deviation), above), "{deviation}: {}", normal_upper_tail(deviation));
            assert!(near(normal_upper_tail(-deviation), 1.0 - above), "-{deviation}");
        }
    }

    #[test]
    fn the_test_tells_larger_from_alike() {
        let before = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let after = before.map(|value| value + 10.0);
        // The exact chance is 1 in 924.
        let chance = chance_of_larger(&before, &after);
        assert!(0.001 < chance && chance < 0.003, "{chance}");
        assert!(0.99 < chance_of_larger(&after, &before));
        assert!(0.4 < chance_of_larger(&before, &before));
        assert_eq!(chance_of_larger(&[1.0; 9], &[1.0; 9]), 1.0);
        assert_eq!(chance_of_larger(&[], &[1.0]), 1.0);
        assert_eq!(typical_quotient(&[1.0, 2.0, 4.0], &[1.5, 3.0, 6.0]), Some(1.5));
        assert_eq!(typical_quotient(&[], &[1.0]), None);
    }
}
