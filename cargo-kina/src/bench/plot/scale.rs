//! Axes: from values to places, and the labels beside them.

/// One axis.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// An axis with room for all of these: a logarithmic one between powers of ten, a linear one from zero.
    pub fn around(values: impl Iterator<Item = f64>, is_log: bool) -> Self {
        let values: Vec<f64> = values.filter(|value| value.is_finite() && (!is_log || 0.0 < *value)).collect();
        let high = values.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        if is_log {
            let low = values.iter().copied().fold(high, f64::min);
            let (low, high) = (low.log10().floor(), high.log10().ceil());
            return Self { low, high: if high <= low { low + 1.0 } else { high }, is_log };
        }
        let step = nice_step(high);
        Self { low: 0.0, high: (high / step).ceil().max(1.0) * step, is_log }
    }

    /// From 0 to 1.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
    }

    /// The labels of the axis.
    pub fn ticks(&self) -> Vec<f64> {
        if self.is_log {
            return (self.low as i32..=self.high as i32).map(|power| 10_f64.powi(power)).collect();
        }
        let step = nice_step(self.high);
        (0..=(self.high / step).round() as i32).map(|number| f64::from(number) * step).collect()
    }
}

/// A step of 1, 2 or 5 times a power of ten that cuts the axis into four to ten pieces.
fn nice_step(high: f64) -> f64 {
    let rough = high / 8.0;
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| rough <= factor * power).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_begin_at_zero_and_have_round_steps() {
        let scale = Scale::around([3.0, 17.0].into_iter(), false);
        assert_eq!((scale.place(0.0), scale.place(20.0)), (0.0, 1.0));
        assert_eq!(scale.ticks(), [0.0, 5.0, 10.0, 15.0, 20.0]);
    }

    #[test]
    fn logarithmic_axes_lie_between_powers_of_ten() {
        let scale = Scale::around([6.7, 3700.0].into_iter(), true);
        assert_eq!(scale.ticks(), [1.0, 10.0, 100.0, 1000.0, 10_000.0]);
        assert_eq!(scale.place(100.0), 0.5);
        let single = Scale::around([10.0].into_iter(), true);
        assert_eq!(single.ticks(), [10.0, 100.0]);
    }
}
