//! A file that may grow, be started anew, be replaced by another of its name, or be removed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A longer line is printed as several.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// The block size of the backward search for the last lines.
const BLOCK_BYTES: u64 = 64 << 10;

/// The file, and the length that has been read.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// Kept open: what was written to it before another took its name is still to be read.
    file: Option<File>,
    offset: u64,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, offset: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Skips all but the last lines.
    pub(super) fn skip_to_last(&mut self, lines: Option<usize>) -> anyhow::Result<()> {
        let Some(lines) = lines else { return Ok(()) };
        let found = File::open(&self.path).and_then(|mut file| {
            let start = start_of_last(&mut file, lines)?;
            self.file = Some(file);
            Ok(start)
        });
        self.offset = found.with_context(|| format!("reading {} failed", self.path.display()))?;
        Ok(())
    }

    /// Reads whole lines from the last position; an unfinished last line only if `takes_unfinished`.
    pub(super) fn read_lines(
        &mut self,
        takes_unfinished: bool,
        print: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let path = self.path.clone();
        let failed = || format!("reading {} failed", path.display());
        let named = match File::open(&self.path) {
            // Logs of old clusters are removed after a while.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.with_context(failed)?),
        };
        if let Some(mut before) = self.file.take() {
            let is_named = match &named {
                Some(named) => {
                    before.metadata().with_context(failed)?.ino() == named.metadata().with_context(failed)?.ino()
                }
                None => false,
            };
            // One that has lost its name gets no more lines.
            self.read_from(&mut before, takes_unfinished || !is_named, print).with_context(failed)?;
            if is_named {
                self.file = Some(before);
                return Ok(());
            }
            self.offset = 0;
        }
        let Some(mut named) = named else { return Ok(()) };
        self.read_from(&mut named, takes_unfinished, print).with_context(failed)?;
        self.file = Some(named);
        Ok(())
    }

    fn read_from(
        &mut self,
        file: &mut File,
        takes_unfinished: bool,
        print: &mut dyn FnMut(&[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let length = file.metadata()?.len();
        if length < self.offset {
            // It was started anew.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut reader = BufReader::new(file.take(length.saturating_sub(self.offset)));
        loop {
            let mut line = Vec::new();
            let read = (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
            let length = u64::try_from(read).unwrap_or(u64::MAX);
            let is_finished = line.ends_with(b"\n");
            if length == 0 || !(is_finished || takes_unfinished || length == LINE_BYTES_MAX) {
                return Ok(());
            }
            self.offset += length;
            print(line.strip_suffix(b"\n").unwrap_or(&line))?;
        }
    }
}

/// The start of the last lines.
fn start_of_last(file: &mut File, lines: usize) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut found = 0;
    while 0 < end {
        let start = end.saturating_sub(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let at = start + u64::try_from(index).unwrap_or_default();
            // The end of the last line does not start another line.
            if *byte == b'\n' && at + 1 != length {
                found += 1;
            }
            if found == lines {
                return Ok(if lines == 0 { length } else { at + 1 });
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(tail: &mut Tail, takes_unfinished: bool) -> Vec<String> {
        let mut lines = Vec::new();
        let mut take = |line: &[u8]| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            anyhow::Ok(())
        };
        tail.read_lines(takes_unfinished, &mut take).expect("read");
        lines
    }

    #[test]
    fn growth_is_read_in_whole_lines_and_a_restarted_file_from_its_start() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.log");
        let mut tail = Tail::new(path.clone());
        assert!(read(&mut tail, false).is_empty(), "there is no complete line yet");
        let mut file = File::create(&path).expect("made");
        write!(file, "one\ntwo\nthr").expect("written");
        assert_eq!(read(&mut tail, false), ["one", "two"]);
        writeln!(file, "ee").expect("written");
        assert_eq!(read(&mut tail, false), ["three"]);
        assert!(read(&mut tail, false).is_empty());
        std::fs::write(&path, "new\nlast").expect("written");
        assert_eq!(read(&mut tail, true), ["new", "last"]);
        std::fs::remove_file(&path).expect("removed");
        assert!(read(&mut tail, true).is_empty());
    }

    #[test]
    fn lines_that_were_written_before_another_file_took_the_name_are_read_too() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.log");
        let mut tail = Tail::new(path.clone());
        let mut file = File::create(&path).expect("made");
        writeln!(file, "one").expect("written");
        assert_eq!(read(&mut tail, false), ["one"]);
        write!(file, "two\nhalf a line").expect("written");
        std::fs::rename(&path, directory.path().join("older.log")).expect("renamed");
        std::fs::write(&path, "three\n").expect("written");
        assert_eq!(read(&mut tail, false), ["two", "half a line", "three"]);
        assert!(read(&mut tail, false).is_empty());
    }

    #[test]
    fn the_last_lines_are_found_in_a_file_of_any_length() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("a.log");
        let text: String = (0..30_000).map(|number| format!("line {number}\n")).collect();
        for text in [text.as_str(), text.trim_end()] {
            std::fs::write(&path, text).expect("written");
            for (wanted, first) in [(1, "line 29999"), (3, "line 29997"), (20_000, "line 10000"), (40_000, "line 0")] {
                let mut tail = Tail::new(path.clone());
                tail.skip_to_last(Some(wanted)).expect("read");
                let lines = read(&mut tail, true);
                assert_eq!((lines.len(), lines[0].as_str()), (wanted.min(30_000), first));
            }
            let mut tail = Tail::new(path.clone());
            tail.skip_to_last(Some(0)).expect("read");
            assert!(read(&mut tail, true).is_empty());
        }
    }
}
