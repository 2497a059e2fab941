//! `NETLINK_SOCK_DIAG`: questions about sockets to the Linux kernel.
//!
//! One question of a fixed form is asked, and two numbers of the answer are read, which is no reason for a crate. The
//! layouts are those of `linux/netlink.h` and `linux/inet_diag.h`, which the kernel never changes:
//!
//! ```text
//! struct nlmsghdr         u32 len, u16 type, u16 flags, u32 seq, u32 pid                             16 bytes
//! struct inet_diag_sockid be16 sport, be16 dport, be32 src[4], be32 dst[4], u32 if, u32 cookie[2]    48 bytes
//! struct inet_diag_req_v2 u8 family, u8 protocol, u8 ext, u8 pad, u32 states, inet_diag_sockid id    56 bytes
//! struct inet_diag_msg    u8 family, u8 state, u8 timer, u8 retrans, inet_diag_sockid id,
//!                         u32 expires, u32 rqueue, u32 wqueue, u32 uid, u32 inode                    72 bytes
//! ```

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};

use super::{PeerUser, PeerUsers};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const ANY_STATE: u32 = u32::MAX;
/// `INET_DIAG_NOCOOKIE`, twice.
const ANY_COOKIE: [u8; 8] = [0xff; 8];

const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const USER_OFFSET: usize = HEADER_BYTES + 64;
const INODE_OFFSET: usize = HEADER_BYTES + 68;
/// An answer has the socket's attributes behind what is read here.
const ANSWER_BYTES_MAX: usize = 4096;
/// Answers to earlier questions, which a failure may have left in the socket, are passed over.
const ANSWERS_MAX: usize = 4;

/// A netlink socket. The kernel answers before the question is sent, so that asking never waits.
pub(super) struct SockDiag {
    own_user: u32,
    connection: Mutex<Connection>,
}

struct Connection {
    socket: OwnedFd,
    sequence: u32,
}

/// The kernel's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    User(u32),
    /// There is no such socket, or it has no owner any more.
    NoUser,
    Refused,
    /// To another question.
    Other,
}

impl SockDiag {
    pub(super) fn open() -> std::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(netlink::SOCK_DIAG))?;
        let own_user = rustix::process::getuid().as_raw();
        Ok(Self { own_user, connection: Mutex::new(Connection { socket, sequence: 0 }) })
    }
}

impl PeerUsers for SockDiag {
    fn user_of(&self, peer: SocketAddr, local: SocketAddr) -> PeerUser {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        match connection.ask(peer, local) {
            Ok(Answer::User(user)) if user == self.own_user => PeerUser::Own,
            Ok(Answer::User(_) | Answer::NoUser) => PeerUser::Other,
            Ok(Answer::Refused | Answer::Other) | Err(_) => PeerUser::Unknown,
        }
    }
}

impl Connection {
    fn ask(&mut self, peer: SocketAddr, local: SocketAddr) -> Result<Answer, Errno> {
        self.sequence = self.sequence.wrapping_add(1);
        let Some(request) = request(peer, local, self.sequence) else { return Ok(Answer::Refused) };
        sendto(&self.socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut buffer = [0; ANSWER_BYTES_MAX];
        for _ in 0..ANSWERS_MAX {
            let (length, _) = recv(&self.socket, &mut buffer[..], RecvFlags::empty())?;
            match answer(&buffer[..length.min(ANSWER_BYTES_MAX)], self.sequence) {
                Answer::Other => {}
                answer => return Ok(answer),
            }
        }
        Ok(Answer::Other)
    }
}

/// Asks for the one socket at `peer` that is connected to `local`. `None` if these are not of IPv4.
fn request(peer: SocketAddr, local: SocketAddr, sequence: u32) -> Option<[u8; REQUEST_BYTES]> {
    let (IpAddr::V4(peer_address), IpAddr::V4(local_address)) = (peer.ip(), local.ip()) else { return None };
    let length = u32::try_from(REQUEST_BYTES).ok()?;
    let mut request = [0; REQUEST_BYTES];
    let mut rest = &mut request[..];
    let mut put = |bytes: &[u8]| {
        let (start, end) = std::mem::take(&mut rest).split_at_mut(bytes.len());
        start.copy_from_slice(bytes);
        rest = end;
    };
    put(&length.to_ne_bytes());
    put(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    put(&NLM_F_REQUEST.to_ne_bytes());
    put(&sequence.to_ne_bytes());
    put(&[0; 4]);
    put(&[AF_INET, IPPROTO_TCP, 0, 0]);
    put(&ANY_STATE.to_ne_bytes());
    put(&peer.port().to_be_bytes());
    put(&local.port().to_be_bytes());
    put(&peer_address.octets());
    put(&[0; 12]);
    put(&local_address.octets());
    put(&[0; 12]);
    // Any interface.
    put(&[0; 4]);
    put(&ANY_COOKIE);
    Some(request)
}

fn answer(message: &[u8], sequence: u32) -> Answer {
    if u32_at(message, 8) != Some(sequence) {
        return Answer::Other;
    }
    match message.get(4..6).map(|kind| u16::from_ne_bytes([kind[0], kind[1]])) {
        Some(SOCK_DIAG_BY_FAMILY) => match (u32_at(message, USER_OFFSET), u32_at(message, INODE_OFFSET)) {
            // Closed by its owner: the kernel keeps it for a while, under user 0.
            (Some(_), Some(0)) => Answer::NoUser,
            (Some(user), Some(_)) => Answer::User(user),
            _ => Answer::Refused,
        },
        // Errors are negative.
        Some(NLMSG_ERROR) if u32_at(message, HEADER_BYTES) == Some((-Errno::NOENT.raw_os_error()).cast_unsigned()) => {
            Answer::NoUser
        }
        _ => Answer::Refused,
    }
}

fn u32_at(message: &[u8], offset: usize) -> Option<u32> {
    let bytes = message.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, sequence: u32, length: usize) -> Vec<u8> {
        let mut message = vec![0; length];
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message[8..12].copy_from_slice(&sequence.to_ne_bytes());
        message
    }

    #[test]
    fn the_socket_that_is_asked_for_has_the_peers_address_as_its_own() {
        let peer = SocketAddr::from(([127, 0, 0, 2], 0x1234));
        let local = SocketAddr::from(([127, 0, 0, 1], 0x5678));
        let request = request(peer, local, 9).expect("IPv4");
        assert_eq!(request[24..28], [0x12, 0x34, 0x56, 0x78]);
        assert_eq!(request[28..32], [127, 0, 0, 2]);
        assert_eq!(request[44..48], [127, 0, 0, 1]);
        assert_eq!(request[64..], ANY_COOKIE);
        assert_eq!(super::request(SocketAddr::from(([0; 16], 1)), local, 9), None);
    }

    #[test]
    fn an_answer_is_believed_only_as_far_as_it_goes() {
        let mut found = message(SOCK_DIAG_BY_FAMILY, 3, HEADER_BYTES + 72);
        assert_eq!(answer(&found, 3), Answer::NoUser, "no inode, so user 0 is not its owner");
        found[INODE_OFFSET] = 1;
        assert_eq!(answer(&found, 3), Answer::User(0));
        found[USER_OFFSET..INODE_OFFSET].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(answer(&found, 3), Answer::User(1000));
        assert_eq!(answer(&found, 4), Answer::Other);
        assert_eq!(answer(&found[..INODE_OFFSET], 3), Answer::Refused);
        assert_eq!(answer(&[], 3), Answer::Other);

        let mut error = message(NLMSG_ERROR, 3, HEADER_BYTES + 4);
        for (number, expected) in
            [(-2_i32, Answer::NoUser), (-1, Answer::Refused), (0, Answer::Refused), (i32::MIN, Answer::Refused)]
        {
            error[HEADER_BYTES..].copy_from_slice(&number.to_ne_bytes());
            assert_eq!(answer(&error, 3), expected, "{number}");
        }
    }
}
