//! Many downloads at once, and downloads that die or run out of disk space half-way.
//!
//! A test that needs other processes runs its own executable again with one variable set. The same test function then
//! only provides assets, and its exit status is the result.

use std::process::{Command, Output};

use super::*;

const CHILD_CACHE: &str = "KINA_TEST_CHILD_CACHE";
const CHILD_INDEX_URL: &str = "KINA_TEST_CHILD_INDEX_URL";
const CHILD_SUCCEEDED: i32 = 40;
const CHILD_FAILED: i32 = 41;

/// Provides assets and exits, if this process is a child. Does nothing otherwise.
fn be_a_child_if_asked() {
    let Some(cache) = std::env::var_os(CHILD_CACHE) else { return };
    let index_url = std::env::var(CHILD_INDEX_URL).expect("index");
    match provide_assets(&request(Path::new(&cache), &index_url), &|_| {}) {
        Ok(_) => std::process::exit(CHILD_SUCCEEDED),
        Err(error) => {
            eprintln!("{error:?}\n{error}");
            std::process::exit(CHILD_FAILED);
        }
    }
}

/// Makes a command that runs `test` of this executable as a child, in a shell that executes `preparation` first.
fn child(test: &str, preparation: &str, cache: &Path, index_url: &str) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{preparation}\nexec \"$0\" --exact --nocapture \"$1\""))
        .arg(std::env::current_exe().expect("executable"))
        .arg(format!("assets_download::processes::{test}"))
        .env(CHILD_CACHE, cache)
        .env(CHILD_INDEX_URL, index_url);
    command
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn fifty_threads_at_once_download_once() {
    let scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    let request = &scene.request;
    let all: Vec<Assets> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..50).map(|_| scope.spawn(|| provide_assets(request, &|_| {}).expect("assets"))).collect();
        threads.into_iter().map(|thread| thread.join().expect("thread")).collect()
    });
    assert_eq!(all.iter().filter(|assets| assets.source == AssetSource::Download).count(), 1);
    assert!(all.iter().all(|assets| assets.identity == all[0].identity && assets.etcd == all[0].etcd));
    assert_eq!((scene.server.requests("/index.yaml"), scene.server.requests("/archive.tar.gz")), (1, 1));
}

#[test]
fn fifty_processes_at_once_download_once() {
    be_a_child_if_asked();
    let scene = Scene::new();
    scene.server.release("1.37.1", &ordinary_archive());
    let children: Vec<_> = (0..50)
        .map(|_| {
            child("fifty_processes_at_once_download_once", "", scene.cache.path(), &scene.server.index_url())
                .stdout(std::process::Stdio::null())
                .spawn()
                .expect("child")
        })
        .collect();
    for mut child in children {
        assert_eq!(child.wait().expect("wait").code(), Some(CHILD_SUCCEEDED));
    }
    assert_eq!((scene.server.requests("/index.yaml"), scene.server.requests("/archive.tar.gz")), (1, 1));
}

#[test]
fn half_written_files_of_a_killed_process_are_never_used() {
    be_a_child_if_asked();
    let scene = Scene::new();
    // The archive compresses well, so that the limit on file sizes takes effect while it is unpacked.
    let programs: [(&str, &[u8]); 2] =
        [("controller-tools/envtest/etcd", b"etcd"), ("controller-tools/envtest/kube-apiserver", &[7; 4 << 20])];
    scene.server.release("1.37.1", &archive(&programs));
    let name = "half_written_files_of_a_killed_process_are_never_used";
    let output = child(name, "ulimit -c 0; ulimit -f 1024", scene.cache.path(), &scene.server.index_url())
        .output()
        .expect("child");
    assert_eq!(output.status.code(), None, "ended by a signal: {}", stderr(&output));
    let staging = scene.cache.path().join("assets/staging");
    assert_eq!(names_in(&staging).len(), 1, "it was killed in the middle");
    assert_eq!(names_in(&scene.store()), [""; 0]);

    let assets = scene.provide().expect("assets");
    assert_eq!(std::fs::metadata(&assets.kube_apiserver).expect("metadata").len(), 4 << 20);
    assert_eq!(names_in(&staging), [""; 0]);
}

#[test]
fn a_write_that_fails_in_the_middle_leaves_nothing_half_written() {
    be_a_child_if_asked();
    let scene = Scene::new();
    let programs: [(&str, &[u8]); 2] =
        [("controller-tools/envtest/etcd", b"etcd"), ("controller-tools/envtest/kube-apiserver", &[7; 4 << 20])];
    scene.server.release("1.37.1", &archive(&programs));
    let name = "a_write_that_fails_in_the_middle_leaves_nothing_half_written";
    // With the signal ignored, the write itself fails.
    let preparation = "trap '' XFSZ; ulimit -f 1024";
    let output = child(name, preparation, scene.cache.path(), &scene.server.index_url()).output().expect("child");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(CHILD_FAILED), "{said}");
    assert!(said.contains("cannot write `") && said.contains("kube-apiserver`"), "{said}");
    scene.assert_nothing_is_in_the_store();
    assert_eq!(scene.provide().expect("assets").source, AssetSource::Download);
}

/// The same on a file system that is really full, if this machine lets a test mount one.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_named_and_nothing_half_written_is_kept() {
    be_a_child_if_asked();
    let scene = Scene::new();
    let programs: [(&str, &[u8]); 2] =
        [("controller-tools/envtest/etcd", b"etcd"), ("controller-tools/envtest/kube-apiserver", &[7; 4 << 20])];
    scene.server.release("1.37.1", &archive(&programs));
    let mount = format!("mount -t tmpfs -o size=1m,mode=0755 tmpfs '{}'", scene.cache.path().display());
    let can_mount = Command::new("unshare").args(["-rm", "sh", "-c", &mount]).output();
    if !can_mount.is_ok_and(|output| output.status.success()) {
        test_support::skip!("this machine permits no mount; the other tests cover the failing write");
        return;
    }
    let name = "a_full_disk_is_named_and_nothing_half_written_is_kept";
    // The file system goes with the child, so the child's shell lists the files that are left on it.
    let preparation = format!(
        "if [ -z \"$KINA_TEST_MOUNTED\" ]; then export KINA_TEST_MOUNTED=1; exec unshare -rm sh -c '{}' \"$0\" \"$1\"; fi",
        format!("{mount} && {{ \"$0\" --exact --nocapture \"$1\"; code=$?; find \"${CHILD_CACHE}/assets/k8s\" \"${CHILD_CACHE}/assets/staging\" -mindepth 1 >&2; exit $code; }}").replace('\'', "'\\''")
    );
    let output = child(name, &preparation, scene.cache.path(), &scene.server.index_url()).output().expect("child");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(CHILD_FAILED), "{said}");
    assert!(said.contains("is full; free some space"), "{said}");
    assert!(said.trim_end().ends_with("nothing half-written was kept"), "nothing is listed after the error: {said}");
}
