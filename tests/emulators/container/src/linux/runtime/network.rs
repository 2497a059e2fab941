//! The inner network: the loopback interface, with the machine's own address on it.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto, socket_with};

const LOOPBACK: u32 = 1;
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const REQUEST_WITH_ANSWER: u16 = 1 | 4;
const CREATE: u16 = 0x400;
const INTERFACE_UP: u32 = 1;
const HEADER: usize = 16;

/// Brings the loopback interface up and adds the address.
pub(super) fn up(address: Option<Ipv4Addr>) -> io::Result<()> {
    // struct ifinfomsg: family, padding, type, index, flags, and which flags are meant.
    let mut link = vec![0; 4];
    for number in [LOOPBACK, INTERFACE_UP, INTERFACE_UP] {
        link.extend(number.to_ne_bytes());
    }
    ask(NEW_LINK, REQUEST_WITH_ANSWER, &link)?;
    let Some(address) = address else { return Ok(()) };
    // struct ifaddrmsg: family, length of the prefix, flags, scope, index; then the address as the peer's and as the own.
    let mut message = vec![2, 32, 0, 0];
    message.extend(LOOPBACK.to_ne_bytes());
    for kind in [1_u16, 2] {
        message.extend(8_u16.to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend(address.octets());
    }
    ask(NEW_ADDRESS, REQUEST_WITH_ANSWER | CREATE, &message)
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
        None => Err(io::Error::other("a short answer of the kernel")),
    }
}
