//! A shell script in the place of the `go` program: it emulates the few commands that a build uses, with faults on
//! demand.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use kina_engine::{AssetRequest, KubernetesMinor};
use tempfile::TempDir;

/// The beginning of every command, which logs itself and its environment. The test's own additions follow.
const HEAD: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/commands"
env > "$here/environment"
module_of() { printf '{"Path":"x","Version":"v","GoMod":"%s","Info":"%s"}' "$here/$1.mod" "$here/$1.info"; }
"#;

/// The answers of a healthy `go`.
const TAIL: &str = r#"
case "$*" in
    "env -json GOFLAGS GOVERSION") echo '{"GOFLAGS":"-modcacherw","GOVERSION":"go1.26.8"}' ;;
    "list -m -versions -json k8s.io/kubernetes") echo '{"Versions":["v1.36.3","v1.37.1","v1.37.2","v1.37.3-rc.0"]}' ;;
    "mod download -json go.etcd.io/etcd/server/v3@"*) module_of etcd ;;
    "mod download -json k8s.io/kubernetes@"*) module_of kubernetes ;;
    "mod download -json sigs.k8s.io/kwok@"*) module_of kwok ;;
    "mod tidy") cat go.mod >> "$here/go.mods" ;;
    build*)
        while [ "$1" != -o ]; do shift; done
        printf '#!/bin/sh\necho emulated %s\n' "$3" > "$2" && chmod 755 "$2" ;;
    *) echo "the emulated go has no command $*" >&2; exit 2 ;;
esac
"#;

const KUBERNETES_GO_MOD: &str =
    "module k8s.io/kubernetes\n\ngo 1.26.0\n\nreplace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n)\n";

/// The emulated program, and a cache to build into.
pub(crate) struct EmulatedGo {
    pub(crate) directory: TempDir,
    pub(crate) request: AssetRequest,
}

impl EmulatedGo {
    /// Makes a program that runs the shell lines `faults` before it answers like a healthy one.
    pub(crate) fn new(faults: &str) -> Self {
        let directory = tempfile::tempdir().expect("directory");
        let program = directory.path().join("go");
        let text = directory.path().join("go.sh");
        std::fs::write(&text, format!("{HEAD}\n{faults}\n{TAIL}")).expect("write");
        std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).expect("mode");
        // Another process makes the copy that is run: a file that this process wrote may still be open in a child that
        // another test's thread is just starting, and is "busy" then.
        assert!(Command::new("cp").arg("-p").args([&text, &program]).status().expect("cp").success());
        std::fs::write(directory.path().join("kubernetes.mod"), KUBERNETES_GO_MOD).expect("write");
        std::fs::write(directory.path().join("kubernetes.info"), r#"{"Time":"2026-09-23T17:06:22Z"}"#).expect("write");
        std::fs::write(directory.path().join("etcd.mod"), "module go.etcd.io/etcd/server/v3\n\ngo 1.26.1\n")
            .expect("write");
        std::fs::write(directory.path().join("kwok.mod"), "module sigs.k8s.io/kwok\n\ngo 1.25.0\n").expect("write");
        let mut request = AssetRequest::new(KubernetesMinor::DEFAULT, directory.path().join("cache"));
        // Nothing listens on the discard port, so the download fails at once.
        request.download_index_url = "http://127.0.0.1:9/index.yaml".to_owned();
        request.release_url = "http://127.0.0.1:9".to_owned();
        request.kwok_release_url = "http://127.0.0.1:9/kwok".to_owned();
        request.limits.retries_max = 1;
        request.go_programs = vec!["/nowhere/go".into(), program];
        request.environment = vec![("PATH".to_owned(), std::env::var_os("PATH").expect("PATH"))];
        Self { directory, request }
    }

    /// Returns the path of a file that the program writes or reads.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the text of a file that the program wrote.
    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).expect(name)
    }

    /// Asserts that no attempt left anything that could count as a result.
    pub(crate) fn assert_nothing_is_left(&self) {
        for name in ["k8s", "staging"] {
            let directory: &Path = &self.request.cache_directory.join("assets").join(name);
            assert_eq!(std::fs::read_dir(directory).expect("directory").count(), 0, "{}", directory.display());
        }
    }
}
