//! A journal of the processes that an engine has started, so that the next engine can end those that outlived it.
//!
//! On Linux none should: the kernel kills them with the engine. Elsewhere a watcher does that, and can itself be
//! killed. So each engine keeps a journal, and at its start each engine examines the journals of dead ones.
//!
//! - `record`: the content of a journal.
//! - `sweep`: cleaning up after dead engines.

mod record;
mod sweep;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use record::ProcessRecord;
pub use sweep::count_left;
pub(crate) use sweep::{SweepReport, living_engines, sweep};

use crate::living_file::LivingFile;
use crate::process_identity;
use record::{FORMAT, Head, line};

/// The extension of journals' names.
const SUFFIX: &str = "journal";
/// A journal with more lines than this is rewritten without the processes that are gone.
const LINES_MAX: usize = 1000;

/// The journal of this engine, locked as long as the engine lives.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    file: LivingFile,
    /// The entries of the file that may still matter.
    entries: Vec<Entry>,
    lines: usize,
    lines_max: usize,
}

#[derive(Debug)]
struct Entry {
    record: ProcessRecord,
    has_ended: bool,
}

impl Journal {
    /// Starts a journal in `directory`.
    pub fn start(directory: &Path) -> io::Result<Self> {
        let file = begin(directory, &[])?;
        let pages = Pages { file, entries: Vec::new(), lines: 0, lines_max: LINES_MAX };
        Ok(Self { directory: directory.to_owned(), pages: Mutex::new(pages) })
    }

    /// Records a process that was just started, the leader of its own group, unless it has ended already. If this
    /// fails, the process must not be kept.
    pub fn started(&self, process_id: u32, component: &str, cluster: &str, state_directory: &Path) -> io::Result<()> {
        let Some(start) = process_identity::start_of(process_id) else { return Ok(()) };
        let record = ProcessRecord {
            process_id,
            start,
            process_group: process_id,
            component: component.to_owned(),
            cluster: cluster.to_owned(),
            state_directory: state_directory.to_owned(),
        };
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        if pages.lines_max <= pages.lines {
            self.write_anew(&mut pages)?;
        }
        // One write, so that a line is torn only if the engine dies in the middle of it.
        pages.file.file().write_all(&line(&record)?)?;
        pages.lines += 1;
        pages.entries.push(Entry { record, has_ended: false });
        Ok(())
    }

    /// Records that a process has ended. Must be called before it is reaped: until then no other process can have its
    /// id.
    pub fn ended(&self, process_id: u32) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in pages.entries.iter_mut().filter(|entry| entry.record.process_id == process_id) {
            entry.has_ended = true;
        }
    }

    /// The processes that have not ended yet.
    pub fn living(&self) -> Vec<ProcessRecord> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.entries.iter().filter(|entry| !entry.has_ended).map(|entry| entry.record.clone()).collect()
    }

    /// Removes the journal, unless the next engine still has to end a process.
    pub fn close(&self) -> io::Result<()> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        match pages.entries.iter().all(|entry| entry.has_ended) {
            true => pages.file.remove(),
            false => Ok(()),
        }
    }

    /// Starts another file with the entries that still matter, and only then removes this one.
    fn write_anew(&self, pages: &mut Pages) -> io::Result<()> {
        pages.entries.retain(|entry| !entry.has_ended || entry.record.state_directory.exists());
        let file = begin(&self.directory, &pages.entries)?;
        std::mem::replace(&mut pages.file, file).remove()?;
        pages.lines = pages.entries.len();
        pages.lines_max = LINES_MAX.max(2 * pages.lines);
        Ok(())
    }

    /// A journal to which no line can be added.
    #[cfg(test)]
    pub fn full(directory: &Path) -> Self {
        let file = begin(directory, &[]).expect("begun").without_room();
        let pages = Pages { file, entries: Vec::new(), lines: 0, lines_max: LINES_MAX };
        Self { directory: directory.to_owned(), pages: Mutex::new(pages) }
    }

    #[cfg(test)]
    fn path(&self) -> PathBuf {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).file.path().to_owned()
    }
}

fn begin(directory: &Path, entries: &[Entry]) -> io::Result<LivingFile> {
    let mut beginning = line(&Head { kina_journal: FORMAT, numbering: process_identity::numbering() })?;
    for entry in entries {
        beginning.extend(line(&entry.record)?);
    }
    LivingFile::create(directory, SUFFIX, &beginning)
}
