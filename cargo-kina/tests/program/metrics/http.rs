//! A minimal HTTP client: one request, one answer, and the connection ends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: String,
    pub(super) body: String,
}

impl Answer {
    /// Returns the value of a header, empty if there is none.
    pub(super) fn header(&self, name: &str) -> &str {
        let mut headers = self.headers.lines().filter_map(|line| line.split_once(':'));
        headers.find(|(other, _)| other.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value.trim())
    }
}

/// Gets a path from a server that listens.
pub(super) fn get(address: SocketAddr, path: &str) -> Answer {
    // With HTTP/1.0 the answer is not chunked.
    say(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"))
}

/// Sends text to a server that listens.
pub(super) fn say(address: SocketAddr, request: &str) -> Answer {
    try_say(address, request).unwrap_or_else(|error| panic!("asking {address} for {request}: {error}"))
}

/// Gets a path from a server that may not listen yet.
pub(super) fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    try_say(address, &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")).ok()
}

fn try_say(address: SocketAddr, request: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Answer { status, headers: headers.to_owned(), body: body.to_owned() })
}

/// Encodes text for a query.
pub(super) fn encoded(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}
