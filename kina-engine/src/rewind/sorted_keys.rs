//! Many sorted keys in little memory: a template may have fifty thousand, and most of each is the same as in the one
//! before.

use std::io;

/// The keys to read to find one; the first of them is there in full.
const BLOCK_KEYS: usize = 16;

/// Sorted keys, each without the beginning that it shares with the one before (front coding).
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedKeys {
    /// For each key: the number of bytes that it shares, the number of further ones, and those.
    bytes: Vec<u8>,
    /// The place of every sixteenth key.
    block_starts: Vec<usize>,
    count: usize,
    last: Vec<u8>,
}

/// The key is not behind the one before.
#[derive(Debug, thiserror::Error)]
#[error("keys are not sorted")]
pub(crate) struct NotSorted;

impl From<NotSorted> for io::Error {
    fn from(error: NotSorted) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

struct Keys<'a> {
    rest: &'a [u8],
    key: Vec<u8>,
}

impl SortedKeys {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Takes the next key.
    ///
    /// # Errors
    /// If it is not behind the one before.
    pub(crate) fn push(&mut self, key: &[u8]) -> Result<(), NotSorted> {
        if 0 < self.count && key <= self.last.as_slice() {
            return Err(NotSorted);
        }
        let shared = if self.count.is_multiple_of(BLOCK_KEYS) {
            self.block_starts.push(self.bytes.len());
            0
        } else {
            self.last.iter().zip(key).take_while(|(before, now)| before == now).count()
        };
        push_number(&mut self.bytes, shared);
        push_number(&mut self.bytes, key.len() - shared);
        self.bytes.extend_from_slice(&key[shared..]);
        self.last.truncate(shared);
        self.last.extend_from_slice(&key[shared..]);
        self.count += 1;
        Ok(())
    }

    /// Gives back the memory set aside for more.
    pub(crate) fn shrink_to_fit(&mut self) {
        self.bytes.shrink_to_fit();
        self.block_starts.shrink_to_fit();
    }

    /// All keys, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Vec<u8>> {
        let mut keys = Keys { rest: &self.bytes, key: Vec::new() };
        std::iter::from_fn(move || keys.next().map(<[u8]>::to_vec))
    }

    /// The place of `key`.
    pub(crate) fn find(&self, key: &[u8]) -> Option<usize> {
        let first_of = |start: &usize| {
            let mut rest = &self.bytes[*start..];
            let (_, length) = (take_number(&mut rest), take_number(&mut rest));
            &rest[..length]
        };
        let block = self.block_starts.partition_point(|start| first_of(start) <= key).checked_sub(1)?;
        let mut keys = Keys { rest: &self.bytes[self.block_starts[block]..], key: Vec::new() };
        for index in 0..BLOCK_KEYS {
            match keys.next()?.cmp(key) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Some(block * BLOCK_KEYS + index),
                std::cmp::Ordering::Greater => return None,
            }
        }
        None
    }
}

impl Keys<'_> {
    fn next(&mut self) -> Option<&[u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (shared, length) = (take_number(&mut self.rest), take_number(&mut self.rest));
        let (own, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.key.truncate(shared);
        self.key.extend_from_slice(own);
        Some(&self.key)
    }
}

/// Seven bits in each byte, the lowest first; the highest bit is set if more follow.
fn push_number(bytes: &mut Vec<u8>, mut number: usize) {
    while 0x7f < number {
        bytes.push(0x80 | (number & 0x7f) as u8);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> usize {
    let mut number = 0;
    for shift in (0..usize::BITS).step_by(7) {
        let Some((first, rest)) = bytes.split_first() else { break };
        *bytes = rest;
        number |= usize::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_keys_share_takes_no_memory() {
        let mut keys = SortedKeys::default();
        for number in 0..50_000 {
            let key = format!("/registry/configmaps/default/one-of-the-keys-of-a-large-template-{number:06}");
            keys.push(key.as_bytes()).expect("sorted");
        }
        let bytes = keys.bytes.len() + keys.block_starts.len() * size_of::<usize>();
        assert!(bytes < 50_000 * 10, "{bytes}");
    }

    #[test]
    fn a_key_out_of_order_is_refused_and_changes_nothing() {
        let mut keys = SortedKeys::default();
        keys.push(b"b").expect("sorted");
        for key in [&b"a"[..], b"b", b""] {
            keys.push(key).expect_err("out of order");
        }
        assert!(keys.iter().eq([b"b".to_vec()]));
    }

    proptest! {
        #[test]
        fn keys_come_back_in_order_and_are_found(
            keys in proptest::collection::btree_set(proptest::collection::vec(0_u8..3, 0..300), 0..100),
            unknown in proptest::collection::vec(0_u8..3, 0..10),
        ) {
            let mut sorted = SortedKeys::default();
            for key in &keys {
                sorted.push(key).expect("sorted");
            }
            sorted.shrink_to_fit();
            prop_assert_eq!(sorted.len(), keys.len());
            prop_assert!(sorted.iter().eq(keys.iter().cloned()));
            for (index, key) in keys.iter().enumerate() {
                prop_assert_eq!(sorted.find(key), Some(index));
            }
            prop_assert_eq!(sorted.find(&unknown), keys.iter().position(|key| *key == unknown));
        }
    }
}
