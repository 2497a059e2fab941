//! The lines of a build, with standard error in a file.

use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::assets_go_build::emulated_go::EmulatedGo;

/// `cargo kina`, whose engine finds no other Go than the emulated one and reaches no network.
fn program(scene: &Path, go: &EmulatedGo, words: &[&str]) -> Command {
    let search_path = std::env::join_paths([go.directory.path(), Path::new("/usr/bin"), Path::new("/bin")]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_cargo-kina"));
    command
        .args(words)
        .current_dir(scene)
        .env_clear()
        .env("PATH", search_path.expect("no colons"))
        .env("HOME", scene)
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("KINA_RUNTIME_DIR", scene.join("run"))
        .env("KINA_CACHE_DIR", scene.join("cache"))
        // Should this process be killed, its engine does not stay for long.
        .env("KINA_IDLE_EXIT_SECONDS", "30")
        .stdin(Stdio::null());
    command
}

#[test]
fn a_build_that_a_client_waits_for_writes_no_line_twice_in_a_row() {
    // Longer than the engine and the build are ever silent, so both have something to say meanwhile.
    let go = EmulatedGo::new(r#"case "$*" in build*/etcd/server/v3) sleep 12 ;; esac"#);
    let only_mine = std::fs::Permissions::from_mode(0o700);
    let scene = tempfile::Builder::new().prefix("kp").permissions(only_mine).tempdir_in("/tmp").expect("a directory");
    let path = scene.path().join("stderr");
    let stderr = File::create(&path).expect("made");
    // Emulated programs become no cluster, so that it fails in the end.
    let status = program(scene.path(), &go, &["warm", "1"]).stdout(Stdio::null()).stderr(stderr).status();
    let stopped = program(scene.path(), &go, &["stop"]).output().expect("it starts");
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(stopped.status.success() && !status.expect("it starts").success(), "{text}");

    let lines: Vec<&str> = text.lines().collect();
    let repeated: Vec<_> = lines.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(repeated.is_empty(), "{repeated:?} in\n{text}");
    for part in ["building etcd", "s so far", "building kube-apiserver"] {
        assert!(lines.iter().any(|line| line.contains(part)), "no `{part}` in\n{text}");
    }
}
