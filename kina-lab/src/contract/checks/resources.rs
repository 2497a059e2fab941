//! The resources that clusters take, and many clusters at once.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use anyhow::{Context, ensure};
use futures::future::{join_all, try_join_all};

use super::Verdict;
use crate::contract::client::{answers, must_exist, write};
use crate::contract::scene::{FROM_STATE, Scene};

/// A kube-apiserver and an etcd together never take less.
const MEMORY_BYTES_MIN: u64 = 50 << 20;
/// Nor do they take more while they are fresh.
const MEMORY_BYTES_MAX: u64 = 8 << 30;
/// Least and largest number of boots that are tried at once.
const BOOTS: std::ops::RangeInclusive<usize> = 2..=4;

pub(super) async fn listens_on_loopback(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let (cluster, _) = scene.cluster().await?;
    let addresses = [cluster.access().api_address, cluster.access().etcd_address];
    for address in addresses {
        ensure!(address.ip().is_loopback(), "{address} is not on loopback");
        ensure!(answers(address).await, "nothing listens on {address}");
    }
    // The tables of the kernel if there are any, and an attempt from outside if there is an outside.
    let ports = addresses.map(|address| address.port());
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
    let sockets = cluster.process_ids().iter().flat_map(|process_id| sockets_of(*process_id)).collect::<Vec<_>>();
    let open: Vec<_> = tables
        .iter()
        .flat_map(|table| table.lines().filter_map(Listener::parse))
        .filter(|listener| ports.contains(&listener.port) || sockets.contains(&listener.socket))
        .filter(|listener| !listener.is_on_loopback)
        .collect();
    ensure!(open.is_empty(), "these listen beyond loopback: {open:?}");
    let Some(outside) = own_address() else {
        return Ok(Verdict::PassedWith("this machine has no address but loopback to try from".to_owned()));
    };
    for port in ports {
        let address = SocketAddr::new(outside, port);
        ensure!(!answers(address).await, "there is an answer on {address}");
    }
    Ok(Verdict::Passed)
}

/// The entry of a listening socket in the kernel's table.
#[derive(Debug, PartialEq, Eq)]
struct Listener {
    port: u16,
    is_on_loopback: bool,
    /// The name in `/proc/PID/fd`.
    socket: String,
}

impl Listener {
    /// Fields: number, local address and port, remote ones, state, …, the socket's number (tenth).
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, _, "0A", ..] = fields.as_slice() else { return None };
        let (address, port) = local.split_once(':')?;
        // In the byte order of the machine, word by word; only little-endian machines are supported.
        let is_on_loopback = match address.len() {
            8 => address.ends_with("7F"),
            _ => {
                address == "00000000000000000000000001000000"
                    || address.starts_with("0000000000000000FFFF0000") && address.ends_with("7F")
            }
        };
        let socket = format!("socket:[{}]", fields.get(9)?);
        Some(Self { port: u16::from_str_radix(port, 16).ok()?, is_on_loopback, socket })
    }
}

/// The sockets that a process holds; none if the system does not report them.
fn sockets_of(process_id: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{process_id}/fd")).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).filter(|link| link.starts_with("socket:")).collect()
}

/// The address from which this machine would reach others. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // An address reserved for documentation, which no host has.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

pub(super) async fn reports_memory(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let capabilities = scene.stage.provider().capabilities();
    let (cluster, _) = scene.cluster().await?;
    let Some(bytes) = cluster.memory_bytes().await else {
        return Ok(Verdict::Skipped("the memory of its clusters cannot be measured here".to_owned()));
    };
    let mebibytes = bytes >> 20;
    ensure!((MEMORY_BYTES_MIN..MEMORY_BYTES_MAX).contains(&bytes), "it is reported as taking {mebibytes} MiB");
    ensure!(0 < capabilities.memory_per_cluster_bytes, "its admission counts no memory for it");
    if capabilities.stop {
        cluster.stop().await?;
        ensure!(cluster.memory_bytes().await.is_none(), "stopped, it is reported as taking memory");
        cluster.start().await?;
        ensure!(cluster.memory_bytes().await.is_some(), "started again, it is reported as taking none");
    }
    Ok(Verdict::PassedWith(format!("{mebibytes} MiB")))
}

pub(super) async fn boots_in_parallel(scene: &Scene<'_>) -> anyhow::Result<Verdict> {
    let said = scene.stage.provider().capabilities().parallel_boots_max;
    ensure!(0 < said, "it claims that it can boot none");
    let count = said.clamp(*BOOTS.start(), *BOOTS.end());
    let created = join_all((0..count).map(|_| scene.cluster())).await;
    let clusters = created.into_iter().collect::<anyhow::Result<Vec<_>>>().context("of several boots one failed")?;
    try_join_all(clusters.iter().map(|(cluster, _)| async {
        must_exist(&**cluster, FROM_STATE).await?;
        write(&**cluster, "of-several").await
    }))
    .await?;
    let remains = scene.stage.provider().remains().await?;
    ensure!(count <= remains.len(), "{count} clusters run, but only {remains:?} exist");
    Ok(Verdict::PassedWith(format!("{count} at once; it claims that it can boot {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_kernel_is_understood() {
        let line = |local: &str, state: &str| {
            format!(
                "  12: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100"
            )
        };
        let parsed = |local: &str| Listener::parse(&line(local, "0A")).expect("a listener");
        assert_eq!(
            parsed("0100007F:1F90"),
            Listener { port: 8080, is_on_loopback: true, socket: "socket:[4711]".into() }
        );
        assert!(!parsed("00000000:1F90").is_on_loopback);
        assert!(parsed("00000000000000000000000001000000:1F90").is_on_loopback);
        assert!(parsed("0000000000000000FFFF00000100007F:1F90").is_on_loopback);
        assert!(!parsed("00000000000000000000000000000000:1F90").is_on_loopback);
        assert_eq!(Listener::parse(&line("0100007F:1F90", "01")), None);
        assert_eq!(Listener::parse("  sl  local_address rem_address   st tx_queue"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_listener_of_this_process_is_found_in_the_table() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        let table = std::fs::read_to_string("/proc/net/tcp").expect("readable");
        let found = table.lines().filter_map(Listener::parse).find(|found| found.port == port).expect("listed");
        assert!(found.is_on_loopback);
        assert!(sockets_of(std::process::id()).contains(&found.socket));
    }
}
