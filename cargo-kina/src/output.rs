//! The commands' output: results to standard output, everything else to standard error.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use kina_engine::News;
use serde::Serialize;

/// The format of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}

/// The reader of standard output has closed it.
#[derive(Debug, thiserror::Error)]
#[error("standard output was closed")]
pub struct OutputClosed;

/// The use of colours in text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    has_colours: bool,
}

/// The meaning of a colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Heading,
    Good,
    Busy,
    Cold,
    Faint,
    Bad,
}

impl Style {
    /// Without colours.
    pub const PLAIN: Self = Self { has_colours: false };

    /// With colours.
    #[cfg(test)]
    pub const COLOURED: Self = Self { has_colours: true };

    /// The style of standard output: colours on a terminal, unless `NO_COLOR` is set.
    pub fn of_stdout() -> Self {
        Self { has_colours: may_have_colours(io::stdout().is_terminal(), &|name| std::env::var_os(name)) }
    }

    pub fn paint(self, paint: Paint, text: &str) -> String {
        match paint.code().filter(|_| self.has_colours && !text.trim().is_empty()) {
            Some(code) => format!("\x1b[{code}m{text}\x1b[0m"),
            None => text.to_owned(),
        }
    }
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Heading => Some("1"),
            Self::Good => Some("32"),
            Self::Busy => Some("33"),
            Self::Cold => Some("36"),
            Self::Faint => Some("2"),
            Self::Bad => Some("31"),
        }
    }
}

fn may_have_colours(is_terminal: bool, variable: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    let is_set = |name: &str| variable(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && variable("TERM").is_none_or(|terminal| terminal != "dumb")
}

/// Prints lines to standard output.
pub fn print_lines<Line: AsRef<str>>(lines: impl IntoIterator<Item = Line>) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in lines {
        text.push_str(line.as_ref());
        text.push('\n');
    }
    print_text(&text)
}

/// Prints text unchanged to standard output.
pub fn print_text(text: &str) -> anyhow::Result<()> {
    print_bytes(text.as_bytes())
}

/// The same for bytes that may not be text.
pub fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    match output.write_all(bytes).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(anyhow::Error::new(error).context("writing to standard output failed")),
        Ok(()) => Ok(()),
    }
}

/// Prints one line of JSON.
pub fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print_lines([serde_json::to_string(value)?])
}

/// Prints the result of a measurement.
pub fn print_report(report: &impl Serialize, format: Format) -> anyhow::Result<()> {
    match format {
        Format::Json => print_json(report),
        Format::Text => print_lines([serde_json::to_string_pretty(report)?]),
    }
}

/// Prints the reason for a wait.
pub fn print_progress(text: &str) {
    static NEWS: News = News::new();
    // A closed standard error must not end the program.
    NEWS.tell(text, |text| drop(writeln!(io::stderr(), "kina: {text}")));
}

/// A duration in a readable form.
pub fn duration_text(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match milliseconds {
        0..1_000 => format!("{milliseconds} ms"),
        1_000..10_000 => format!("{seconds}.{} s", milliseconds % 1000 / 100),
        10_000..60_000 => format!("{seconds} s"),
        60_000..3_600_000 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// A number of bytes in a readable form.
pub fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..10_000_000_000 => format!("{} MB", bytes.div_ceil(1_000_000)),
        _ => format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_without_no_color() {
        let variables = |set: &'static [(&'static str, &'static str)]| {
            move |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into())
        };
        assert!(may_have_colours(true, &variables(&[("TERM", "xterm")])));
        assert!(may_have_colours(true, &variables(&[("NO_COLOR", "")])));
        assert!(!may_have_colours(false, &variables(&[("TERM", "xterm")])));
        assert!(!may_have_colours(true, &variables(&[("NO_COLOR", "1")])));
        assert!(!may_have_colours(true, &variables(&[("TERM", "dumb")])));
        assert_eq!(Style::PLAIN.paint(Paint::Bad, "text"), "text");
        assert_eq!(Style { has_colours: true }.paint(Paint::Bad, "text"), "\x1b[31mtext\x1b[0m");
    }

    #[test]
    fn durations_and_sizes_are_readable() {
        let durations = [0, 999, 1_250, 59_999, 61_000, 7_500_000].map(duration_text);
        assert_eq!(durations, ["0 ms", "999 ms", "1.2 s", "59 s", "1 min 1 s", "2 h 5 min"]);
        assert_eq!([1, 270_400_000, 12_340_000_000].map(bytes_text), ["1 MB", "271 MB", "12.3 GB"]);
    }
}
