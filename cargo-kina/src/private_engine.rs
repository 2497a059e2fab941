//! An engine apart from the user's own, in directories that are removed at the end.
//!
//! Everything that makes engines for itself uses it: the benchmarks, chaos, the contract of providers, and the tests of the
//! workspace. It starts no engine: one starts with the first process that has this environment and needs a cluster.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use kina_engine::{EngineClient, EnginePaths, EngineProgram, ProviderName};
use tempfile::TempDir;

/// Sockets are below it, and their paths have to be short.
const PARENT: &str = "/tmp";
/// After the death of the process that wanted it, the engine stays no longer than this.
const IDLE_EXIT_SECONDS: &str = "30";

/// The directories of an engine, and the variables that lead processes there.
#[derive(Debug)]
pub struct PrivateEngine {
    /// `None` stands for a variable that is not passed on.
    variables: Vec<(String, Option<OsString>)>,
    directory: TempDir,
}

impl PrivateEngine {
    /// Makes the directories; `purpose` is part of their name. The user's settings and choice of an engine do not apply.
    ///
    /// # Errors
    ///
    /// If a directory cannot be made.
    pub fn prepare(purpose: &str) -> anyhow::Result<Self> {
        Self::prepare_in(Path::new(PARENT), purpose)
    }

    /// The same, with the directories below `parent`.
    ///
    /// # Errors
    ///
    /// If a directory cannot be made.
    pub fn prepare_in(parent: &Path, purpose: &str) -> anyhow::Result<Self> {
        let only_mine = Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new()
            .prefix(&format!("kina-{purpose}-"))
            .permissions(only_mine.clone())
            .tempdir_in(parent)
            .with_context(|| format!("making a temporary directory in {} failed", parent.display()))?;
        let mut private = Self { variables: Vec::new(), directory };
        for path in [private.runtime_directory(), private.temporary_directory()] {
            std::fs::create_dir(&path)
                .and_then(|()| std::fs::set_permissions(&path, only_mine.clone()))
                .with_context(|| format!("making {} failed", path.display()))?;
        }
        private.set("KINA_RUNTIME_DIR", private.runtime_directory());
        private.set("TMPDIR", private.temporary_directory());
        private.set("XDG_CONFIG_HOME", private.directory().join("configuration"));
        private.set("KINA_IDLE_EXIT_SECONDS", IDLE_EXIT_SECONDS);
        private.set("RUST_BACKTRACE", "0");
        private.unset("KINA_ENGINE");
        private.unset("KINA_SLOTS_MAX");
        Ok(private)
    }

    /// Gives it a cache of its own, so that its first cluster starts from nothing.
    #[must_use]
    pub fn with_own_cache(mut self) -> Self {
        self.set("KINA_CACHE_DIR", self.cache_directory());
        self
    }

    /// Makes this very executable the engine.
    ///
    /// # Errors
    ///
    /// If the system does not tell where the executable is.
    pub fn with_this_executable(mut self) -> anyhow::Result<Self> {
        self.set("KINA_ENGINE", std::env::current_exe().context("finding this executable failed")?);
        Ok(self)
    }

    /// Sets a variable of all processes that are started from now on.
    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.put(name, Some(value.as_ref().to_owned()));
    }

    /// Keeps a variable of this process from all processes that are started from now on.
    pub fn unset(&mut self, name: &str) {
        self.put(name, None);
    }

    /// The value of a variable that was set here.
    pub fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.iter().find(|(known, _)| known == name)?.1.as_deref()
    }

    /// Gives a command the environment.
    pub fn prepare_command(&self, command: &mut Command) {
        for (name, value) in &self.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// A command of this executable with this environment, killed if its handle is dropped.
    ///
    /// # Errors
    ///
    /// If the system does not tell where the executable is.
    pub fn command(&self, arguments: &[&str]) -> anyhow::Result<tokio::process::Command> {
        let mut command = Command::new(std::env::current_exe().context("finding this executable failed")?);
        command.args(arguments);
        self.prepare_command(&mut command);
        let mut command = tokio::process::Command::from(command);
        command.kill_on_drop(true);
        Ok(command)
    }

    /// The places of the engine's files.
    ///
    /// # Errors
    ///
    /// If no path can be made of the variables.
    pub fn paths(&self, provider: ProviderName) -> anyhow::Result<EnginePaths> {
        Ok(EnginePaths::resolve(provider, &|name| self.variable_of_commands(name))?)
    }

    /// A client that starts no engine but that of the environment.
    ///
    /// # Errors
    ///
    /// If no path can be made of the variables.
    pub fn client(&self, provider: ProviderName) -> anyhow::Result<EngineClient> {
        Ok(EngineClient::new(self.paths(provider)?, provider, EngineProgram::InstalledOnly))
    }

    /// The directory that everything private is below; command lines of its processes contain it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The directory of the engine's sockets and clusters, empty if none runs.
    pub fn runtime_directory(&self) -> PathBuf {
        self.directory().join("run")
    }

    /// The directory of temporary files.
    pub fn temporary_directory(&self) -> PathBuf {
        self.directory().join("tmp")
    }

    /// The directory of a cache of its own.
    pub fn cache_directory(&self) -> PathBuf {
        self.directory().join("cache")
    }

    /// The value that a variable has in a prepared command: those of this process are passed on.
    fn variable_of_commands(&self, name: &str) -> Option<OsString> {
        match self.variables.iter().find(|(known, _)| known == name) {
            Some((_, value)) => value.clone(),
            None => std::env::var_os(name),
        }
    }

    fn put(&mut self, name: &str, value: Option<OsString>) {
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.to_owned(), value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_private_and_are_removed() {
        let engines = [(); 2].map(|()| PrivateEngine::prepare("test").expect("made").with_own_cache());
        let directories = engines.each_ref().map(|engine| engine.directory().to_owned());
        assert_ne!(directories[0], directories[1]);
        for (engine, directory) in engines.iter().zip(&directories) {
            let paths = engine.paths(ProviderName::Process).expect("paths");
            assert!(paths.cluster_directory.starts_with(directory));
            assert!(paths.journal_directory.starts_with(directory));
            for path in [directory, &engine.runtime_directory(), &engine.temporary_directory()] {
                assert_eq!(std::fs::metadata(path).expect("made").permissions().mode() & 0o777, 0o700);
            }
        }
        drop(engines);
        assert!(directories.iter().all(|directory| !directory.exists()));
    }

    #[test]
    fn a_command_has_the_last_value_of_each_variable() {
        let mut engine = PrivateEngine::prepare("test").expect("made");
        engine.set("KINA_SLOTS_MAX", "1");
        engine.set("KINA_SLOTS_MAX", "2");
        assert_eq!(engine.variable("KINA_SLOTS_MAX"), Some(OsStr::new("2")));
        engine.unset("KINA_IDLE_EXIT_SECONDS");
        let mut command = Command::new("true");
        engine.prepare_command(&mut command);
        let values: Vec<_> = command.get_envs().filter(|(name, _)| *name != "TMPDIR").collect();
        assert!(values.contains(&(OsStr::new("KINA_SLOTS_MAX"), Some(OsStr::new("2")))), "{values:?}");
        assert!(values.contains(&(OsStr::new("KINA_IDLE_EXIT_SECONDS"), None)), "{values:?}");
        assert!(values.contains(&(OsStr::new("KINA_ENGINE"), None)), "{values:?}");
    }

    #[test]
    fn a_client_finds_the_engine_that_a_command_starts() {
        let mut engine = PrivateEngine::prepare("test").expect("made");
        assert_eq!(engine.variable_of_commands("KINA_RUNTIME_DIR"), Some(engine.runtime_directory().into_os_string()));
        let inherited = engine.variable_of_commands("PATH");
        assert!(inherited.is_some() && inherited == std::env::var_os("PATH"), "{inherited:?}");
        engine.unset("PATH");
        assert_eq!(engine.variable_of_commands("PATH"), None);
        // Without a cache of its own it shares that of this process.
        let expected = EnginePaths::resolve(ProviderName::Process, &|name| match name {
            "KINA_RUNTIME_DIR" => Some(engine.runtime_directory().into_os_string()),
            other => std::env::var_os(other),
        });
        assert_eq!(engine.paths(ProviderName::Process).expect("paths"), expected.expect("paths"));
    }
}
