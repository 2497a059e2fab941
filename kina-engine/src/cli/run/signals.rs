//! Signals that have to be passed on, and who sent them.

use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;

use rustix::process::Signal;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

/// What is passed on.
const PASSED_ON: [Signal; 6] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

/// The signals that this program is sent from now on. They do not end it any more.
pub(super) struct Signals {
    arrivals: UnixStream,
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) signal: Signal,
    /// Whether some process sent it to this one, rather than the terminal to all that it belongs to.
    pub(super) is_from_process: bool,
}

impl Signals {
    /// Begins to listen. What whoever started this program wants to be ignored, still is.
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

    /// Waits for the next.
    pub(super) async fn next(&mut self) -> io::Result<Arrived> {
        loop {
            // Two bytes are written at once, and so are there at once.
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
    // The code says who sent it: the kernel's own are above zero. Elsewhere it says less, and all are taken for the
    // terminal's.
    #[cfg(target_os = "linux")]
    let arrived = move |code: i32| [number, u8::from(code <= 0)];
    #[cfg(not(target_os = "linux"))]
    let arrived = move |_code: i32| [number, 0];
    #[expect(unsafe_code, reason = "only a signal's handler learns who sent it")]
    // SAFETY: the handler makes one system call, which may be made in a handler, and no allocation; the descriptor that
    // it writes to is its own.
    let registered = unsafe {
        signal_hook_registry::register_sigaction(signal.as_raw(), move |information| {
            // If there is no room, hundreds are still waiting to be passed on.
            let _ = rustix::io::write(&*sender, &arrived(information.si_code));
        })
    };
    registered.map(drop)
}

/// The signals that this process was started to ignore, one bit each; none where the system does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_signal_arrives_with_who_sent_it() {
        let mut signals = Signals::listen().expect("listening");
        let this = rustix::process::getpid();
        rustix::process::kill_process(this, Signal::USR2).expect("sent");
        let arrived = signals.next().await.expect("arrived");
        assert_eq!(arrived, Arrived { signal: Signal::USR2, is_from_process: true });
    }

    #[test]
    fn rust_programs_ignore_that_a_pipe_is_closed() {
        assert_ne!(ignored_signals() & (1 << (Signal::PIPE.as_raw() - 1)), 0);
    }
}
