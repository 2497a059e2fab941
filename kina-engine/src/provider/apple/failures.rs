//! The failures of one action that is repeated.

use super::error::{ContainerError, ContainerErrorKind as Kind};

/// The failures so far.
#[derive(Debug, Default)]
pub(super) struct Failures {
    count: usize,
    /// The answer of the last one, if its kind is not known.
    last_unknown: Option<String>,
}

impl Failures {
    /// Notes a failure, and returns true if the action may be tried again: fewer than `tries_max` times in all, and not
    /// after an unknown error that was the same twice in a row, which a third try would not change.
    pub(super) fn allow_another(&mut self, error: &ContainerError, tries_max: usize) -> bool {
        self.count += 1;
        let unknown = (error.kind == Kind::Other).then(|| error.answer.clone());
        let is_same = unknown.is_some() && unknown == self.last_unknown;
        self.last_unknown = unknown;
        self.count < tries_max && !is_same
    }

    /// Returns true if none was noted.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the number of tries that end with these failures, of five at most.
    fn tries(failures: &[(Kind, &str)]) -> usize {
        let mut noted = Failures::default();
        let ends = |(kind, answer): &(Kind, &str)| {
            !noted.allow_another(&ContainerError::new(*kind, "container start a", *answer), 5)
        };
        1 + failures.iter().position(ends).expect("it ends")
    }

    #[test]
    fn an_unknown_error_that_is_the_same_twice_in_a_row_is_not_tried_a_third_time() {
        let (one, other) = ((Kind::Other, "one"), (Kind::Other, "other"));
        assert_eq!(tries(&[one, one]), 2);
        assert_eq!(tries(&[one, other, one, one]), 4);
        assert_eq!(tries(&[one, (Kind::TimedOut, "one"), one, other, one]), 5);
        // The service may be up again the next time, whatever it says.
        assert_eq!(tries(&[(Kind::ServiceInterrupted, "same"); 5]), 5);
    }
}
