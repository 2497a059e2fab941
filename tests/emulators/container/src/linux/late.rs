//! Mounts whose changes the host sees late, or never.
//!
//! The machine gets copies of the host's directories. Lines that it appends to files there are appended to the host's
//! files by the helper, after a while. The machine does not see what the host changes meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::runtime::roots::copy_tree;
use super::store::{MountPlan, Record};

/// The view that the host has of a machine's mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// The machine has the directories themselves.
    Direct,
    /// The host sees appends after this time.
    Late(Duration),
    /// The host sees nothing.
    Never,
}

/// Carries appends from the copies to the host's directories.
#[derive(Debug, Clone)]
pub(crate) struct Carrier(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// The copies, each with the host's directory.
    directories: Vec<(PathBuf, PathBuf)>,
    /// The lengths up to which files were carried.
    carried: BTreeMap<PathBuf, u64>,
}

impl View {
    /// Returns the form for the arguments of a process.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Late(time) => time.as_millis().to_string(),
            Self::Never => "never".to_owned(),
        }
    }

    /// Reads that form.
    pub(crate) fn of_text(text: &str) -> Self {
        match text {
            "never" => Self::Never,
            text => text.parse().map_or(Self::Direct, |ms| Self::Late(Duration::from_millis(ms))),
        }
    }
}

/// Returns the source of a mount in this view.
pub(crate) fn source(view: View, bundle: &Path, plan: &MountPlan, index: usize) -> Option<PathBuf> {
    match plan.source.as_ref().filter(|source| view != View::Direct && is_copied(plan, source)) {
        Some(_) => Some(copy_of(bundle, index)),
        None => plan.source.clone(),
    }
}

/// Makes the copies for a start.
pub(crate) fn copy(record: &Record, bundle: &Path) -> io::Result<Carrier> {
    let mut state = State { directories: Vec::new(), carried: BTreeMap::new() };
    for (index, plan) in record.machine.mounts.iter().enumerate() {
        let Some(source) = plan.source.as_ref().filter(|source| is_copied(plan, source)) else { continue };
        let copy = copy_of(bundle, index);
        match fs::remove_dir_all(&copy) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        copy_tree(source, &copy)?;
        state.directories.push((copy, source.clone()));
    }
    state.carried = state.lengths();
    Ok(Carrier(Arc::new(Mutex::new(state))))
}

impl Carrier {
    /// Carries what was appended, each time after this while, until the process ends.
    pub(crate) fn start(&self, lag: Duration) {
        let carrier = self.clone();
        std::thread::spawn(move || {
            loop {
                let lengths = carrier.state().lengths();
                std::thread::sleep(lag);
                carrier.state().carry(&lengths);
            }
        });
    }

    /// Carries everything, as when a machine is turned off.
    pub(crate) fn finish(&self) {
        let mut state = self.state();
        let lengths = state.lengths();
        state.carry(&lengths);
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The lengths of all files in the copies.
    fn lengths(&self) -> BTreeMap<PathBuf, u64> {
        let mut lengths = BTreeMap::new();
        let mut open: Vec<PathBuf> = self.directories.iter().map(|(copy, _)| copy.clone()).collect();
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let Ok(found) = entry.path().symlink_metadata() else { continue };
                if found.is_dir() {
                    open.push(entry.path());
                } else if found.is_file() {
                    lengths.insert(entry.path(), found.len());
                }
            }
        }
        lengths
    }

    /// Appends to the host's files up to these lengths. A file that the host has removed meanwhile is made again; one
    /// whose directory is gone is left out.
    fn carry(&mut self, lengths: &BTreeMap<PathBuf, u64>) {
        for (path, length) in lengths {
            let carried = self.carried.get(path).copied().unwrap_or(0);
            // A file that was cut begins anew.
            let from = if *length < carried { 0 } else { carried };
            if from == *length && self.carried.contains_key(path) {
                continue;
            }
            let host = self.directories.iter().find_map(|(copy, host)| Some(host.join(path.strip_prefix(copy).ok()?)));
            if host.is_some_and(|host| append(path, from, *length, &host).is_ok()) {
                self.carried.insert(path.clone(), *length);
            }
        }
    }
}

fn append(from: &Path, start: u64, end: u64, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    source.seek(SeekFrom::Start(start))?;
    let mut target = File::options().create(true).append(true).open(to)?;
    if start == 0 {
        target.set_permissions(source.metadata()?.permissions())?;
    }
    io::copy(&mut source.take(end - start), &mut target)?;
    Ok(())
}

fn is_copied(plan: &MountPlan, source: &Path) -> bool {
    !plan.read_only && plan.volume.is_none() && source.is_dir()
}

fn copy_of(bundle: &Path, index: usize) -> PathBuf {
    bundle.join(format!("mount-{index}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_survives_the_way_through_arguments() {
        for view in [View::Direct, View::Never, View::Late(Duration::from_millis(70))] {
            assert_eq!(View::of_text(&view.text()), view);
        }
    }

    #[test]
    fn appends_are_carried_once_and_what_the_host_has_cut_stays_cut() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let [copy, host] = ["copy", "host"].map(|name| directory.path().join(name));
        for directory in [&copy, &host] {
            fs::create_dir(directory).expect("made");
            fs::write(directory.join("log"), "before\n").expect("written");
        }
        let mut state = State { directories: vec![(copy.clone(), host.clone())], carried: BTreeMap::new() };
        state.carried = state.lengths();
        let read = |name: &str| fs::read_to_string(host.join(name)).unwrap_or_default();
        fs::write(copy.join("log"), "before\nfirst\n").expect("written");
        fs::write(copy.join("new"), "new\n").expect("written");
        let lengths = state.lengths();
        fs::write(copy.join("log"), "before\nfirst\nsecond\n").expect("written");
        state.carry(&lengths);
        assert_eq!((read("log").as_str(), read("new").as_str()), ("before\nfirst\n", "new\n"));
        fs::write(host.join("log"), "").expect("cut");
        for _ in 0..2 {
            let lengths = state.lengths();
            state.carry(&lengths);
            assert_eq!(read("log"), "second\n");
        }
    }
}
