//! A workspace, a cache, and programs that leave a mark where they are run.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Owns nothing on any system, and is never the caller.
pub const STRANGER: u32 = 65534;
/// A group with others in it, on every system.
pub const SHARED_GROUP: u32 = 65534;
/// The programs of a control plane.
pub const COMPONENTS: [&str; 2] = ["kube-apiserver", "etcd"];

pub struct Scene {
    directory: tempfile::TempDir,
    root: PathBuf,
    variables: Vec<(String, String)>,
}

impl Scene {
    /// With a workspace that says nothing. The harmless programs are those that tests get which are not told otherwise.
    pub fn new() -> Self {
        // Short, because a socket's path is.
        let only_mine = std::fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix("kt").permissions(only_mine).tempdir_in("/tmp");
        let directory = directory.expect("a temporary directory");
        let root = std::fs::canonicalize(directory.path()).expect("it is there");
        let scene = Self { directory, root, variables: Vec::new() };
        for name in ["workspace/.git", "home", "marks", "harmless"] {
            make_directory(&scene.path(name));
        }
        for component in COMPONENTS {
            scene.plant(&format!("harmless/{component}"), "harmless");
        }
        scene
    }

    /// A scene whose `kina.toml` names programs of its own.
    pub fn with_named_programs() -> Self {
        let scene = Self::new();
        for component in COMPONENTS {
            scene.plant(&format!("workspace/binaries/{component}"), "named");
        }
        scene.write("workspace/kina.toml", "assets_directory = \"binaries\"\n");
        scene
    }

    pub fn with(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.set(name, value);
        self
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.variables.push((name.to_owned(), value.as_ref().to_string_lossy().into_owned()));
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The path as messages have it.
    pub fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
        self.set_mode(name, 0o644);
    }

    /// A program that leaves a mark where it is run, and fails.
    pub fn plant(&self, name: &str, mark: &str) {
        let path = self.path(name);
        make_directory(path.parent().expect("a directory"));
        let text = format!("#!/bin/sh\n: > '{}'\nexit 1\n", self.path("marks").join(mark).display());
        std::fs::write(&path, text).expect("written");
        self.set_mode(name, 0o755);
    }

    pub fn set_mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).expect("set");
    }

    /// Gives something away; of a link, the link itself.
    pub fn give_away(&self, name: &str) {
        std::os::unix::fs::lchown(self.path(name), Some(STRANGER), None).expect("given away");
    }

    pub fn link(&self, name: &str, target: &str) {
        std::os::unix::fs::symlink(self.path(target), self.path(name)).expect("linked");
    }

    /// The program in the workspace, without anything of the caller's environment that says where things are.
    pub fn command<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kina"));
        command
            .arg("kina")
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("KINA_CACHE_DIR", self.path("cache"))
            .env("KINA_RUNTIME_DIR", self.path("run"))
            .env("KUBEBUILDER_ASSETS", self.path("harmless"))
            .env("KINA_SLOTS_MAX", "2")
            .env("KINA_TARGET_UTILISATION_PERCENT", "100")
            // Should this process be killed, its engine does not stay for long.
            .env("KINA_IDLE_EXIT_SECONDS", "30")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path("workspace"))
            .stdin(Stdio::null());
        command
    }

    pub fn run<Word: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = Word>) -> Output {
        self.command(words).output().expect("it starts")
    }

    /// Has a cluster made, which fails where it is made of programs of this scene, and ends the engine. Returns which of
    /// them were run, and what was said.
    pub fn try_cluster(&self) -> (Vec<String>, String) {
        let output = self.run(["warm", "1"]);
        assert!(!output.status.success(), "{}", text_of(&output));
        self.stop();
        (self.marks(), text_of(&output))
    }

    /// Marks of programs that were run since the last time.
    pub fn marks(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("marks")).expect("it is there").flatten();
        let mut marks: Vec<String> = Vec::new();
        for entry in entries {
            std::fs::remove_file(entry.path()).expect("removed");
            marks.push(entry.file_name().to_string_lossy().into_owned());
        }
        marks.sort();
        marks
    }

    pub fn stop(&self) {
        // Where the cache is refused, no engine was started.
        let _ = self.run(["stop"]);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop();
        assert!(self.directory.path().exists() || std::thread::panicking(), "something has removed the scene");
    }
}

fn make_directory(path: &Path) {
    std::fs::create_dir_all(path).expect("made");
    // Independent of the caller's umask.
    for directory in path.ancestors().take_while(|directory| directory.parent() != Some(Path::new("/tmp"))) {
        let mode = std::fs::metadata(directory).expect("made").permissions().mode();
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode & !0o022)).expect("set");
    }
}

/// All that it wrote.
pub fn text_of(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
