//! The range of an axis, linear or logarithmic.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{IntoLogRange, LogCoord};

use super::super::report::readable;

/// The ends of a logarithmic axis lie this far outside of powers of ten, so that rounding takes the label of neither away.
const MARGIN: f64 = 1e-9;
/// The part of a linear axis above the highest value.
const HEADROOM: f64 = 0.05;

/// One type for both kinds, so that each picture is compiled once.
pub(super) enum AxisRange {
    Linear(RangedCoordf64),
    Logarithmic(LogCoord<f64>),
}

impl AxisRange {
    /// An axis with room for all of these: a logarithmic one between powers of ten, a linear one from zero.
    pub(super) fn around(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && 0.0 < *value).collect();
        let high = values.iter().copied().reduce(f64::max).unwrap_or(1.0);
        if !is_log {
            return Self::Linear((0.0..high * (1.0 + HEADROOM)).into());
        }
        let low = values.iter().copied().fold(high, f64::min).log10().floor();
        let high = high.log10().ceil().max(low + 1.0);
        let range = 10_f64.powf(low) * (1.0 - MARGIN)..10_f64.powf(high) * (1.0 + MARGIN);
        Self::Logarithmic(range.log_scale().into())
    }

    /// The lowest value, where bars begin.
    pub(super) fn low(&self) -> f64 {
        self.range().start
    }
}

impl Ranged for AxisRange {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    /// Values outside of the range are drawn at its ends.
    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let Range { start, end } = self.range();
        let value = value.clamp(start, end);
        match self {
            Self::Linear(range) => range.map(&value, limit),
            Self::Logarithmic(range) => range.map(&value, limit),
        }
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match self {
            Self::Linear(range) => range.key_points(hint),
            Self::Logarithmic(range) => range.key_points(hint),
        }
    }

    fn range(&self) -> Range<f64> {
        match self {
            Self::Linear(range) => range.range(),
            Self::Logarithmic(range) => range.range(),
        }
    }
}

impl ValueFormatter<f64> for AxisRange {
    fn format(value: &f64) -> String {
        readable(*value)
    }
}

#[cfg(test)]
mod tests {
    use plotters::coord::ranged1d::BoldPoints;

    use super::super::LABELS_MAX;
    use super::*;

    fn labels(range: &AxisRange) -> Vec<String> {
        range.key_points(BoldPoints(LABELS_MAX)).iter().map(AxisRange::format).collect()
    }

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_steps() {
        let range = AxisRange::around([3.0, 17.0].into_iter(), false);
        assert_eq!((range.map(&0.0, (0, 1000)), range.map(&17.0, (0, 1000))), (0, 952));
        assert_eq!(labels(&range), ["0", "2", "4", "6", "8", "10", "12", "14", "16"]);
        let nothing = AxisRange::around(std::iter::empty(), false);
        assert_eq!(labels(&nothing)[0], "0");
    }

    #[test]
    fn logarithmic_axes_lie_between_powers_of_ten() {
        let range = AxisRange::around([6.7, 3700.0].into_iter(), true);
        assert_eq!(labels(&range), ["1", "10", "100", "1,000", "10,000"]);
        assert_eq!(range.map(&100.0, (0, 1000)), 500);
        assert_eq!(range.map(&0.0, (0, 1000)), 0);
        let single = AxisRange::around([10.0].into_iter(), true);
        assert_eq!(labels(&single), ["10", "100"]);
        // The logarithm of a thousandth is rounded up.
        let small = AxisRange::around([0.002, 0.5].into_iter(), true);
        assert_eq!(labels(&small), ["0.001", "0.01", "0.1", "1"]);
    }
}
