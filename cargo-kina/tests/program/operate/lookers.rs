//! Commands that start no engine.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::scene::{Scene, text_of};

#[test]
fn the_absence_of_an_engine_is_reported_and_none_is_started() {
    let scene = Scene::without_engine();
    for command in ["status", "top"] {
        assert!(scene.printed([command]).contains("no engine is running"));
    }
    assert_eq!(scene.printed(["status", "--format", "json"]), "null\n");
    assert!(scene.printed(["stop"]).contains("no engine is running"));
    let output = scene.run(["logs"]);
    assert_eq!(output.status.code(), Some(2), "{}", text_of(&output));
    assert!(text_of(&output).contains("no engine has run"), "{}", text_of(&output));
}

#[test]
fn binaries_are_listed_found_and_removed() {
    let scene = Scene::without_engine();
    let store = scene.path().join("cache/assets/k8s");
    let put = |name: &str| {
        let directory = store.join(name);
        std::fs::create_dir_all(&directory).expect("made");
        for program in ["kube-apiserver", "etcd"] {
            let path = directory.join(program);
            std::fs::write(&path, "binary").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
        }
        directory
    };
    let run = |words: &[&str]| {
        let mut command = scene.command(words);
        command.env_remove("KINA_ASSETS_DIR").env_remove("KUBEBUILDER_ASSETS").env("HOME", scene.path());
        command.env_remove("XDG_DATA_HOME").output().expect("it starts")
    };
    let nothing = run(&["assets", "path", "--platform", "linux/amd64"]);
    assert_eq!(nothing.status.code(), Some(2), "{}", text_of(&nothing));
    assert!(text_of(&nothing).contains("cargo kina assets fetch"), "{}", text_of(&nothing));

    let [older, newer] = ["1.37.1-linux-amd64", "1.37.2-linux-amd64"].map(put);
    let listed = run(&["assets", "list", "--format", "json"]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    let versions: Vec<_> = listed.as_array().into_iter().flatten().map(|one| one["version"].as_str()).collect();
    assert_eq!(versions, [Some("1.37.1"), Some("1.37.2")], "{listed}");
    assert_eq!(listed[0]["size_bytes"], 12, "{listed}");
    let found = run(&["assets", "path", "--kubernetes", "1.37", "--platform", "linux/amd64"]);
    assert_eq!(String::from_utf8_lossy(&found.stdout).trim(), newer.display().to_string(), "{}", text_of(&found));

    let told = run(&["assets", "prune", "--dry-run"]);
    assert!(text_of(&told).contains("would remove") && older.exists(), "{}", text_of(&told));
    let removed = run(&["assets", "prune"]);
    assert!(removed.status.success() && !older.exists() && newer.exists(), "{}", text_of(&removed));
}

#[test]
fn every_shell_gets_its_completions() {
    let scene = Scene::without_engine();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = scene.printed(["completions", shell]);
        assert!(script.contains("cargo-kina") && script.contains("kubeconfig"), "{shell}");
    }
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_advice() {
    let scene = Scene::without_engine();
    for (words, advice) in [
        (&["stauts"][..], "status"),
        (&["run"], "COMMAND"),
        (&["run", "--profile", "all", "--", "true"], "controllers"),
        (&["kubeconfig"], "--hold"),
        (&["completions", "tcsh"], "zsh"),
        (&["assets", "path", "--kubernetes", "1.2"], "1.37"),
        (&["assets", "fetch", "--platform", "linux"], "linux/arm64"),
        (&["logs", "no-such-cluster"], "no cluster `no-such-cluster`"),
    ] {
        let output = scene.run(words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", text_of(&output));
        assert!(text_of(&output).contains(advice), "{words:?}: {}", text_of(&output));
        assert!(output.stdout.is_empty(), "errors are not results: {}", text_of(&output));
    }
}
