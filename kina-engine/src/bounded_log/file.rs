//! A log that this process writes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::CHUNK_BYTES;
use super::older::{create_directory_of, keep_newest, move_to_older, older_part};

/// A file that becomes the older part of its log when it is full.
#[derive(Debug)]
pub(crate) struct BoundedFile {
    path: PathBuf,
    file: File,
    part_bytes_max: u64,
}

impl BoundedFile {
    /// Opens the log at `path`, or begins it. Neither of its parts is ever longer than `part_bytes_max`.
    pub(crate) fn open(path: &Path, part_bytes_max: u64) -> io::Result<Self> {
        let file = open_at_end(path)?;
        // Another version may have had another bound.
        for part in std::iter::once(path.to_owned()).chain(older_part(path)) {
            if std::fs::metadata(&part).is_ok_and(|metadata| part_bytes_max < metadata.len()) {
                keep_newest(&part, part_bytes_max / 2)?;
            }
        }
        Ok(Self { path: path.to_owned(), file, part_bytes_max })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves all that is in the file to the older part.
    pub(crate) fn move_to_older(&mut self) -> io::Result<()> {
        move_to_older(&mut self.file, &self.path, self.part_bytes_max)
    }

    /// The most that is written at once, and the room that is left at the end for the last line.
    fn chunk_bytes(&self) -> usize {
        usize::try_from(self.part_bytes_max / 8).unwrap_or(usize::MAX).clamp(1, CHUNK_BYTES)
    }

    fn write_chunk(&mut self, chunk: &[u8]) -> io::Result<()> {
        // Asked each time, because others can empty the file. It takes less than a microsecond.
        let length = self.file.metadata()?.len();
        let room = usize::try_from(self.part_bytes_max.saturating_sub(length)).unwrap_or(usize::MAX);
        if chunk.len() + self.chunk_bytes() <= room {
            return self.file.write_all(chunk);
        }
        // Between two lines, if there is such a place.
        let line_end = chunk.iter().take(room).rposition(|byte| *byte == b'\n');
        let (last, rest) = match line_end {
            Some(index) => chunk.split_at(index + 1),
            None if chunk.len() <= room => return self.file.write_all(chunk),
            None => chunk.split_at(0),
        };
        self.file.write_all(last)?;
        match self.replace() {
            Ok(file) => self.file = file,
            // Nothing is said of it, because this may be the log where it would be said. Full it is all the same.
            Err(_) => self.file.set_len(0)?,
        }
        self.file.write_all(rest)
    }

    /// Makes the file the older part, in the place of the one before, and begins another.
    fn replace(&self) -> io::Result<File> {
        if let Some(older) = older_part(&self.path) {
            create_directory_of(&older)?;
            match std::fs::rename(&self.path, &older) {
                // It was removed, and goes with its descriptor.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                renamed => renamed?,
            }
        }
        open_at_end(&self.path)
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(self.chunk_bytes());
        self.write_chunk(&bytes[..length])?;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn open_at_end(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART_BYTES_MAX: u64 = 4000;

    fn parts(path: &Path) -> (Vec<u8>, Vec<u8>) {
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        (read(&older_part(path).expect("it has a directory")), read(path))
    }

    #[test]
    fn the_newest_lines_are_kept_whole_and_each_part_has_its_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("engine.log");
        let mut log = BoundedFile::open(&path, PART_BYTES_MAX).expect("opened");
        let line = |number: usize| format!("line {number:06}\n");
        for number in 0..5000 {
            log.write_all(line(number).as_bytes()).expect("written");
            let (older, newer) = parts(&path);
            assert!(older.len().max(newer.len()) as u64 <= PART_BYTES_MAX, "{} {}", older.len(), newer.len());
            if number % 100 == 99 {
                let kept = [older, newer].concat();
                let first = number + 1 - kept.len() / line(0).len();
                assert_eq!(String::from_utf8(kept).expect("text"), (first..=number).map(line).collect::<String>());
                assert!(number < 500 || PART_BYTES_MAX * 3 / 4 < (number + 1 - first) as u64 * 12);
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_bounded_too() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("engine.log");
        let mut log = BoundedFile::open(&path, PART_BYTES_MAX).expect("opened");
        log.write_all(&[b'x'; 30_000]).expect("written");
        log.write_all(b"\nlast\n").expect("written");
        let (older, newer) = parts(&path);
        assert!(older.len().max(newer.len()) as u64 <= PART_BYTES_MAX, "{} {}", older.len(), newer.len());
        assert!([older, newer].concat().ends_with(b"xxx\nlast\n"));
    }

    #[test]
    fn a_log_that_was_longer_is_cut_when_it_is_opened_and_one_that_is_gone_is_begun_again() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("engine.log");
        std::fs::write(&path, "old line\n".repeat(5000)).expect("written");
        let mut log = BoundedFile::open(&path, PART_BYTES_MAX).expect("opened");
        assert!(std::fs::metadata(&path).expect("known").len() <= PART_BYTES_MAX / 2);
        log.write_all(b"new\n").expect("written");
        assert!(parts(&path).1.ends_with(b"old line\nnew\n"));
        std::fs::remove_file(&path).expect("removed");
        log.write_all(&[b'y'; 5000]).expect("written");
        let (older, newer) = parts(&path);
        assert!(older.is_empty() && newer.starts_with(b"yyy"), "{} {}", older.len(), newer.len());
    }
}
