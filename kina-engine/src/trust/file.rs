//! A file that is opened once, in a directory that is opened once: the same is judged and read.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::distrust::{Distrust, Reason};
use super::rule::{Rule, Seen, open_directory, see_at, see_directory};

/// The result of opening a file.
#[derive(Debug)]
pub(crate) enum Opened {
    /// Nothing, or no file.
    Absent,
    /// A file that no other user can have written.
    File(File),
    /// Something that is not the user's to mend.
    Strangers(Distrust),
}

/// The reason for which a file of the user's own is not read.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Others can write to it, or it is a link.
    Distrusted(Distrust),
    /// The system's answer.
    Failed(io::Error),
}

/// Opens the file `name` in `directory`, a path without links.
pub(crate) fn open(rule: &Rule, directory: &Path, name: &str) -> Result<Opened, OpenError> {
    let failed = |error: Errno| OpenError::Failed(error.into());
    let opened_directory = match open_directory(rustix::fs::CWD, directory, OFlags::NOFOLLOW) {
        Ok(opened) => opened,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::PERM) => return Ok(Opened::Absent),
        Err(error) => return Err(failed(error)),
    };
    let path = directory.join(name);
    // A pipe of that name is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = rustix::fs::openat(&opened_directory, name, flags, Mode::empty());
    let seen = match &opened {
        Ok(file) => rustix::fs::fstat(file).map(|stat| Seen { path: &path, stat, descriptor: Some(file.as_fd()) }),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::NXIO | Errno::OPNOTSUPP) => return Ok(Opened::Absent),
        Err(_) => see_at(&opened_directory, Path::new(name), &path),
    };
    let seen = match (seen, &opened) {
        (Ok(seen), _) => seen,
        // A directory that may be neither listed nor entered.
        (Err(Errno::NOENT), _) | (Err(Errno::ACCESS), Err(Errno::ACCESS)) => return Ok(Opened::Absent),
        (Err(error), _) => return Err(failed(error)),
    };
    let is_link = seen.file_type() == FileType::Symlink;
    if !is_link && seen.file_type() != FileType::RegularFile {
        return Ok(Opened::Absent);
    }
    let is_own = seen.stat.st_uid == rule.user;
    let is_vouched_for = rule.is_vouched_for(directory);
    let of_directory = see_directory(&opened_directory, directory).map_err(failed)?;
    if !is_vouched_for && let Err(distrust) = rule.expect_owner(&of_directory).and_then(|()| rule.expect_owner(&seen)) {
        return Ok(Opened::Strangers(distrust));
    }
    let problem = if is_link {
        Err(rule.distrust(&seen, Reason::NotFollowed))
    } else if is_vouched_for {
        Ok(())
    } else {
        rule.expect_not_writable(&of_directory).and_then(|()| rule.expect_not_writable(&seen))
    };
    match problem {
        Err(distrust) if is_own || is_vouched_for => Err(OpenError::Distrusted(distrust)),
        // Of root's, in a place that is not only root's: the user cannot mend it.
        Err(distrust) => Ok(Opened::Strangers(distrust)),
        Ok(()) => opened.map(|file| Opened::File(file.into())).map_err(failed),
    }
}
