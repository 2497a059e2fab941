//! A commit, checked out beside the repository.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use anyhow::{Context, bail};
use tokio::process::Command;

use super::super::packages::{find_program, last_lines};

/// Git's worktree of one commit, which is removed at the end.
pub(super) struct Worktree {
    git: PathBuf,
    repository: PathBuf,
    path: PathBuf,
    commit: String,
}

impl Worktree {
    pub(super) async fn check_out(repository: &Path, path: &Path, revision: &str) -> anyhow::Result<Self> {
        let git = find_program("git", None).context("git is not on PATH: install it")?;
        let commit =
            run(&git, repository, &["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")])
                .await
                .with_context(|| format!("{revision} is no commit of {}", repository.display()))?;
        let worktree = Self { git, repository: repository.to_owned(), path: path.to_owned(), commit };
        let arguments = ["worktree", "add", "--detach", "--quiet", &path.display().to_string(), &worktree.commit];
        run(&worktree.git, repository, &arguments).await?;
        Ok(worktree)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn commit(&self) -> &str {
        &self.commit
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        let mut remove = std::process::Command::new(&self.git);
        remove.arg("-C").arg(&self.repository).args(["worktree", "remove", "--force"]).arg(&self.path);
        let removed = remove.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !removed.is_ok_and(|status| status.success()) {
            eprintln!("bench: removing {} failed: git worktree remove --force it by hand", self.path.display());
        }
    }
}

async fn run(git: &Path, repository: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let mut command = Command::new(git);
    command.arg("-C").arg(repository).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let Output { status, stdout, stderr } = command.output().await.context("starting git failed")?;
    if !status.success() {
        bail!("git {} failed ({status}): {}", arguments.join(" "), last_lines(&stderr));
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_commit_is_checked_out_and_leaves_nothing() {
        let Some(git) = find_program("git", None) else {
            return test_support::skip!("there is no git here: install it");
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let repository = directory.path().join("repository");
        std::fs::create_dir(&repository).expect("made");
        let identity = ["-c", "user.name=test", "-c", "user.email=test@example.invalid"];
        run(&git, &repository, &["init", "--quiet"]).await.expect("made");
        for text in ["one", "two"] {
            std::fs::write(repository.join("file"), text).expect("written");
            run(&git, &repository, &["add", "file"]).await.expect("added");
            let commit = [&identity[..], &["commit", "--quiet", "--message", text]].concat();
            run(&git, &repository, &commit).await.expect("committed");
        }
        let path = directory.path().join("before");
        let worktree = Worktree::check_out(&repository, &path, "HEAD~1").await.expect("checked out");
        assert_eq!(std::fs::read_to_string(worktree.path().join("file")).expect("readable"), "one");
        assert_eq!(worktree.commit().len(), 40);
        drop(worktree);
        assert!(!path.exists());
        assert_eq!(run(&git, &repository, &["worktree", "list"]).await.expect("listed").lines().count(), 1);
        let error = Worktree::check_out(&repository, &path, "nothing").await.err().expect("there is no such commit");
        assert!(error.to_string().contains("nothing is no commit"), "{error}");
    }
}
