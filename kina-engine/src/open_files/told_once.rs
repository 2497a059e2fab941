//! Events that may come by the thousand in a row, and are logged once.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The time without an event after which a row has ended.
const QUIET: Duration = Duration::from_secs(60);

/// Tells events that begin a row from those that continue one.
#[derive(Debug, Default)]
pub(crate) struct ToldOnce(Mutex<Row>);

#[derive(Debug, Default)]
struct Row {
    last: Option<Instant>,
    untold: u64,
}

impl ToldOnce {
    /// Notes an event at `now`. If it begins a row it is to be told, and the number of events in the row before that
    /// were not told is returned.
    pub(crate) fn note(&self, now: Instant) -> Option<u64> {
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = row.last.replace(now);
        if before.is_some_and(|before| now.saturating_duration_since(before) < QUIET) {
            row.untold += 1;
            return None;
        }
        Some(std::mem::take(&mut row.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_events_is_told_once_and_counted() {
        let told = ToldOnce::default();
        let start = Instant::now();
        assert_eq!(told.note(start), Some(0));
        for second in 1..100 {
            assert_eq!(told.note(start + Duration::from_secs(second)), None);
        }
        let later = start + Duration::from_secs(99) + QUIET;
        assert_eq!(told.note(later), Some(99));
        assert_eq!(told.note(later), None);
    }
}
