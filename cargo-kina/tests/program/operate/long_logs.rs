//! A component that writes more than there is room for.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Scene, client_command, clusters_in, text_of, wait_until};

/// All that a component leaves in its logs.
const BYTES_MAX: u64 = 64_000_000;
const LAST_LINE: &str = "the last line of many";

/// The programs of the store, but for a kube-apiserver that, when `trigger` appears, also writes 150 MB in one line and
/// 150 MB in many.
fn talkative_programs(scene: &Scene, trigger: &Path) -> PathBuf {
    let output = scene.command(["assets", "path"]).output().expect("it starts");
    let found = PathBuf::from(String::from_utf8(output.stdout).expect("text").trim());
    let directory = scene.path().join("assets");
    std::fs::create_dir(&directory).expect("made");
    std::os::unix::fs::symlink(found.join("etcd"), directory.join("etcd")).expect("linked");
    let script = format!(
        "#!/bin/sh\n\
         (\n\
             until [ -e '{}' ]; do sleep 0.1; done\n\
             head -c 150000000 /dev/zero | tr '\\0' x\n\
             echo\n\
             yes 'one of many lines, each of the same length' | head -n 3700000\n\
             echo '{LAST_LINE}'\n\
         ) >&2 &\n\
         exec '{}' \"$@\"\n",
        trigger.display(),
        found.join("kube-apiserver").display(),
    );
    let path = directory.join("kube-apiserver");
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    directory
}

/// The files with the lines of one component, of all clusters.
fn parts(logs: &Path, component: &str) -> Vec<PathBuf> {
    let clusters = std::fs::read_dir(logs).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let name = format!("{component}.log");
    clusters.flat_map(|cluster| [cluster.join(&name), cluster.join("earlier").join(&name)]).collect()
}

fn bytes_of(logs: &Path, component: &str) -> u64 {
    parts(logs, component).iter().filter_map(|path| Some(std::fs::metadata(path).ok()?.len())).sum()
}

#[test]
fn a_component_that_writes_300_megabytes_leaves_at_most_64_and_a_lease_on_its_cluster_works_on() {
    let scene = Scene::with_clusters();
    let (cache, trigger) = (scene.path().join("cache"), scene.path().join("trigger"));
    let logs = cache.join("logs/clusters");
    let assets = talkative_programs(&scene, &trigger);
    let run = |script: &str| {
        let mut command = scene.command(["run", "--", "sh", "-c", script]);
        command.env("KINA_CACHE_DIR", &cache).env("KINA_ASSETS_DIR", &assets).env("KINA_SLOTS_MAX", "1");
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{}", text_of(&output));
        String::from_utf8(output.stdout).expect("text")
    };

    let client = client_command();
    let is_written =
        format!("cat {0}/*/kube-apiserver.log {0}/*/earlier/kube-apiserver.log 2>/dev/null", logs.display());
    let script = format!(
        "{client} && touch '{}' && for second in $(seq 120); do \
             if {is_written} | grep -q '^{LAST_LINE}'; then {client}; exit; fi; sleep 1; \
         done; echo 'it never wrote its last line' >&2; exit 1",
        trigger.display()
    );
    let is_over = AtomicBool::new(false);
    let (printed, most) = std::thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = bytes_of(&logs, "kube-apiserver").max(most);
                std::thread::sleep(Duration::from_millis(5));
            }
            most
        });
        let printed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&script)));
        is_over.store(true, Ordering::Relaxed);
        (printed.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), looking.join().expect("it looked"))
    });
    let clusters = clusters_in(&printed);
    assert_eq!((clusters.len(), clusters.first()), (2, clusters.last()), "{printed}");
    assert!(10_000_000 < most && most <= BYTES_MAX, "at most {most} bytes were there at a time");

    // The newest lines are what is left, once the release has moved them, and the next lease sees none of them.
    wait_until("the newest line is shown", || {
        let mut shown = scene.command(["logs", "1", "--component", "kube-apiserver"]);
        let shown = shown.env("KINA_CACHE_DIR", &cache).output().expect("it starts").stdout;
        String::from_utf8_lossy(&shown).lines().any(|line| line.ends_with(LAST_LINE))
    });
    let newest = parts(&logs, "kube-apiserver").remove(0);
    run(&format!("{client} && ! grep -q many '{}'", newest.display()));
    let left = bytes_of(&logs, "kube-apiserver");
    assert!(left <= BYTES_MAX, "{left} bytes are left");
    assert_eq!(scene.status()["counters"]["boots"], 1, "it was one cluster all the time");
}
