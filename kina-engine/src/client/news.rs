//! Lines for people who wait, each of them once.

use std::sync::{Mutex, PoisonError};

/// The last line that a process has printed for people who wait. Several of its clients may wait for the same.
#[derive(Debug, Default)]
pub struct News {
    last: Mutex<String>,
}

impl News {
    /// Returns one that has printed nothing yet.
    pub const fn new() -> Self {
        Self { last: Mutex::new(String::new()) }
    }

    /// Prints a line unless it is the same as the last one.
    pub fn tell(&self, line: &str, print: impl FnOnce(&str)) {
        // Held until the line is out, so that no other comes in between.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            line.clone_into(&mut last);
            print(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_not_printed_twice_in_a_row() {
        let news = News::new();
        let mut printed = Vec::new();
        for line in ["building", "building", "booting", "building", "building"] {
            news.tell(line, |line| printed.push(line.to_owned()));
        }
        assert_eq!(printed, ["building", "booting", "building"]);
    }
}
