//! Faults of files that are not the user's own, in words.

use std::fmt;
use std::path::{Path, PathBuf};

use super::TRUSTED_DIRECTORY;

/// Something that another user can have put there, or can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distrust {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    pub(super) owner: u32,
    /// The user of this process.
    pub(super) user: u32,
    pub(super) reason: Reason,
}

/// The kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    Link,
}

/// The reason for which it is not the user's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// It belongs to neither the user nor root.
    Stranger,
    /// Others can write to it.
    Writable { by_group: Option<u32>, by_all: bool, is_sticky: bool },
    /// It is a link, where a file is opened without following any.
    NotFollowed,
    /// The system does not say.
    Unknown { problem: String },
}

impl Distrust {
    /// The path that is not trusted.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns true if it belongs to the user of this process, who can then mend it.
    pub(super) fn is_own(&self) -> bool {
        self.owner == self.user
    }

    /// The command that makes it the user's own.
    pub fn repair(&self) -> Option<String> {
        let path = shell_word(&self.path);
        let sudo = if self.user == 0 || self.is_own() { "" } else { "sudo " };
        match (&self.reason, self.kind) {
            (Reason::Stranger, Kind::Directory) => Some(format!("{sudo}chown -R {} {path}", self.user)),
            (Reason::Stranger, Kind::File) => Some(format!("{sudo}chown {} {path}", self.user)),
            (Reason::Stranger, Kind::Link) => Some(format!("{sudo}chown -h {} {path}", self.user)),
            (Reason::Writable { is_sticky: false, by_group, by_all }, _) => {
                let who = match (by_group, by_all) {
                    (Some(_), true) => "go",
                    (Some(_), false) => "g",
                    (None, _) => "o",
                };
                Some(format!("{sudo}chmod {who}-w {path}"))
            }
            // A directory such as `/tmp` is meant to be as it is.
            (Reason::Writable { .. } | Reason::NotFollowed | Reason::Unknown { .. }, _) => None,
        }
    }

    /// The directory that would have to be trusted.
    fn directory(&self) -> &Path {
        match self.kind {
            Kind::Directory => &self.path,
            Kind::File | Kind::Link => self.path.parent().unwrap_or(&self.path),
        }
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.reason {
            Reason::Stranger => {
                write!(
                    formatter,
                    "{path} belongs to user {}, and neither to you (user {}) nor to root",
                    self.owner, self.user
                )?;
            }
            Reason::Writable { by_all: true, .. } => write!(formatter, "every user can write to {path}")?,
            Reason::Writable { by_group, .. } => {
                let group = by_group.unwrap_or_default();
                write!(formatter, "other users can write to {path}, through the group {group}")?;
            }
            Reason::NotFollowed => {
                return write!(
                    formatter,
                    "{path} is a link, which kina does not follow: put the file itself there, or let its directory be \
                     the link"
                );
            }
            Reason::Unknown { problem } => return write!(formatter, "{path} cannot be examined ({problem})"),
        }
        match self.repair() {
            Some(command) => write!(formatter, ": if you trust what is in it, `{command}`")?,
            None => write!(formatter, ": move what is yours into a directory of your own")?,
        }
        write!(formatter, ", or set {TRUSTED_DIRECTORY}={}", shell_word(self.directory()))
    }
}

impl std::error::Error for Distrust {}

/// The path as a word for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+@%,=:".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distrust(path: &str, kind: Kind, owner: u32, user: u32, reason: Reason) -> String {
        Distrust { path: path.into(), kind, owner, user, reason }.to_string()
    }

    fn writable(by_group: Option<u32>, by_all: bool) -> Reason {
        Reason::Writable { by_group, by_all, is_sticky: false }
    }

    #[test]
    fn each_reason_comes_with_the_command_that_mends_it() {
        assert_eq!(
            distrust("/w", Kind::Directory, 1001, 1000, Reason::Stranger),
            "/w belongs to user 1001, and neither to you (user 1000) nor to root: if you trust what is in it, \
             `sudo chown -R 1000 /w`, or set KINA_TRUSTED_DIRECTORY=/w"
        );
        assert_eq!(
            distrust("/w/kina.toml", Kind::File, 1000, 1000, writable(None, true)),
            "every user can write to /w/kina.toml: if you trust what is in it, `chmod o-w /w/kina.toml`, or set \
             KINA_TRUSTED_DIRECTORY=/w"
        );
        for (kind, owner, user, reason, command) in [
            (Kind::File, 1001, 0, Reason::Stranger, "`chown 0 '/a b'`"),
            (Kind::Link, 1001, 0, Reason::Stranger, "`chown -h 0 '/a b'`"),
            (Kind::File, 1000, 1000, writable(Some(7), false), "`chmod g-w '/a b'`"),
            (Kind::File, 0, 1000, writable(Some(7), true), "`sudo chmod go-w '/a b'`"),
        ] {
            let text = distrust("/a b", kind, owner, user, reason);
            assert!(text.contains(command), "{text}");
        }
    }

    #[test]
    fn no_command_closes_a_directory_for_temporary_files() {
        let reason = Reason::Writable { by_group: None, by_all: true, is_sticky: true };
        let text = distrust("/tmp", Kind::Directory, 0, 0, reason);
        assert!(text.contains("move what is yours") && !text.contains("chmod"), "{text}");
    }

    #[test]
    fn a_quote_in_a_path_ends_no_word_of_a_shell() {
        assert_eq!(shell_word(Path::new("/it's")), r"'/it'\''s'");
    }
}
