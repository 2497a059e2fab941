//! The loopback port, if one is asked for: one request a connection, and few connections at a time.
//!
//! Prometheus is mostly another user, so any user may ask. A connection beyond the bound takes the place of the oldest
//! one, which has had the most time for its request: silent connections keep no scrape waiting.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::open_files::{Acceptor, OpenFiles};

/// The connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// Time limit of a client's request; twice as long for all.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest head of a request that is read.
const HEAD_BYTES_MAX: u64 = 8 << 10;
const PATH: &str = "/metrics";
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A bound port. Every user of this machine can read its answers, so they name no test and hold no secret.
pub(in crate::daemon) struct Listener {
    acceptor: Acceptor<TcpListener>,
    address: SocketAddr,
}

/// An answer other than the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    NotHttp,
    Method,
    Path,
    Host,
}

impl Listener {
    /// Binds the port on loopback; 0 is any free one.
    pub(in crate::daemon) async fn bind(port: u16, open_files: &OpenFiles) -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        Ok(Self { acceptor: Acceptor::new(listener, "metrics", open_files), address })
    }

    pub(in crate::daemon) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers with this text until the task is aborted; there is none while the engine ends.
    pub(in crate::daemon) fn serve<Text>(self, text: impl Fn() -> Text + Send + Sync + 'static) -> AbortHandle
    where
        Text: Future<Output = Option<String>> + Send + 'static,
    {
        let (text, turn) = (Arc::new(text), Arc::new(Semaphore::new(1)));
        let serving = serve_few(self.acceptor, move |stream| {
            let (text, turn) = (Arc::clone(&text), Arc::clone(&turn));
            async move {
                let answered = tokio::time::timeout(2 * CLIENT_TIMEOUT, answer(stream, &*text, &turn)).await;
                if let Ok(Err(error)) = answered {
                    tracing::debug!(%error, "a client of the metrics was not answered");
                }
            }
        });
        tokio::spawn(serving).abort_handle()
    }
}

/// Serves connections, of which a new one ends the oldest one if there are too many.
async fn serve_few<Serving: Future<Output = ()> + Send + 'static>(
    mut acceptor: Acceptor<TcpListener>,
    serve: impl Fn(TcpStream) -> Serving,
) {
    let mut serving = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let (stream, _) = acceptor.accept().await;
        while serving.try_join_next().is_some() {}
        by_age.retain(|connection| !connection.is_finished());
        if CONNECTIONS_MAX <= by_age.len()
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(serving.spawn(serve(stream)));
    }
}

async fn answer<Text>(mut stream: TcpStream, text: impl Fn() -> Text, turn: &Semaphore) -> std::io::Result<()>
where
    Text: Future<Output = Option<String>>,
{
    let Ok(head) = tokio::time::timeout(CLIENT_TIMEOUT, read_head(&mut stream)).await else { return Ok(()) };
    let response = match check(&head?) {
        Ok(()) => {
            // Each text asks the dispatcher and measures memory: one at a time.
            let _turn = turn.acquire().await;
            match text().await {
                Some(text) => response("200 OK", CONTENT_TYPE, &text),
                None => response("503 Service Unavailable", TEXT, "the engine is ending\n"),
            }
        }
        Err(refused) => refused.response(),
    };
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut reader = stream.take(HEAD_BYTES_MAX);
    while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        if reader.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Accepts requests for the metrics only. A page in a browser that has its own name resolved to this machine does not
/// get them.
fn check(head: &str) -> Result<(), Refused> {
    let (head, _) = head.split_once("\r\n\r\n").ok_or(Refused::NotHttp)?;
    let mut lines = head.split("\r\n");
    let mut request = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (request.next(), request.next(), request.next(), request.next())
    else {
        return Err(Refused::NotHttp);
    };
    if !version.starts_with("HTTP/1.") {
        return Err(Refused::NotHttp);
    }
    if method != "GET" {
        return Err(Refused::Method);
    }
    if target.split('?').next() != Some(PATH) {
        return Err(Refused::Path);
    }
    let named = lines.filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("host"));
    match named {
        Some((_, host)) if !is_loopback(host.trim()) => Err(Refused::Host),
        _ => Ok(()),
    }
}

fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Refused {
    fn response(self) -> String {
        match self {
            Self::NotHttp => response("400 Bad Request", TEXT, "this is no HTTP/1 request\n"),
            Self::Method => {
                response("405 Method Not Allowed\r\nAllow: GET", TEXT, "there is nothing here but to GET\n")
            }
            Self::Path => response("404 Not Found", TEXT, "the metrics are at /metrics\n"),
            Self::Host => response("403 Forbidden", TEXT, "ask for 127.0.0.1 or localhost\n"),
        }
    }
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_get_of_the_metrics_by_a_name_of_this_machine_is_answered() {
        for (head, expected) in [
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:9464\r\n\r\n", Ok(())),
            ("GET /metrics HTTP/1.1\r\nhost:localhost\r\nAccept: */*\r\n\r\n", Ok(())),
            ("GET /metrics?x=1 HTTP/1.0\r\n\r\n", Ok(())),
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n", Err(Refused::NotHttp)),
            ("GET /metrics\r\n\r\n", Err(Refused::NotHttp)),
            ("GET /metrics HTTP/2\r\n\r\n", Err(Refused::NotHttp)),
            ("", Err(Refused::NotHttp)),
            ("POST /metrics HTTP/1.1\r\n\r\n", Err(Refused::Method)),
            ("GET / HTTP/1.1\r\n\r\n", Err(Refused::Path)),
            ("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", Err(Refused::Host)),
            ("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example:80\r\n\r\n", Err(Refused::Host)),
            ("GET /metrics HTTP/1.1\r\nHost: 192.0.2.1:9464\r\n\r\n", Err(Refused::Host)),
        ] {
            assert_eq!(check(head), expected, "{head:?}");
        }
    }

    #[tokio::test]
    async fn silent_connections_give_way_to_new_ones() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let acceptor = Acceptor::new(listener, "test", &OpenFiles::new(1024));
        // Sends one byte back, and then is silent for as long as its client.
        let serving = tokio::spawn(serve_few(acceptor, async |mut stream: TcpStream| {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() && stream.write_all(&byte).await.is_ok() {}
        }));
        let mut silent = Vec::new();
        for number in 0..3 * CONNECTIONS_MAX {
            let mut client = TcpStream::connect(address).await.expect("connected");
            client.write_all(b"x").await.expect("sent");
            client.read_exact(&mut [0]).await.unwrap_or_else(|error| panic!("{number} was not served: {error}"));
            silent.push(client);
        }
        let newest = silent.split_off(silent.len() - CONNECTIONS_MAX);
        for mut client in silent {
            assert!(!matches!(client.read(&mut [0]).await, Ok(1..)), "an old one has ended");
        }
        for mut client in newest {
            client.write_all(b"y").await.expect("sent");
            client.read_exact(&mut [0]).await.expect("a new one is served");
        }
        serving.abort();
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_of_what_type() {
        let answer = response("200 OK", CONTENT_TYPE, "# EOF\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0;"));
        assert!(answer.ends_with("\r\nContent-Length: 6\r\nConnection: close\r\n\r\n# EOF\n"), "{answer}");
    }
}
