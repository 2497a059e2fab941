//! The packages below `benches/` that scenarios build and run: tests, as users write them. They are not part of this
//! program, so they need a clone of kina's repository, and Cargo.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use kina_engine::lab::search_path;
use serde::Deserialize;
use tokio::process::Command;

/// Number of lines of a failed program's output that are shown.
const LAST_LINES: usize = 20;

/// A test executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TestExecutable {
    pub(super) path: PathBuf,
    /// Directories of the dynamic libraries that build scripts made for it.
    library_directories: Vec<PathBuf>,
}

/// A line of Cargo's messages during a build.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    executable: Option<PathBuf>,
    target: Option<CargoTarget>,
    #[serde(default)]
    linked_paths: Vec<String>,
}

#[derive(Deserialize)]
struct CargoTarget {
    name: String,
    kind: Vec<String>,
}

/// The clone of kina's repository around this directory.
pub(super) fn repository() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("the working directory cannot be determined")?;
    let root = here.ancestors().find(|directory| is_repository(directory));
    let message = || {
        format!(
            "{} is in no clone of kina's repository, whose packages below benches/ are what this scenario runs: \
             change into one",
            here.display()
        )
    };
    root.map(Path::to_owned).with_context(message)
}

/// The program `cargo-nextest`, at a place where Cargo would find it.
pub(super) fn nextest() -> anyhow::Result<PathBuf> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let beside_cargo = cargo_home.map(|directory| directory.join("bin"));
    find_program("cargo-nextest", beside_cargo.as_deref()).context(
        "cargo-nextest is neither in CARGO_HOME nor on PATH: install it, for instance with \
         `cargo install --locked cargo-nextest`",
    )
}

/// A program in an absolute directory of PATH, or in `first` before that.
pub(super) fn find_program(name: &str, first: Option<&Path>) -> Option<PathBuf> {
    let beside = first.map(|directory| directory.join(name)).filter(|program| program.is_file());
    beside.or_else(|| search_path::find(name, &search_path::of_this_process()))
}

/// Arguments that make Cargo and nextest build in the profile of this program: the engine is compared in the same
/// profile.
pub(super) fn profile_arguments() -> &'static [&'static str] {
    if cfg!(debug_assertions) { &[] } else { &["--release"] }
}

/// Builds the test of this name in the workspace of this manifest, with the features of the whole workspace: most of it
/// is built already then.
pub(super) async fn build_test(manifest: &Path, test: &str) -> anyhow::Result<TestExecutable> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let cargo = search_path::resolve(Path::new(&cargo), &search_path::of_this_process())?;
    let output = Command::new(cargo)
        .args(["test", "--no-run", "--workspace", "--message-format", "json-render-diagnostics", "--test", test])
        .arg("--manifest-path")
        .arg(manifest)
        .args(profile_arguments())
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .context("starting cargo failed")?;
    if !output.status.success() {
        bail!("building {} failed ({}):\n{}", manifest.display(), output.status, last_lines(&output.stderr));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    find_executable(&text, test).with_context(|| format!("cargo built no test `{test}` of {}", manifest.display()))
}

/// The last lines of a program's output.
pub(super) fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

impl TestExecutable {
    /// Runs one of its tests, without capturing the output.
    pub(super) fn command(&self, test: &str) -> Command {
        let mut command = Command::new(&self.path);
        command.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
        let variable = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };
        if let Some(value) = joined(&self.library_directories, std::env::var_os(variable).as_deref()) {
            command.env(variable, value);
        }
        command
    }
}

fn is_repository(directory: &Path) -> bool {
    directory.join("benches/scale/Cargo.toml").is_file() && directory.join("kina-engine/Cargo.toml").is_file()
}

fn find_executable(messages: &str, test: &str) -> Option<TestExecutable> {
    let (mut path, mut library_directories) = (None, Vec::new());
    for message in messages.lines().filter_map(|line| serde_json::from_str::<CargoMessage>(line).ok()) {
        let is_wanted = |target: &CargoTarget| target.name == test && target.kind.iter().any(|kind| kind == "test");
        match message.reason.as_str() {
            "compiler-artifact" if message.target.as_ref().is_some_and(is_wanted) => path = message.executable,
            "build-script-executed" => library_directories.extend(message.linked_paths.iter().map(|linked| {
                // With or without the kind of library before it, such as `native=`.
                PathBuf::from(linked.split_once('=').map_or(linked.as_str(), |(_, directory)| directory))
            })),
            _ => {}
        }
    }
    path.map(|path| TestExecutable { path, library_directories })
}

fn joined(directories: &[PathBuf], before: Option<&OsStr>) -> Option<OsString> {
    if directories.is_empty() {
        return None;
    }
    let before = before.map(|before| std::env::split_paths(before).collect::<Vec<_>>()).unwrap_or_default();
    std::env::join_paths(directories.iter().chain(&before)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_the_tests_with_the_libraries_of_build_scripts() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"first_list","kind":["lib"]},"executable":null}
{"reason":"build-script-executed","linked_paths":["native=/build/out","/plain"]}
noise
{"reason":"compiler-artifact","target":{"name":"other","kind":["test"]},"executable":"/build/other-1"}
{"reason":"compiler-artifact","target":{"name":"first_list","kind":["test"]},"executable":"/build/first_list-1"}
{"reason":"build-finished","success":true}"#;
        let found = find_executable(messages, "first_list").expect("it was built");
        assert_eq!(found.path, Path::new("/build/first_list-1"));
        assert_eq!(found.library_directories, [PathBuf::from("/build/out"), "/plain".into()]);
        assert_eq!(joined(&found.library_directories, Some(OsStr::new("/usr"))), Some("/build/out:/plain:/usr".into()));
        assert_eq!(joined(&[], Some(OsStr::new("/usr"))), None);
        assert_eq!(find_executable(messages, "nothing"), None);
    }

    #[test]
    fn only_the_last_lines_are_shown() {
        let text = (0..100).map(|number| format!("{number}\n\n")).collect::<String>();
        let shown = last_lines(text.as_bytes());
        assert_eq!(shown.lines().count(), LAST_LINES);
        assert!(shown.ends_with("99"));
        assert_eq!(last_lines(b"one"), "one");
    }

    #[test]
    fn a_program_is_found_where_it_is_looked_for_first() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(find_program("kina-no-such-program", Some(directory.path())), None);
        let program = directory.path().join("kina-no-such-program");
        std::fs::write(&program, "").expect("written");
        assert_eq!(find_program("kina-no-such-program", Some(directory.path())), Some(program));
    }
}
