//! Silent connections by another user to all ports on which the engine listens: the gateways of its leases, and its
//! metrics.
//!
//! Only root can act as another user. Without it the same user connects, and the disturbance is called a simulation.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

/// A user that owns nothing.
const STRANGER: u32 = 65_534;
/// All connections of one disturbance. Beside them, an engine without any bound has room in the usual 1,024
/// descriptors.
const CONNECTIONS_MAX: usize = 400;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Time limit of a stranger, even if the process that started it dies.
const LIFE_MAX: Duration = Duration::from_secs(30);
/// The time within which the connections are made, or the process ends.
const PATIENCE: Duration = Duration::from_secs(10);
const CONNECTED: &str = "connected";
/// The state of a socket that listens, in the kernel's tables.
const LISTENING: &str = "0A";

/// A process that connects and sends nothing. It ends when its standard input does, or after a while.
#[derive(Clone, Debug, Args)]
pub(super) struct SilentStrangerArguments {
    /// Addresses to connect to
    #[arg(long, required = true, value_delimiter = ',')]
    addresses: Vec<SocketAddr>,
    /// Number of connections in all
    #[arg(long)]
    connections: usize,
}

/// The process that holds the connections. It is killed with this value.
#[derive(Debug)]
pub(super) struct Strangers {
    child: Child,
    stdin: ChildStdin,
}

impl Strangers {
    /// Has another user connect to these addresses in turn. `None` if there is none.
    pub(super) async fn start(addresses: &[SocketAddr]) -> anyhow::Result<Option<Self>> {
        if addresses.is_empty() {
            return Ok(None);
        }
        let addresses: Vec<_> = addresses.iter().map(SocketAddr::to_string).collect();
        // Not by its path, because another user cannot enter the directories that it may be in.
        let mut command = std::process::Command::new("/proc/self/exe");
        command
            .args(["chaos", "silent-stranger", "--addresses", &addresses.join(",")])
            .args(["--connections", &CONNECTIONS_MAX.to_string()])
            // It belongs to no realm.
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if is_root() {
            command.uid(STRANGER).gid(STRANGER);
        }
        let mut child = Command::from(command).kill_on_drop(true).spawn()?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { return Ok(None) };
        let strangers = Self { child, stdin };
        let mut lines = BufReader::new(stdout).lines();
        match tokio::time::timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) if line == CONNECTED => Ok(Some(strangers)),
            told => anyhow::bail!("it has not connected: {told:?}"),
        }
    }

    /// Ends it, and waits for its end.
    pub(super) async fn end(mut self) {
        drop(self.stdin);
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() {
            // Fails only if it has ended by now.
            let _ = self.child.kill().await;
        }
    }
}

/// The disturbance in reports.
pub(super) fn kind_name() -> &'static str {
    if is_root() { "silent_connections_by_other_users" } else { "simulated_silent_connections_by_other_users" }
}

/// Connects, sends nothing, and ends with its standard input.
pub(super) fn run(arguments: &SilentStrangerArguments) -> anyhow::Result<()> {
    // A killed process cannot ask it to end, but closes the pipe.
    let (ended, end) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        // An error is an end too.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
    let start = Instant::now();
    let mut connections = Vec::new();
    for address in arguments.addresses.iter().cycle().take(arguments.connections) {
        if PATIENCE / 2 < start.elapsed() {
            break;
        }
        // A gateway may have gone, or refuse: it need not serve a stranger.
        connections.extend(TcpStream::connect_timeout(address, CONNECT_TIMEOUT));
    }
    println!("{CONNECTED}");
    let _ = end.recv_timeout(LIFE_MAX);
    drop(connections);
    Ok(())
}

/// The loopback addresses on which a process listens, according to the kernel.
pub(super) fn listening(process_id: u32) -> Vec<SocketAddr> {
    let directory = format!("/proc/{process_id}");
    let descriptors = std::fs::read_dir(format!("{directory}/fd")).into_iter().flatten().filter_map(Result::ok);
    let sockets: BTreeSet<String> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|target| Some(target.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("{directory}/net/tcp")).unwrap_or_default();
    listening_in(&table, &sockets)
}

/// The same, from the kernel's table of sockets and the numbers of the process's sockets.
fn listening_in(table: &str, sockets: &BTreeSet<String>) -> Vec<SocketAddr> {
    let address_of = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, socket, ..] = fields[..] else { return None };
        let port = u16::from_str_radix(local.split_once(':')?.1, 16).ok()?;
        let counts = state == LISTENING && sockets.contains(socket);
        counts.then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
    };
    table.lines().filter_map(address_of).collect()
}

fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 20 4 30 10 -1
   3: broken
";

    #[test]
    fn only_sockets_of_the_process_that_listen_count() {
        let sockets = ["101", "103"].map(str::to_owned).into();
        assert_eq!(listening_in(TABLE, &sockets), [SocketAddr::from(([127, 0, 0, 1], 8080))]);
        assert!(listening_in(TABLE, &BTreeSet::new()).is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_of_this_process_is_found_as_long_as_it_listens() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = listener.local_addr().expect("known");
        assert!(listening(std::process::id()).contains(&address));
        drop(listener);
        assert!(!listening(std::process::id()).contains(&address));
    }
}
