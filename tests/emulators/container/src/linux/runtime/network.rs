//! The inner network: the loopback interface, and one with the machine's address and a default route, as programs
//! expect in a VM. The route leads nowhere: a machine is reached through its published ports, and cannot reach
//! anything.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with};

const LOOPBACK: u32 = 1;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const INTERFACE_UP: u32 = 1;
const HEADER: usize = 16;
const INET: u8 = 2;
const NAME: &str = "eth0";
const MTU: u32 = 1280;

/// Brings the loopback interface up, and the machine's own with its address.
pub(super) fn up(address: Option<Ipv4Addr>) -> io::Result<()> {
    ask(NEW_LINK, REQUEST_WITH_ANSWER, &link(LOOPBACK))?;
    let Some(address) = address else { return Ok(()) };
    // If the kernel has no interfaces without hardware, the loopback interface serves as both.
    match own_interface() {
        Ok(index) => {
            add_address(index, address, 24)?;
            let [a, b, c, _] = address.octets();
            add_default_route(index, Some(Ipv4Addr::new(a, b, c, 1)))
        }
        Err(_) => {
            add_address(LOOPBACK, address, 32)?;
            add_default_route(LOOPBACK, None)
        }
    }
}

fn own_interface() -> io::Result<u32> {
    let mut message = link(0);
    message.extend(attribute(3, format!("{NAME}\0").as_bytes()));
    message.extend(attribute(4, &MTU.to_ne_bytes()));
    message.extend(attribute(18, &attribute(1, b"dummy\0")));
    ask(NEW_LINK, REQUEST_WITH_ANSWER | CREATE, &message)?;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(name_to_index(socket, NAME)?)
}

/// Builds a struct ifinfomsg: family, padding, type, index, flags, and a mask of the flags to change.
fn link(index: u32) -> Vec<u8> {
    let mut message = vec![0; 4];
    for number in [index, INTERFACE_UP, INTERFACE_UP] {
        message.extend(number.to_ne_bytes());
    }
    message
}

/// Adds an address by a struct ifaddrmsg: family, length of the prefix, flags, scope, index; then the address as the
/// peer's and as the interface's own.
fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
    let mut message = vec![INET, prefix, 0, 0];
    message.extend(index.to_ne_bytes());
    message.extend(attribute(1, &address.octets()));
    message.extend(attribute(2, &address.octets()));
    ask(NEW_ADDRESS, REQUEST_WITH_ANSWER | CREATE, &message)
}

/// Adds a route by a struct rtmsg: family, lengths of the two prefixes, service, table, origin, scope, type, flags;
/// then the interface.
fn add_default_route(index: u32, gateway: Option<Ipv4Addr>) -> io::Result<()> {
    let scope = if gateway.is_some() { 0 } else { 253 };
    let mut message = vec![INET, 0, 0, 0, 254, 4, scope, 1, 0, 0, 0, 0];
    message.extend(attribute(4, &index.to_ne_bytes()));
    if let Some(gateway) = gateway {
        message.extend(attribute(5, &gateway.octets()));
    }
    ask(NEW_ROUTE, REQUEST_WITH_ANSWER | CREATE, &message)
}

/// Builds a struct rtattr: length and kind; then the value, padded to a multiple of four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn ask(kind: u16, flags: u16, message: &[u8]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    let length = u32::try_from(HEADER + message.len()).map_err(io::Error::other)?;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend(kind.to_ne_bytes());
    request.extend(flags.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(message);
    sendto(&socket, &request, SendFlags::empty(), &netlink::SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0_u8; 4096];
    let (_, length) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    let error = answer.get(HEADER..HEADER + 4).filter(|_| length >= HEADER + 4);
    let error = error.and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(number) => Err(io::Error::from_raw_os_error(-number)),
        None => Err(io::Error::other("a short answer from the kernel")),
    }
}
