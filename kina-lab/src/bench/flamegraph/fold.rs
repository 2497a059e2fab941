//! From the output of `perf script` to stacks with counts.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::ensure;

/// Frames that every task has and that say nothing about it.
const BOILERPLATE: [&str; 19] = [
    "core::",
    "std::",
    "alloc::",
    "tokio::runtime::",
    "tokio::task::",
    "tokio::loom::",
    "tokio::util::",
    "tracing::instrument::",
    "futures_util::",
    "futures_core::",
    "start_thread",
    "clone3",
    "__clone",
    "__rust_begin_short_backtrace",
    "__rust_try",
    "_start",
    "entry_SYSCALL",
    "do_syscall_64",
    "tokio::time::timeout::",
];
const HEAVIEST: usize = 12;

/// Stacks, the outermost frame first, with the number of samples of each.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Stacks(BTreeMap<Vec<String>, u64>);

impl Stacks {
    /// Reads the output of `perf script -F comm,ip,sym`: a line with the thread's name, then one line a frame from the
    /// innermost on, then an empty one.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut stacks = BTreeMap::new();
        for block in text.split("\n\n") {
            let mut lines = block.lines().filter(|line| !line.trim().is_empty());
            let Some(thread) = lines.next() else { continue };
            let frames: Vec<String> = lines.filter_map(|line| Some(cleaned(line.trim().split_once(' ')?.1))).collect();
            if frames.is_empty() {
                continue;
            }
            let mut stack = vec![thread.trim().to_owned()];
            let told = frames.iter().enumerate().filter(|(depth, frame)| *depth == 0 || !is_boilerplate(frame));
            stack.extend(told.map(|(_, frame)| frame.clone()).rev());
            stack.dedup();
            let stack = without_inner_affairs(stack);
            *stacks.entry(stack).or_default() += 1;
        }
        ensure!(
            !stacks.is_empty(),
            "`perf` saw nothing: the engine took no processor time, or `perf` may not look at it"
        );
        Ok(Self(stacks))
    }

    pub(super) fn samples(&self) -> u64 {
        self.0.values().sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.0.iter().map(|(stack, count)| (stack.as_slice(), *count))
    }

    /// One stack a line.
    pub(super) fn folded(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (stack, count)| {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{} {count}", stack.join(";"));
            text
        })
    }

    /// The functions of kina itself with most of the time, their calls included: percent and name.
    pub(super) fn heaviest(&self) -> Vec<(f64, String)> {
        let mut counts = BTreeMap::<&str, u64>::new();
        for (stack, count) in &self.0 {
            let mut own: Vec<&str> =
                stack.iter().map(String::as_str).filter(|frame| frame.contains("kina_engine::")).collect();
            own.sort_unstable();
            own.dedup();
            for frame in own {
                *counts.entry(frame).or_default() += count;
            }
        }
        let all = self.samples() as f64;
        let mut heaviest: Vec<_> =
            counts.into_iter().map(|(frame, count)| (100.0 * count as f64 / all, frame.to_owned())).collect();
        heaviest.sort_by(|one, other| other.0.total_cmp(&one.0));
        heaviest.truncate(HEAVIEST);
        heaviest
    }
}

/// Keeps only the first and the last of a run of frames of one library, or of the system: its entry, and the work that
/// it was at. Kina's own frames stay.
fn without_inner_affairs(stack: Vec<String>) -> Vec<String> {
    let library = |frame: &str| {
        let inner = frame.trim_start_matches(['<', '&', '*']);
        inner.split_once("::").map_or("", |(library, _)| library).to_owned()
    };
    // The first one is the thread's name.
    let mut told: Vec<String> = stack.iter().take(1).cloned().collect();
    for run in stack.get(1..).unwrap_or_default().chunk_by(|one, other| library(one) == library(other)) {
        match run {
            [first, .., last] if !first.contains("kina_engine") && !last.contains("kina_engine") => {
                told.extend([first.clone(), last.clone()]);
            }
            other => told.extend(other.iter().cloned()),
        }
    }
    told
}

fn is_boilerplate(frame: &str) -> bool {
    let inner = frame.trim_start_matches(['<', '&', '*']);
    frame == "[unknown]" || BOILERPLATE.iter().any(|prefix| inner.starts_with(prefix))
}

/// A symbol without the hash that the compiler adds and without the characters that separate stacks in files.
fn cleaned(symbol: &str) -> String {
    let symbol = symbol.trim().replace(';', ",");
    let hash = symbol
        .rsplit_once("::h")
        .filter(|(_, hash)| hash.len() == 16 && hash.chars().all(|digit| digit.is_ascii_hexdigit()));
    let symbol = hash.map_or(symbol.as_str(), |(name, _)| name);
    symbol.replace("::{{closure}}", "").replace("{closure#0}::", "").replace("::{closure#0}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kina-engine\n            7f1 memcpy\n            55d kina_engine::rewind::pass::h0123456789abcdef\n            \
                        55e core::ops::function::FnOnce::call_once\n            55f kina_engine::daemon::run::{{closure}}\n\n\
                        kina-engine\n            7f2 memcpy\n            55d kina_engine::rewind::pass\n            \
                        55f kina_engine::daemon::run\n\nother\n            7f3 core::fmt::write\n\n";

    #[test]
    fn stacks_are_counted_from_the_outermost_frame_on() {
        let stacks = Stacks::read(TEXT).expect("stacks");
        let folded =
            "kina-engine;kina_engine::daemon::run;kina_engine::rewind::pass;memcpy 2\nother;core::fmt::write 1\n";
        assert_eq!(stacks.folded(), folded);
        assert_eq!(stacks.samples(), 3);
        let names: Vec<String> = stacks.heaviest().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["kina_engine::daemon::run", "kina_engine::rewind::pass"]);
        assert!(Stacks::read("\n\n").is_err());
    }

    #[test]
    fn what_happens_inside_of_a_library_is_its_own_affair() {
        let stack =
            ["thread", "a::one", "a::two", "<a::Three>::do", "kina_engine::x", "kina_engine::y", "write", "vfs"];
        let told = without_inner_affairs(stack.map(str::to_owned).to_vec());
        assert_eq!(told, ["thread", "a::one", "<a::Three>::do", "kina_engine::x", "kina_engine::y", "write", "vfs"]);
    }
}
