//! A stand-in for etcd and kube-apiserver: logs its start, and follows its arguments.

use std::ffi::c_int;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::parent_id;
use std::process::{Command, exit};
use std::time::{Duration, Instant};

const SIGTERM: c_int = 15;
const SIG_IGN: usize = 1;
/// Limit of its life, even if the test is killed.
const LIFE_MAX: Duration = Duration::from_secs(120);

unsafe extern "C" {
    fn signal(number: c_int, handler: usize) -> usize;
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        // Leaves a child behind and ends.
        Some("--parent") => {
            drop(Command::new("/proc/self/exe").arg("--orphan").arg(std::process::id().to_string()).spawn());
            return;
        }
        Some("--orphan") => return orphan(&arguments.next().unwrap_or_default()),
        _ => {}
    }
    say(&format!("started {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")));
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines().filter(|line| line.starts_with("SigBlk:")) {
        say(line);
    }
    for argument in std::env::args().skip(1) {
        let (name, value) = argument.split_once('=').unwrap_or((&argument, ""));
        match name {
            "--wait-ms" => std::thread::sleep(Duration::from_millis(value.parse().unwrap_or_default())),
            "--ready" => tell_ready(),
            "--data" => {
                drop(std::fs::create_dir_all(value).and_then(|()| std::fs::write(format!("{value}/db"), "data")))
            }
            "--exit" => exit(value.parse().unwrap_or(99)),
            "--leave-orphan" => drop(Command::new("/proc/self/exe").arg("--parent").status()),
            "--ignore-term" => {
                // SAFETY: sets a disposition that runs no code.
                unsafe { signal(SIGTERM, SIG_IGN) };
            }
            _ => {}
        }
    }
    say("waiting");
    std::thread::sleep(LIFE_MAX);
}

/// Waits until it has another parent than the one that started it, logs its number, and ends.
fn orphan(first_parent: &str) {
    let start = Instant::now();
    while parent_id().to_string() == first_parent && start.elapsed() < LIFE_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
    say(&format!("adopted by {}", parent_id()));
}

fn tell_ready() {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return say("there is no socket") };
    let sent = UnixDatagram::unbound().and_then(|own| own.send_to(b"READY=1", socket));
    say(&format!("ready: {:?}", sent.is_ok()));
}

fn say(text: &str) {
    // In one piece, because others write to the same log.
    drop(std::io::stdout().write_all(format!("{text}\n").as_bytes()));
}
