//! `cargo kina top`

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use clap::Args;
use kina_engine::{EngineClient, SlotStatus, Status};
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};

use super::interrupted::Interruption;
use super::output::{Style, print_lines, print_text};
use super::situation::Situation;
use super::status::{NO_ENGINE, engine_lines};

/// The alternate screen of the terminal, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const TO_THE_TOP: &str = "\x1b[H";
const CLEAR_REST_OF_LINE: &str = "\x1b[K";
const CLEAR_REST_OF_SCREEN: &str = "\x1b[J";
/// The time over which processor use is measured for a single frame.
const ONCE_INTERVAL: Duration = Duration::from_millis(500);

/// Watch the engine and its clusters, until Ctrl-C
///
/// If standard output is not a terminal, prints one frame and exits.
#[derive(Clone, Debug, Args)]
pub struct TopArguments {
    /// Print one frame and exit
    #[arg(long)]
    once: bool,
    /// Seconds between two frames
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,
}

/// The processor time of processes at the last frame.
#[derive(Default)]
struct Processors {
    /// In seconds, with the time of the measurement.
    taken: HashMap<u32, f64>,
    looked_at: Option<Instant>,
    /// By cluster, in percent of one processor.
    percents: HashMap<u64, f64>,
}

/// Restores the terminal when dropped.
struct Screen;

/// Runs the command.
pub(super) async fn run(situation: &Situation, arguments: &TopArguments) -> anyhow::Result<()> {
    let engines = situation.clients()?;
    let mut processors = Processors::default();
    if arguments.once || !std::io::stdout().is_terminal() {
        frame(&engines, &mut processors, Style::PLAIN, None).await?;
        tokio::time::sleep(ONCE_INTERVAL).await;
        return print_lines(frame(&engines, &mut processors, Style::of_stdout(), None).await?);
    }
    let mut interruption = Interruption::watch();
    let mut stops = signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?;
    let mut interval = tokio::time::interval(Duration::from_secs(arguments.interval));
    let screen = Screen::enter()?;
    loop {
        tokio::select! {
            () = interruption.happens() => return Ok(()),
            Some(()) = stops.recv() => screen.lend()?,
            _ = interval.tick() => {
                let (rows, columns) = terminal_size();
                let lines = frame(&engines, &mut processors, Style::of_stdout(), Some(columns)).await?;
                print_text(&drawn(&lines, rows))?;
            }
        }
    }
}

async fn frame(
    engines: &[EngineClient],
    processors: &mut Processors,
    style: Style,
    width_max: Option<usize>,
) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    let mut statuses = Vec::new();
    for engine in engines {
        match engine.status(true).await {
            Ok(Some(status)) => statuses.push(status),
            Ok(None) => {}
            // It may just be ending; the next frame will show it.
            Err(error) => lines.push(kina_engine::with_causes(&error)),
        }
    }
    processors.look(&statuses);
    for status in &statuses {
        let percent = |slot: &SlotStatus| processors.percents.get(&key_of(status, slot)).copied();
        lines.extend(engine_lines(status, style, width_max, Some(&percent)));
    }
    if lines.is_empty() {
        lines.push(NO_ENGINE.to_owned());
    }
    Ok(lines)
}

/// The text that is sent to the terminal for a frame.
fn drawn(lines: &[String], rows: usize) -> String {
    let mut text = TO_THE_TOP.to_owned();
    for (number, line) in lines.iter().take(rows).enumerate() {
        if number != 0 {
            text.push_str("\r\n");
        }
        text.push_str(line);
        text.push_str(CLEAR_REST_OF_LINE);
    }
    text.push_str(CLEAR_REST_OF_SCREEN);
    text
}

fn key_of(status: &Status, slot: &SlotStatus) -> u64 {
    // Slot numbers are unique only within an engine.
    (u64::from(status.process_id) << 32) | (slot.slot & u64::from(u32::MAX))
}

impl Processors {
    fn look(&mut self, statuses: &[Status]) {
        let now = Instant::now();
        let elapsed_seconds = self.looked_at.replace(now).map(|before| (now - before).as_secs_f64());
        let before = std::mem::take(&mut self.taken);
        self.percents.clear();
        for status in statuses {
            for slot in &status.slots {
                let mut seconds = None;
                for process_id in &slot.process_ids {
                    let Some(used) = kina_engine::process_time_of(*process_id) else { continue };
                    let taken = used.own.as_secs_f64();
                    self.taken.insert(*process_id, taken);
                    if let Some(before) = before.get(process_id) {
                        *seconds.get_or_insert(0.0) += (taken - before).max(0.0);
                    }
                }
                if let (Some(seconds), Some(elapsed_seconds)) = (seconds, elapsed_seconds)
                    && 0.0 < elapsed_seconds
                {
                    self.percents.insert(key_of(status, slot), 100.0 * seconds / elapsed_seconds);
                }
            }
        }
    }
}

/// Rows and columns.
fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(std::io::stdout()) {
        Ok(size) if 0 < size.ws_row && 0 < size.ws_col => (size.ws_row.into(), size.ws_col.into()),
        _ => (24, 80),
    }
}

impl Screen {
    fn enter() -> anyhow::Result<Self> {
        print_text(ENTER)?;
        Ok(Self)
    }

    /// Stops this process on Ctrl-Z, with the terminal restored, until it is continued.
    fn lend(&self) -> anyhow::Result<()> {
        print_text(LEAVE)?;
        rustix::process::kill_process(rustix::process::getpid(), Signal::STOP)?;
        print_text(ENTER)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A closed terminal needs no restoring.
        let _ = print_text(LEAVE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_replaces_the_previous_one_and_does_not_scroll() {
        let lines = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(drawn(&lines, 2), "\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn processor_use_is_measured_between_two_frames() {
        let mut status = super::super::status::tests::status();
        status.slots[0].process_ids = vec![std::process::id()];
        let mut processors = Processors::default();
        processors.look(std::slice::from_ref(&status));
        assert!(processors.percents.is_empty(), "one measurement is not enough");
        processors.look(std::slice::from_ref(&status));
        let percents: Vec<_> = processors.percents.values().collect();
        assert!(matches!(percents.as_slice(), [percent] if 0.0 <= **percent), "{percents:?}");
    }
}
