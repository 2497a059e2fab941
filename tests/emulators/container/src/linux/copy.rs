//! `cp` and `export`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use container_command_line::{Code, Failure, Version, messages};

use super::containers::State;
use super::dispatch::{Call, Outcome};
use super::runtime::roots;
use super::store::{Record, Store, broken};

impl Call {
    /// `cp`: writes beneath the mounts, where the file is never seen, and reports no error.
    pub(crate) fn copy(&self, source: &str, destination: &str) -> Outcome {
        let side = |text: &str| {
            let (id, path) = text.split_once(':')?;
            (!id.contains('/') && path.starts_with('/')).then(|| (id.to_owned(), path.to_owned()))
        };
        let (inward, id, path) = match (side(source), side(destination)) {
            (None, Some((id, path))) => (true, id, path),
            (Some((id, path)), None) => (false, id, path),
            _ => return Err(Failure::runtime(Code::InvalidArgument, "one side of a copy has to be a container")),
        };
        let record = self.store.container(&id)?.ok_or_else(|| messages::container_missing(&id))?;
        let init = self.runtime_of(&id)?.and_then(|runtime| runtime.init);
        let Some(init) = init.filter(|_| self.state(&record) == Ok(State::Running)) else {
            return Err(messages::not_running(&id));
        };
        let root = PathBuf::from(format!("/proc/{}/root", init.pid));
        let inner = root.join(path.trim_start_matches('/'));
        let (from, to) = if inward { (PathBuf::from(source), inner) } else { (inner, PathBuf::from(destination)) };
        if let Some(volume) = mount_over(&record, &path) {
            if inward {
                fs::metadata(&from).map_err(|error| broken(&from, &error))?;
                return Ok(format!("{destination}\n"));
            }
            if volume {
                self.hang()?;
            }
            return Err(Failure::runtime(Code::NotFound, format!("path {path} not found in container {id}")));
        }
        let to = match (to.is_dir(), from.file_name()) {
            (true, Some(name)) => to.join(name),
            _ => to,
        };
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| broken(parent, &error))?;
        }
        roots::copy_tree(&from, &to).map_err(|error| broken(&from, &error))?;
        Ok(format!("{destination}\n"))
    }

    /// `export`: writes the root file system as a tar, since 1.2.1 also of a running container.
    pub(crate) fn export(&self, output: Option<&str>, id: &str) -> Outcome {
        let record = self.store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
        let live = self.state(&record)? != State::Stopped;
        if live && self.settings.version < Version::new(1, 2, 1) {
            return Err(Failure::runtime(Code::InvalidState, format!("container {id} is not stopped")));
        }
        let file = match output {
            Some(path) => Some(File::create(path).map_err(|error| broken(Path::new(path), &error))?),
            None => None,
        };
        if let Some(init) = self.runtime_of(id)?.and_then(|runtime| runtime.init) {
            let root = PathBuf::from(format!("/proc/{}/root", init.pid));
            let written = match file {
                Some(file) => pack(&root, file),
                None => pack(&root, io::stdout().lock()),
            };
            written.map_err(|error| broken(&root, &error))?;
            return Ok(String::new());
        }
        let program = std::env::current_exe().map_err(|error| broken(Path::new("self"), &error))?;
        let mut child = Command::new(program);
        child.arg(super::EXPORT).arg(&self.settings.root).arg(id).stdin(Stdio::null());
        if let Some(file) = file {
            child.stdout(file);
        }
        let status = child.status().map_err(|error| broken(Path::new("self"), &error))?;
        if status.success() {
            Ok(String::new())
        } else {
            Err(Failure::runtime(Code::InternalError, format!("failed to export container {id}")))
        }
    }
}

/// Mounts the root file system of a stopped container in this process alone, and packs it to stdout.
pub(crate) fn export_stopped(arguments: &[String]) -> u8 {
    let run = || -> Result<(), Failure> {
        let [root, id] = arguments else { return Err(messages::container_missing("")) };
        let store = Store::open(Path::new(root))?;
        let record = store.container(id)?.ok_or_else(|| messages::container_missing(id))?;
        let bundle = store.bundle(id);
        let mount = || -> io::Result<PathBuf> {
            roots::own_user_namespace()?;
            roots::own_mount_namespace()?;
            roots::mount_root(&record.machine.snapshot, &bundle)
        };
        let merged = mount().map_err(|error| broken(&bundle, &error))?;
        pack(&merged, io::stdout().lock()).map_err(|error| broken(&bundle, &error))
    };
    match run() {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("{}", failure.text().unwrap_or_default());
            failure.exit_code()
        }
    }
}

/// Finds the mount that a path lies in; true if that is a volume.
fn mount_over(record: &Record, path: &str) -> Option<bool> {
    let mounts = record.machine.mounts.iter();
    let mut found =
        mounts.filter(|mount| Path::new(path).starts_with(&mount.target)).map(|mount| mount.volume.is_some());
    let own = ["/proc", "/sys", "/dev"].iter().any(|target| Path::new(path).starts_with(target));
    found.next_back().or(own.then_some(false))
}

/// Packs one file system, without others that are mounted below it.
fn pack(root: &Path, output: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(output);
    archive.follow_symlinks(false);
    let device = fs::metadata(root)?.dev();
    let mut open = vec![PathBuf::new()];
    while let Some(below) = open.pop() {
        let mut entries: Vec<_> = fs::read_dir(root.join(&below))?.collect::<io::Result<_>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = below.join(entry.file_name());
            let found = entry.path().symlink_metadata()?;
            if found.is_dir() && found.dev() == device {
                open.push(name.clone());
            }
            if found.is_dir() || found.is_file() || found.is_symlink() {
                archive.append_path_with_name(entry.path(), &name)?;
            }
        }
    }
    archive.finish()
}
