//! The parts of a packed block of headers that an observer needs: the method of a request, the status of an answer.
//!
//! HPACK (RFC 7541) names a field by its place in a table that both sides keep, or spells it out. A place is counted
//! from the field that was added last. So what the table holds can be known without knowing what has been dropped from
//! its other end, for which the length of everything would have to be decoded: a place that was dropped is never named
//! by a peer that keeps to the rules, and ends the connection of one that does not.

use std::collections::VecDeque;

use super::{Effect, Unclear, is_suspect_status};

/// Fields that are remembered. A table of the usual 4096 bytes has room for 128.
const FIELDS_MAX: usize = 2048;
/// Fields of the table that is the same everywhere.
const STATIC_FIELDS: usize = 61;
/// The first of the static fields whose name is `:method`, and the last; the same for `:status`.
const METHOD_GET: usize = 2;
const METHOD_POST: usize = 3;
const STATUS_FIRST: usize = 8;
const STATUS_LAST: usize = 14;
const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// One side's table, as far as it matters.
#[derive(Default)]
pub(super) struct FieldTable {
    /// The last one added comes first.
    added: VecDeque<Field>,
}

/// The content of a block of headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) effect: Option<Effect>,
    /// True if a request with this answer may still run.
    pub(super) is_suspect: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Method(Effect),
    Status { is_suspect: bool },
    Other,
}

#[derive(Clone, Copy)]
enum Name {
    Method,
    Status,
    Other,
}

impl FieldTable {
    /// Reads a whole block.
    pub(super) fn read(&mut self, mut block: &[u8]) -> Result<Told, Unclear> {
        let mut told = Told::default();
        while let Some(first) = block.first() {
            let field = match first {
                0x80.. => {
                    let index;
                    (index, block) = read_integer(block, 7)?;
                    self.field(index)?
                }
                // A new size of the table.
                0x20..0x40 => {
                    block = read_integer(block, 5)?.1;
                    continue;
                }
                0x40..0x80 => {
                    let field;
                    (field, block) = self.read_literal(block, 6)?;
                    self.added.push_front(field);
                    self.added.truncate(FIELDS_MAX);
                    field
                }
                _ => {
                    let field;
                    (field, block) = self.read_literal(block, 4)?;
                    field
                }
            };
            match field {
                Field::Method(effect) => told.effect = Some(effect),
                Field::Status { is_suspect } => told.is_suspect = Some(is_suspect),
                Field::Other => {}
            }
        }
        Ok(told)
    }

    fn read_literal<'block>(&self, block: &'block [u8], prefix: u32) -> Result<(Field, &'block [u8]), Unclear> {
        let (index, rest) = read_integer(block, prefix)?;
        let (name, rest) = match index {
            0 => {
                let (name, rest) = read_string(rest)?;
                // The names that matter are in the static table. Spelled out, they are not looked for.
                if name.begins_with_colon() {
                    return Err(Unclear);
                }
                (Name::Other, rest)
            }
            index => (self.field(index)?.name(), rest),
        };
        let (value, rest) = read_string(rest)?;
        let field = match name {
            Name::Method => Field::Method(value.as_method()),
            Name::Status => Field::Status { is_suspect: value.is_suspect_status() },
            Name::Other => Field::Other,
        };
        Ok((field, rest))
    }

    fn field(&self, index: usize) -> Result<Field, Unclear> {
        Ok(match index {
            0 => return Err(Unclear),
            METHOD_GET => Field::Method(Effect::Reads),
            METHOD_POST => Field::Method(Effect::Writes),
            STATUS_FIRST..=STATUS_LAST => {
                Field::Status { is_suspect: is_suspect_status(STATUSES[index - STATUS_FIRST]) }
            }
            1..=STATIC_FIELDS => Field::Other,
            _ => *self.added.get(index - STATIC_FIELDS - 1).ok_or(Unclear)?,
        })
    }
}

impl Field {
    fn name(self) -> Name {
        match self {
            Self::Method(_) => Name::Method,
            Self::Status { .. } => Name::Status,
            Self::Other => Name::Other,
        }
    }
}

/// Text as it was sent: plain, or in the code of RFC 7541, appendix B.
struct Text<'block> {
    bytes: &'block [u8],
    is_coded: bool,
}

impl Text<'_> {
    fn begins_with_colon(&self) -> bool {
        match (self.bytes.first(), self.is_coded) {
            (Some(first), true) => first & 0xfe == 0xb8,
            (first, _) => first == Some(&b':'),
        }
    }

    /// Paths are not decoded, so each deletion may be that of a CRD.
    fn as_method(&self) -> Effect {
        match (self.is_coded, self.bytes) {
            (false, b"GET" | b"HEAD") | (true, [0xc5, 0x83, 0x7f] | [0xc7, 0x82, 0x1b, 0xff]) => Effect::Reads,
            (false, b"POST" | b"PUT" | b"PATCH")
            | (true, [0xd7, 0xab, 0x76, 0xff] | [0xd7, 0xc3, 0x7f] | [0xd7, 0x0e, 0xfb, 0xd8, 0xff]) => Effect::Writes,
            _ => Effect::Deletes,
        }
    }

    fn is_suspect_status(&self) -> bool {
        match (self.is_coded, self.bytes) {
            (false, bytes) => {
                let status = std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok());
                status.is_none_or(is_suspect_status)
            }
            // 410.
            (true, [0x68, 0x20]) => true,
            // The digits 0, 1 and 2 have five bits, the others six. All below 5 are the smaller codes.
            (true, bytes) => bytes.first().is_none_or(|first| 0b0110_1100 <= *first),
        }
    }
}

/// A number whose first bits share a byte with something else.
fn read_integer(block: &[u8], prefix: u32) -> Result<(usize, &[u8]), Unclear> {
    let (first, mut rest) = block.split_first().ok_or(Unclear)?;
    let mask = (1_usize << prefix) - 1;
    let mut value = usize::from(*first) & mask;
    if value < mask {
        return Ok((value, rest));
    }
    // No number that is needed has more than 28 bits.
    for shift in [0, 7, 14, 21] {
        let byte;
        (byte, rest) = rest.split_first().ok_or(Unclear)?;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((value, rest));
        }
    }
    Err(Unclear)
}

fn read_string(block: &[u8]) -> Result<(Text<'_>, &[u8]), Unclear> {
    let is_coded = block.first().ok_or(Unclear)? & 0x80 != 0;
    let (length, rest) = read_integer(block, 7)?;
    let (bytes, rest) = rest.split_at_checked(length).ok_or(Unclear)?;
    Ok((Text { bytes, is_coded }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(effect: Effect) -> Result<Told, Unclear> {
        Ok(Told { effect: Some(effect), is_suspect: None })
    }

    fn answer(is_suspect: bool) -> Result<Told, Unclear> {
        Ok(Told { effect: None, is_suspect: Some(is_suspect) })
    }

    /// Blocks of one connection, as Go's encoder made them.
    #[test]
    fn methods_are_known_spelled_out_and_by_their_place() {
        let mut table = FieldTable::default();
        let get = [
            0x41, 0x8a, 0x08, 0x9d, 0x5c, 0x0b, 0x81, 0x70, 0xdc, 0x71, 0xa6, 0x99, 0x82, 0x45, 0x91, 0x60, 0x75, 0x99,
            0x8e, 0xe1, 0x62, 0xb3, 0xc8, 0x8f, 0xf3, 0xc0, 0xd2, 0x49, 0xe0, 0x4d, 0x96, 0x97, 0x87,
        ];
        assert_eq!(table.read(&get), effect(Effect::Reads));
        let delete = [
            0xbf, 0x43, 0x06, 0x44, 0x45, 0x4c, 0x45, 0x54, 0x45, 0x45, 0x8a, 0x60, 0x75, 0x99, 0x8e, 0xe1, 0x62, 0xb3,
            0xc8, 0x86, 0x07, 0x87,
        ];
        assert_eq!(table.read(&delete), effect(Effect::Deletes));
        let delete_again = [0xc1, 0xbf, 0x45, 0x8a, 0x60, 0x75, 0x99, 0x8e, 0xe1, 0x62, 0xb3, 0xc8, 0x86, 0x23, 0x87];
        assert_eq!(table.read(&delete_again), effect(Effect::Deletes));
        let patch = [0xc2, 0x43, 0x05, 0x50, 0x41, 0x54, 0x43, 0x48, 0xbf, 0x87];
        assert_eq!(table.read(&patch), effect(Effect::Writes));
        let post = [0xc3, 0x83, 0xbf, 0x87];
        assert_eq!(table.read(&post), effect(Effect::Writes));
    }

    #[test]
    fn statuses_are_known_spelled_out_and_by_their_place() {
        let mut table = FieldTable::default();
        let created = [
            0x4e, 0x82, 0x10, 0x03, 0x40, 0x86, 0x1d, 0xb2, 0x19, 0x2b, 0x1a, 0x4f, 0x02, 0x78, 0x31, 0x5f, 0x8b, 0x1d,
            0x75, 0xd0, 0x62, 0x0d, 0x26, 0x3d, 0x4c, 0x74, 0x41, 0xea,
        ];
        assert_eq!(table.read(&created), answer(false), "201");
        let timeout = [0x4e, 0x03, 0x35, 0x30, 0x34, 0x7f, 0x01, 0x02, 0x78, 0x32, 0xc0];
        assert_eq!(table.read(&timeout), answer(true), "504");
        assert_eq!(table.read(&[0xc2, 0x7e, 0x02, 0x78, 0x33, 0xc1]), answer(false), "201");
        assert_eq!(table.read(&[0xc0, 0x7e, 0x02, 0x78, 0x34, 0xc2]), answer(true), "504");
        assert_eq!(table.read(&[0x88, 0x7e, 0x02, 0x78, 0x35]), answer(false), "200");
        assert_eq!(table.read(&[0x4e, 0x82, 0x68, 0x20, 0x7f, 0x00, 0x02, 0x78, 0x36]), answer(true), "410");
    }

    #[test]
    fn coded_text_is_known_where_it_matters() {
        let methods: [(&[u8], Effect); 5] = [
            (&[0xc7, 0x82, 0x1b, 0xff], Effect::Reads),
            (&[0xd7, 0xc3, 0x7f], Effect::Writes),
            (&[0xd7, 0x0e, 0xfb, 0xd8, 0xff], Effect::Writes),
            (&[0xbf, 0x83, 0x3e, 0x0d, 0xf8, 0x3f], Effect::Deletes),
            (&[0xd5, 0xaf, 0x7e, 0x4d, 0x5a, 0x77, 0x7f], Effect::Deletes),
        ];
        for (bytes, effect) in methods {
            assert_eq!(Text { bytes, is_coded: true }.as_method(), effect, "{bytes:x?}");
        }
        let statuses: [(&[u8], bool); 8] = [
            (&[0x10, 0x01], false),
            (&[0x10, 0x05], false),
            (&[0x68, 0x0d, 0x7f], false),
            (&[0x68, 0x0f, 0xff], false),
            (&[0x68, 0x42], false),
            (&[0x6c, 0x00], true),
            (&[0x6c, 0x0c, 0xff], true),
            (&[], true),
        ];
        for (bytes, is_suspect) in statuses {
            assert_eq!(Text { bytes, is_coded: true }.is_suspect_status(), is_suspect, "{bytes:x?}");
        }
    }

    #[test]
    fn blocks_that_break_the_rules_are_not_understood() {
        for block in [
            &[0x80][..],
            // A place that is empty.
            &[0xbe],
            // A text without its end.
            &[0x43, 0x06, 0x44],
            // A name that has a place of its own.
            &[0x00, 0x07, b':', b'm', b'e', b't', b'h', b'o', b'd', 0x03, b'G', b'E', b'T'],
            &[0x00, 0x85, 0xb9, 0x49, 0x53, 0x39, 0xe4, 0x03, b'G', b'E', b'T'],
            // A number without an end.
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(FieldTable::default().read(block), Err(Unclear), "{block:x?}");
        }
    }
}
