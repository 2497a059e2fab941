//! From the output of `perf script` to stacks with counts.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::Folder;

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
    /// Reads the output of `perf script` with these fields: `comm`, `pid`, `tid`, `time`, `event`, `ip`, `sym` and `dso`.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut collapsed = Vec::new();
        // Without empty lines at the start, which the folder takes for an event without a name.
        Folder::default()
            .collapse(text.trim_start().as_bytes(), &mut collapsed)
            .context("folding the samples failed")?;
        let mut stacks = BTreeMap::new();
        for line in std::str::from_utf8(&collapsed)?.lines() {
            let (stack, count) = line.rsplit_once(' ').context("a stack has no count")?;
            let count: u64 = count.parse().context("the count of a stack is no number")?;
            *stacks.entry(shortened(stack)).or_default() += count;
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

/// The parts of a folded stack that say something about the task: the thread's name, the innermost frame, and of the others
/// what is no boilerplate.
fn shortened(stack: &str) -> Vec<String> {
    let frames: Vec<String> = stack.split(';').map(without_closures).collect();
    let innermost = frames.len() - 1;
    let told = frames.into_iter().enumerate();
    let told = told.filter(|(depth, frame)| [0, innermost].contains(depth) || !is_boilerplate(frame));
    let mut told: Vec<String> = told.map(|(_, frame)| frame).collect();
    told.dedup();
    without_inner_affairs(told)
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
    // A frame without a symbol has the name of its file in brackets.
    (frame.starts_with('[') && frame.ends_with(']')) || BOILERPLATE.iter().any(|prefix| inner.starts_with(prefix))
}

fn without_closures(symbol: &str) -> String {
    symbol.replace("::{{closure}}", "").replace("{closure#0}::", "").replace("::{closure#0}", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "kina-engine 7/8 1.5: cpu-clock:\n            7f1 memcpy (/lib/libc.so.6)\n            \
                        55d kina_engine::rewind::pass::h0123456789abcdef (/bin/kina)\n            \
                        55e core::ops::function::FnOnce::call_once (/bin/kina)\n            \
                        7f0 [unknown] (/lib/libc.so.6)\n            \
                        55f kina_engine::daemon::run::{{closure}} (/bin/kina)\n\n\
                        kina-engine 7/8 1.6: cpu-clock:\n            7f2 memcpy (/lib/libc.so.6)\n            \
                        55d kina_engine::rewind::pass (/bin/kina)\n            \
                        55f kina_engine::daemon::run (/bin/kina)\n\n\
                        other 7/9 1.7: cpu-clock:\n            7f3 core::fmt::write (/bin/kina)\n\n";

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
