//! A process that outlives the engine just long enough to kill the engine's children, for kernels without a
//! parent-death signal.
//!
//! It reads from a pipe whose other end only the engine holds, and which the kernel closes however the engine dies. It
//! is in a group of its own, so that freezing a cluster never freezes it.

use std::collections::HashSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// The watcher's program. It reads which groups to watch and to forget, and kills those watched when its pipe is
/// closed.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
groups=' '
while read -r what group; do
    case $what in
    watch) groups="$groups$group " ;;
    forget)
        case $groups in
        *" $group "*) groups="${groups%% $group *} ${groups#* $group }" ;;
        esac
        ;;
    esac
done
for group in $groups; do
    kill -9 "-$group"
done
"#;

/// The watcher and its groups. Dropping this value kills the groups that are still watched.
#[derive(Debug)]
pub(super) struct Watcher {
    process: Child,
    groups: HashSet<Pid>,
}

impl Watcher {
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { process: start_shell()?, groups: HashSet::new() })
    }

    /// Makes the group die with this process from now on.
    pub(super) fn watch(&mut self, group: Pid) -> io::Result<()> {
        self.groups.insert(group);
        match self.tell("watch", group) {
            Ok(()) => Ok(()),
            // It was killed. Another watcher takes over all groups.
            Err(_) => self.replace(),
        }
    }

    /// Ends the watch over a group that has ended. To be called before its number can be used again.
    pub(super) fn forget(&mut self, group: Pid) {
        // If the watcher is gone, the next one gets a list without this group.
        if self.groups.remove(&group) && self.tell("forget", group).is_err() && !self.groups.is_empty() {
            let _ = self.replace();
        }
    }

    fn tell(&mut self, what: &str, group: Pid) -> io::Result<()> {
        let pipe = self.process.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        // One short write, which the kernel does not tear.
        pipe.write_all(format!("{what} {}\n", group.as_raw_nonzero()).as_bytes())
    }

    fn replace(&mut self) -> io::Result<()> {
        self.end_without_killing();
        self.process = start_shell()?;
        let groups: Vec<_> = self.groups.iter().copied().collect();
        groups.into_iter().try_for_each(|group| self.tell("watch", group))
    }

    fn end_without_killing(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if self.groups.is_empty() {
            self.end_without_killing();
            return;
        }
        // Closes the pipe, as the death of this process would.
        let _ = self.process.wait();
    }
}

fn start_shell() -> io::Result<Child> {
    Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use rustix::process::{Signal, WaitId, WaitIdOptions, getpgid, kill_process, kill_process_group};

    use super::*;

    /// A group of processes that is killed with this value.
    struct Group(Child);

    impl Group {
        fn new() -> Self {
            let script = "sleep 1000 & wait";
            Self(Command::new("/bin/sh").args(["-c", script]).process_group(0).spawn().expect("a shell starts"))
        }

        fn id(&self) -> Pid {
            Pid::from_child(&self.0)
        }

        fn is_running(&mut self) -> bool {
            self.0.try_wait().expect("can be waited for").is_none()
        }
    }

    impl Drop for Group {
        fn drop(&mut self) {
            let _ = kill_process_group(self.id(), Signal::KILL);
            let _ = self.0.wait();
        }
    }

    #[test]
    fn watched_groups_die_with_the_pipe_frozen_or_not_and_no_others_do() {
        let mut groups: Vec<_> = (0..4).map(|_| Group::new()).collect();
        let mut watcher = Watcher::start().expect("a shell");
        for group in &groups[..3] {
            watcher.watch(group.id()).expect("sent");
        }
        watcher.forget(groups[1].id());
        kill_process_group(groups[2].id(), Signal::STOP).expect("frozen");
        drop(watcher);
        for index in [0, 2] {
            assert_eq!(groups[index].0.wait().expect("can be waited for").signal(), Some(9), "group {index}");
        }
        for index in [1, 3] {
            assert!(groups[index].is_running(), "group {index}");
        }
    }

    #[test]
    fn it_is_in_a_group_of_its_own_so_that_freezing_a_cluster_never_freezes_it() {
        let watcher = Watcher::start().expect("a shell");
        let own = Pid::from_child(&watcher.process);
        assert_eq!(getpgid(Some(own)), Ok(own));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_polite_signal_does_not_end_it() {
        let mut group = Group::new();
        let mut watcher = Watcher::start().expect("a shell");
        watcher.watch(group.id()).expect("sent");
        let process_id = watcher.process.id();
        let ignores_sigterm = || {
            let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).expect("it runs");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
            u64::from_str_radix(mask.trim(), 16).expect("a number") >> 14 & 1 == 1
        };
        let patience = std::time::Instant::now();
        while !ignores_sigterm() {
            assert!(patience.elapsed().as_secs() < 30, "the shell sets no trap");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        kill_process(Pid::from_child(&watcher.process), Signal::TERM).expect("sent");
        drop(watcher);
        assert_eq!(group.0.wait().expect("can be waited for").signal(), Some(9));
    }

    #[test]
    fn another_watcher_takes_over_from_one_that_was_killed() {
        let (mut one, mut other) = (Group::new(), Group::new());
        let mut watcher = Watcher::start().expect("a shell");
        watcher.watch(one.id()).expect("sent");
        let first = Pid::from_child(&watcher.process);
        kill_process(first, Signal::KILL).expect("killed");
        // Its end of the pipe is closed, ours is not.
        let until_ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        rustix::process::waitid(WaitId::Pid(first), until_ended).expect("it ends");
        watcher.watch(other.id()).expect("sent to the next watcher");
        assert_ne!(Pid::from_child(&watcher.process), first);
        drop(watcher);
        for group in [&mut one, &mut other] {
            assert_eq!(group.0.wait().expect("can be waited for").signal(), Some(9));
        }
    }
}
