//! Requests over HTTP/2: many at a time, each in a stream of its own (RFC 9113).

use std::collections::HashMap;

use super::header_block::FieldTable;
use super::{Effect, Finding, Unclear};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER_BYTES: usize = 9;
/// Longer blocks of headers are not understood.
const BLOCK_BYTES_MAX: usize = 64 << 10;
/// kube-apiserver takes 100 to 250 at a time.
const STREAMS_MAX: usize = 4096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// The two directions of one connection.
#[derive(Default)]
pub(super) struct Http2 {
    requests: Frames,
    answers: Frames,
    preface_bytes: usize,
    /// Streams that were opened and not yet ended by the API server.
    open: HashMap<u32, Effect>,
}

/// One direction.
#[derive(Default)]
struct Frames {
    table: FieldTable,
    header: Vec<u8>,
    frame: Option<Frame>,
    /// Headers that have yet to be completed by another frame.
    block: Vec<u8>,
    block_ends_stream: bool,
}

#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Bytes of it that have yet to come.
    remaining: usize,
}

/// A relevant frame.
enum Event {
    Headers { stream: u32, block: Vec<u8>, ends_stream: bool },
    Ended { stream: u32 },
    Reset { stream: u32 },
}

impl Http2 {
    pub(super) fn note_to_cluster(&mut self, mut bytes: &[u8]) -> Result<Finding, Unclear> {
        let mut finding = Finding::Nothing;
        while self.preface_bytes < PREFACE.len() {
            let Some((byte, rest)) = bytes.split_first() else { return Ok(finding) };
            if *byte != PREFACE[self.preface_bytes] {
                return Err(Unclear);
            }
            self.preface_bytes += 1;
            bytes = rest;
        }
        while let Some(event) = self.requests.next(&mut bytes)? {
            match event {
                Event::Headers { stream, block, .. } => {
                    let told = self.requests.table.read(&block)?;
                    // The second headers of a stream are the trailers of its request.
                    if self.open.contains_key(&stream) {
                        continue;
                    }
                    if self.open.len() == STREAMS_MAX {
                        return Err(Unclear);
                    }
                    let effect = told.effect.unwrap_or(Effect::Deletes);
                    finding = finding.and(Finding::suspect_if(effect == Effect::Deletes));
                    self.open.insert(stream, effect);
                }
                // A client that has sent everything waits for the answer.
                Event::Ended { .. } => {}
                Event::Reset { stream } => finding = finding.and(self.give_up(stream)),
            }
        }
        Ok(finding)
    }

    pub(super) fn note_from_cluster(&mut self, mut bytes: &[u8]) -> Result<Finding, Unclear> {
        let mut finding = Finding::Nothing;
        while let Some(event) = self.answers.next(&mut bytes)? {
            match event {
                Event::Headers { stream, block, ends_stream } => {
                    let told = self.answers.table.read(&block)?;
                    let can_write = self.open.get(&stream).is_some_and(|effect| effect.can_write());
                    finding = finding.and(Finding::suspect_if(can_write && told.is_suspect == Some(true)));
                    if ends_stream {
                        self.open.remove(&stream);
                    }
                }
                Event::Ended { stream } => {
                    self.open.remove(&stream);
                }
                Event::Reset { stream } => finding = finding.and(self.give_up(stream)),
            }
        }
        Ok(finding)
    }

    pub(super) fn awaits_write(&self) -> bool {
        self.open.values().any(|effect| effect.can_write())
    }

    /// Notes that one of the sides has given up on a stream, which may end no handler.
    fn give_up(&mut self, stream: u32) -> Finding {
        Finding::suspect_if(self.open.remove(&stream).is_some_and(Effect::can_write))
    }
}

impl Frames {
    /// Reads on until a frame matters, or the bytes end.
    fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Event>, Unclear> {
        loop {
            let Some(mut frame) = self.frame.take() else {
                let missing = FRAME_HEADER_BYTES - self.header.len();
                let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
                self.header.extend_from_slice(taken);
                *bytes = rest;
                if self.header.len() < FRAME_HEADER_BYTES {
                    return Ok(None);
                }
                let frame = Frame::parse(&self.header);
                self.header.clear();
                self.begin(frame)?;
                self.frame = Some(frame);
                continue;
            };
            let (taken, rest) = bytes.split_at(frame.remaining.min(bytes.len()));
            *bytes = rest;
            frame.remaining -= taken.len();
            if frame.has_headers() {
                self.block.extend_from_slice(taken);
            }
            if 0 < frame.remaining {
                self.frame = Some(frame);
                return Ok(None);
            }
            if let Some(event) = self.end(frame)? {
                return Ok(Some(event));
            }
        }
    }

    fn begin(&mut self, frame: Frame) -> Result<(), Unclear> {
        if frame.has_headers() && BLOCK_BYTES_MAX < self.block.len() + frame.remaining {
            return Err(Unclear);
        }
        Ok(())
    }

    fn end(&mut self, frame: Frame) -> Result<Option<Event>, Unclear> {
        let Frame { kind, flags, stream, .. } = frame;
        let ends_stream = flags & END_STREAM != 0;
        match kind {
            DATA if ends_stream => Ok(Some(Event::Ended { stream })),
            RST_STREAM => Ok(Some(Event::Reset { stream })),
            HEADERS | CONTINUATION => {
                if kind == HEADERS {
                    self.block = unpadded(&self.block, flags)?.to_vec();
                    self.block_ends_stream = ends_stream;
                }
                if flags & END_HEADERS == 0 {
                    return Ok(None);
                }
                let block = std::mem::take(&mut self.block);
                Ok(Some(Event::Headers { stream, block, ends_stream: self.block_ends_stream }))
            }
            _ => Ok(None),
        }
    }
}

impl Frame {
    fn parse(header: &[u8]) -> Self {
        let number = |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        Self {
            kind: header[3],
            flags: header[4],
            stream: number(&header[5..]) & 0x7fff_ffff,
            remaining: number(&header[..3]) as usize,
        }
    }

    fn has_headers(self) -> bool {
        matches!(self.kind, HEADERS | CONTINUATION)
    }
}

/// The headers of a frame without what may stand before and behind them.
fn unpadded(payload: &[u8], flags: u8) -> Result<&[u8], Unclear> {
    let (padding, payload) = match flags & PADDED {
        0 => (0, payload),
        _ => payload.split_first().map(|(padding, rest)| (usize::from(*padding), rest)).ok_or(Unclear)?,
    };
    let priority = if flags & PRIORITY == 0 { 0 } else { 5 };
    let end = payload.len().checked_sub(padding).ok_or(Unclear)?;
    payload.get(priority..end).ok_or(Unclear)
}

#[cfg(test)]
mod tests {
    use super::super::RequestObserver;
    use super::*;

    /// A `POST`, a `GET` and a `DELETE`.
    const POST: &[u8] = &[0x83, 0x87];
    const GET: &[u8] = &[0x82, 0x87];
    const DELETE: &[u8] = &[0x02, 0x06, b'D', b'E', b'L', b'E', b'T', b'E', 0x87];
    /// 200 and 500.
    const OK: &[u8] = &[0x88];
    const FAILED: &[u8] = &[0x8e];

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn request(stream: u32, block: &[u8]) -> Vec<u8> {
        frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
    }

    /// Returns true if a request may still run on a connection on which these frames were sent, and then those.
    fn may_still_run(to_cluster: &[Vec<u8>], from_cluster: &[Vec<u8>]) -> bool {
        let to_cluster = [PREFACE, &frame(4, 0, 0, &[0; 6]), &to_cluster.concat()].concat();
        let from_cluster = [frame(4, 0, 0, &[]), from_cluster.concat()].concat();
        let verdicts = [1, 5, 9, usize::MAX].map(|part_bytes| {
            let mut observer = RequestObserver::new(true);
            to_cluster.chunks(part_bytes).for_each(|part| observer.note_to_cluster(part));
            from_cluster.chunks(part_bytes).for_each(|part| observer.note_from_cluster(part));
            observer.may_still_run()
        });
        assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
        verdicts[0]
    }

    #[test]
    fn a_write_runs_until_the_api_server_ends_its_stream() {
        assert!(!may_still_run(&[], &[]));
        assert!(may_still_run(&[request(1, POST)], &[]));
        let headers = frame(HEADERS, END_HEADERS, 1, OK);
        assert!(may_still_run(&[request(1, POST)], &[headers.clone(), frame(DATA, 0, 1, b"{}")]));
        assert!(!may_still_run(&[request(1, POST)], &[headers.clone(), frame(DATA, END_STREAM, 1, b"{}")]));
        assert!(!may_still_run(&[request(1, POST)], &[frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)]));
        let both = [request(1, POST), request(3, POST)];
        assert!(may_still_run(&both, &[headers, frame(DATA, END_STREAM, 1, b"{}")]), "the other one runs");
    }

    #[test]
    fn open_watches_and_reads_change_nothing() {
        assert!(!may_still_run(&[request(1, GET)], &[]));
        assert!(!may_still_run(&[request(1, GET), frame(RST_STREAM, 0, 1, &[0; 4])], &[]));
        assert!(!may_still_run(&[request(1, GET)], &[frame(RST_STREAM, 0, 1, &[0; 4])]));
    }

    #[test]
    fn a_write_that_was_given_up_may_still_run() {
        let reset = || frame(RST_STREAM, 0, 1, &[0; 4]);
        assert!(may_still_run(&[request(1, POST), reset()], &[]));
        assert!(may_still_run(&[request(1, POST)], &[reset()]));
        assert!(may_still_run(&[request(1, POST)], &[frame(HEADERS, END_HEADERS | END_STREAM, 1, FAILED)]));
        let answered = frame(HEADERS, END_HEADERS | END_STREAM, 1, OK);
        assert!(!may_still_run(&[request(1, POST)], &[answered, reset()]), "it has ended before");
    }

    #[test]
    fn each_deletion_may_be_that_of_a_definition() {
        assert!(may_still_run(&[request(1, DELETE)], &[frame(HEADERS, END_HEADERS | END_STREAM, 1, OK)]));
    }

    #[test]
    fn headers_come_in_parts_and_padded() {
        let padded = [&[2][..], &[0; 5], POST, &[0, 0]].concat();
        let answered = || frame(HEADERS, END_HEADERS | END_STREAM, 1, OK);
        let whole = frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, &padded);
        assert!(may_still_run(std::slice::from_ref(&whole), &[]));
        assert!(!may_still_run(&[whole], &[answered()]));
        let (first, second) = DELETE.split_at(3);
        let parts = [frame(HEADERS, END_STREAM, 1, first), frame(CONTINUATION, END_HEADERS, 1, second)];
        assert!(!may_still_run(&parts[..1], &[]), "it is not there whole");
        assert!(may_still_run(&parts, &[answered()]));
        let trailers = [frame(HEADERS, END_HEADERS, 1, POST), request(1, &[0x00, 0x01, b'a', 0x01, b'b'])];
        assert!(may_still_run(&trailers, &[]));
        assert!(!may_still_run(&trailers, &[answered()]));
    }

    #[test]
    fn what_is_not_understood_counts() {
        let mut observer = RequestObserver::new(true);
        observer.note_to_cluster(b"GET / HTTP/1.1\r\n\r\n");
        assert!(observer.may_still_run(), "another protocol");
        let answered = || frame(HEADERS, END_HEADERS | END_STREAM, 1, OK);
        assert!(may_still_run(&[request(1, &[0xbe])], &[answered()]), "a field that was never added");
        assert!(may_still_run(&[request(1, &[0x87])], &[answered()]), "no method");
        let long = vec![0x87; BLOCK_BYTES_MAX + 1];
        assert!(may_still_run(&[request(1, &long)], &[answered()]));
    }
}
