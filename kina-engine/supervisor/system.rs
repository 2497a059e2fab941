//! The few system calls that the standard library lacks.
//!
//! They are declared by hand, so that the supervisor is compiled from its own source alone. Each is POSIX or a stable
//! Linux call, and has the same types on both processors that kina makes images for.
#![expect(unsafe_code, reason = "signals, and processes that others started, are beyond the standard library")]

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::io;
use std::time::Duration;

/// A signal, by its number.
pub type Signal = c_int;

/// Asks for a restart of kube-apiserver.
pub const HANGUP: Signal = 1;
/// Asks for the end.
pub const INTERRUPT: Signal = 2;
/// Ends a process at once.
pub const KILL: Signal = 9;
/// Reports that the initial state is loaded.
pub const USER_1: Signal = 10;
/// Asks for the end.
pub const TERMINATE: Signal = 15;
/// A child has ended.
pub const CHILD: Signal = 17;

const ALL_WAITED_FOR: [Signal; 5] = [HANGUP, INTERRUPT, USER_1, TERMINATE, CHILD];

const SIG_BLOCK: c_int = 0;
const SIG_SETMASK: c_int = 2;
const WNOHANG: c_int = 1;
const PR_SET_PDEATHSIG: c_int = 1;
const PR_SET_CHILD_SUBREAPER: c_int = 36;
const EINTR: i32 = 4;
const EAGAIN: i32 = 11;
const ECHILD: i32 = 10;

/// 1,024 bits, the size in both C libraries.
#[repr(C)]
struct SignalSet([c_ulong; 16]);

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigaddset(set: *mut SignalSet, signal: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn sigtimedwait(set: *const SignalSet, information: *mut c_void, timeout: *const TimeSpec) -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn kill(process: c_int, signal: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
}

/// The signals that this process waits for instead of being interrupted by them.
pub struct Signals(SignalSet);

/// A process that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its id.
    pub process: u32,
    /// Its exit status.
    pub status: EndStatus,
}

/// The exit status of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndStatus {
    /// It ended by itself, with this code.
    Code(i32),
    /// It was ended by this signal.
    Signal(Signal),
}

impl Signals {
    /// Blocks all signals that have a meaning here, so that they can be waited for. Must be called before anything is
    /// started.
    pub fn hold_back() -> io::Result<Self> {
        let set = signal_set(&ALL_WAITED_FOR);
        // SAFETY: both pointers are to a whole set, or null, which the call allows for the old one.
        let failed = unsafe { sigprocmask(SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if failed == 0 { Ok(Self(set)) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits for the next signal; `None` if none comes within `timeout`.
    pub fn wait(&self, timeout: Duration) -> io::Result<Option<Signal>> {
        let timeout = TimeSpec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: c_long::from(timeout.subsec_nanos()),
        };
        // SAFETY: the set and the time live through the call, and it allows null for unwanted information.
        let signal = unsafe { sigtimedwait(&raw const self.0, std::ptr::null_mut(), &raw const timeout) };
        if signal > 0 {
            return Ok(Some(signal));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            // No signal came in time; or a stop and a continue ended the wait early, and the caller waits again.
            Some(EAGAIN | EINTR) => Ok(None),
            _ => Err(error),
        }
    }
}

/// Unblocks all signals in this process. Safe between fork and exec.
pub fn hold_nothing_back() -> io::Result<()> {
    let set = signal_set(&[]);
    // SAFETY: as in `hold_back`.
    let failed = unsafe { sigprocmask(SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes the kernel kill this process when its parent ends. Safe between fork and exec.
pub fn die_with_parent() -> io::Result<()> {
    // SAFETY: this option takes one number, which the call passes.
    let failed = unsafe { prctl(PR_SET_PDEATHSIG, c_ulong::from(KILL.unsigned_abs())) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes every orphan below this process a child of it, as is always the case for the first process of a system.
pub fn adopt_orphans() -> io::Result<()> {
    // SAFETY: this option takes one number, which the call passes.
    let failed = unsafe { prctl(PR_SET_CHILD_SUBREAPER, c_ulong::from(1_u32)) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reaps one child that has ended, if there is one.
pub fn reap() -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: the status lives through the call.
    let process = unsafe { waitpid(-1, &raw mut status, WNOHANG) };
    match u32::try_from(process) {
        Ok(0) => Ok(None),
        Ok(process) => {
            let signal = status & 0x7f;
            let status = if signal == 0 { EndStatus::Code((status >> 8) & 0xff) } else { EndStatus::Signal(signal) };
            Ok(Some(Ended { process, status }))
        }
        Err(_) => {
            let error = io::Error::last_os_error();
            if error.raw_os_error() == Some(ECHILD) { Ok(None) } else { Err(error) }
        }
    }
}

/// Sends a signal to a process that was started here and has not been reaped, so that no other process has its id.
pub fn send(process: u32, signal: Signal) -> io::Result<()> {
    send_to(i64::from(process), signal)
}

/// Sends a signal to a process and everything in its process group.
pub fn send_to_group(process: u32, signal: Signal) -> io::Result<()> {
    send_to(-i64::from(process), signal)
}

fn send_to(target: i64, signal: Signal) -> io::Result<()> {
    let target = c_int::try_from(target).map_err(io::Error::other)?;
    // SAFETY: takes two numbers.
    let failed = unsafe { kill(target, signal) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn signal_set(signals: &[Signal]) -> SignalSet {
    let mut set = SignalSet([0; 16]);
    // SAFETY: the set lives through the calls; an invalid signal number is refused and changes nothing.
    unsafe {
        sigemptyset(&raw mut set);
        for signal in signals {
            sigaddset(&raw mut set, *signal);
        }
    }
    set
}
