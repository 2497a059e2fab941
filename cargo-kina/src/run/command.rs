//! The command as a child of this program, and its end.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, test_kill_process_group, waitid,
};
use tokio::sync::oneshot;

use super::environment::Change;
use super::signals::Arrived;

/// Time limit for the processes that a command leaves in its group.
const LEFTOVERS_TIMEOUT: Duration = Duration::from_secs(2);
const LEFTOVERS_POLL_INTERVAL: Duration = Duration::from_millis(10);
/// The base of exit codes for commands ended by a signal, as in shells.
const EXIT_SIGNALLED: i32 = 128;

/// Signals by which users and their tools end programs.
const FOLLOWED: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::HUP];

/// A running command.
pub(super) struct RunningCommand {
    child: Child,
    process_id: Pid,
    /// Without a terminal, only this program can reach all processes of the command. With one, the command is in this
    /// program's group: it may read from the terminal, and Ctrl-C and Ctrl-Z reach all of them.
    has_own_group: bool,
    ended: oneshot::Receiver<()>,
}

/// The command's exit status.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending(ExitStatus);

impl RunningCommand {
    /// Starts it. If this program is killed, the command gets SIGTERM.
    pub(super) fn start(command: &[OsString], changes: &[Change]) -> io::Result<Self> {
        let has_own_group = !has_terminal();
        let mut child = Command::new(&command[0]);
        child.args(&command[1..]);
        for (name, value) in changes {
            match value {
                Some(value) => child.env(name, value),
                None => child.env_remove(name),
            };
        }
        if has_own_group {
            child.process_group(0);
        }
        end_with_this_program(&mut child);
        let child = child.spawn()?;
        let process_id = Pid::from_child(&child);
        let (sender, ended) = oneshot::channel();
        std::thread::spawn(move || {
            // The child is not reaped here, so that its number stays valid. An error would mean that it was reaped,
            // which does not happen elsewhere.
            let _ = waitid(WaitId::Pid(process_id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = sender.send(());
        });
        Ok(Self { child, process_id, has_own_group, ended })
    }

    /// Waits for its end. May be cancelled and called again until the end, but not after it.
    pub(super) async fn wait(&mut self) {
        // An error means that the thread is gone, which ends the wait as well.
        let _ = (&mut self.ended).await;
    }

    /// Reaps it, and ends the processes left in its group: they have no cluster any more.
    pub(super) async fn finish(mut self) -> io::Result<Ending> {
        if self.has_own_group {
            // Before its number can be reused.
            let _ = kill_process_group(self.process_id, Signal::TERM);
        }
        let status = self.child.wait()?;
        if self.has_own_group {
            end_leftovers(self.process_id).await;
        }
        Ok(Ending(status))
    }

    /// Passes a signal on to the processes that have not received it yet.
    pub(super) fn pass_on(&self, arrived: Arrived) {
        let Arrived { signal, is_from_process } = arrived;
        // The command may have ended just now.
        let _ = match (self.has_own_group, is_from_process) {
            (true, _) => kill_process_group(self.process_id, signal),
            (false, true) => kill_process(self.process_id, signal),
            (false, false) => Ok(()),
        };
    }
}

impl Ending {
    /// Ends this program like the command, if that ended by a signal that is meant for both: a shell's loop continues
    /// after a program that reports it only by its exit code. Returns if it was not, or if that is impossible.
    pub(super) fn follow(self) {
        let Some(signal) = self.0.signal().filter(|signal| FOLLOWED.iter().any(|known| known.as_raw() == *signal))
        else {
            return;
        };
        // An executed program has no signal handlers of this one; there is no other way to reset them.
        let _ = Command::new("/bin/sh").args(["-c", "kill -\"$0\" $$", &signal.to_string()]).exec();
    }

    /// The exit code as in shells.
    pub(super) fn exit_code(self) -> u8 {
        let code = self.0.code().or_else(|| Some(EXIT_SIGNALLED + self.0.signal()?));
        code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
    }
}

/// Waits until no process of the group runs, after SIGTERM, and kills the rest after a while.
async fn end_leftovers(group: Pid) {
    let start = Instant::now();
    while test_kill_process_group(group).is_ok() {
        if LEFTOVERS_TIMEOUT < start.elapsed() {
            let _ = kill_process_group(group, Signal::KILL);
            return;
        }
        tokio::time::sleep(LEFTOVERS_POLL_INTERVAL).await;
    }
}

/// Returns true if a terminal can send signals to this program.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Makes the kernel send SIGTERM to the command when this program is killed.
#[cfg(target_os = "linux")]
fn end_with_this_program(command: &mut Command) {
    let parent = rustix::process::getpid();
    let arm = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::TERM))?;
        // A parent that died before the signal was armed would never send it.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    };
    #[expect(unsafe_code, reason = "the death signal has to be armed between fork and exec")]
    // SAFETY: the closure makes two system calls and touches neither memory of the parent nor any lock.
    unsafe {
        command.pre_exec(arm);
    }
}

/// Elsewhere there is no such signal: the command continues without its cluster.
#[cfg(not(target_os = "linux"))]
fn end_with_this_program(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        let code = |wait_status| Ending(ExitStatus::from_raw(wait_status)).exit_code();
        assert_eq!([0, 7 << 8, 255 << 8, 2, 9].map(code), [0, 7, 255, 130, 137]);
    }
}
