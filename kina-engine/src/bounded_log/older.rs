//! The older part of a log.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{CHUNK_BYTES, EARLIER_DIRECTORY};

/// The place of the older part of the log at `path`.
pub(super) fn older_part(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.join(EARLIER_DIRECTORY).join(path.file_name()?))
}

/// Makes the directory of older parts, if it is not there.
pub(super) fn create_directory_of(older: &Path) -> io::Result<()> {
    match older.parent() {
        Some(directory) => DirBuilder::new().recursive(true).mode(0o700).create(directory),
        None => Ok(()),
    }
}

/// Moves all lines of the log at `path`, which is open for reading and writing as `log`, to the end of its older part,
/// of which the newest `bytes_max` bytes are kept. A component that has the file open goes on at its beginning, if it
/// appends. Lines that cannot be kept, if the disk is full, are lost.
pub(crate) fn move_to_older(log: &mut File, path: &Path, bytes_max: u64) -> io::Result<()> {
    let length = log.metadata()?.len();
    if length == 0 {
        return Ok(());
    }
    if let Err(error) = append_to_older(log, length, path, bytes_max) {
        tracing::warn!(%error, log = %path.display(), "a log's earlier lines were lost");
    }
    log.set_len(0)
}

fn append_to_older(log: &mut File, length: u64, path: &Path, bytes_max: u64) -> io::Result<()> {
    let Some(older) = older_part(path) else { return Ok(()) };
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(&older);
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_directory_of(&older)?;
            open()?
        }
        opened => opened?,
    };
    let added = length.min(bytes_max);
    if bytes_max < file.metadata()?.len().saturating_add(added) {
        // Half, so that not each lease from now on has to do this again.
        keep_newest(&older, (bytes_max / 2).min(bytes_max - added))?;
    }
    log.seek(SeekFrom::Start(start_of_newest(log, length, added)?))?;
    io::copy(&mut log.take(added), &mut file).map(drop)
}

/// Takes all but the last `bytes` away from the beginning of a file, and then the rest of a line that began before.
pub(super) fn keep_newest(path: &Path, bytes: u64) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let length = file.metadata()?.len();
    if length <= bytes {
        return Ok(());
    }
    let mut from = start_of_newest(&file, length, bytes)?;
    let mut to = 0;
    let mut buffer = vec![0; CHUNK_BYTES];
    // In place: a copy beside it would be beyond the bound.
    while from < length {
        let read = file.read_at(&mut buffer, from)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&buffer[..read], to)?;
        let read = u64::try_from(read).unwrap_or(u64::MAX);
        from += read;
        to += read;
    }
    file.set_len(to)
}

/// The first line that begins within the last `bytes`, or where those begin if no line soon does.
fn start_of_newest(file: &File, length: u64, bytes: u64) -> io::Result<u64> {
    let start = length.saturating_sub(bytes);
    if start == 0 {
        return Ok(0);
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    // From the byte before: a line may begin exactly there.
    let read = file.read_at(&mut buffer, start - 1)?;
    let line_end = buffer[..read].iter().position(|byte| *byte == b'\n');
    Ok(line_end.map_or(start, |index| start + u64::try_from(index).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(path: &Path, text: &str) -> File {
        use std::io::Write;
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
        file
    }

    #[test]
    fn the_newest_whole_lines_are_kept() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        for (bytes, kept) in [(99, "first\nsecond\nthird\n"), (13, "second\nthird\n"), (12, "third\n"), (0, "")] {
            std::fs::write(&path, "first\nsecond\nthird\n").expect("written");
            keep_newest(&path, bytes).expect("kept");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), kept, "{bytes}");
        }
        let long = "x".repeat(5 * CHUNK_BYTES);
        std::fs::write(&path, &long).expect("written");
        keep_newest(&path, 3 * CHUNK_BYTES as u64).expect("kept");
        assert_eq!(std::fs::read(&path).expect("read").len(), 3 * CHUNK_BYTES, "a line without an end is cut");
    }

    #[test]
    fn lines_move_in_their_order_and_the_older_part_stays_within_its_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        let older = older_part(&path).expect("it has a directory");
        let line = |number: usize| format!("line {number:05}\n");
        for number in 0..40 {
            let mut file = append(&path, &line(number));
            move_to_older(&mut file, &path, 110).expect("moved");
            assert_eq!(file.metadata().expect("known").len(), 0);
            let kept = std::fs::read_to_string(&older).expect("read");
            assert!(kept.len() <= 110 && (number < 5 || 55 <= kept.len()), "{number}: {kept}");
            let first = number + 1 - kept.lines().count();
            assert_eq!(kept, (first..=number).map(line).collect::<String>());
        }
        // More at once than there is room for.
        let mut file = append(&path, &(100..200).map(line).collect::<String>());
        move_to_older(&mut file, &path, 110).expect("moved");
        assert_eq!(std::fs::read_to_string(&older).expect("read"), (190..200).map(line).collect::<String>());
    }
}
