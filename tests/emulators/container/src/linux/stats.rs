//! `stats`: the kernel's figures for the processes of a machine.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use container_command_line::command::Format;
use container_command_line::{Failure, json, messages};

use super::containers::State;
use super::dispatch::{Call, Outcome};
use super::processes;

/// Duration of a sample of the real service if any container runs.
const SAMPLE: Duration = Duration::from_secs(2);
/// The kernel's unit of processor time.
const TICK_MICROSECONDS: u64 = 10_000;
const PAGE_BYTES: u64 = 4096;

impl Call {
    /// `stats`: takes one sample, without stopped containers.
    pub(crate) fn stats(&self, format: Format, once: bool, ids: &[String]) -> Outcome {
        if format != Format::Json || !once {
            return Err(self.not_emulated("stats other than --format json --no-stream"));
        }
        let mut samples = Vec::new();
        let records = match ids.is_empty() {
            true => self.store.containers()?,
            false => {
                let one = |id: &String| self.store.container(id)?.ok_or_else(|| messages::stats_missing(id));
                ids.iter().map(one).collect::<Result<Vec<_>, Failure>>()?
            }
        };
        let mut running = Vec::new();
        for record in records {
            if self.state(&record)? == State::Running {
                running.push(record);
            }
        }
        if !running.is_empty() {
            std::thread::sleep(SAMPLE);
        }
        for record in running {
            let id = record.configuration.id;
            let Some(init) = self.runtime_of(&id)?.and_then(|runtime| runtime.init) else { continue };
            let sample = sample(init.pid);
            let network = network(init.pid);
            let rarely = |value: u64, purpose: u64| (!self.decision.chance(purpose).is_multiple_of(4)).then_some(value);
            samples.push(json::Stats {
                block_read_bytes: rarely(0, 21),
                block_write_bytes: rarely(self.written(&id)?, 22),
                cpu_usage_usec: Some(sample.processor_ticks * TICK_MICROSECONDS),
                memory_limit_bytes: Some(record.configuration.resources.memory_in_bytes),
                memory_usage_bytes: Some(sample.memory_bytes),
                network_rx_bytes: network.map(|(received, _)| received),
                network_tx_bytes: network.map(|(_, sent)| sent),
                num_processes: Some(sample.processes),
                id,
                extra: BTreeMap::from([("simulated".to_owned(), true.into())]),
            });
        }
        self.decision.shuffle(&mut samples);
        self.compact(&samples)
    }
}

#[derive(Default)]
struct Sample {
    processes: u64,
    processor_ticks: u64,
    memory_bytes: u64,
}

/// Sums up all processes in the process namespace of PID 1.
fn sample(init: u32) -> Sample {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(init) else { return Sample::default() };
    let mut sample = Sample::default();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if namespace(pid).as_ref() != Some(&wanted) {
            continue;
        }
        let Some(fields) = processes::stat_fields(pid) else { continue };
        let number = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        sample.processes += 1;
        // User and system time, including those of ended children.
        sample.processor_ticks += (11..=14).map(number).sum::<u64>();
        sample.memory_bytes += number(21) * PAGE_BYTES;
    }
    sample
}

fn network(init: u32) -> Option<(u64, u64)> {
    let text = fs::read_to_string(format!("/proc/{init}/net/dev")).ok()?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"))?;
    let numbers: Vec<u64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    Some((*numbers.first()?, *numbers.get(8)?))
}
