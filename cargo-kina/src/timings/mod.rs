//! `cargo kina timings`

mod page;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kina_engine::{EngineClient, EngineProgram, PhaseLine, ProviderName, TimingLine};

use self::page::Report;

/// The default file of the page.
const DEFAULT_PAGE: &str = "kina-timings.html";
/// A log ends at 64 MiB.
const LOG_BYTES_MAX: u64 = 128 << 20;

/// One HTML page with the history of the engine's work: each slot, the queue, memory, and each test's wait
#[derive(Debug, Args)]
pub struct TimingsArguments {
    /// File for the page; `-` is standard output
    #[arg(short, long, default_value = DEFAULT_PAGE)]
    output: PathBuf,
    /// Show this file, which was written for KINA_TIMING_LOG, instead of the engine's memory; may be repeated
    #[arg(long, value_name = "LOG")]
    from: Vec<PathBuf>,
    /// Leave out phases that ended longer than this before the end, such as 90s, 10m or 2h
    #[arg(long, value_parser = parse_duration)]
    since: Option<Duration>,
    /// An HTML page, or the lines of a log as JSON, on standard output
    #[arg(long, value_enum, default_value_t)]
    format: TimingsFormat,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TimingsFormat {
    /// The page
    #[default]
    Html,
    /// One JSON object a line
    Json,
}

/// Reasons that there is no page. The user can fix all of them.
#[derive(Debug, thiserror::Error)]
pub(super) enum TimingsError {
    #[error("there is nothing to show: no running engine has done any work; name a log with --from")]
    NoEngine,
    #[error("there is nothing to show: no line of the log is a phase")]
    EmptyLog,
    #[error("reading the log {path} failed")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("writing the page to {path} failed: name another file with -o")]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Writes the page. Without a provider, for the engines of all providers.
pub(super) async fn run(provider: Option<ProviderName>, arguments: TimingsArguments) -> anyhow::Result<()> {
    let TimingsArguments { output, from, since, format } = arguments;
    let (lines, unreadable_lines) = if from.is_empty() { (ask(provider).await?, 0) } else { read(&from)? };
    if lines.iter().all(|line| phase_of(line).is_none()) {
        return Err(if from.is_empty() { TimingsError::NoEngine } else { TimingsError::EmptyLog }.into());
    }
    let ends_ms = lines.iter().map(|line| match line {
        TimingLine::Phase(phase) => end_unix_ms(phase),
        TimingLine::Engine(engine) => engine.asked_unix_ms.unwrap_or(0.0),
    });
    let end_ms = ends_ms.fold(0.0, f64::max);
    let since_unix_ms = since.map(|since| end_ms - since.as_secs_f64() * 1e3);
    if let TimingsFormat::Json = format {
        let is_wanted = |line: &&TimingLine| match (phase_of(line), since_unix_ms) {
            (Some(phase), Some(since_ms)) => phase.duration_ms.is_none() || since_ms <= end_unix_ms(phase),
            _ => true,
        };
        print!("{}", lines.iter().filter(is_wanted).map(TimingLine::to_text).collect::<String>());
        return Ok(());
    }
    let report = Report { unreadable_lines, ..Report::new(lines, since_unix_ms) };
    let html = page::html(&report);
    if output.as_os_str() == "-" {
        print!("{html}");
        return Ok(());
    }
    std::fs::write(&output, html).map_err(|source| TimingsError::Write { path: output.clone(), source })?;
    let path = std::path::absolute(&output).unwrap_or(output);
    println!("{} leases of {} tests: {}", report.summary.leases, report.summary.tests, path.display());
    Ok(())
}

/// Returns true if `error` is one of this command's.
pub(super) fn is_user_error(error: &anyhow::Error) -> bool {
    error.is::<TimingsError>()
}

async fn ask(provider: Option<ProviderName>) -> anyhow::Result<Vec<TimingLine>> {
    let providers = provider.map_or(ProviderName::ALL.to_vec(), |provider| vec![provider]);
    let mut lines = Vec::new();
    for provider in providers {
        let client = EngineClient::for_provider(provider, EngineProgram::ThisExecutable)?;
        lines.extend(client.timings().await?.unwrap_or_default());
    }
    Ok(lines)
}

/// The lines of all logs, and the number of lines that could not be parsed.
fn read(logs: &[PathBuf]) -> Result<(Vec<TimingLine>, usize), TimingsError> {
    let (mut lines, mut unreadable) = (Vec::new(), 0);
    for log in logs {
        let text = read_bounded(log).map_err(|source| TimingsError::Read { path: log.clone(), source })?;
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match std::str::from_utf8(line).ok().and_then(TimingLine::parse) {
                Some(line) => lines.push(line),
                None => unreadable += 1,
            }
        }
    }
    Ok((lines, unreadable))
}

fn read_bounded(log: &std::path::Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read;
    let mut text = Vec::new();
    std::fs::File::open(log)?.take(LOG_BYTES_MAX).read_to_end(&mut text)?;
    Ok(text)
}

fn phase_of(line: &TimingLine) -> Option<&PhaseLine> {
    match line {
        TimingLine::Phase(phase) => Some(phase),
        TimingLine::Engine(_) => None,
    }
}

fn end_unix_ms(phase: &PhaseLine) -> f64 {
    phase.start_unix_ms + phase.duration_ms.unwrap_or(0.0)
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wanted = || format!("`{text}` is not a duration: write a whole number and s, m or h, such as 90s, 10m or 2h");
    let unit = text.chars().next_back().ok_or_else(wanted)?;
    let seconds_of_unit = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        _ => return Err(wanted()),
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wanted())?;
    number.checked_mul(seconds_of_unit).map(Duration::from_secs).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        let seconds = |text| parse_duration(text).map(|duration| duration.as_secs());
        assert_eq!((seconds("90s"), seconds("10m"), seconds("2h")), (Ok(90), Ok(600), Ok(7200)));
        for wrong in ["", "s", "10", "-1s", "1.5h", "10 m", "99999999999999999999h", "1é"] {
            assert!(seconds(wrong).is_err_and(|message| message.contains("such as 90s")), "{wrong}");
        }
    }
}
