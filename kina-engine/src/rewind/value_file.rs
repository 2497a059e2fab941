use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sha256::Sha256;

/// The values of a baseline, in a file that has no name: it goes with the process that holds it, however that ends.
#[derive(Debug)]
pub(super) struct ValueFile {
    file: File,
}

/// Writes a [`ValueFile`].
pub(super) struct ValueWriter {
    file: BufWriter<File>,
    length: u64,
}

/// The place of a value, and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ValuePlace {
    /// The first half of its SHA-256. A damaged disk does not look for collisions.
    hash: [u8; 16],
    offset: u64,
    length: u32,
}

impl ValuePlace {
    /// The length of the value, in bytes.
    pub(super) fn value_bytes(&self) -> usize {
        self.length as usize
    }
}

impl ValueWriter {
    /// Begins a file in `directory`.
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { file: BufWriter::new(tempfile::tempfile_in(directory)?), length: 0 })
    }

    pub(super) fn append(&mut self, value: &[u8]) -> io::Result<ValuePlace> {
        let length = u32::try_from(value.len()).map_err(io::Error::other)?;
        self.file.write_all(value)?;
        let place = ValuePlace { hash: hash(value), offset: self.length, length };
        self.length += u64::from(length);
        Ok(place)
    }

    pub(super) fn finish(self) -> io::Result<ValueFile> {
        Ok(ValueFile { file: self.file.into_inner()? })
    }
}

impl ValueFile {
    /// Reads a value back.
    ///
    /// # Errors
    /// If it cannot be read, or is not as it was written.
    pub(super) fn read(&self, place: ValuePlace) -> io::Result<Vec<u8>> {
        let mut value = vec![0; usize::try_from(place.length).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut value, place.offset)?;
        match hash(&value) == place.hash {
            true => Ok(value),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "a stored value is not what was written")),
        }
    }
}

fn hash(value: &[u8]) -> [u8; 16] {
    let mut first_half = [0; 16];
    first_half.copy_from_slice(&Sha256::digest(value)[..16]);
    first_half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_as_they_were() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut writer = ValueWriter::create(&directory.path().join("new")).expect("made");
        let values: [&[u8]; 4] = [b"one", b"", &[7; 100_000], b"four"];
        let places = values.map(|value| writer.append(value).expect("written"));
        let file = writer.finish().expect("finished");
        for (value, place) in values.iter().zip(places).rev() {
            assert_eq!(file.read(place).expect("read"), *value);
        }
        assert_eq!(std::fs::read_dir(directory.path().join("new")).expect("listed").count(), 0);
    }

    #[test]
    fn a_damaged_value_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut writer = ValueWriter::create(directory.path()).expect("made");
        let [first, second] = ["first", "second"].map(|value| writer.append(value.as_bytes()).expect("written"));
        let file = writer.finish().expect("finished");
        file.file.write_all_at(b"F", 0).expect("damaged");
        assert_eq!(file.read(first).expect_err("damaged").kind(), io::ErrorKind::InvalidData);
        assert_eq!(file.read(second).expect("read"), b"second");
        file.file.set_len(8).expect("cut");
        assert_eq!(file.read(second).expect_err("cut off").kind(), io::ErrorKind::UnexpectedEof);
    }
}
