//! The stand-ins for Apple's `container`.
//!
//! The emulators are separate packages, and cargo gives a test only the paths of its own package's programs. So they
//! are built here, by the cargo that runs the test, into the same target directory. That does nothing if the whole
//! workspace is tested, and never uses a program that is older than its source. These tests are not in the emulators'
//! packages instead, because `kina-lab` is the program under test, and takes minutes to build a second time with
//! other features.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The variable that names the program `container` to kina.
pub const CONTAINER_CLI: &str = "KINA_CONTAINER_CLI";
/// The variable that names a compiled first process of images to kina.
pub const SUPERVISOR: &str = "KINA_SUPERVISOR";

/// The stand-ins for `container`.
pub struct StandIns {
    /// The emulator, whose machines are namespaces.
    pub emulator: PathBuf,
    /// The program whose machines are podman's containers.
    pub on_podman: PathBuf,
}

/// Builds them with the same profile as this test, once in each process.
pub fn stand_ins() -> &'static StandIns {
    static STAND_INS: OnceLock<StandIns> = OnceLock::new();
    STAND_INS.get_or_init(|| {
        let profile_directory = Path::new(env!("CARGO_BIN_EXE_kina-lab")).parent().expect("it has a directory");
        let profile = match profile_directory.file_name().and_then(OsStr::to_str).expect("a name") {
            "debug" => "dev",
            other => other,
        };
        // The cargo that runs this test, because the one that built it may be gone.
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["build", "--message-format=json", "--profile", profile, "--workspace"]);
        // Of the whole workspace: the features of the two packages alone are others, and all that depends on these would
        // be compiled again. With a target of the root package: dependencies of procedural macros have no debug
        // information, unless a selected target depends on them too, as those of the root package do.
        command.args(["--bin=container", "--bin=container-on-podman", "--example=quickstart"]);
        command.arg("--target-dir").arg(profile_directory.parent().expect("it is in the target directory"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().expect("cargo starts");
        assert!(status.success(), "building the emulators failed: {}", String::from_utf8_lossy(&stderr));
        let messages = String::from_utf8(stdout).expect("UTF-8");
        let programs = messages.lines().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        });
        let programs: Vec<_> = programs.collect();
        // The example is reported too.
        let named = |name: &str| {
            let found = programs.iter().find(|path| path.file_name() == Some(OsStr::new(name)));
            found.unwrap_or_else(|| panic!("cargo reported no program {name}: {programs:?}")).clone()
        };
        StandIns { emulator: named("container"), on_podman: named("container-on-podman") }
    })
}

/// Compiles kina's supervisor for the emulator's machines, which are namespaces of this machine. kina's own build for
/// images needs a target that not every Rust installation has, and is tested in podman.
pub fn supervisor() -> PathBuf {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kina-engine/supervisor/main.rs");
    test_support::static_program(Path::new(env!("CARGO_TARGET_TMPDIR")), &main)
}
