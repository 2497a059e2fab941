//! Requests over HTTP/1.1: one after the other, and answered in that order (RFC 9112).

use std::collections::VecDeque;

use super::{Effect, Finding, Unclear, is_suspect_status};

/// Longer heads are not understood. kube-apiserver takes up to 1 MB; those of clients have a few hundred bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 128;
/// Requests that may be sent ahead of their answers and still be understood.
const UNANSWERED_MAX: usize = 1024;

/// The two directions of one connection.
#[derive(Default)]
pub(super) struct Http1 {
    requests: Messages,
    answers: Messages,
    /// In the order in which they were sent.
    unanswered: VecDeque<Request>,
}

#[derive(Clone, Copy)]
struct Request {
    effect: Effect,
    /// Answers to `HEAD` have no body, even if their headers tell of one.
    is_head: bool,
}

/// One direction: heads, and bodies that are passed over.
#[derive(Default)]
struct Messages {
    phase: Phase,
    /// The beginning of a head, whose rest has yet to come.
    partial: Vec<u8>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Head,
    Body(Body),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Body {
    /// This many more bytes.
    Length(u64),
    Chunked(Chunk),
    /// All further bytes.
    UntilEnd,
}

/// The place of the next byte in a chunked body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chunk {
    /// In a chunk's size, as far as it has been read.
    Size { value: u64, digits: u8 },
    /// Behind the size, in the same line.
    Extension { size: u64 },
    /// This many more bytes, the line's end behind the data included.
    Data { remaining: u64 },
    /// In the lines behind the last chunk.
    Trailer { is_line_empty: bool },
}

impl Http1 {
    pub(super) fn note_to_cluster(&mut self, mut bytes: &[u8]) -> Result<Finding, Unclear> {
        let mut finding = Finding::Nothing;
        while !bytes.is_empty() {
            match self.requests.phase {
                Phase::Body(body) => {
                    self.requests.pass_over(body, &mut bytes)?;
                }
                Phase::Head => {
                    let Some(head) = self.requests.take_head(&mut bytes)? else { break };
                    let (request, body) = parse_request(&head)?;
                    if self.unanswered.len() == UNANSWERED_MAX {
                        return Err(Unclear);
                    }
                    self.unanswered.push_back(request);
                    self.requests.begin(body);
                    finding = finding.and(Finding::suspect_if(request.effect == Effect::Deletes));
                }
            }
        }
        Ok(finding)
    }

    pub(super) fn note_from_cluster(&mut self, mut bytes: &[u8]) -> Result<Finding, Unclear> {
        let mut finding = Finding::Nothing;
        while !bytes.is_empty() {
            match self.answers.phase {
                Phase::Body(body) => {
                    if self.answers.pass_over(body, &mut bytes)? {
                        self.unanswered.pop_front();
                    }
                }
                Phase::Head => {
                    let Some(head) = self.answers.take_head(&mut bytes)? else { break };
                    let request = *self.unanswered.front().ok_or(Unclear)?;
                    let (status, body) = parse_answer(&head, request)?;
                    match status {
                        // From here on it is another protocol.
                        101 => return Err(Unclear),
                        100..200 => continue,
                        _ => {}
                    }
                    let is_suspect = request.effect.can_write() && is_suspect_status(status);
                    finding = finding.and(Finding::suspect_if(is_suspect));
                    if !self.answers.begin(body) {
                        self.unanswered.pop_front();
                    }
                }
            }
        }
        Ok(finding)
    }

    pub(super) fn awaits_write(&self) -> bool {
        self.unanswered.iter().any(|request| request.effect.can_write())
    }
}

impl Messages {
    /// Takes the next head, with its empty line. `None` if it is not complete.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<Option<Vec<u8>>, Unclear> {
        // A line that was left open may be ended by the first of the new bytes.
        let seen = self.partial.len();
        let end = (0..bytes.len()).find(|at| {
            let before = |back: usize| match at.checked_sub(back) {
                Some(at) => Some(bytes[at]),
                None => seen.checked_sub(back - at).map(|at| self.partial[at]),
            };
            bytes[*at] == b'\n' && (before(1) == Some(b'\n') || before(1) == Some(b'\r') && before(2) == Some(b'\n'))
        });
        let (head, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        *bytes = rest;
        self.partial.extend_from_slice(head);
        if HEAD_BYTES_MAX < self.partial.len() {
            return Err(Unclear);
        }
        Ok(end.map(|_| std::mem::take(&mut self.partial)))
    }

    /// Begins a body. Returns false if there is none.
    fn begin(&mut self, body: Option<Body>) -> bool {
        let body = body.filter(|body| *body != Body::Length(0));
        self.phase = body.map_or(Phase::Head, Phase::Body);
        body.is_some()
    }

    /// Passes over a part of a body. Returns true if the body has ended.
    fn pass_over(&mut self, body: Body, bytes: &mut &[u8]) -> Result<bool, Unclear> {
        let rest = match body {
            Body::UntilEnd => {
                *bytes = &[];
                Some(Body::UntilEnd)
            }
            Body::Length(length) => Some(Body::Length(length - pass_over_some(length, bytes))),
            Body::Chunked(chunk) => pass_over_chunks(chunk, bytes)?.map(Body::Chunked),
        };
        Ok(!self.begin(rest))
    }
}

/// Passes over at most this many bytes. Returns their number.
fn pass_over_some(most: u64, bytes: &mut &[u8]) -> u64 {
    let (passed, rest) = bytes.split_at(bytes.len().min(usize::try_from(most).unwrap_or(usize::MAX)));
    *bytes = rest;
    passed.len() as u64
}

/// Passes over chunks until the bytes or the body end; in the latter case there is no next place.
fn pass_over_chunks(mut chunk: Chunk, bytes: &mut &[u8]) -> Result<Option<Chunk>, Unclear> {
    while let Some((byte, rest)) = bytes.split_first() {
        chunk = match chunk {
            Chunk::Data { remaining } => {
                chunk = match remaining - pass_over_some(remaining, bytes) {
                    0 => Chunk::Size { value: 0, digits: 0 },
                    remaining => Chunk::Data { remaining },
                };
                continue;
            }
            Chunk::Size { value, digits } => match (byte, char::from(*byte).to_digit(16)) {
                (_, Some(digit)) if digits < 15 => {
                    Chunk::Size { value: value << 4 | u64::from(digit), digits: digits + 1 }
                }
                (b'\r' | b'\n' | b';' | b' ' | b'\t', _) if 0 < digits => {
                    chunk = Chunk::Extension { size: value };
                    // Seen again there, where the line may end.
                    continue;
                }
                _ => return Err(Unclear),
            },
            Chunk::Extension { size } => match (byte, size) {
                (b'\n', 0) => Chunk::Trailer { is_line_empty: true },
                (b'\n', size) => Chunk::Data { remaining: size + 2 },
                _ => chunk,
            },
            Chunk::Trailer { is_line_empty } => match byte {
                b'\n' if is_line_empty => {
                    *bytes = rest;
                    return Ok(None);
                }
                b'\n' => Chunk::Trailer { is_line_empty: true },
                b'\r' => chunk,
                _ => Chunk::Trailer { is_line_empty: false },
            },
        };
        *bytes = rest;
    }
    Ok(Some(chunk))
}

fn parse_request(head: &[u8]) -> Result<(Request, Option<Body>), Unclear> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Err(Unclear),
    }
    let (Some(method), Some(path)) = (request.method, request.path) else { return Err(Unclear) };
    let effect = match method {
        "GET" | "HEAD" => Effect::Reads,
        "DELETE" if may_be_definition(path) => Effect::Deletes,
        // Anything may follow.
        "CONNECT" => return Err(Unclear),
        _ => Effect::Writes,
    };
    let body = match body_framing(request.headers)? {
        Some(Body::Chunked(_)) if request.version != Some(1) => return Err(Unclear),
        body => body,
    };
    Ok((Request { effect, is_head: method == "HEAD" }, body))
}

/// Returns true if this may be the path of a CRD, or of all of them. An escaped character may stand for any other.
fn may_be_definition(path: &str) -> bool {
    path.contains('%') || path.contains("customresourcedefinitions")
}

fn parse_answer(head: &[u8], request: Request) -> Result<(u16, Option<Body>), Unclear> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut headers);
    match answer.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        _ => return Err(Unclear),
    }
    let status = answer.code.ok_or(Unclear)?;
    let has_no_body = request.is_head || matches!(status, 100..200 | 204 | 304);
    let body = match has_no_body {
        true => None,
        false => Some(body_framing(answer.headers)?.unwrap_or(Body::UntilEnd)),
    };
    Ok((status, body))
}

/// The sign of the end of a body. Headers that could be read in two ways are not understood.
fn body_framing(headers: &[httparse::Header<'_>]) -> Result<Option<Body>, Unclear> {
    let mut body = None;
    for header in headers {
        let framing = if header.name.eq_ignore_ascii_case("content-length") {
            Body::Length(parse_length(header.value)?)
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            match header.value.eq_ignore_ascii_case(b"chunked") {
                true => Body::Chunked(Chunk::Size { value: 0, digits: 0 }),
                false => return Err(Unclear),
            }
        } else {
            continue;
        };
        if body.replace(framing).is_some() {
            return Err(Unclear);
        }
    }
    Ok(body)
}

fn parse_length(value: &[u8]) -> Result<u64, Unclear> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number);
    text.and_then(|text| text.parse().ok()).ok_or(Unclear)
}

#[cfg(test)]
mod tests {
    use super::super::RequestObserver;

    const CREATE: &str =
        "POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}";
    const DELETE_ALL: &str = "DELETE /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: a\r\n\r\n";
    const WATCH: &str = "GET /api/v1/pods?watch=1 HTTP/1.1\r\nHost: a\r\n\r\n";
    const CREATED: &str = "HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{ }";

    enum Sent {
        Request(&'static str),
        Answer(&'static str),
    }
    use Sent::{Answer, Request};

    /// The same for any division of the bytes into parts.
    fn may_still_run(sent: &[Sent]) -> bool {
        let verdicts = [1, 2, 3, 7, usize::MAX].map(|part_bytes| {
            let mut observer = RequestObserver::new(false);
            for sent in sent {
                match sent {
                    Request(text) => {
                        text.as_bytes().chunks(part_bytes).for_each(|part| observer.note_to_cluster(part));
                    }
                    Answer(text) => {
                        text.as_bytes().chunks(part_bytes).for_each(|part| observer.note_from_cluster(part));
                    }
                }
            }
            observer.may_still_run()
        });
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0]
    }

    #[test]
    fn a_write_runs_until_its_answer_is_complete() {
        assert!(!may_still_run(&[]));
        assert!(may_still_run(&[Request(CREATE)]));
        assert!(may_still_run(&[Request(CREATE), Answer(&CREATED[..CREATED.len() - 1])]));
        assert!(!may_still_run(&[Request(CREATE), Answer(CREATED)]));
        assert!(may_still_run(&[Request(CREATE), Answer(CREATED), Request(DELETE_ALL)]));
        assert!(may_still_run(&[Request(DELETE_ALL), Request(CREATE), Answer(CREATED)]));
        assert!(!may_still_run(&[Request(DELETE_ALL), Request(CREATE), Answer(CREATED), Answer(CREATED)]));
    }

    #[test]
    fn a_request_that_is_not_there_whole_does_not_run() {
        assert!(!may_still_run(&[Request("D")]));
        assert!(!may_still_run(&[Request(&DELETE_ALL[..DELETE_ALL.len() - 1])]));
        assert!(may_still_run(&[Request(DELETE_ALL), Request("x")]));
        assert!(!may_still_run(&[Request(DELETE_ALL), Request("x"), Answer(CREATED)]));
        let without_body = &CREATE[..CREATE.len() - 2];
        assert!(may_still_run(&[Request(without_body)]), "its handler runs, and reads");
    }

    #[test]
    fn open_watches_and_reads_change_nothing() {
        let begun = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent\r\n";
        assert!(!may_still_run(&[Request(WATCH)]));
        assert!(!may_still_run(&[Request(WATCH), Answer(begun)]));
        assert!(may_still_run(&[Request(WATCH), Answer(begun), Request(CREATE)]), "it waits behind the watch");
        assert!(!may_still_run(&[
            Request(WATCH),
            Answer(begun),
            Answer("0\r\n\r\n"),
            Request(CREATE),
            Answer(CREATED)
        ]));
    }

    #[test]
    fn answers_end_where_their_framing_says() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       a;b=c\r\n0123456789\r\nA\r\n9876543210\r\n0\r\nTrailer: x\r\n\r\n";
        assert!(may_still_run(&[Request(DELETE_ALL), Answer(&chunked[..chunked.len() - 2])]));
        assert!(!may_still_run(&[Request(DELETE_ALL), Answer(chunked)]));
        let head = "HEAD /api/v1/pods HTTP/1.1\r\nHost: a\r\n\r\n";
        let headers_only = "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n";
        assert!(!may_still_run(&[Request(head), Request(CREATE), Answer(headers_only), Answer(CREATED)]));
        let empty = "HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n";
        assert!(!may_still_run(&[Request(CREATE), Answer(empty), Request(DELETE_ALL), Answer(CREATED)]));
        let until_end = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome";
        assert!(may_still_run(&[Request(CREATE), Answer(until_end)]));
    }

    #[test]
    fn interim_answers_are_none() {
        let interim = "HTTP/1.1 100 Continue\r\n\r\n";
        assert!(may_still_run(&[Request(CREATE), Answer(interim)]));
        assert!(!may_still_run(&[Request(CREATE), Answer(interim), Answer(CREATED)]));
    }

    #[test]
    fn chunked_requests_end_where_the_next_begins() {
        let chunked = "POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
        assert!(!may_still_run(&[Request(chunked), Answer(CREATED), Request(WATCH)]));
        assert!(may_still_run(&[Request(chunked), Request(CREATE), Answer(CREATED)]));
        assert!(!may_still_run(&[Request(chunked), Request(CREATE), Answer(CREATED), Answer(CREATED)]));
    }

    #[test]
    fn an_upgraded_connection_may_do_anything() {
        let upgraded = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
        assert!(may_still_run(&[Request(WATCH), Answer(upgraded)]));
        assert!(may_still_run(&[Request(WATCH), Answer(upgraded), Answer(CREATED), Answer(CREATED)]));
    }

    #[test]
    fn an_answer_that_gives_up_waiting_ends_no_request() {
        for status in ["500 Internal Server Error", "503 Service Unavailable", "504 Gateway Timeout", "410 Gone"] {
            let answer: &'static str = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").leak();
            assert!(may_still_run(&[Request(DELETE_ALL), Answer(answer)]), "{status}");
            assert!(may_still_run(&[Request(DELETE_ALL), Answer(answer), Request(CREATE), Answer(CREATED)]));
            assert!(!may_still_run(&[Request(WATCH), Answer(answer)]), "{status}");
        }
        let refused = "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n";
        assert!(!may_still_run(&[Request(CREATE), Answer(refused)]));
    }

    #[test]
    fn a_deleted_definition_has_its_instances_deleted_after_the_answer() {
        for path in [
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.com",
            "/apis/apiextensions.k8s.io/v1/%63ustomresourcedefinitions",
        ] {
            let delete: &'static str = format!("DELETE {path} HTTP/1.1\r\nHost: a\r\n\r\n").leak();
            assert!(may_still_run(&[Request(delete), Answer(CREATED)]), "{path}");
        }
    }

    #[test]
    fn whatever_can_be_read_in_two_ways_counts() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            "nonsense\r\n\r\n",
        ] {
            assert!(may_still_run(&[Request(head), Answer(CREATED)]), "{head}");
        }
        assert!(may_still_run(&[Answer(CREATED)]), "nothing was asked");
        let endless: &'static str = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(super::HEAD_BYTES_MAX)).leak();
        assert!(may_still_run(&[Request(endless)]));
    }
}
