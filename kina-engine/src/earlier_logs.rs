//! Log lines of a cluster's components from before the lease that has it now, kept apart.
//!
//! Components write into the same files for as long as they run. A test that looks at them should find what its own
//! cluster did, and not what an earlier test did to it. So at each hand-out what is there goes into a directory beside
//! them, where it is for those who look for the reasons of an earlier failure, within the bounds of `bounded_log`.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::bounded_log::{COMPONENT_PART_BYTES_MAX, ComponentLog, move_to_older};
use crate::sabotage::{self, Part};

pub use crate::bounded_log::EARLIER_DIRECTORY as DIRECTORY;
/// All that a lease can make say something. A supervisor speaks to the engine alone.
const COMPONENTS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/// Moves all lines out of the logs of a cluster's components. `written_here` are those that this process writes for them;
/// components keep others open. Lines that cannot be kept, if the disk is full, are lost.
pub(crate) fn set_aside(log_directory: &Path, written_here: &[Arc<ComponentLog>]) -> io::Result<()> {
    if sabotage::is_off(Part::ClusterLogs) {
        return Ok(());
    }
    for component in COMPONENTS {
        let path = log_directory.join(format!("{component}.log"));
        match written_here.iter().find(|log| log.path() == path) {
            Some(log) => log.move_to_older()?,
            None => set_file_aside(&path, 0)?,
        }
    }
    Ok(())
}

/// Moves the lines out of those logs that have reached their bound, for components that write the files themselves.
#[cfg(any(test, feature = "apple", target_os = "macos"))]
pub(crate) fn keep_bounded(log_directory: &Path) -> io::Result<()> {
    COMPONENTS.iter().try_for_each(|component| {
        set_file_aside(&log_directory.join(format!("{component}.log")), COMPONENT_PART_BYTES_MAX)
    })
}

/// Does so if there is more in it than this.
fn set_file_aside(path: &Path, more_than_bytes: u64) -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(log) if log.metadata()?.len() <= more_than_bytes => Ok(()),
        // The component writes at the end, wherever that is.
        Ok(mut log) => move_to_older(&mut log, path, COMPONENT_PART_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_are_set_aside_in_their_order_and_writing_goes_on() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("etcd.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).expect("opened");
        let read = |path: &Path| std::fs::read_to_string(path).expect("read");
        for text in ["first\n", "second\n", "third\n"] {
            writer.write_all(text.as_bytes()).expect("written");
            assert_eq!(read(&path), text);
            set_aside(directory.path(), &[]).expect("set aside");
            assert_eq!(read(&path), "");
        }
        assert_eq!(read(&directory.path().join(DIRECTORY).join("etcd.log")), "first\nsecond\nthird\n");
        assert!(!directory.path().join("kwok.log").exists());
    }
    #[test]
    fn what_a_component_writes_itself_is_cut_when_it_is_beyond_the_bound() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("kube-apiserver.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).expect("opened");
        writer.write_all(b"short\n").expect("written");
        keep_bounded(directory.path()).expect("looked at");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "short\n");
        let megabyte = vec![b'x'; 1 << 20];
        for _ in 0..70 {
            writer.write_all(&megabyte).expect("written");
        }
        writer.write_all(b"\nnewest\n").expect("written");
        keep_bounded(directory.path()).expect("looked at");
        assert_eq!(std::fs::metadata(&path).expect("known").len(), 0);
        let earlier = std::fs::read(directory.path().join(DIRECTORY).join("kube-apiserver.log")).expect("read");
        assert!(earlier.len() as u64 <= COMPONENT_PART_BYTES_MAX && earlier.ends_with(b"x\nnewest\n"));
    }
}
