//! Many keys without an allocation for each: a template may have fifty thousand.

/// Keys, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// Keys with their values, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedState {
    bytes: Vec<u8>,
    /// The lengths of each key and its value.
    lengths: Vec<(usize, usize)>,
}

impl PackedKeys {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len());
    }

    /// # Panics
    /// If `index` is out of bounds.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The index of `key`. The keys must be sorted.
    pub fn find(&self, key: &[u8]) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        // Bounded: each round halves the rest.
        while low < high {
            let middle = low + (high - low) / 2;
            match self.get(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }
}

impl PackedState {
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.lengths.push((key.len(), value.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// The lengths of each key and of its value.
    pub fn lengths(&self) -> &[(usize, usize)] {
        &self.lengths
    }

    /// Each key with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.lengths.iter().map(move |(key_length, value_length)| {
            let (key, after_key) = rest.split_at(*key_length);
            let (value, after_value) = after_key.split_at(*value_length);
            rest = after_value;
            (key, value)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_in_order_and_are_found() {
        let keys: Vec<_> = (0..1000).map(|number| format!("/registry/configmaps/default/{number:04}")).collect();
        let mut packed = PackedKeys::default();
        keys.iter().for_each(|key| packed.push(key.as_bytes()));
        assert!(packed.iter().eq(keys.iter().map(String::as_bytes)));
        for (index, key) in keys.iter().enumerate() {
            assert_eq!(packed.find(key.as_bytes()), Some(index));
        }
        for unknown in ["", "/registry/configmaps/default/0500x", "~"] {
            assert_eq!(packed.find(unknown.as_bytes()), None);
        }
        assert_eq!(PackedKeys::default().find(b"a"), None);
    }

    #[test]
    fn keys_and_values_come_back_in_order() {
        let mut state = PackedState::default();
        let entries: [(&[u8], &[u8]); 3] = [(b"a", b"1"), (b"b", b""), (b"cc", b"333")];
        entries.iter().for_each(|(key, value)| state.push(key, value));
        assert!(state.iter().eq(entries));
        assert_eq!(state.lengths(), [(1, 1), (1, 0), (2, 3)]);
        assert!(PackedState::default().is_empty() && !state.is_empty());
    }
}
