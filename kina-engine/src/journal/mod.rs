//! Which processes the engine has started, written down so that the next engine can end those that outlived it.
//!
//! On Linux none should: the kernel kills them with the engine. Elsewhere a watcher does, and can itself be killed. So
//! each engine keeps a journal, and at its start each engine looks at the journals of those that are gone.
//!
//! - `record`: what stands in a journal.
//! - `sweep`: taking up what dead engines left.

mod record;
mod sweep;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub(crate) use record::ProcessRecord;
#[cfg(feature = "cli")]
pub(crate) use sweep::count_left;
pub(crate) use sweep::{SweepReport, living_engines, sweep};

use crate::living_file::LivingFile;
use crate::process_identity;
use record::{FORMAT, Head, line};

/// What the names of journals end with.
const SUFFIX: &str = "journal";
/// A journal with more lines than this is written anew, without the processes that are gone.
const LINES_MAX: usize = 1000;

/// The journal of this engine, locked as long as it lives.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    pages: Mutex<Pages>,
}

#[derive(Debug)]
struct Pages {
    file: LivingFile,
    /// What is in the file and may still matter.
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
    /// Begins a journal in `directory`.
    pub(crate) fn start(directory: &Path) -> io::Result<Self> {
        let file = begin(directory, &[])?;
        let pages = Pages { file, entries: Vec::new(), lines: 0, lines_max: LINES_MAX };
        Ok(Self { directory: directory.to_owned(), pages: Mutex::new(pages) })
    }

    /// Writes down a process that was just started, leader of its own group. One that has ended already is not worth a
    /// line. If this fails the process must not be kept.
    pub(crate) fn started(
        &self,
        process_id: u32,
        component: &str,
        cluster: &str,
        state_directory: &Path,
    ) -> io::Result<()> {
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
        // One write, so that a line is torn only where the engine dies in the middle of it.
        pages.file.file().write_all(&line(&record)?)?;
        pages.lines += 1;
        pages.entries.push(Entry { record, has_ended: false });
        Ok(())
    }

    /// The process has ended. To be called before it is reaped: until then nobody else can have its number.
    pub(crate) fn ended(&self, process_id: u32) {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in pages.entries.iter_mut().filter(|entry| entry.record.process_id == process_id) {
            entry.has_ended = true;
        }
    }

    /// The processes that have not ended yet.
    pub(crate) fn living(&self) -> Vec<ProcessRecord> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.entries.iter().filter(|entry| !entry.has_ended).map(|entry| entry.record.clone()).collect()
    }

    /// Removes the journal, unless there is something left for the next engine to do.
    pub(crate) fn close(&self) -> io::Result<()> {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        match pages.entries.iter().all(|entry| entry.has_ended) {
            true => pages.file.remove(),
            false => Ok(()),
        }
    }

    /// Begins another file with what still matters, and only then removes this one.
    fn write_anew(&self, pages: &mut Pages) -> io::Result<()> {
        pages.entries.retain(|entry| !entry.has_ended || entry.record.state_directory.exists());
        let file = begin(&self.directory, &pages.entries)?;
        std::mem::replace(&mut pages.file, file).remove()?;
        pages.lines = pages.entries.len();
        pages.lines_max = LINES_MAX.max(2 * pages.lines);
        Ok(())
    }

    /// A journal to which nothing can be added.
    #[cfg(test)]
    pub(crate) fn full(directory: &Path) -> Self {
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
