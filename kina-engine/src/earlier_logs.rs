//! Log lines of a cluster's components from before the lease that has it now, kept apart.
//!
//! Components write into the same files for as long as they run. A test that looks at them should find what its own
//! cluster did, and not what an earlier test did to it. So at each hand-out what is there goes into a directory beside
//! them, where it stays for those who look for the reasons of an earlier failure.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sabotage::{self, Part};

/// The directory, in that of the logs.
pub(crate) const DIRECTORY: &str = "earlier";
/// All that a lease can make say something. A supervisor speaks to the engine alone.
const COMPONENTS: [&str; 5] = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok"];

/// Moves all lines out of the logs of a cluster's components, which keep them open. Lines that cannot be kept, if the disk
/// is full, are lost.
pub(crate) fn set_aside(log_directory: &Path) -> io::Result<()> {
    if sabotage::is_off(Part::ClusterLogs) {
        return Ok(());
    }
    for component in COMPONENTS {
        let name = format!("{component}.log");
        let mut log = match OpenOptions::new().read(true).write(true).open(log_directory.join(&name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        if log.metadata()?.len() == 0 {
            continue;
        }
        if let Err(error) = append(&mut log, log_directory, &name) {
            tracing::warn!(%error, directory = %log_directory.display(), name, "a log's earlier lines were lost");
        }
        // The component writes at the end, wherever that is.
        log.set_len(0)?;
    }
    Ok(())
}

fn append(log: &mut File, log_directory: &Path, name: &str) -> io::Result<u64> {
    let directory = log_directory.join(DIRECTORY);
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(directory.join(name));
    let mut earlier = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            std::fs::create_dir(&directory)?;
            open()?
        }
        opened => opened?,
    };
    io::copy(log, &mut earlier)
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
            set_aside(directory.path()).expect("set aside");
            assert_eq!(read(&path), "");
        }
        assert_eq!(read(&directory.path().join(DIRECTORY).join("etcd.log")), "first\nsecond\nthird\n");
        assert!(!directory.path().join("kwok.log").exists());
    }
}
