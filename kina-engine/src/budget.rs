//! One budget of memory for all engines of a user, across versions and runtime directories.
//!
//! Each engine has a file in a shared directory, with the number of bytes that it may use now. The file is locked as
//! long as its engine lives; an unlocked file belongs to a dead engine and counts for nothing.
//!
//! Every version of kina reads and writes these files, so their form never changes: decimal digits and a line feed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::backoff::Backoff;
use crate::living_file::{Found, LivingFile, files_in, look_at};

const SUFFIX: &str = "reservation";
/// The lock of the engine that is adding up.
const LOCK: &str = "lock";
/// Adding up takes microseconds; an engine that holds the lock for longer is frozen.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
const LOCK_POLL_INTERVAL: Duration = Duration::from_millis(2);
/// The digits of the largest number, so that overwriting a number needs no more room on the disk.
const DIGITS: usize = 20;

/// The memory that all engines together may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Total {
    /// This many bytes, set by the user.
    Fixed(u64),
    /// This many free bytes, plus those that the other engines have reserved already.
    FreeNow(u64),
}

/// This engine's share. Given back when dropped, or when the engine dies.
#[derive(Debug)]
pub(crate) struct Budget {
    directory: PathBuf,
    total_bytes: u64,
    own: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    file: LivingFile,
    reserved_bytes: u64,
}

/// The part of `wanted_bytes` that is left of the total.
fn grant(total_bytes: u64, taken_bytes: u64, wanted_bytes: u64) -> u64 {
    wanted_bytes.min(total_bytes.saturating_sub(taken_bytes))
}

impl Budget {
    /// Joins the engines that share the budget in `directory`.
    ///
    /// # Errors
    /// As for [`Self::reserve`].
    pub(crate) fn open(directory: &Path, total: Total) -> io::Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let own = Own { file: LivingFile::create(directory, SUFFIX, &text(0))?, reserved_bytes: 0 };
        let total_bytes = match total {
            Total::Fixed(bytes) => bytes,
            Total::FreeNow(bytes) => {
                let _lock = lock(directory)?;
                bytes.saturating_add(reserved_by_others(directory, &own)?)
            }
        };
        Ok(Self { directory: directory.to_owned(), total_bytes, own: Mutex::new(own) })
    }

    /// The memory that all engines together may use, as this one sees it.
    pub(crate) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// Asks for more. Grants as much of it as is left, which may be nothing, and keeps that reserved until it is
    /// released. Blocks for microseconds, or for seconds if another engine is frozen while it holds the lock.
    ///
    /// # Errors
    /// If the files cannot be read or written, or another engine does not release the lock. Then nothing is granted.
    pub(crate) fn reserve(&self, wanted_bytes: u64) -> io::Result<u64> {
        self.reserve_under(&lock(&self.directory)?, wanted_bytes)
    }

    /// Like [`Self::reserve`], but never waits: returns `None` if another engine has the lock just now.
    ///
    /// # Errors
    /// If the files cannot be read or written. Then nothing is granted.
    pub(crate) fn reserve_now(&self, wanted_bytes: u64) -> io::Result<Option<u64>> {
        let lock = open_lock(&self.directory)?;
        match lock.try_lock() {
            Ok(()) => self.reserve_under(&lock, wanted_bytes).map(Some),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn reserve_under(&self, _lock: &File, wanted_bytes: u64) -> io::Result<u64> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let taken_bytes = reserved_by_others(&self.directory, &own)?.saturating_add(own.reserved_bytes);
        let granted_bytes = grant(self.total_bytes, taken_bytes, wanted_bytes);
        let reserved_bytes = own.reserved_bytes + granted_bytes;
        own.set(reserved_bytes)?;
        Ok(granted_bytes)
    }

    /// Gives back a part of the granted memory.
    ///
    /// # Errors
    /// If the file cannot be written; then the others do not see it yet.
    pub(crate) fn release(&self, bytes: u64) -> io::Result<()> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // No lock: at worst an engine that is adding up now still sees the larger number.
        let left_bytes = own.reserved_bytes.saturating_sub(bytes);
        own.set(left_bytes)
    }

    /// The memory that this engine has reserved.
    pub(crate) fn reserved_bytes(&self) -> u64 {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).reserved_bytes
    }

    /// The memory that all other engines have reserved.
    ///
    /// # Errors
    /// As for [`Self::reserve`].
    pub(crate) fn reserved_by_others_bytes(&self) -> io::Result<u64> {
        let _lock = lock(&self.directory)?;
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        reserved_by_others(&self.directory, &own)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let own = self.own.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = own.file.remove();
    }
}

impl Own {
    fn set(&mut self, reserved_bytes: u64) -> io::Result<()> {
        self.file.file().write_all_at(&text(reserved_bytes), 0)?;
        self.reserved_bytes = reserved_bytes;
        Ok(())
    }
}

/// Adds up the reservations and removes those of dead engines. The caller holds the lock.
fn reserved_by_others(directory: &Path, own: &Own) -> io::Result<u64> {
    let mut sum_bytes: u64 = 0;
    for path in files_in(directory, SUFFIX).into_iter().filter(|path| path != own.file.path()) {
        match look_at(&path)? {
            Some(Found::Held) => match std::fs::read_to_string(&path).map(|text| text.trim().parse::<u64>()) {
                Ok(Ok(bytes)) => sum_bytes = sum_bytes.saturating_add(bytes),
                Ok(Err(_)) => tracing::warn!(path = %path.display(), "a living engine's reservation is not a number"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            },
            Some(Found::Left(_)) => {
                let _ = std::fs::remove_file(&path);
            }
            None => {}
        }
    }
    Ok(sum_bytes)
}

fn open_lock(directory: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(directory.join(LOCK))
}

fn lock(directory: &Path) -> io::Result<File> {
    let file = open_lock(directory)?;
    Backoff::poll(LOCK_POLL_INTERVAL, LOCK_TIMEOUT).run_blocking(
        || file.try_lock(),
        |error| matches!(error, TryLockError::WouldBlock),
        |_, _| {},
    )?;
    Ok(file)
}

fn text(bytes: u64) -> Vec<u8> {
    format!("{bytes:0DIGITS$}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_rest_of_the_budget_is_granted_and_no_more() {
        for (total, taken, wanted, expected) in [
            (10, 0, 3, 3),
            (10, 8, 3, 2),
            (10, 10, 3, 0),
            (10, 12, 3, 0),
            (0, 0, 3, 0),
            (u64::MAX, 0, u64::MAX, u64::MAX),
        ] {
            assert_eq!(grant(total, taken, wanted), expected);
        }
    }

    #[test]
    fn two_engines_share_one_budget() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let open = || Budget::open(&directory.path().join("budget"), Total::Fixed(1000)).expect("joined");
        let (one, other) = (open(), open());
        assert_eq!(one.reserve(600).expect("granted"), 600);
        assert_eq!(other.reserve(600).expect("granted in part"), 400);
        assert_eq!(one.reserve(1).expect("asked"), 0);
        assert_eq!((one.reserved_bytes(), one.reserved_by_others_bytes().expect("added up")), (600, 400));
        one.release(100).expect("given back");
        assert_eq!(other.reserve(600).expect("granted in part"), 100);
        // An engine cannot give back more than it was granted.
        one.release(u64::MAX).expect("given back");
        assert_eq!(other.reserve(600).expect("granted in part"), 500);
        drop(other);
        assert_eq!(one.reserve(2000).expect("granted in part"), 1000);
    }

    #[test]
    fn a_dead_engines_reservation_counts_for_nothing_and_goes() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let dead = LivingFile::create(directory.path(), SUFFIX, &text(900)).expect("made");
        let path = dead.path().to_owned();
        let budget = Budget::open(directory.path(), Total::Fixed(1000)).expect("joined");
        assert_eq!(budget.reserve(1000).expect("granted in part"), 100);
        budget.release(100).expect("given back");
        // The kernel does the same when an engine is killed: the lock goes, the file stays.
        drop(dead);
        assert_eq!(budget.reserve(1000).expect("granted"), 1000);
        assert!(!path.exists());
    }

    #[test]
    fn reservations_of_others_are_added_to_the_free_memory() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let one = Budget::open(directory.path(), Total::FreeNow(1000)).expect("joined");
        assert_eq!(one.reserve(300).expect("granted"), 300);
        let other = Budget::open(directory.path(), Total::FreeNow(600)).expect("joined");
        assert_eq!((one.total_bytes(), other.total_bytes()), (1000, 900));
        assert_eq!(other.reserve(1000).expect("granted in part"), 600);
    }

    #[test]
    fn nonsense_in_the_directory_is_never_fatal() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let living = LivingFile::create(directory.path(), SUFFIX, b"no number").expect("made");
        std::fs::create_dir(directory.path().join(format!("directory.{SUFFIX}"))).expect("made");
        std::fs::write(directory.path().join("notes"), "mine").expect("written");
        let budget = Budget::open(directory.path(), Total::Fixed(1000)).expect("joined");
        assert_eq!(budget.reserve(1000).expect("granted"), 1000);
        assert!(living.path().exists() && directory.path().join("notes").exists());
    }

    #[test]
    fn a_reservation_that_must_not_wait_does_not() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let budget = Budget::open(directory.path(), Total::Fixed(1000)).expect("joined");
        let held = lock(directory.path()).expect("locked");
        assert_eq!(budget.reserve_now(600).expect("asked"), None);
        assert_eq!(budget.reserved_bytes(), 0);
        drop(held);
        assert_eq!(budget.reserve_now(600).expect("asked"), Some(600));
        assert_eq!(budget.reserve_now(600).expect("asked"), Some(400));
    }

    #[test]
    fn concurrent_engines_never_get_more_than_the_total() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let budgets: Vec<_> =
            (0..4).map(|_| Budget::open(directory.path(), Total::Fixed(1000)).expect("joined")).collect();
        std::thread::scope(|scope| {
            for budget in &budgets {
                scope.spawn(|| (0..25).map(|_| budget.reserve(37).expect("asked")).sum::<u64>());
            }
        });
        // The requests add up to 3700.
        assert_eq!(budgets.iter().map(Budget::reserved_bytes).sum::<u64>(), 1000);
    }

    proptest! {
        #[test]
        fn the_sum_never_passes_the_total(total in 0_u64..2000, steps in prop::collection::vec((0_usize..3, any::<bool>(), 0_u64..900), 0..30)) {
            let directory = tempfile::tempdir().expect("a temporary directory");
            let budgets: Vec<_> = (0..3).map(|_| Budget::open(directory.path(), Total::Fixed(total)).expect("joined")).collect();
            for (engine, takes, bytes) in steps {
                if takes {
                    let others = budgets[engine].reserved_by_others_bytes().expect("added up");
                    let own = budgets[engine].reserved_bytes();
                    let granted = budgets[engine].reserve(bytes).expect("asked");
                    prop_assert_eq!(granted, bytes.min(total - others - own));
                } else {
                    budgets[engine].release(bytes).expect("given back");
                }
                prop_assert!(budgets.iter().map(Budget::reserved_bytes).sum::<u64>() <= total);
            }
        }
    }
}
