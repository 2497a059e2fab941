//! Users and programs in the machine's root file system.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use container_command_line::{Code, Failure, messages};

/// A user and a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct User {
    user: u32,
    group: u32,
}

impl User {
    /// Lets a command run as this user.
    pub(crate) fn apply(self, command: &mut Command) {
        if self != (Self { user: 0, group: 0 }) {
            command.uid(self.user).gid(self.group);
        }
    }
}

/// Finds the user for `NAME|UID[:GROUP|GID]` in this root file system.
pub(crate) fn find(text: &str) -> Result<User, Failure> {
    let (name, group) = text.split_once(':').map_or((text, None), |(name, group)| (name, Some(group)));
    if name.is_empty() {
        return Ok(User { user: 0, group: 0 });
    }
    let unknown = || Failure::runtime(Code::InvalidArgument, format!("failed to find user {text}"));
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() > 3 && (fields[0] == name || fields[2] == name));
    let number = |index: usize| entry.as_ref().and_then(|fields| fields[index].parse().ok());
    let user = number(2).or_else(|| name.parse().ok()).or((name == "root").then_some(0)).ok_or_else(unknown)?;
    let group = match group {
        None => number(3).unwrap_or(0),
        Some(group) => {
            let groups = fs::read_to_string("/etc/group").unwrap_or_default();
            let known = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let mut known = known.filter(|fields| fields.len() > 2 && fields[0] == group);
            let found = known.next().and_then(|fields| fields[2].parse().ok());
            found.or_else(|| group.parse().ok()).ok_or_else(unknown)?
        }
    };
    Ok(User { user, group })
}

/// Finds the path of a program.
pub(crate) fn executable(name: &str, environment: &[String]) -> Result<PathBuf, Failure> {
    let runs =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    let missing = || messages::no_executable(name);
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| runs(path)).ok_or_else(missing);
    }
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    path.split(':').map(|directory| Path::new(directory).join(name)).find(|path| runs(path)).ok_or_else(missing)
}
