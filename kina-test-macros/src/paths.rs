//! Checks that a user's path matches files. Cargo tells a macro the directory of its user's package.

use std::path::Path;

use glob::MatchOptions;

const WHERE: &str = "paths are relative to the directory of the package's Cargo.toml";
/// The files that are read from a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Folders with one of these are rendered by the program that uses it.
const RENDERED: [&str; 4] = ["kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml"];
/// The same as when the files are read.
const MATCH_OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: false, require_literal_leading_dot: true };

/// The kinds of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathKind {
    /// One file, which must exist.
    File,
    /// A pattern or a folder, whose files are found at run time.
    Several,
}

/// The kind of path, or the problem with it.
pub(crate) fn look_up(pattern: &str) -> Result<PathKind, String> {
    match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(directory) => look_up_in(Path::new(&directory), pattern),
        // Not under cargo: a missing file shows when the tests run.
        None => Ok(PathKind::Several),
    }
}

pub(crate) fn look_up_in(directory: &Path, pattern: &str) -> Result<PathKind, String> {
    if pattern.is_empty() {
        return Err(format!("an empty path names nothing; {WHERE}"));
    }
    if Path::new(pattern).is_absolute() {
        return Err(format!("`{pattern}` exists on one machine only; {WHERE}"));
    }
    if pattern.contains(['*', '?', '[']) {
        return look_up_pattern(directory, pattern);
    }
    let path = directory.join(pattern);
    if path.is_file() {
        return Ok(PathKind::File);
    }
    if !path.is_dir() {
        return Err(format!("there is no file `{pattern}`; {WHERE}"));
    }
    let has_files = std::fs::read_dir(&path).into_iter().flatten().flatten().any(|entry| {
        let name = entry.file_name();
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str());
        ending.is_some_and(|ending| ENDINGS.contains(&ending)) || RENDERED.iter().any(|rendered| name == *rendered)
    });
    if has_files {
        Ok(PathKind::Several)
    } else {
        Err(format!("no .yaml, .yml or .json file is in the folder `{pattern}`; {WHERE}"))
    }
}

fn look_up_pattern(directory: &Path, pattern: &str) -> Result<PathKind, String> {
    let escaped = glob::Pattern::escape(&directory.to_string_lossy());
    let mut found = glob::glob_with(&format!("{escaped}/{pattern}"), MATCH_OPTIONS)
        .map_err(|error| format!("`{pattern}` is not a pattern: {}", error.msg))?;
    if found.any(|path| path.is_ok_and(|path| path.is_file())) {
        Ok(PathKind::Several)
    } else {
        Err(format!("no file matches `{pattern}`; {WHERE}"))
    }
}
