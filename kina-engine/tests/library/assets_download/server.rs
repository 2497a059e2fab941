//! A release server on loopback, with the faults that a test needs.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256, Sha512};
use tar::{Builder, Header};

/// The server's answer to one request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The whole body.
    Body(Vec<u8>),
    /// A status without a body.
    Status(u16),
    /// A head that promises the whole body, so many bytes of it, and then the end of the connection.
    CutOff(Vec<u8>, usize),
    /// A head that promises the whole body, so many bytes of it, and then silence.
    Silence(Vec<u8>, usize),
}

/// The server; it ends when dropped.
pub(crate) struct ReleaseServer {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, VecDeque<Answer>>>,
    requests: Mutex<Vec<String>>,
    is_over: AtomicBool,
}

impl ReleaseServer {
    /// Starts a server that answers 404 to everything.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(State::default());
        let shared = state.clone();
        let listening = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let shared = shared.clone();
                // Clients that go away half-way are part of the tests.
                std::thread::spawn(move || stream.and_then(|stream| serve(stream, &shared)));
            }
        });
        Self { address, state, listening: Some(listening) }
    }

    /// Returns the address of the index.
    pub(crate) fn index_url(&self) -> String {
        self.url("/index.yaml")
    }

    /// Answers requests for `path` with `answers` in turn, and with the last of them from then on.
    pub(crate) fn answer(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.state.answers.lock().expect("answers").insert(path.to_owned(), answers.into_iter().collect());
    }

    /// Lists one version whose archive is at `/archive.tar.gz`.
    pub(crate) fn list(&self, version: &str, hash: &str) {
        self.answer("/index.yaml", [Answer::Body(self.index(version, hash).into_bytes())]);
    }

    /// Lists and serves a version.
    pub(crate) fn release(&self, version: &str, archive: &[u8]) {
        self.list(version, &sha512(archive));
        self.answer("/archive.tar.gz", [Answer::Body(archive.to_vec())]);
    }

    /// Returns the text of an index with one version.
    pub(crate) fn index(&self, version: &str, hash: &str) -> String {
        let platform = kina_engine::Platform::host();
        let url = self.url("/archive.tar.gz");
        format!(
            "releases:\n  v{version}:\n    envtest-v{version}-{platform}.tar.gz:\n      hash: {hash}\n      selfLink: {url}\n"
        )
    }

    /// Counts the requests for `path`.
    pub(crate) fn requests(&self, path: &str) -> usize {
        self.state.requests.lock().expect("requests").iter().filter(|asked| *asked == path).count()
    }

    /// Releases a program of a Kubernetes version, with the given checksum file.
    pub(crate) fn release_component(&self, version: &str, component: &str, program: &[u8], sha256: &str) {
        let platform = kina_engine::Platform::host();
        let path = format!("/v{version}/bin/{}/{}/{component}", platform.os, platform.arch);
        self.answer(&format!("{path}.sha256"), [Answer::Body(sha256.as_bytes().to_vec())]);
        self.answer(&path, [Answer::Body(program.to_vec())]);
    }

    /// Describes and releases kwok.
    pub(crate) fn release_kwok(&self, program: &[u8], digest: Option<&str>) {
        let asset = |name: String, path: &str, digest: Option<&str>| {
            let digest = digest.map_or("null".to_owned(), |digest| format!("\"{digest}\""));
            let url = self.url(path);
            format!(r#"{{"name":"{name}","browser_download_url":"{url}","digest":{digest}}}"#)
        };
        let platform = kina_engine::Platform::host();
        let other = asset("kwok-windows-amd64.exe".to_owned(), "/other", Some("sha256:00"));
        let own = asset(format!("kwok-{platform}"), "/kwok-program", digest);
        let release = format!(r#"{{"tag_name":"v0.8.0","assets":[{other},{own}]}}"#);
        self.answer("/kwok", [Answer::Body(release.into_bytes())]);
        self.answer("/kwok-program", [Answer::Body(program.to_vec())]);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for ReleaseServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Listening ends at the next connection.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            listening.join().expect("server");
        }
    }
}

fn serve(mut stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    state.requests.lock().expect("requests").push(path.clone());
    let answer = {
        let mut answers = state.answers.lock().expect("answers");
        match answers.get_mut(&path) {
            Some(answers) if answers.len() > 1 => answers.pop_front(),
            Some(answers) => answers.front().cloned(),
            None => None,
        }
    };
    let (body, sent_bytes, is_silent) = match answer.unwrap_or(Answer::Status(404)) {
        Answer::Body(body) => (body.clone(), body.len(), false),
        Answer::CutOff(body, sent_bytes) => (body, sent_bytes, false),
        Answer::Silence(body, sent_bytes) => (body, sent_bytes, true),
        Answer::Status(status) => {
            return write!(stream, "HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    };
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body[..sent_bytes])?;
    if is_silent {
        // The client has to end the connection.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}

/// Makes an archive in the layout of a release, with the given files and their contents.
pub(crate) fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, content) in files {
        let mut header = Header::new_gnu();
        // The name is written directly, because the builder refuses names that only an attacker would use.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).expect("append");
    }
    builder.into_inner().expect("archive").finish().expect("gzip")
}

/// Makes the archive of an ordinary release, large enough for several reads.
pub(crate) fn ordinary_archive() -> Vec<u8> {
    archive(&[
        ("controller-tools/envtest/kube-apiserver", &noise(700_000, 1)),
        ("controller-tools/envtest/kubectl", &noise(300_000, 2)),
        ("controller-tools/envtest/etcd", &noise(500_000, 3)),
    ])
}

/// Makes bytes that do not compress.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(length)
    .collect()
}

/// Returns the SHA-512 of `bytes` in hexadecimal digits.
pub(crate) fn sha512(bytes: &[u8]) -> String {
    Sha512::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}

/// Returns the SHA-256 of `bytes` in hexadecimal digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("text");
        text
    })
}
