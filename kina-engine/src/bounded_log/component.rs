//! A log that a child writes, through a pipe that this process drains.
//!
//! A child that had the file itself could fill the disk between two looks at it.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::{BoundedFile, COMPONENT_PART_BYTES_MAX};

/// The most that a pipe holds, unless it is told to hold more: what was written before it is drained is not longer.
const PIPE_BYTES: usize = 64 << 10;
/// The pause after an error of the system, until the pipe is drained again.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// The log of one process.
#[derive(Debug)]
pub(crate) struct ComponentLog {
    path: PathBuf,
    drain: Mutex<Drain>,
    /// The same pipe, to be waited for without a lock.
    readable: PipeReader,
}

#[derive(Debug)]
struct Drain {
    pipe: PipeReader,
    file: BoundedFile,
    buffer: Box<[u8]>,
    /// Said once, until lines can be written again.
    is_failing: bool,
}

/// The state of the pipe after it was drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drained {
    /// Its writers can still write.
    Open,
    /// It has no writers any more.
    Ended,
}

impl ComponentLog {
    /// Opens the log at `path`, or begins it, and returns the place where a component is to write. A thread drains it for
    /// as long as that is open anywhere.
    pub(crate) fn start(component: &str, path: &Path) -> io::Result<(Arc<Self>, PipeWriter)> {
        Self::start_with(component, path, COMPONENT_PART_BYTES_MAX)
    }

    fn start_with(component: &str, path: &Path, part_bytes_max: u64) -> io::Result<(Arc<Self>, PipeWriter)> {
        let file = BoundedFile::open(path, part_bytes_max)?;
        let (pipe, writer) = io::pipe()?;
        // The writers' end stays one that waits: it is another open file.
        rustix::io::ioctl_fionbio(&pipe, true)?;
        let readable = pipe.try_clone()?;
        let buffer = vec![0; PIPE_BYTES / 4].into_boxed_slice();
        let drain = Mutex::new(Drain { pipe, file, buffer, is_failing: false });
        let log = Arc::new(Self { path: path.to_owned(), drain, readable });
        let drained = Arc::clone(&log);
        let thread = std::thread::Builder::new().name(format!("kina-log-{component}")).stack_size(128 << 10);
        thread.spawn(move || drained.run())?;
        Ok((log, writer))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings into the file what was written before this is called.
    pub(crate) fn catch_up(&self) {
        self.lock().read_all();
    }

    /// Moves all that was written before this is called to the older part.
    pub(crate) fn move_to_older(&self) -> io::Result<()> {
        let mut drain = self.lock();
        drain.read_all();
        drain.file.move_to_older()
    }

    fn run(&self) {
        // It ends with the last writer.
        loop {
            match poll(&mut [PollFd::new(&self.readable, PollFlags::IN)], None) {
                Ok(_) if self.lock().read_all() == Drained::Ended => return,
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => std::thread::sleep(ERROR_PAUSE),
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Drain> {
        self.drain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drain {
    /// Reads what a full pipe holds, or all there is if that is less.
    fn read_all(&mut self) -> Drained {
        let mut bytes = 0;
        while bytes < PIPE_BYTES {
            match self.pipe.read(&mut self.buffer) {
                Ok(0) => return Drained::Ended,
                Ok(read) => {
                    bytes += read;
                    self.write(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Empty. No other error is known of a pipe, and what is there is read after the next wait.
                Err(_) => return Drained::Open,
            }
        }
        Drained::Open
    }

    /// Lines that cannot be written, if the disk is full, are lost. The component must not wait for them.
    fn write(&mut self, bytes: usize) {
        match self.file.write_all(&self.buffer[..bytes]) {
            Ok(()) => self.is_failing = false,
            Err(error) => {
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::warn!(%error, log = %self.file.path().display(), "a component's lines are lost");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::older::older_part;
    use super::*;

    /// Two parts of a tenth of what is written below.
    const PART_BYTES_MAX: u64 = 1 << 20;

    fn length_of(path: &Path) -> u64 {
        let older = older_part(path).expect("it has a directory");
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        assert!(length(path) <= PART_BYTES_MAX && length(&older) <= PART_BYTES_MAX);
        length(path) + length(&older)
    }

    #[test]
    fn a_log_is_bounded_while_it_grows_also_by_a_line_without_an_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        let (log, mut writer) = ComponentLog::start_with("etcd", &path, PART_BYTES_MAX).expect("started");
        let line = format!("{}\n", "y".repeat(99));
        for _ in 0..50_000 {
            writer.write_all(line.as_bytes()).expect("written");
        }
        length_of(&path);
        let block = vec![b'x'; 1 << 16];
        for _ in 0..80 {
            writer.write_all(&block).expect("written");
            length_of(&path);
        }
        writer.write_all(b"\nthe last line\n").expect("written");
        log.catch_up();
        assert!(PART_BYTES_MAX < length_of(&path));
        let older = std::fs::read(older_part(&path).expect("it has a directory")).expect("read");
        let newer = std::fs::read(&path).expect("read");
        assert!([older, newer].concat().ends_with(b"xxx\nthe last line\n"));
    }

    #[test]
    fn what_was_written_before_is_in_the_older_part_and_what_is_written_after_is_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        let (log, mut writer) = ComponentLog::start("etcd", &path).expect("started");
        for number in 0..500 {
            writeln!(writer, "before {number}").expect("written");
            log.move_to_older().expect("moved");
            assert_eq!(std::fs::read_to_string(&path).expect("read"), "");
            writeln!(writer, "after {number}").expect("written");
            log.catch_up();
            assert_eq!(std::fs::read_to_string(&path).expect("read"), format!("after {number}\n"));
        }
        let older = std::fs::read_to_string(directory.path().join("earlier/etcd.log")).expect("read");
        let expected: String = (0..500).map(|number| format!("before {number}\nafter {number}\n")).collect();
        assert_eq!(format!("{older}after 499\n"), expected);
    }

    #[test]
    fn a_log_that_cannot_be_written_holds_no_writer_up() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("logs/etcd.log");
        std::fs::create_dir(path.parent().expect("a directory")).expect("made");
        let (log, mut writer) = ComponentLog::start_with("etcd", &path, PART_BYTES_MAX).expect("started");
        std::fs::remove_dir_all(path.parent().expect("a directory")).expect("removed");
        std::fs::write(directory.path().join("logs"), "no directory").expect("written");
        for _ in 0..100 {
            writer.write_all(&[b'x'; 1 << 16]).expect("written");
        }
        log.catch_up();
    }
}
