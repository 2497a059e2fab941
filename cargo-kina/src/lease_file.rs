//! The kubeconfig of a lease as a file. It is in the lease's own directory, which the engine removes when the lease
//! ends: so it disappears even if the program is killed.

use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use kina_engine::{LeaseGrant, kubeconfig_text};

/// Writes the file, readable by the current user only.
pub(super) fn write_kubeconfig(grant: &LeaseGrant) -> anyhow::Result<PathBuf> {
    let path = grant.lease_directory.join("kubeconfig");
    write_private(&path, &kubeconfig_text(grant))
        .with_context(|| format!("writing the kubeconfig {} failed", path.display()))?;
    Ok(path)
}

/// A path, quoted as one word of a shell.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/._-+".contains(character);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_any_path_for_one_word() {
        assert_eq!(quoted(Path::new("/tmp/a-b_c.d+e/1")), "/tmp/a-b_c.d+e/1");
        assert_eq!(quoted(Path::new("/tmp/it's here")), r"'/tmp/it'\''s here'");
    }
}
