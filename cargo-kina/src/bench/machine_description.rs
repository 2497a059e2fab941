//! The surroundings of a measurement, as far as they affect figures. No name of the machine and no path on it.

use serde::{Deserialize, Serialize};

/// A machine, and how busy it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MachineDescription {
    /// The processor's own name.
    pub cpu: String,
    pub cores: usize,
    pub memory_mb: f64,
    pub system: String,
    pub kernel: String,
    pub architecture: String,
    /// The system runs on a hypervisor: other guests may take processor time away.
    pub virtual_machine: bool,
    /// `debug` or `release`, of kina itself.
    pub build: String,
    pub kina: String,
    /// Runnable processes before the measurement, averaged over one, five and fifteen minutes.
    pub load_before: Option<[f64; 3]>,
    /// The same at the end, the measuring included.
    pub load_after: Option<[f64; 3]>,
    /// Processor time that the hypervisor gave to others meanwhile, in percent.
    pub stolen_percent: Option<f64>,
}

/// A machine under observation.
pub struct Watched {
    description: MachineDescription,
    before: Option<ProcessorTime>,
}

#[derive(Clone, Copy)]
struct ProcessorTime {
    all_ticks: u64,
    stolen_ticks: u64,
}

/// Starts to observe the machine.
pub fn watch() -> Watched {
    let processor = read("/proc/cpuinfo");
    let field = |name: &str| {
        let line = processor.lines().find(|line| line.starts_with(name))?;
        line.split_once(':').map(|(_, value)| value.trim().to_owned())
    };
    let system = rustix::system::uname();
    let name = read("/etc/os-release").lines().find_map(|line| line.strip_prefix("PRETTY_NAME=").map(unquoted));
    let description = MachineDescription {
        cpu: field("model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: kina_engine::cores(),
        memory_mb: memory_bytes(&read("/proc/meminfo")).unwrap_or_default() as f64 / 1e6,
        system: name.unwrap_or_else(|| system.sysname().to_string_lossy().into_owned()),
        kernel: system.release().to_string_lossy().into_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        virtual_machine: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
        kina: env!("CARGO_PKG_VERSION").to_owned(),
        load_before: load(),
        load_after: None,
        stolen_percent: None,
    };
    Watched { description, before: processor_time(&read("/proc/stat")) }
}

impl Watched {
    /// The machine, and its load so far.
    pub fn describe(&self) -> MachineDescription {
        let after = processor_time(&read("/proc/stat"));
        let stolen_percent = self.before.zip(after).and_then(|(before, after)| {
            let all = after.all_ticks.checked_sub(before.all_ticks).filter(|ticks| 0 < *ticks)?;
            Some(100.0 * after.stolen_ticks.saturating_sub(before.stolen_ticks) as f64 / all as f64)
        });
        MachineDescription { load_after: load(), stolen_percent, ..self.description.clone() }
    }
}

impl MachineDescription {
    /// The description in one sentence.
    pub fn sentence(&self) -> String {
        let load = |load: Option<[f64; 3]>| load.map_or("unknown".to_owned(), |load| format!("{:.2}", load[0]));
        format!(
            "{} × {} ({}{}), {:.0} GB, {}, kernel {}, {} build of kina {}; load {} before and {} after{}",
            self.cores,
            self.cpu,
            self.architecture,
            if self.virtual_machine { ", a virtual machine" } else { "" },
            self.memory_mb / 1e3,
            self.system,
            self.kernel,
            self.build,
            self.kina,
            load(self.load_before),
            load(self.load_after),
            self.stolen_percent.map_or(String::new(), |percent| format!(", {percent:.1} % of the processor stolen")),
        )
    }
}

fn load() -> Option<[f64; 3]> {
    let text = read("/proc/loadavg");
    let mut numbers = text.split(' ').map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next()?])
}

fn memory_bytes(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn processor_time(text: &str) -> Option<ProcessorTime> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    // The last two, guests, are part of the first two.
    Some(ProcessorTime { all_ticks: ticks.iter().take(8).sum(), stolen_ticks: *ticks.get(7)? })
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_is_understood() {
        assert_eq!(memory_bytes("MemTotal:        1000 kB\nMemFree: 1 kB\n"), Some(1_024_000));
        let time = processor_time("cpu  10 0 20 60 5 0 2 3 7 0\ncpu0 1 1\n").expect("understood");
        assert_eq!((time.all_ticks, time.stolen_ticks), (100, 3));
        assert_eq!(unquoted("\"Some System 1\"\n"), "Some System 1");
    }

    #[test]
    fn this_machine_is_described() {
        let description = watch().describe();
        assert!(0 < description.cores && !description.kernel.is_empty() && !description.build.is_empty());
        assert!(description.sentence().contains(&description.kernel));
    }
}
