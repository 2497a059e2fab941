//! Programs, through all directories that lead to them.
//!
//! They are checked just before they are started, and then started by their paths. Nothing can change in between but by
//! root and the user: each directory from the root of the store down to the program lets no other user write, and so does
//! each directory that a link leads to. Therefore the program need not be started through the descriptor that was checked.
//! Above the store, only directories in which every user can rename entries of others are refused: where a store lies
//! is the user's own choice.

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::distrust::{Distrust, Reason};
use super::rule::{Rule, Seen, open_directory, see_at, see_directory};

/// As many as Linux follows.
const LINKS_MAX: usize = 40;

/// Checks a program, and the directories from `store` down to it; its own directory alone, if it is not in there.
/// Nothing is wrong with one that is not there: its start fails, and no other user can put one there meanwhile.
pub(crate) fn expect_program(rule: &Rule, store: &Path, program: &Path) -> Result<(), Distrust> {
    if rule.is_vouched_for(program) {
        return Ok(());
    }
    let (store, within) = match program.strip_prefix(store) {
        Ok(within) if within.file_name().is_some() => (store, within),
        _ => match (program.parent(), program.file_name()) {
            (Some(parent), Some(name)) => (parent, Path::new(name)),
            _ => return Err(rule.unknown(program, "it is no path of a program")),
        },
    };
    let directory = within.parent().unwrap_or(Path::new(""));
    let Some((opened, path)) = walk(rule, store, directory)? else { return Ok(()) };
    let name = Path::new(within.file_name().unwrap_or_default());
    let path = path.join(name);
    let unknown = |error: Errno| rule.unknown(&path, std::io::Error::from(error));
    if !expect_entry(rule, &opened, name, &path)? {
        return Ok(());
    }
    let stat = rustix::fs::statat(&opened, name, AtFlags::empty()).map_err(unknown)?;
    // Programs that may be run and not read can still be seen.
    let file =
        rustix::fs::openat(&opened, name, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty()).ok();
    let seen = Seen { path: &path, stat, descriptor: file.as_ref().map(std::os::fd::AsFd::as_fd) };
    if seen.file_type() != FileType::RegularFile {
        return Err(rule.unknown(&path, "it is no file"));
    }
    rule.expect_owner(&seen)?;
    rule.expect_not_writable(&seen)?;
    expect_kept(rule, &path)
}

/// Checks the directory at `within` below `store`, and those in between. Nothing is wrong with one that is not there.
pub(crate) fn expect_directory_below(rule: &Rule, store: &Path, directory: &Path) -> Result<(), Distrust> {
    if rule.is_vouched_for(directory) || !directory.exists() {
        return Ok(());
    }
    let (store, within) = match directory.strip_prefix(store) {
        Ok(within) => (store, within),
        Err(_) => (directory, Path::new("")),
    };
    let _ = walk(rule, store, within)?;
    expect_kept(rule, directory)
}

/// Opens one directory after the other, each within the one before, so that none is exchanged on the way. `None` where
/// one is missing in a directory that is as it should be.
fn walk(rule: &Rule, store: &Path, within: &Path) -> Result<Option<(OwnedFd, PathBuf)>, Distrust> {
    let mut path = store.to_owned();
    expect_link_kept(rule, &path)?;
    let mut directory = enter(rule, rustix::fs::CWD, store, &path)?;
    for component in within.components() {
        let Component::Normal(name) = component else {
            return Err(rule.unknown(&path.join(component), "its path leads out of the directory before"));
        };
        path.push(name);
        if !expect_entry(rule, &directory, Path::new(name), &path)? {
            return Ok(None);
        }
        directory = enter(rule, &directory, Path::new(name), &path)?;
    }
    Ok(Some((directory, path)))
}

fn enter(rule: &Rule, within: impl std::os::fd::AsFd, name: &Path, path: &Path) -> Result<OwnedFd, Distrust> {
    let unknown = |error: Errno| rule.unknown(path, std::io::Error::from(error));
    let directory = open_directory(within, name, OFlags::empty()).map_err(unknown)?;
    let seen = see_directory(&directory, path).map_err(unknown)?;
    rule.expect_owner(&seen)?;
    rule.expect_not_writable(&seen)?;
    Ok(directory)
}

/// Checks the entry itself if it is a link, and the directory that it leads into. Tells if there is one.
fn expect_entry(rule: &Rule, directory: &OwnedFd, name: &Path, path: &Path) -> Result<bool, Distrust> {
    match see_at(directory, name, path) {
        Ok(seen) => expect_target_kept(rule, &seen).map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(rule.unknown(path, std::io::Error::from(error))),
    }
}

/// The same for a path.
fn expect_link_kept(rule: &Rule, path: &Path) -> Result<(), Distrust> {
    let unknown = |error: Errno| rule.unknown(path, std::io::Error::from(error));
    let stat = rustix::fs::lstat(path).map_err(unknown)?;
    expect_target_kept(rule, &Seen { path, stat, descriptor: None })
}

/// Follows a link, and the links that it leads to. The link is the choice of its owner, who is trusted; it stays the same
/// as long as the directory that it leads into does.
fn expect_target_kept(rule: &Rule, seen: &Seen<'_>) -> Result<(), Distrust> {
    let mut path = seen.path.to_owned();
    let mut stat = seen.stat;
    for _ in 0..LINKS_MAX {
        let seen = Seen { path: &path, stat, descriptor: None };
        if seen.file_type() != FileType::Symlink {
            return Ok(());
        }
        rule.expect_owner(&seen)?;
        let unknown = |error: std::io::Error| rule.unknown(&path, error);
        let target = path.parent().unwrap_or(Path::new("/")).join(std::fs::read_link(&path).map_err(unknown)?);
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
        let parent = std::fs::canonicalize(parent).map_err(unknown)?;
        enter(rule, rustix::fs::CWD, &parent, &parent)?;
        let next = parent.join(name);
        stat = rustix::fs::lstat(&next).map_err(|error| unknown(error.into()))?;
        path = next;
    }
    Err(rule.unknown(seen.path, "too many links lead to each other"))
}

/// Checks that not every user can rename a directory that leads to `path`. In one such as `/tmp` only the owner of
/// something can.
fn expect_kept(rule: &Rule, path: &Path) -> Result<(), Distrust> {
    let path = std::fs::canonicalize(path).map_err(|error| rule.unknown(path, error))?;
    for directory in path.ancestors().skip(1) {
        let stat = rustix::fs::stat(directory).map_err(|error| rule.unknown(directory, std::io::Error::from(error)))?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
            let seen = Seen { path: directory, stat, descriptor: None };
            return Err(rule.distrust(&seen, Reason::Writable { by_group: None, by_all: true, is_sticky: false }));
        }
    }
    Ok(())
}
