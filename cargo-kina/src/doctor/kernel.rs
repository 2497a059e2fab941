//! Limits of the kernel that matter to clusters of plain processes: processes, watches on files, ports.

use std::path::Path;

use super::check::{Check, Section};

const SECTION: Section = Section("kernel");
/// Threads of a cluster's processes, with room: they count as processes.
const THREADS_PER_CLUSTER: u64 = 64;
/// File watchers of a cluster: kube-apiserver watches its certificates and its configuration.
const WATCHES_PER_CLUSTER: u64 = 8;
/// Number of ports that is enough. Each connection of a test takes two, and keeps them for a minute after its end.
const PORTS_ENOUGH: u64 = 8192;

/// A limit, and the part of it that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bound {
    most: u64,
    taken: u64,
}

/// Makes all checks of this section.
pub(super) fn examine(clusters_max: u64) -> Vec<Check> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let number = |path: &str| read(path)?.trim().parse::<u64>().ok();
    let of_group = process_groups(&read("/proc/self/cgroup").unwrap_or_default())
        .iter()
        .filter_map(|directory| {
            Some(Bound {
                most: number(&format!("{directory}/pids.max"))?,
                taken: number(&format!("{directory}/pids.current"))?,
            })
        })
        .min_by_key(|bound| bound.left());
    let of_user = rustix::process::getrlimit(rustix::process::Resource::Nproc).current;
    let instances = number("/proc/sys/fs/inotify/max_user_instances");
    vec![
        processes(of_group, of_user, clusters_max),
        watches(instances.map(|most| Bound { most, taken: count_watches() }), clusters_max),
        ports(read("/proc/sys/net/ipv4/ip_local_port_range").as_deref().and_then(port_range)),
    ]
}

fn processes(of_group: Option<Bound>, of_user: Option<u64>, clusters_max: u64) -> Check {
    let name = "processes";
    let of_group =
        of_group.map(|bound| (bound.left(), format!("{} more within the control group (pids.max)", bound.left())));
    // The user's limit counts all of their processes, in any control group.
    let of_user = of_user.map(|most| (most, format!("up to {most} for this user (ulimit -u)")));
    let Some((left, found)) = of_group.into_iter().chain(of_user).min() else { return SECTION.ok(name, "no limit") };
    let meaning = "each cluster has dozens of threads, which count: boots fail when there are no more";
    let repair = "give the container or the service a higher limit (--pids-limit, TasksMax), or raise ulimit -u";
    if left < THREADS_PER_CLUSTER {
        SECTION.wrong(name, found, meaning, repair)
    } else if left < clusters_max * THREADS_PER_CLUSTER {
        SECTION.warning(name, found, meaning, repair)
    } else {
        SECTION.ok(name, found)
    }
}

fn watches(instances: Option<Bound>, clusters_max: u64) -> Check {
    let name = "inotify";
    let Some(bound) = instances else { return SECTION.skipped(name, "this system has none") };
    let found = format!("{} of {} watchers of files are taken by this user", bound.taken, bound.most);
    if bound.left() < clusters_max * WATCHES_PER_CLUSTER {
        SECTION.warning(
            name,
            found,
            "kube-apiserver watches its files; without watchers, it reads them once a minute and logs complaints about \
             too many open files",
            "sudo sysctl fs.inotify.max_user_instances=1024",
        )
    } else {
        SECTION.ok(name, found)
    }
}

fn ports(range: Option<(u64, u64)>) -> Check {
    let name = "ports";
    let Some((first, last)) = range else { return SECTION.skipped(name, "the system does not report it") };
    let count = (last + 1).saturating_sub(first);
    let found = format!("{count} from {first} to {last} for automatic use");
    if count < PORTS_ENOUGH {
        SECTION.warning(
            name,
            found,
            "each cluster, gateway and connection of a test takes one or two: many tests at a time run out of them",
            "sudo sysctl net.ipv4.ip_local_port_range='32768 60999'",
        )
    } else {
        SECTION.ok(name, found)
    }
}

impl Bound {
    fn left(self) -> u64 {
        self.most.saturating_sub(self.taken)
    }
}

/// Returns the directories of this process's control groups, of both versions, that count processes.
fn process_groups(of_this_process: &str) -> Vec<String> {
    let mut directories = Vec::new();
    for line in of_this_process.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        let top = match controllers {
            "" => "/sys/fs/cgroup",
            controllers if controllers.split(',').any(|controller| controller == "pids") => "/sys/fs/cgroup/pids",
            _ => continue,
        };
        // The limits of the groups around it hold for each group. In a container, the mounted directory is the top.
        let path = path.trim_end_matches('/');
        let around = Path::new(path).ancestors().map(|group| format!("{top}{}", group.display()));
        directories.extend(around.map(|directory| directory.trim_end_matches('/').to_owned()));
        if !directories.iter().any(|directory| directory == top) {
            directories.push(top.to_owned());
        }
    }
    directories
}

fn port_range(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Counts the file watchers of all processes that this one may inspect, which are those of this user.
fn count_watches() -> u64 {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let descriptors = processes.filter_map(|process| std::fs::read_dir(process.path().join("fd")).ok());
    let links =
        descriptors.flat_map(|directory| directory.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok()));
    u64::try_from(links.filter(|link| link.as_os_str() == "anon_inode:inotify").count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn processes_are_bounded_by_the_group_or_by_the_user() {
        let outcome = |of_group: Option<(u64, u64)>, of_user| {
            processes(of_group.map(|(most, taken)| Bound { most, taken }), of_user, 4).outcome
        };
        assert_eq!(outcome(None, None), CheckOutcome::Ok);
        assert_eq!(outcome(Some((1000, 100)), Some(100_000)), CheckOutcome::Ok);
        assert_eq!(outcome(Some((1000, 900)), Some(100_000)), CheckOutcome::Warning);
        assert_eq!(outcome(Some((1000, 990)), None), CheckOutcome::Wrong);
        assert_eq!(outcome(None, Some(100)), CheckOutcome::Warning);
    }

    #[test]
    fn groups_of_both_versions_and_groups_around_them_count() {
        assert_eq!(
            process_groups("0::/user.slice/a.scope\n"),
            ["/sys/fs/cgroup/user.slice/a.scope", "/sys/fs/cgroup/user.slice", "/sys/fs/cgroup"]
        );
        let directories = process_groups("8:pids:/docker/x\n7:blkio:/\n");
        assert_eq!(directories, ["/sys/fs/cgroup/pids/docker/x", "/sys/fs/cgroup/pids/docker", "/sys/fs/cgroup/pids"]);
        assert_eq!(process_groups("8:pids:/\n"), ["/sys/fs/cgroup/pids"]);
        assert!(process_groups("nonsense\n").is_empty());
    }

    #[test]
    fn few_watchers_and_few_ports_are_warnings() {
        let outcome = |taken| watches(Some(Bound { most: 128, taken }), 4).outcome;
        assert_eq!([0, 96, 97].map(outcome), [CheckOutcome::Ok, CheckOutcome::Ok, CheckOutcome::Warning]);
        assert_eq!(watches(None, 4).outcome, CheckOutcome::Skipped);
        assert_eq!(port_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(ports(port_range("32768 60999")).outcome, CheckOutcome::Ok);
        assert_eq!(ports(port_range("60000 60999")).outcome, CheckOutcome::Warning);
        assert_eq!(ports(port_range("")).outcome, CheckOutcome::Skipped);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_gives_answers() {
        assert_eq!(examine(1).len(), 3);
    }
}
