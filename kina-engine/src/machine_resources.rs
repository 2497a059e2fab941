//! The cores and the memory of this machine, within the bounds that a container or a service manager sets.

#[cfg(any(test, target_os = "linux"))]
use std::path::{Path, PathBuf};

/// The memory that is assumed to be free where the system cannot be asked.
const MEMORY_ASSUMED_BYTES: u64 = 4 << 30;

/// Cores that this process may use. On Linux the standard library looks at the affinity mask and at the quota of the
/// control groups of both versions.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Memory that can be taken without harm: the system's figure of available memory, or less if a control group allows
/// less. On macOS, which has no such figure, half of the built-in memory.
pub fn available_memory_bytes() -> u64 {
    #[cfg(target_os = "linux")]
    let available = available_below(Path::new("/"));
    #[cfg(not(target_os = "linux"))]
    let available = crate::sysctl::number("hw.memsize").map(|bytes| bytes / 2);
    available.unwrap_or(MEMORY_ASSUMED_BYTES)
}

/// A control group that counts memory, and the names of its files.
#[cfg(any(test, target_os = "linux"))]
struct MemoryGroup {
    /// The mount point of its hierarchy.
    top: PathBuf,
    /// The group's own directory, at or below that.
    directory: PathBuf,
    files: &'static GroupFiles,
}

#[cfg(any(test, target_os = "linux"))]
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// The line in `memory.stat` with the pages that the kernel can drop at once: they count as used, but are
    /// available.
    reclaimable: &'static str,
}

#[cfg(any(test, target_os = "linux"))]
const VERSION_1: GroupFiles =
    GroupFiles { limit: "memory.limit_in_bytes", usage: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
#[cfg(any(test, target_os = "linux"))]
const VERSION_2: GroupFiles = GroupFiles { limit: "memory.max", usage: "memory.current", reclaimable: "inactive_file" };

/// [`available_memory_bytes`] of a machine whose files are below `root`.
#[cfg(any(test, target_os = "linux"))]
fn available_below(root: &Path) -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    let of_machine = kilobytes(&read("proc/meminfo"), "MemAvailable:");
    let groups = memory_groups(root, &read("proc/self/cgroup"), &read("proc/self/mountinfo"));
    groups.iter().filter_map(MemoryGroup::available).chain(of_machine).min()
}

#[cfg(any(test, target_os = "linux"))]
impl MemoryGroup {
    /// The least memory that the group and its ancestors leave; `None` if none has a limit.
    fn available(&self) -> Option<u64> {
        let around = self.directory.ancestors().take_while(|directory| directory.starts_with(&self.top));
        around.filter_map(|directory| self.files.available_in(directory)).min()
    }
}

#[cfg(any(test, target_os = "linux"))]
impl GroupFiles {
    fn available_in(&self, directory: &Path) -> Option<u64> {
        let number = |name: &str| std::fs::read_to_string(directory.join(name)).ok()?.trim().parse::<u64>().ok();
        // `max` is not a number and means no limit.
        let limit = number(self.limit)?;
        let statistics = std::fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        let reclaimable = statistics.lines().find_map(|line| {
            let (name, value) = line.split_once(' ')?;
            if name == self.reclaimable { value.trim().parse::<u64>().ok() } else { None }
        });
        let used = number(self.usage).unwrap_or(0).saturating_sub(reclaimable.unwrap_or(0));
        Some(limit.saturating_sub(used))
    }
}

/// The control groups of this process that count memory: one of version 1 or one of version 2, or none.
#[cfg(any(test, target_os = "linux"))]
fn memory_groups(root: &Path, own_groups: &str, mounts: &str) -> Vec<MemoryGroup> {
    own_groups
        .lines()
        .filter_map(|line| {
            // Number of the hierarchy, its controllers, path of the group.
            let mut fields = line.splitn(3, ':');
            let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
            let files = match (number, controllers) {
                ("0", "") => &VERSION_2,
                _ if controllers.split(',').any(|controller| controller == "memory") => &VERSION_1,
                _ => return None,
            };
            let (mounted, mount_point) = mounts.lines().find_map(|line| mounted_hierarchy(line, files))?;
            let top = root.join(mount_point.trim_start_matches('/'));
            // In a container, a part of the hierarchy can be mounted as if it were the whole. Groups outside of that
            // part, or named relative to another root, cannot be examined.
            let below = Path::new(group).strip_prefix(&mounted).unwrap_or(Path::new(""));
            let below = if below.components().any(|part| part.as_os_str() == "..") { Path::new("") } else { below };
            Some(MemoryGroup { directory: top.join(below), top, files })
        })
        .collect()
}

/// Reads a line of the table of mounts: …, root of the mount, mount point, options, optional fields, `-`, type, source,
/// options of the file system. Returns root and mount point if it is the hierarchy of these files.
#[cfg(any(test, target_os = "linux"))]
fn mounted_hierarchy(line: &str, files: &GroupFiles) -> Option<(String, String)> {
    let (of_mount, of_file_system) = line.split_once(" - ")?;
    let mut fields = of_mount.split(' ').skip(3);
    let (root, mount_point) = (fields.next()?, fields.next()?);
    let mut fields = of_file_system.split(' ');
    let (kind, options) = (fields.next()?, fields.nth(1).unwrap_or_default());
    let is_wanted = match files.limit {
        limit if limit == VERSION_2.limit => kind == "cgroup2",
        _ => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
    };
    // The table writes a space in a path as an octal number.
    is_wanted.then(|| (root.replace("\\040", " "), mount_point.replace("\\040", " ")))
}

#[cfg(any(test, target_os = "linux"))]
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEBIBYTE: u64 = 1 << 20;
    const NO_LIMIT_1: &str = "9223372036854771712\n";
    const MOUNTS_2: &str = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    const MOUNTS_1: &str = "22 1 8:1 / / rw - ext4 /dev/root rw\n\
                            31 22 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                            32 22 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                            33 22 0:29 / /sys/fs/cgroup/unified rw - cgroup2 none rw\n";

    /// A made-up machine with 1000 MiB available.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary directory");
        let meminfo = ("proc/meminfo", "MemTotal: 4096000 kB\nMemAvailable:    1024000 kB\nBuffers: 1 kB\n");
        for (path, text) in files.iter().chain([&meminfo]) {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        root
    }

    fn available_mebibytes(files: &[(&str, &str)]) -> Option<u64> {
        available_below(machine(files).path()).map(|bytes| bytes / MEBIBYTE)
    }

    #[test]
    fn without_a_control_group_the_machines_memory_counts() {
        assert_eq!(available_mebibytes(&[]), Some(1000));
        assert_eq!(available_below(Path::new("/nowhere")), None);
    }

    #[test]
    fn version_2_counts_the_group_and_all_around_it() {
        let group = [
            ("proc/self/cgroup", "0::/user.slice/session.scope\n"),
            ("proc/self/mountinfo", MOUNTS_2),
            ("sys/fs/cgroup/user.slice/session.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/session.scope/memory.current", "52428800\n"),
        ];
        assert_eq!(available_mebibytes(&group), Some(1000));
        // 600 MiB, of which 200 are in use; but 150 of these are file pages that can be dropped.
        let around = [
            ("sys/fs/cgroup/user.slice/memory.max", "629145600\n"),
            ("sys/fs/cgroup/user.slice/memory.current", "209715200\n"),
            ("sys/fs/cgroup/user.slice/memory.stat", "anon 1\ninactive_file 157286400\nactive_file 5\n"),
        ];
        assert_eq!(available_mebibytes(&[&group[..], &around[..]].concat()), Some(550));
        // The group itself is narrower.
        let own = [("sys/fs/cgroup/user.slice/session.scope/memory.max", "104857600\n")];
        assert_eq!(available_mebibytes(&[&group[..], &around[..], &own[..]].concat()), Some(50));
        // The limit may have been set below the current use.
        let own = [("sys/fs/cgroup/user.slice/session.scope/memory.max", "1000\n")];
        assert_eq!(available_mebibytes(&[&group[..], &own[..]].concat()), Some(0));
    }

    #[test]
    fn version_1_counts_the_group_and_all_around_it() {
        let group = [
            ("proc/self/cgroup", "5:cpu:/a\n4:memory:/docker/abc\n0::/\n"),
            ("proc/self/mountinfo", MOUNTS_1),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", NO_LIMIT_1),
            ("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", NO_LIMIT_1),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "419430400\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "209715200\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.stat", "inactive_file 1\ntotal_inactive_file 104857600\n"),
        ];
        assert_eq!(available_mebibytes(&group), Some(300));
        let around = [("sys/fs/cgroup/memory/docker/memory.limit_in_bytes", "104857600\n")];
        assert_eq!(available_mebibytes(&[&group[..], &around[..]].concat()), Some(100));
    }

    #[test]
    fn in_a_container_the_mounted_part_is_the_top() {
        let mounts = "32 22 0:28 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        let limit = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "104857600\n");
        let files = [("proc/self/cgroup", "4:memory:/docker/abc\n"), ("proc/self/mountinfo", mounts), limit];
        assert_eq!(available_mebibytes(&files), Some(100));
        // A group outside of the mounted part: only the top can be examined.
        let files = [("proc/self/cgroup", "4:memory:/other\n"), ("proc/self/mountinfo", mounts), limit];
        assert_eq!(available_mebibytes(&files), Some(100));
        let files = [("proc/self/cgroup", "0::/../b\n"), ("proc/self/mountinfo", MOUNTS_2)];
        assert_eq!(available_mebibytes(&[&files[..], &[("sys/fs/cgroup/memory.max", "52428800")]].concat()), Some(50));
    }

    #[test]
    fn this_machine_has_cores_and_memory() {
        assert!(0 < cores());
        assert!(0 < available_memory_bytes());
    }
}
