//! Gathers the settings of one owner: from its file, overridden by the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use toml_span::value::ValueInner;

use super::error::SettingsError;
use super::find::{self, SettingsFile};
use super::keys::{KEYS, Key, OTHER_VARIABLES, Owner, by_name};
use super::nearest::nearest;
use super::value::{self, Value};
use crate::trust::{Rule, TRUSTED_DIRECTORY};

/// A file of settings has a few hundred bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A variable this near to one of kina's is a misspelt one. Others may belong to another program.
const TYPO_DISTANCE_MAX: usize = 2;

/// The sources of settings that a process sees.
pub(super) struct SettingsSources {
    pub(super) variables: BTreeMap<OsString, OsString>,
    /// The directory to search for a workspace from.
    pub(super) directory: Option<PathBuf>,
    pub(super) home: Option<PathBuf>,
}

/// Settings that were understood, by name.
#[derive(Debug, Default)]
pub(super) struct Values {
    by_name: BTreeMap<&'static str, Value>,
    /// The file that was read.
    file: Option<PathBuf>,
    /// The names of those set by a variable, which overrides the file.
    of_variables: BTreeSet<&'static str>,
}

impl SettingsSources {
    pub(super) fn of_this_process() -> Self {
        // Tests run in their package's directory, unless they change it.
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        Self {
            variables: std::env::vars_os().collect(),
            directory: package.or_else(|| std::env::current_dir().ok()),
            home: etcetera::home_dir().ok(),
        }
    }

    /// The settings that belong to `owner`.
    pub(super) fn read(&self, owner: Owner) -> Result<Values, SettingsError> {
        let mut values = match self.file(owner)? {
            Some(found) => read_file(found, owner, &self.place_of_engine_settings())?,
            None => Values::default(),
        };
        self.expect_no_typo()?;
        for key in KEYS.iter().filter(|key| key.owner == owner) {
            let Some(text) = self.variable(key.variable) else { continue };
            let value = value::from_variable(text, key.takes).ok_or_else(|| SettingsError::BadVariable {
                name: key.variable,
                value: text.to_string_lossy().into_owned(),
                wanted: key.takes.to_string(),
            })?;
            values.by_name.insert(key.name, value);
            values.of_variables.insert(key.name);
        }
        Ok(values)
    }

    /// A variable with no value counts as none.
    fn variable(&self, name: &str) -> Option<&OsString> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty())
    }

    fn file(&self, owner: Owner) -> Result<Option<SettingsFile>, SettingsError> {
        let rule = self.rule()?;
        // Like the paths that are found: with all links followed, except one in the place of the file.
        let users = self.user_file().and_then(|path| Some(find::without_links(path.parent()?)));
        match (owner, &self.directory) {
            (Owner::Engine, _) => users.map_or(Ok(None), |directory| find::file_in(&directory, &rule)),
            (Owner::Workspace, None) => Ok(None),
            (Owner::Workspace, Some(directory)) => {
                let found = find::workspace_file(directory, self.home.as_deref(), &rule)?;
                // Work on the user's own configuration is in no workspace.
                Ok(found.filter(|found| found.path.parent() != users.as_deref()))
            }
        }
    }

    fn rule(&self) -> Result<Rule, SettingsError> {
        let trusted = self.variable(TRUSTED_DIRECTORY);
        match trusted.filter(|value| !Path::new(value).is_absolute()) {
            None => Ok(Rule::new(trusted.cloned())),
            Some(relative) => Err(SettingsError::BadVariable {
                name: TRUSTED_DIRECTORY,
                value: relative.to_string_lossy().into_owned(),
                wanted: "the absolute path of a directory".to_owned(),
            }),
        }
    }

    fn user_file(&self) -> Option<PathBuf> {
        find::user_file(self.variable("XDG_CONFIG_HOME").map(PathBuf::from), self.home.as_deref())
    }

    fn place_of_engine_settings(&self) -> String {
        self.user_file().map_or_else(|| find::FILE_NAME.to_owned(), |path| path.display().to_string())
    }

    fn expect_no_typo(&self) -> Result<(), SettingsError> {
        let known = || KEYS.iter().map(|key| key.variable).chain(OTHER_VARIABLES);
        let names = self.variables.iter().filter(|(_, value)| !value.is_empty()).filter_map(|(name, _)| name.to_str());
        // Distances take longer than everything else here, so none is measured for a name that is known.
        for name in names.filter(|name| name.starts_with("KINA_") && known().all(|known| known != *name)) {
            if let Some((nearest, 1..=TYPO_DISTANCE_MAX)) = nearest(name, known()) {
                return Err(SettingsError::UnknownVariable { name: name.to_owned(), nearest });
            }
        }
        Ok(())
    }
}

impl Values {
    pub(super) fn number(&self, key: &Key) -> Option<u64> {
        match self.by_name.get(key.name) {
            Some(Value::Number(number)) => Some(*number),
            _ => None,
        }
    }

    pub(super) fn text(&self, key: &Key) -> Option<String> {
        match self.by_name.get(key.name) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        }
    }

    pub(super) fn choice<Choice: FromStr>(&self, key: &Key) -> Option<Choice> {
        self.text(key)?.parse().ok()
    }

    pub(super) fn directory(&self, key: &Key) -> Option<PathBuf> {
        match self.by_name.get(key.name) {
            Some(Value::Directory(path)) => Some(path.clone()),
            _ => None,
        }
    }

    /// The file that sets this setting.
    pub(super) fn named_by(&self, key: &Key) -> Option<PathBuf> {
        let is_of_file = self.by_name.contains_key(key.name) && !self.of_variables.contains(key.name);
        self.file.clone().filter(|_| is_of_file)
    }
}

fn read_file(found: SettingsFile, owner: Owner, place_of_engine_settings: &str) -> Result<Values, SettingsError> {
    let SettingsFile { path, file } = found;
    let path = path.as_path();
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
    let mut document = toml_span::parse(&text).map_err(|mut error| {
        // Otherwise its text would name the line once more.
        error.line_info = None;
        SettingsError::Syntax { path: path.to_owned(), line: line_of(error.span.start), problem: error.to_string() }
    })?;
    let ValueInner::Table(entries) = document.take() else { return Ok(Values::default()) };
    // In the order of the file: the first mistake is reported first.
    let mut entries: Vec<_> = entries.into_iter().collect();
    entries.sort_by_key(|(name, _)| name.span.start);
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut values = Values { file: Some(path.to_owned()), ..Values::default() };
    for (name, mut found) in entries {
        let line = line_of(name.span.start);
        let Some(key) = by_name(&name.name) else {
            let advice = advise(&name.name, owner, place_of_engine_settings);
            return Err(SettingsError::UnknownKey { path: path.to_owned(), line, key: name.name.into_owned(), advice });
        };
        if key.owner != owner {
            let advice = where_it_belongs(key, place_of_engine_settings);
            return Err(SettingsError::WrongFile { path: path.to_owned(), line, key: key.name, advice });
        }
        let value = value::from_file(&found.take(), key.takes, directory).map_err(|found| SettingsError::BadValue {
            path: path.to_owned(),
            line,
            key: key.name,
            found,
            wanted: key.takes.to_string(),
        })?;
        values.by_name.insert(key.name, value);
    }
    Ok(values)
}

fn advise(name: &str, owner: Owner, place_of_engine_settings: &str) -> String {
    // If two are equally near, the one that belongs in this file.
    let (own, others): (Vec<&Key>, Vec<&Key>) = KEYS.iter().partition(|key| key.owner == owner);
    let found = nearest(name, own.into_iter().chain(others).map(|key| key.name)).and_then(|(near, _)| by_name(near));
    match found {
        Some(key) if key.owner == owner => format!("did you mean `{}`?", key.name),
        Some(key) => {
            format!("did you mean `{}`? That one {}", key.name, where_it_belongs(key, place_of_engine_settings))
        }
        None => "there are none".to_owned(),
    }
}

fn where_it_belongs(key: &Key, place_of_engine_settings: &str) -> String {
    match key.owner {
        Owner::Engine => format!(
            "is for the whole engine, which serves all workspaces: it belongs into {place_of_engine_settings}, or into \
             the variable {}",
            key.variable
        ),
        Owner::Workspace => format!(
            "is for one workspace: it belongs into the {} there, or into the variable {}",
            find::FILE_NAME,
            key.variable
        ),
    }
}
