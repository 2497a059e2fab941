//! The restrictions of this host.

use container_command_line::Failure;

use crate::podman;

/// podman requests no more than this.
const MOST_FILES: u64 = 1 << 20;
/// Less than podman would request, because it lowers its own limit of processes before it starts anything.
const MOST_PROCESSES: u64 = 1 << 15;

/// The limits that this host allows.
#[derive(Debug)]
pub(crate) struct Host {
    controllers: Vec<String>,
    files: u64,
    processes: u64,
}

impl Host {
    /// Asks podman and the kernel.
    pub(crate) fn find() -> Result<Self, Failure> {
        let information = podman::json(&["info", "--format", "json"])?;
        let controllers = information["host"]["cgroupControllers"].as_array().cloned().unwrap_or_default();
        let controllers = controllers.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect();
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Ok(Self {
            controllers,
            files: hard_limit(&limits, "Max open files", MOST_FILES),
            processes: hard_limit(&limits, "Max processes", MOST_PROCESSES),
        })
    }

    /// Returns true if podman can use this cgroup controller.
    pub(crate) fn limits(&self, controller: &str) -> bool {
        self.controllers.iter().any(|name| name == controller)
    }

    /// Returns limits that do not exceed the host's own. podman's defaults would make the start fail if limits cannot
    /// be raised.
    pub(crate) fn ulimits(&self) -> [String; 2] {
        let limit = |name: &str, value: u64| format!("{name}={value}:{value}");
        [limit("nofile", self.files), limit("nproc", self.processes)]
    }
}

fn hard_limit(limits: &str, name: &str, most: u64) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    hard.and_then(|hard| hard.parse().ok()).unwrap_or(most).min(most)
}

#[cfg(test)]
mod tests {
    use super::hard_limit;

    #[test]
    fn the_hard_limit_counts() {
        let limits = "Max processes   10   20   processes\nMax open files   1024   unlimited   files\n";
        assert_eq!(hard_limit(limits, "Max processes", 100), 20);
        assert_eq!(hard_limit(limits, "Max processes", 15), 15);
        assert_eq!(hard_limit(limits, "Max open files", 100), 100);
    }
}
