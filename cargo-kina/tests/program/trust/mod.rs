//! Other users of the machine, and workspaces from somewhere: nothing that they put in kina's way is run. Files and programs
//! are accepted or refused, each with its message.
//!
//! Another user is one that is neither root nor the caller. Only root can make files of such a user, so most of these tests
//! skip where they are not root.

mod scene;

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use self::scene::{COMPONENTS, SHARED_GROUP, STRANGER, Scene, text_of};

/// Tells if this process can make files of another user.
fn is_root() -> bool {
    rustix::process::getuid().is_root()
}

fn user() -> u32 {
    rustix::process::getuid().as_raw()
}

/// The workspace's own programs were run, and no others.
#[track_caller]
fn expect_accepted(scene: &Scene) {
    let (marks, said) = scene.try_cluster();
    assert_eq!(marks, ["named"], "{said}");
    assert!(!said.contains("passing over"), "{said}");
}

/// As if the file were not there: the programs were run that are used without it. It is said why.
#[track_caller]
fn expect_skipped(scene: &Scene, expected: &[&str]) {
    let (marks, said) = scene.try_cluster();
    assert_eq!(marks, ["harmless"], "{said}");
    for text in expected {
        assert!(said.contains(text), "no `{text}` in:\n{said}");
    }
    assert_eq!(said.matches("kina: passing over ").count(), 1, "{said}");
}

/// An error that is the user's to mend, and nothing was run.
#[track_caller]
fn expect_refused(scene: &Scene, expected: &[&str]) {
    let output = scene.run(["warm", "1"]);
    let said = text_of(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for text in expected {
        assert!(said.contains(text), "no `{text}` in:\n{said}");
    }
    scene.stop();
    assert_eq!(scene.marks(), [""; 0], "{said}");
}

#[test]
fn a_workspace_of_the_users_own_names_its_programs() {
    expect_accepted(&Scene::with_named_programs());
}

#[test]
fn a_link_in_the_place_of_kina_toml_is_refused() {
    let scene = Scene::with_named_programs();
    std::fs::rename(scene.path("workspace/kina.toml"), scene.path("workspace/other.toml")).expect("renamed");
    scene.link("workspace/kina.toml", "workspace/other.toml");
    let shown = format!("{} is a link, which kina does not follow", scene.shown("workspace/kina.toml"));
    expect_refused(&scene, &[&shown]);
}

#[test]
fn a_link_of_another_user_in_the_place_of_kina_toml_is_passed_over() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let scene = Scene::with_named_programs();
    std::fs::rename(scene.path("workspace/kina.toml"), scene.path("workspace/other.toml")).expect("renamed");
    scene.link("workspace/kina.toml", "workspace/other.toml");
    scene.give_away("workspace/kina.toml");
    expect_skipped(&scene, &[&format!("`chown -h 0 {}`", scene.shown("workspace/kina.toml"))]);
}

#[test]
fn behind_a_link_above_it_a_workspace_is_judged_by_its_own_owner() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    // Another user's link to the user's own workspace: all that is read there is the user's.
    let mut scene = Scene::with_named_programs();
    scene.link("link", "workspace");
    scene.give_away("link");
    let through_link = scene.path("link");
    scene.set("CARGO_MANIFEST_DIR", &through_link);
    expect_accepted(&scene);
    // The user's own link, and another user's, to another user's workspace.
    scene.give_away("workspace");
    scene.give_away("workspace/kina.toml");
    let expected = format!("passing over {}", scene.shown("workspace/kina.toml"));
    expect_skipped(&scene, &[&expected, &format!("belongs to user {STRANGER}")]);
    std::fs::remove_file(&through_link).expect("removed");
    scene.link("link", "workspace");
    expect_skipped(&scene, &[&expected, &format!("belongs to user {STRANGER}")]);
}

#[test]
fn a_directory_that_its_group_can_write_is_refused_with_the_chmod() {
    let scene = Scene::with_named_programs();
    if !is_root() {
        return test_support::skip!("only root can give a file to a group of others");
    }
    let workspace = scene.path("workspace");
    std::os::unix::fs::chown(&workspace, None, Some(SHARED_GROUP)).expect("given to the group");
    scene.set_mode("workspace", 0o775);
    let chmod = format!("`chmod g-w {}`", scene.shown("workspace"));
    expect_refused(&scene, &[&chmod, &format!("through the group {SHARED_GROUP}")]);
    // As the message says.
    run_command_of(&chmod);
    expect_accepted(&scene);
    std::os::unix::fs::chown(scene.path("workspace/kina.toml"), None, Some(SHARED_GROUP)).expect("given");
    scene.set_mode("workspace/kina.toml", 0o664);
    expect_refused(&scene, &[&format!("`chmod g-w {}`", scene.shown("workspace/kina.toml"))]);
}

#[test]
fn a_directory_that_a_group_without_other_members_can_write_is_accepted() {
    let scene = Scene::with_named_programs();
    let group = std::fs::metadata(scene.path("workspace")).expect("it is there").gid();
    let users = std::fs::read_to_string("/etc/passwd").expect("readable");
    let others = users.lines().filter(|line| line.split(':').nth(3) == Some(&group.to_string())).count();
    if others != 1 {
        return test_support::skip!("the group {group} is that of {others} users");
    }
    // As with the umask 002.
    for name in ["workspace", "workspace/binaries"] {
        scene.set_mode(name, 0o775);
    }
    scene.set_mode("workspace/kina.toml", 0o664);
    for component in COMPONENTS {
        scene.set_mode(&format!("workspace/binaries/{component}"), 0o775);
    }
    expect_accepted(&scene);
}

#[test]
fn a_directory_that_every_user_can_write_is_refused_with_the_chmod() {
    let scene = Scene::with_named_programs();
    scene.set_mode("workspace", 0o777);
    let chmod = format!("`chmod o-w {}`", scene.shown("workspace"));
    expect_refused(&scene, &["every user can write to", &chmod]);
    run_command_of(&chmod);
    expect_accepted(&scene);
    // As `/tmp` is, which is meant to be so.
    scene.set_mode("workspace", 0o1777);
    expect_refused(&scene, &["every user can write to", "move what is yours into a directory of your own"]);
    scene.set_mode("workspace", 0o755);
    scene.set_mode("workspace/kina.toml", 0o666);
    expect_refused(&scene, &[&format!("`chmod o-w {}`", scene.shown("workspace/kina.toml"))]);
}

#[test]
fn a_directory_of_another_user_is_passed_over_unless_it_is_trusted() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let mut scene = Scene::with_named_programs();
    // A file of the user's own is the other user's to replace there.
    scene.give_away("workspace");
    let shown = scene.shown("workspace");
    let expected = [
        format!("passing over {shown}/kina.toml: {shown} belongs to user {STRANGER}"),
        format!("`chown -R 0 {shown}`, or set KINA_TRUSTED_DIRECTORY={shown}"),
    ];
    expect_skipped(&scene, &[&expected[0], &expected[1]]);
    scene.give_away("workspace/kina.toml");
    for name in ["binaries", "binaries/etcd", "binaries/kube-apiserver"] {
        scene.give_away(&format!("workspace/{name}"));
    }
    expect_skipped(&scene, &[&expected[0], &expected[1]]);
    scene.set("KINA_TRUSTED_DIRECTORY", &shown);
    expect_accepted(&scene);
    // Another directory, and one whose name only begins the same.
    for other in ["harmless", "work"] {
        let other = scene.path(other);
        std::fs::create_dir_all(&other).expect("made");
        scene.set("KINA_TRUSTED_DIRECTORY", &other);
        expect_skipped(&scene, &[&expected[0]]);
    }
    scene.set("KINA_TRUSTED_DIRECTORY", "workspace");
    expect_refused(&scene, &["KINA_TRUSTED_DIRECTORY is `workspace`", "the absolute path of a directory"]);
}

#[test]
fn past_a_file_of_another_user_the_way_leads_on_to_the_users_own() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let scene = Scene::with_named_programs();
    scene.plant("workspace/sub/theirs/etcd", "theirs");
    scene.plant("workspace/sub/theirs/kube-apiserver", "theirs");
    scene.write("workspace/sub/kina.toml", "assets_directory = \"theirs\"\n");
    scene.give_away("workspace/sub/kina.toml");
    let output = scene.command(["warm", "1"]).current_dir(scene.path("workspace/sub")).output().expect("it starts");
    scene.stop();
    assert_eq!(scene.marks(), ["named"], "{}", text_of(&output));
    assert!(text_of(&output).contains("kina: passing over "), "{}", text_of(&output));
}

#[test]
fn programs_that_others_can_write_are_not_run_though_the_user_names_them() {
    let scene = Scene::with_named_programs();
    scene.set_mode("workspace/binaries/etcd", 0o777);
    expect_refused(&scene, &[&format!("`chmod o-w {}`", scene.shown("workspace/binaries/etcd"))]);
    scene.set_mode("workspace/binaries/etcd", 0o755);
    scene.set_mode("workspace/binaries", 0o777);
    expect_refused(&scene, &[&format!("`chmod o-w {}`", scene.shown("workspace/binaries"))]);
}

#[test]
fn the_programs_that_a_workspace_names_are_told_of_once() {
    let scene = Scene::with_named_programs();
    let notice = || {
        let said = text_of(&scene.run(["status"]));
        said.lines().filter(|line| line.contains("sets `assets_directory`")).map(str::to_owned).collect::<Vec<_>>()
    };
    let of_binaries = format!(
        "kina: {} sets `assets_directory`: the clusters of this workspace run the programs in {}",
        scene.shown("workspace/kina.toml"),
        scene.shown("workspace/binaries")
    );
    assert_eq!(notice(), [of_binaries]);
    assert_eq!(notice(), [""; 0]);
    scene.write("workspace/kina.toml", "assets_directory = \"others\"\n");
    assert!(notice().iter().all(|line| line.ends_with("workspace/others")));
    assert_eq!(notice(), [""; 0]);
}

#[test]
fn a_cache_of_another_user_is_refused_unless_it_is_trusted() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let mut scene = Scene::new();
    std::fs::create_dir(scene.path("cache")).expect("made");
    scene.give_away("cache");
    let shown = scene.shown("cache");
    let chown = format!("`chown -R 0 {shown}`");
    expect_refused(&scene, &[&format!("the cache {shown} is not used"), &chown, "or set KINA_CACHE_DIR"]);
    scene.set("KINA_TRUSTED_DIRECTORY", &shown);
    assert_eq!(scene.try_cluster().0, ["harmless"]);
    scene.set("KINA_TRUSTED_DIRECTORY", "");
    run_command_of(&chown);
    assert_eq!(scene.try_cluster().0, ["harmless"]);
}

#[test]
fn a_cache_that_others_can_read_is_used_and_one_that_they_can_write_is_not() {
    let scene = Scene::new();
    std::fs::create_dir(scene.path("cache")).expect("made");
    scene.set_mode("cache", 0o777);
    let chmod = format!("`chmod o-w {}`", scene.shown("cache"));
    expect_refused(&scene, &[&chmod]);
    run_command_of(&chmod);
    assert_eq!(scene.try_cluster().0, ["harmless"]);
    for private in ["cache/run", "cache/journals"].map(|name| scene.path(name)).iter().filter(|path| path.exists()) {
        assert_eq!(std::fs::metadata(private).expect("it is there").mode() & 0o077, 0, "{}", private.display());
    }
}

/// A scene whose programs are in the store of its cache.
fn with_store() -> (Scene, String) {
    let scene = Scene::new().with("KUBEBUILDER_ASSETS", "");
    let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let version = format!("cache/assets/k8s/1.37.2-{os}-{processor}");
    for component in COMPONENTS {
        scene.plant(&format!("{version}/{component}"), "store");
    }
    (scene, version)
}

#[test]
fn a_program_swapped_in_the_store_by_another_user_is_not_run() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let (scene, version) = with_store();
    assert_eq!(scene.try_cluster().0, ["store"]);
    let etcd = format!("{version}/etcd");
    scene.plant(&etcd, "planted");
    scene.give_away(&etcd);
    let belongs = format!("{} belongs to user {STRANGER}", scene.shown(&etcd));
    expect_refused(&scene, &[&belongs, &format!("`chown 0 {}`", scene.shown(&etcd))]);
    // By a link, and by another directory in the place of one on the way.
    scene.plant("planted/etcd", "planted");
    scene.plant("planted/kube-apiserver", "planted");
    std::fs::remove_file(scene.path(&etcd)).expect("removed");
    scene.link(&etcd, "planted/etcd");
    scene.give_away(&etcd);
    expect_refused(&scene, &[&belongs]);
    std::fs::remove_dir_all(scene.path(&version)).expect("removed");
    scene.link(&version, "planted");
    scene.give_away(&version);
    expect_refused(&scene, &[&format!("{} belongs to user {STRANGER}", scene.shown(&version))]);
    std::fs::remove_file(scene.path(&version)).expect("removed");
    std::fs::rename(scene.path("planted"), scene.path(&version)).expect("renamed");
    for directory in ["cache/assets", "cache/assets/k8s", &version] {
        scene.give_away(directory);
        expect_refused(&scene, &[&format!("{} belongs to user {STRANGER}", scene.shown(directory))]);
        std::os::unix::fs::chown(scene.path(directory), Some(user()), None).expect("taken back");
    }
}

#[test]
fn a_store_behind_a_link_is_used_and_judged_where_it_is() {
    let (scene, _) = with_store();
    std::fs::rename(scene.path("cache/assets"), scene.path("elsewhere")).expect("renamed");
    scene.link("cache/assets", "elsewhere");
    assert_eq!(scene.try_cluster().0, ["store"]);
    scene.set_mode("elsewhere", 0o777);
    expect_refused(&scene, &["every user can write to", "`chmod o-w "]);
}

#[test]
fn where_every_user_can_rename_directories_above_it_a_store_is_not_used() {
    let (scene, _) = with_store();
    std::fs::create_dir(scene.path("above")).expect("made");
    scene.set_mode("above", 0o755);
    std::fs::rename(scene.path("cache"), scene.path("above/cache")).expect("renamed");
    let cache = scene.path("above/cache");
    let scene = scene.with("KINA_CACHE_DIR", &cache);
    assert_eq!(scene.try_cluster().0, ["store"]);
    scene.set_mode("above", 0o777);
    expect_refused(&scene, &[&format!("every user can write to {}", scene.shown("above"))]);
    // There, only the owner of something can rename it.
    scene.set_mode("above", 0o1777);
    assert_eq!(scene.try_cluster().0, ["store"]);
}

/// The real binaries, which the user's tests have, in the store of the scene.
fn fill_store(scene: &Scene, version: &str) {
    let found = Command::new(env!("CARGO_BIN_EXE_cargo-kina"))
        .args(["kina", "assets", "path"])
        .current_dir("/")
        .env_remove("KINA_ENGINE")
        .output()
        .expect("it starts");
    assert!(found.status.success(), "{}", text_of(&found));
    let found = String::from_utf8(found.stdout).expect("text");
    for component in COMPONENTS {
        let destination = scene.path(&format!("{version}/{component}"));
        std::fs::remove_file(&destination).expect("removed");
        std::fs::copy(Path::new(found.trim()).join(component), &destination).expect("copied");
        scene.set_mode(&format!("{version}/{component}"), 0o755);
    }
}

#[test]
fn a_program_swapped_under_a_running_engine_is_not_started() {
    if !is_root() {
        return test_support::skip!("only root can make files of another user");
    }
    let (scene, version) = with_store();
    fill_store(&scene, &version);
    let output = scene.run(["warm", "1"]);
    assert!(output.status.success(), "{}", text_of(&output));
    // Neither size nor time of the program tells of it, which the engine would see and look for its programs anew.
    scene.give_away(&format!("{version}/etcd"));
    let said = text_of(&scene.run(["warm", "2"]));
    assert!(said.contains("only 1 of 2 clusters could be booted"), "{said}");
    let log = text_of(&scene.run(["logs"]));
    assert!(log.contains("a program is not started where another user could have put it"), "{log}");
    assert!(log.contains(&format!("`chown 0 {}/etcd`", scene.shown(&version))), "{log}");
}

/// A workspace with programs of every name that kina starts by itself, where a search path with these entries finds them.
fn with_planted_programs(entries: &str) -> Scene {
    let scene = Scene::new();
    for program in ["cargo-kina", "container", "go", "helm", "kubectl", "kustomize", "rustc", "sh", "ps", "cp", "tool"]
    {
        for directory in ["workspace", "workspace/bin"] {
            scene.plant(&format!("{directory}/{program}"), &format!("planted-{program}"));
        }
    }
    // The directories of the system are left out: the programs are nowhere else.
    let search_path = format!("{entries}:{}", scene.shown("none"));
    let scene = scene.with("PATH", search_path);
    scene.with("GOPROXY", "off").with("GOFLAGS", "-mod=mod")
}

const ENTRIES: [&str; 4] = ["", ".", "bin", "./bin"];

#[test]
fn relative_and_empty_entries_of_path_count_for_nothing_that_kina_starts_by_itself() {
    for entries in ENTRIES {
        let scene = with_planted_programs(entries);
        // The engine, and what it starts.
        let (marks, said) = scene.try_cluster();
        assert_eq!(marks, ["harmless"], "{entries:?}: {said}");
        // `go`, unless there is one in one of its usual places, which has no network here.
        let said = text_of(&scene.run(["assets", "build"]));
        assert_eq!(scene.marks(), [""; 0], "{entries:?}: {said}");
        // The programs that render a folder of fixtures.
        std::fs::create_dir(scene.path("workspace/app")).expect("made");
        scene.write("workspace/app/kustomization.yaml", "resources: []\n");
        let said = text_of(&scene.run(["run", "--fixtures", "app", "--", "true"]));
        assert!(said.contains("kustomize or kubectl"), "{entries:?}: {said}");
        assert_eq!(scene.marks(), [""; 0], "{entries:?}");
        // `container` and `rustc`.
        let said = text_of(&scene.run(["doctor", "--provider", "apple"]));
        assert_eq!(scene.marks(), [""; 0], "{entries:?}: {said}");
    }
}

#[test]
fn a_compiler_that_only_a_relative_entry_of_path_has_is_none_and_it_is_said() {
    let scene = with_planted_programs("bin");
    let said = text_of(&scene.run(["doctor", "--provider", "apple"]));
    assert!(
        said.contains("there is no program `rustc`") && said.contains("empty and relative entries do not count"),
        "{said}"
    );
    assert_eq!(scene.marks(), [""; 0], "{said}");
}

#[test]
fn only_the_command_of_run_is_resolved_through_relative_and_empty_entries_of_path() {
    for entries in ENTRIES {
        let mut scene = with_planted_programs(entries);
        // As inside of another `cargo kina run`, whose cluster it takes.
        scene.write("workspace/kubeconfig", "");
        let kubeconfig = scene.path("workspace/kubeconfig");
        scene.set("KUBECONFIG", kubeconfig);
        scene.set("KINA_LEASED_CLUSTER", "cluster-1-1");
        let output = scene.run(["run", "--", "tool"]);
        assert_eq!(scene.marks(), ["planted-tool"], "{entries:?}: {}", text_of(&output));
    }
}

/// Runs the command that a message shows between backquotes.
fn run_command_of(shown: &str) {
    let command = shown.trim_matches('`');
    let status = Command::new("/bin/sh").args(["-c", command]).status().expect("a shell starts");
    assert!(status.success(), "{command}");
}
