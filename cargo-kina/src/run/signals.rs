//! Signals to pass on, with their senders.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// The signals that are passed on.
const PASSED_ON: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The signals that this program receives from now on. They no longer end it.
pub(super) struct Signals {
    arrivals: UnixStream,
}

/// A received signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) signal: Signal,
    /// True if a process sent it to this one, false if the terminal sent it to the whole group.
    pub(super) is_from_process: bool,
}

impl Signals {
    /// Starts to listen. Signals that the parent process ignores stay ignored.
    pub(super) fn listen() -> io::Result<Self> {
        let (sender, receiver) = StdUnixStream::pair()?;
        sender.set_nonblocking(true)?;
        receiver.set_nonblocking(true)?;
        let sender = Arc::new(sender);
        let ignored = ignored_signals();
        for signal in PASSED_ON {
            if ignored & (1 << (signal.as_raw() - 1)) == 0 {
                register(signal, Arc::clone(&sender))?;
            }
        }
        Ok(Self { arrivals: UnixStream::from_std(receiver)? })
    }

    /// Waits for the next signal.
    pub(super) async fn next(&mut self) -> io::Result<Arrived> {
        loop {
            // Two bytes are written at once, so they arrive together.
            let number = i32::from(self.arrivals.read_u8().await?);
            let is_from_process = self.arrivals.read_u8().await? != 0;
            if let Some(signal) = PASSED_ON.into_iter().find(|signal| signal.as_raw() == number) {
                return Ok(Arrived { signal, is_from_process });
            }
        }
    }
}

fn register(signal: Signal, sender: Arc<StdUnixStream>) -> io::Result<()> {
    let number = u8::try_from(signal.as_raw()).unwrap_or_default();
    // The code identifies the sender: the kernel's own are above zero. Elsewhere it is less specific, and all signals
    // count as the terminal's.
    #[cfg(target_os = "linux")]
    let arrived = move |code: i32| [number, u8::from(code <= 0)];
    #[cfg(not(target_os = "linux"))]
    let arrived = move |_code: i32| [number, 0];
    #[expect(unsafe_code, reason = "only a signal's handler can see its sender")]
    // SAFETY: the handler makes one system call, which may be made in a handler, and no allocation; the descriptor that
    // it writes to is its own.
    let registered = unsafe {
        signal_hook_registry::register_sigaction(signal.as_raw(), move |information| {
            // If the pipe is full, hundreds are still waiting to be passed on.
            let _ = rustix::io::write(&*sender, &arrived(information.si_code));
        })
    };
    registered.map(drop)
}

/// The signals that this process was started to ignore, one bit each; none if the system does not provide them.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_arrives_with_its_sender() {
        let mut signals = Signals::listen().expect("listening");
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, Signal::USR2).expect("sent");
        let arrived = signals.next().await.expect("arrived");
        assert_eq!(arrived, Arrived { signal: Signal::USR2, is_from_process: true });
    }

    #[test]
    fn rust_programs_ignore_sigpipe() {
        assert_ne!(ignored_signals() & (1 << (Signal::PIPE.as_raw() - 1)), 0);
    }
}
