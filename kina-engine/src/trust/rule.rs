//! The rule: it belongs to the user or to root, and no other user can write to it.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::distrust::{Distrust, Kind, Reason};
use super::group;

/// The user of this process, and the directory that this user trusts beyond their own files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(super) user: u32,
    trusted: Option<PathBuf>,
}

/// A file that was opened or looked at, and can be no other file any more.
pub(super) struct Seen<'a> {
    pub(super) path: &'a Path,
    pub(super) stat: Stat,
    /// Absent where the system gave none, such as for a link.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "asked for lists of access on Linux alone"))]
    pub(super) descriptor: Option<BorrowedFd<'a>>,
}

impl Rule {
    /// The rule for this process's user. `trusted` is the value of [`super::TRUSTED_DIRECTORY`].
    pub(crate) fn new(trusted: Option<OsString>) -> Self {
        let trusted = trusted.map(PathBuf::from).filter(|path| path.is_absolute());
        // With all links followed, like the paths that it is compared with.
        let trusted = trusted.and_then(|path| std::fs::canonicalize(path).ok());
        Self { user: rustix::process::getuid().as_raw(), trusted }
    }

    /// Returns true if `path`, with its links followed, is below the directory that the user trusts.
    pub(super) fn is_vouched_for(&self, path: &Path) -> bool {
        let Some(trusted) = &self.trusted else { return false };
        std::fs::canonicalize(path).is_ok_and(|path| path.starts_with(trusted))
    }

    pub(super) fn expect_owner(&self, seen: &Seen<'_>) -> Result<(), Distrust> {
        if [self.user, 0].contains(&seen.stat.st_uid) { Ok(()) } else { Err(self.distrust(seen, Reason::Stranger)) }
    }

    pub(super) fn expect_not_writable(&self, seen: &Seen<'_>) -> Result<(), Distrust> {
        let mode = Mode::from_raw_mode(seen.stat.st_mode);
        let by_all = mode.contains(Mode::WOTH);
        let is_safe_group = || group::is_alone(self.user, seen.stat.st_gid) && has_no_access_list(seen);
        let by_group = (mode.contains(Mode::WGRP) && !is_safe_group()).then_some(seen.stat.st_gid);
        if !by_all && by_group.is_none() {
            return Ok(());
        }
        let is_sticky = mode.contains(Mode::SVTX) && seen.kind() == Kind::Directory;
        Err(self.distrust(seen, Reason::Writable { by_group, by_all, is_sticky }))
    }

    pub(super) fn distrust(&self, seen: &Seen<'_>, reason: Reason) -> Distrust {
        let (path, owner) = (seen.path.to_owned(), seen.stat.st_uid);
        Distrust { path, kind: seen.kind(), owner, user: self.user, reason }
    }

    pub(super) fn unknown(&self, path: &Path, problem: impl ToString) -> Distrust {
        let reason = Reason::Unknown { problem: problem.to_string() };
        Distrust { path: path.to_owned(), kind: Kind::File, owner: self.user, user: self.user, reason }
    }
}

/// The rule of a user who trusts nothing beyond it.
impl Default for Rule {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Seen<'_> {
    pub(super) fn file_type(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    fn kind(&self) -> Kind {
        match self.file_type() {
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            _ => Kind::File,
        }
    }
}

/// Checks the directory at `path` itself, and no other. Nothing is wrong with one that is not there.
pub(crate) fn expect_directory(rule: &Rule, path: &Path) -> Result<(), Distrust> {
    if rule.is_vouched_for(path) {
        return Ok(());
    }
    let directory = match open_directory(rustix::fs::CWD, path, OFlags::empty()) {
        Ok(directory) => directory,
        // Its use fails where it is used.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(error) => return Err(rule.unknown(path, std::io::Error::from(error))),
    };
    let seen = see_directory(&directory, path).map_err(|error| rule.unknown(path, std::io::Error::from(error)))?;
    rule.expect_owner(&seen)?;
    rule.expect_not_writable(&seen)
}

/// Makes a directory, and those that lead to it. No other user can write to them, whatever the umask is.
#[cfg(feature = "engine")]
pub(crate) fn create_directories(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

/// Takes the permission to write to a file or a directory of this user's from all others.
#[cfg(feature = "engine")]
pub(crate) fn close_to_others(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mut permissions = std::fs::metadata(path)?.permissions();
    permissions.set_mode(permissions.mode() & !0o022);
    std::fs::set_permissions(path, permissions)
}

/// Opens a directory without listing it, for which less permission is needed.
pub(super) fn open_directory(within: impl AsFd, path: &Path, more: OFlags) -> Result<OwnedFd, Errno> {
    #[cfg(target_os = "linux")]
    let only_to_see = OFlags::PATH;
    #[cfg(not(target_os = "linux"))]
    let only_to_see = OFlags::RDONLY;
    rustix::fs::openat(within, path, only_to_see | OFlags::DIRECTORY | OFlags::CLOEXEC | more, Mode::empty())
}

pub(super) fn see_directory<'a>(directory: &'a OwnedFd, path: &'a Path) -> Result<Seen<'a>, Errno> {
    Ok(Seen { path, stat: rustix::fs::fstat(directory)?, descriptor: Some(directory.as_fd()) })
}

/// Looks at an entry of a directory, without following a link.
pub(super) fn see_at<'a>(directory: &OwnedFd, name: &Path, path: &'a Path) -> Result<Seen<'a>, Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(Seen { path, stat, descriptor: None })
}

/// Tells if the mode alone decides about writing. With a list, the group's bits are the most that the list gives to
/// anyone in it.
#[cfg(target_os = "linux")]
fn has_no_access_list(seen: &Seen<'_>) -> bool {
    const ACCESS_LIST: &str = "system.posix_acl_access";
    let Some(descriptor) = seen.descriptor else { return false };
    // One that was opened only to see it cannot be asked.
    let opened = match seen.kind() {
        Kind::Directory => {
            rustix::fs::openat(descriptor, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .ok()
        }
        _ => descriptor.try_clone_to_owned().ok(),
    };
    let Some(opened) = opened else { return false };
    let mut nothing: [u8; 0] = [];
    matches!(rustix::fs::fgetxattr(&opened, ACCESS_LIST, &mut nothing), Err(Errno::NODATA | Errno::NOTSUP))
}

/// Elsewhere the mode has no part of such a list.
#[cfg(not(target_os = "linux"))]
fn has_no_access_list(_seen: &Seen<'_>) -> bool {
    true
}
