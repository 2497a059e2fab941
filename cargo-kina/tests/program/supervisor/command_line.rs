//! `cargo kina image`, on the command line.

use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use super::scene::{emulated_components, host};

/// A user with a cache of their own.
struct User {
    directory: TempDir,
}

impl User {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("directory") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn image(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kina"));
        command.args(["kina", "image"]).args(arguments);
        command.env("KINA_CACHE_DIR", self.path("cache")).env("KINA_RUNTIME_DIR", self.path("run"));
        command
            .env("KINA_ASSETS_DIR", emulated_components())
            .env_remove("KUBEBUILDER_ASSETS")
            .env_remove("KINA_SUPERVISOR");
        command
    }

    /// Returns the message of a command that fails with an error that the user has to correct.
    fn refused(mut command: Command) -> String {
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }
}

#[test]
fn the_image_is_described_copied_and_found_again() {
    super::skip_unless_images_can_be_made!();
    let user = User::new();
    let message = User::refused(user.command(&["path"]));
    assert!(message.contains("make one with `cargo kina image build`"), "{message}");

    let output = user.image(&["build", "--format", "json"]);
    assert!(output.status.success(), "{output:?}");
    let built: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let archive = PathBuf::from(built["archive"].as_str().expect("archive"));
    assert!(archive.starts_with(user.path("cache/images")), "{built}");
    assert_eq!(built["size_bytes"], std::fs::metadata(&archive).expect("archive").len());
    assert_eq!(built["architecture"], host().name());
    assert_eq!(built["kubernetes"], "unknown");
    for name in ["digest", "supervisor"] {
        let digest = built[name].as_str().and_then(|text| text.strip_prefix("sha256:")).expect(name);
        assert_eq!(digest.len(), 64, "{built}");
    }
    let hash = &built["digest"].as_str().expect("digest")[7..19];
    assert_eq!(built["reference"], format!("kina.local/cluster:unknown-{}-{hash}", host()));

    let output = user.image(&["path"]);
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), format!("{}\n", archive.display()));

    let copy = user.path("copy.tar");
    let output = user.image(&["build", "--format", "json", "--output", copy.to_str().expect("UTF-8")]);
    assert!(output.status.success(), "{output:?}");
    let copied: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(copied["archive"], copy.to_str().expect("UTF-8"));
    assert_eq!(copied["reference"], built["reference"]);
    assert!(std::fs::read(copy).expect("read") == std::fs::read(archive).expect("read"));
}

#[test]
fn wrong_arguments_and_supervisors_are_errors_for_the_user() {
    let user = User::new();
    let message = User::refused(user.command(&["build", "--kubernetes", "1.2"]));
    assert!(message.contains("unknown Kubernetes minor `1.2`"), "{message}");
    let supervisor = user.path("supervisor");
    std::fs::write(&supervisor, "#!/bin/sh\n").expect("write");
    let mut command = user.command(&["build"]);
    command.env("KINA_SUPERVISOR", &supervisor);
    let message = User::refused(command);
    assert!(message.contains("is not a program in a known format: name a static Linux program"), "{message}");
}
