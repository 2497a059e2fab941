use std::ffi::OsString;
use std::path::Path;

use super::*;
use crate::ProviderName;
use crate::protocol::{Isolation, Profile};

/// A machine with a home directory and a workspace below it, made up in a directory of its own.
struct Machine {
    root: tempfile::TempDir,
    variables: Vec<(&'static str, OsString)>,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().expect("a temporary directory"), variables: Vec::new() };
        for directory in ["home/work/package", "home/.config/kina"] {
            std::fs::create_dir_all(machine.root.path().join(directory)).expect("made");
        }
        machine
    }

    /// As settings are found: with all links followed.
    fn path(&self) -> PathBuf {
        std::fs::canonicalize(self.root.path()).expect("it is there")
    }

    fn workspace(self, text: &str) -> Self {
        self.write("home/work/kina.toml", text)
    }

    fn user(self, text: &str) -> Self {
        self.write("home/.config/kina/kina.toml", text)
    }

    fn write(self, path: &str, text: &str) -> Self {
        std::fs::write(self.root.path().join(path), text).expect("written");
        self
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn sources(&self) -> SettingsSources {
        SettingsSources {
            variables: self.variables.iter().map(|(name, value)| (name.into(), value.clone())).collect(),
            directory: Some(self.path().join("home/work/package")),
            home: Some(self.path().join("home")),
        }
    }

    fn of_workspace(&self) -> Result<WorkspaceSettings, SettingsError> {
        self.sources().read(Owner::Workspace).map(|values| WorkspaceSettings::from_values(&values))
    }

    fn of_engine(&self) -> Result<EngineSettings, SettingsError> {
        self.sources().read(Owner::Engine).map(|values| EngineSettings::from_values(&values))
    }

    /// A message, with the made-up machine's root as `/`.
    fn message(&self, error: &SettingsError) -> String {
        crate::with_causes(error).replace(&self.path().display().to_string(), "")
    }
}

#[test]
fn settings_without_a_choice_are_the_defaults() {
    let machine = Machine::new();
    assert_eq!(machine.of_workspace().expect("nothing wrong"), WorkspaceSettings::default());
    assert_eq!(machine.of_engine().expect("nothing wrong"), EngineSettings::default());
    let machine = Machine::new().workspace("").user("# nothing yet\n").variable("KINA_SLOTS_MAX", "");
    assert_eq!(machine.of_workspace().expect("nothing wrong"), WorkspaceSettings::default());
    assert_eq!(machine.of_engine().expect("nothing wrong"), EngineSettings::default());
}

#[test]
fn a_workspace_says_what_its_tests_want() {
    let machine = Machine::new().workspace(
        "kubernetes = \"1.36\"\nprovider = \"apple\"\nprofile = \"controllers\"\nisolation = \"namespace\"\n\
         acquire_timeout_seconds = 20\ntest_timeout_seconds = 90\n\
         assets_directory = \"binaries\" # beside this file\n",
    );
    let expected = WorkspaceSettings {
        kubernetes: Some("1.36".to_owned()),
        provider: ProviderName::Apple,
        profile: Profile::Controllers,
        isolation: Isolation::Namespace,
        test_timeout_seconds: Some(90),
        acquire_timeout_seconds: 20,
        assets_directory: Some(machine.path().join("home/work/binaries")),
        assets_directory_named_by: Some(machine.path().join("home/work/kina.toml")),
    };
    assert_eq!(machine.of_workspace().expect("understood"), expected);
    assert_eq!(machine.of_engine().expect("not its file"), EngineSettings::default());
}

#[test]
fn a_user_says_what_the_engine_may_take() {
    let machine = Machine::new().user(
        "slots_max = 8\nboots_max = 2\nmemory_max = \"4GiB\"\ncluster_cpus = 3\ncluster_memory = \"2GiB\"\nwaiting_max = 50\ntarget_utilisation_percent = 50\n\
         scale_up_window_seconds = 1\nscale_down_window_seconds = 30\nfreeze_after_idle_seconds = 5\n\
         stop_after_idle_seconds = 20\nidle_exit_seconds = 90\nnamespaces_max = 7\nslot_leases_max = 10\nslot_database_bytes_max = 268435456\nmetrics_port = 9464\n",
    );
    let expected = EngineSettings {
        slots_max: Some(8),
        boots_max: Some(2),
        memory_max_bytes: Some(4 << 30),
        cluster_cpus: Some(3),
        cluster_memory_bytes: Some(2 << 30),
        waiting_max: 50,
        target_utilisation_percent: 50,
        scale_up_window_seconds: 1,
        scale_down_window_seconds: 30,
        freeze_after_idle_seconds: 5,
        stop_after_idle_seconds: 20,
        idle_exit_seconds: 90,
        namespaces_max: 7,
        slot_leases_max: 10,
        slot_database_bytes_max: 256 << 20,
        metrics_port: Some(9464),
    };
    assert_eq!(machine.of_engine().expect("understood"), expected);
    assert_eq!(machine.of_workspace().expect("not its file"), WorkspaceSettings::default());
}

#[test]
fn the_environment_lies_over_the_files() {
    let machine = Machine::new()
        .workspace("kubernetes = \"1.36\"\nassets_directory = \"binaries\"\n")
        .user("slots_max = 8\nmemory_max = \"4GiB\"\n")
        .variable("KINA_KUBERNETES", "1.35")
        .variable("KINA_ASSETS_DIR", "/opt/binaries")
        .variable("KINA_PROFILE", "controllers")
        .variable("KINA_ISOLATION", "namespace")
        .variable("KINA_TEST_TIMEOUT_SECONDS", "7")
        .variable("KINA_SLOTS_MAX", "3")
        .variable("KINA_MEMORY_MAX", "2GiB");
    let workspace = machine.of_workspace().expect("understood");
    assert_eq!(workspace.kubernetes.as_deref(), Some("1.35"));
    assert_eq!(workspace.assets_directory.as_deref(), Some(Path::new("/opt/binaries")));
    assert_eq!(workspace.assets_directory_named_by, None);
    assert_eq!((workspace.profile, workspace.isolation), (Profile::Controllers, Isolation::Namespace));
    assert_eq!(workspace.test_timeout_seconds, Some(7));
    let engine = machine.of_engine().expect("understood");
    assert_eq!((engine.slots_max, engine.memory_max_bytes), (Some(3), Some(2 << 30)));
}

#[test]
fn configuration_can_be_elsewhere() {
    let machine = Machine::new().write("kina.toml", "").user("slots_max = 8\n");
    std::fs::create_dir_all(machine.root.path().join("etc/kina")).expect("made");
    let directory = machine.root.path().join("etc").display().to_string();
    let machine = machine.write("etc/kina/kina.toml", "slots_max = 9\n").variable("XDG_CONFIG_HOME", &directory);
    assert_eq!(machine.of_engine().expect("understood").slots_max, Some(9));
}

#[test]
fn the_users_own_file_is_no_workspaces() {
    let machine = Machine::new().user("slots_max = 8\n");
    let mut sources = machine.sources();
    sources.directory = Some(machine.root.path().join("home/.config/kina"));
    sources.read(Owner::Workspace).expect("no workspace");
}

#[test]
fn every_mistake_in_a_workspaces_file_is_told() {
    const ELSEWHERE: &str = "is for the whole engine, which serves all workspaces: it belongs into \
                             /home/.config/kina/kina.toml, or into the variable";
    for (text, expected) in [
        ("kubernets = \"1.36\"", "line 1: there is no setting `kubernets`: did you mean `kubernetes`?".to_owned()),
        ("\n\n[pool]\nx = 1", "line 3: there is no setting `pool`: did you mean".to_owned()),
        ("kubernetes = \"1.36\"\nslots_max = 3", format!("line 2: `slots_max` {ELSEWHERE} KINA_SLOTS_MAX")),
        (
            "slot_max = 3",
            format!(
                "line 1: there is no setting `slot_max`: did you mean `slots_max`? That one {ELSEWHERE} KINA_SLOTS_MAX"
            ),
        ),
        (
            "kubernetes = 1.36",
            "line 1: `kubernetes` is the number 1.36, but must be a Kubernetes minor as text, such as \"1.36\""
                .to_owned(),
        ),
        (
            "kubernetes = \"newest\"",
            "line 1: `kubernetes` is the text \"newest\", but must be a Kubernetes minor as text, such as \"1.36\""
                .to_owned(),
        ),
        (
            "acquire_timeout_seconds = 0",
            "line 1: `acquire_timeout_seconds` is the number 0, but must be a whole number from 1 to 86400".to_owned(),
        ),
        (
            "acquire_timeout_seconds = \"long\"",
            "line 1: `acquire_timeout_seconds` is the text \"long\", but must be a whole number from 1 to 86400"
                .to_owned(),
        ),
        (
            "assets_directory = [\"a\"]",
            "line 1: `assets_directory` is an array, but must be the path of a directory, as text".to_owned(),
        ),
        (
            "assets_directory = true",
            "line 1: `assets_directory` is true, but must be the path of a directory, as text".to_owned(),
        ),
        (
            "profile = \"nodes\"",
            "line 1: `profile` is the text \"nodes\", but must be \"api\" or \"controllers\"".to_owned(),
        ),
        ("isolation = true", "line 1: `isolation` is true, but must be \"cluster\" or \"namespace\"".to_owned()),
        (
            "test_timeout_seconds = 0",
            "line 1: `test_timeout_seconds` is the number 0, but must be a whole number from 1 to 86400".to_owned(),
        ),
        ("profil = \"api\"", "line 1: there is no setting `profil`: did you mean `profile`?".to_owned()),
        (
            "test_timeout = 3",
            "line 1: there is no setting `test_timeout`: did you mean `test_timeout_seconds`?".to_owned(),
        ),
        ("kubernetes = \"1.36\"\nkubernetes = \"1.35\"", "line 2: this is no TOML (".to_owned()),
        ("kubernetes", "line 1: this is no TOML (".to_owned()),
        ("kubernetes = \"1.36\"\nx = \"", "line 2: this is no TOML (".to_owned()),
    ] {
        let machine = Machine::new().workspace(text);
        let error = machine.of_workspace().expect_err(text);
        let message = machine.message(&error);
        let expected = format!("/home/work/kina.toml, {expected}");
        assert!(message.starts_with(&expected), "of {text:?}\n  {message}\n  {expected}");
    }
}

#[test]
fn every_mistake_in_the_users_file_is_told() {
    for (text, expected) in [
        ("slots_max = 0", "line 1: `slots_max` is the number 0, but must be a whole number from 1 to 1000"),
        ("slots_max = -3", "line 1: `slots_max` is the number -3, but must be a whole number from 1 to 1000"),
        ("slots_max = 2.5", "line 1: `slots_max` is the number 2.5, but must be a whole number from 1 to 1000"),
        ("slots_max = \"3\"", "line 1: `slots_max` is the text \"3\", but must be a whole number from 1 to 1000"),
        ("slots_max = { a = 1 }", "line 1: `slots_max` is a table, but must be a whole number from 1 to 1000"),
        (
            "memory_max = \"plenty\"",
            "line 1: `memory_max` is the text \"plenty\", but must be a number of bytes, such as \"4GiB\", from 512 MiB \
             to 1024 TiB",
        ),
        (
            "memory_max = 4096",
            "line 1: `memory_max` is the number 4096, but must be a number of bytes, such as \"4GiB\", from 512 MiB to \
             1024 TiB",
        ),
        (
            "freeze_after_idle_seconds = 31",
            "line 1: `freeze_after_idle_seconds` is the number 31, but must be a whole number from 1 to 30",
        ),
        (
            "target_utilisation_percent = 101",
            "line 1: `target_utilisation_percent` is the number 101, but must be a whole number from 10 to 100",
        ),
        (
            "kubernetes = \"1.36\"",
            "line 1: `kubernetes` is for one workspace: it belongs into the kina.toml there, or into the variable \
             KINA_KUBERNETES",
        ),
        (
            "# mine\nstop_after_idle = 3",
            "line 2: there is no setting `stop_after_idle`: did you mean `stop_after_idle_seconds`?",
        ),
    ] {
        let machine = Machine::new().user(text);
        let message = machine.message(&machine.of_engine().expect_err(text));
        assert_eq!(message, format!("/home/.config/kina/kina.toml, {expected}"), "of {text:?}");
    }
}

#[test]
fn every_mistake_in_the_environment_is_told() {
    for (name, value, expected) in [
        ("KINA_SLOTS_MAX", "many", "the variable KINA_SLOTS_MAX is `many`, but must be a whole number from 1 to 1000"),
        ("KINA_SLOTS_MAX", "0", "the variable KINA_SLOTS_MAX is `0`, but must be a whole number from 1 to 1000"),
        (
            "KINA_MEMORY_MAX",
            "1MiB",
            "the variable KINA_MEMORY_MAX is `1MiB`, but must be a number of bytes, such as \"4GiB\", from 512 MiB to \
             1024 TiB",
        ),
        (
            "KINA_SLOT_MAX",
            "3",
            "there is no variable KINA_SLOT_MAX of kina's: did you mean KINA_SLOTS_MAX? Rename it, or unset it",
        ),
    ] {
        let machine = Machine::new().variable(name, value);
        assert_eq!(machine.message(&machine.of_engine().expect_err(name)), expected);
    }
    let machine = Machine::new().variable("KINA_PROFILE", "nodes");
    let message = machine.message(&machine.of_workspace().expect_err("no profile"));
    assert_eq!(message, "the variable KINA_PROFILE is `nodes`, but must be \"api\" or \"controllers\"");
    // A variable that is far from all of kina's may belong to another program.
    let machine = Machine::new().variable("KINA_TEST_DOOMED", "1").variable("SLOTS_MAX", "x");
    machine.of_engine().expect("nothing of kina's");
    machine.of_workspace().expect("nothing of kina's");
}

#[test]
fn a_directory_is_trusted_by_its_absolute_path() {
    let machine = Machine::new().variable("KINA_TRUSTED_DIRECTORY", "work");
    let message = machine.message(&machine.of_workspace().expect_err("a relative path"));
    assert_eq!(message, "the variable KINA_TRUSTED_DIRECTORY is `work`, but must be the absolute path of a directory");
    // A file cannot vouch for itself.
    let machine = Machine::new().workspace("trusted_directory = \"/\"");
    let message = machine.message(&machine.of_workspace().expect_err("no setting of a file"));
    assert!(message.contains("there is no setting `trusted_directory`"), "{message}");
}

#[test]
fn a_link_in_the_place_of_a_file_is_not_followed() {
    let machine = Machine::new().write("home/other.toml", "kubernetes = \"1.36\"\n");
    for file in ["home/work/kina.toml", "home/.config/kina/kina.toml"] {
        std::os::unix::fs::symlink(machine.path().join("home/other.toml"), machine.path().join(file)).expect("linked");
    }
    for error in [machine.of_workspace().expect_err("a link"), machine.of_engine().expect_err("a link")] {
        assert!(machine.message(&error).contains("is a link, which kina does not follow"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_that_names_it() {
    let machine = Machine::new();
    std::fs::write(machine.root.path().join("home/work/kina.toml"), [0xff, 0xfe]).expect("written");
    let message = machine.message(&machine.of_workspace().expect_err("no text"));
    assert!(message.starts_with("reading the settings in /home/work/kina.toml failed: "), "{message}");
}
