//! Tests with a small program that acts like `container`, with and without its faults.

mod calls;
mod clusters;
mod live;
mod looks;
mod services;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::call::Caller;
use super::cli::{ContainerCli, Patience};
use super::command::ContainerSpec;
use super::labels::{Owner, REALM};

/// The program. It keeps a directory for each container, with its labels and state, and logs each call. Before a call
/// it runs the code in `faults/<call>`, and once that in `faults/<call>.once`. `perform` carries out the call itself.
const SCRIPT: &str = r#"#!/bin/sh
cd "${0%/*}" || exit 1
echo "$*" >>calls
call=$1
case $1 in system | image) call=$1-$2 ;; esac
for name; do :; done
fail() { echo "Error: $*" >&2; exit 1; }
show() {
    printf '{"configuration":{"id":"%s","labels":{%s},"image":{"reference":"%s"}},"id":"%s","status":{"state":"%s","networks":[]}}' \
        "$1" "$(cat "containers/$1/labels")" "$(cat "containers/$1/image")" "$1" "$(cat "containers/$1/state")"
}
show_all() {
    separator='['
    for container in $(ls containers); do
        printf '%s' "$separator"; show "$container"; separator=,
    done
    [ "$separator" = '[' ] && printf '['
    echo ']'
}
exists() { [ -d "containers/$1" ] || fail "get failed: container $1 not found"; }
done_create() {
    labels= separator=
    while [ $# -gt 1 ]; do
        case $1 in
        --name) id=$2 ;;
        --label) labels="$labels$separator\"${2%%=*}\":\"${2#*=}\"" separator=, ;;
        esac
        shift
    done
    [ -d "containers/$id" ] && fail "container with id $id already exists"
    mkdir "containers/$id"
    echo "$labels" >"containers/$id/labels"; echo "$1" >"containers/$id/image"; echo stopped >"containers/$id/state"
}
perform() {
    case $call in
    --version) echo 'container CLI version 1.2.2 (build: release, commit: abcdef1)' ;;
    create) done_create "$@" ;;
    start) exists "$name"; echo running >"containers/$name/state" ;;
    stop) exists "$name"; echo stopped >"containers/$name/state" ;;
    kill) exists "$name"; echo "$3" >>signals ;;
    delete) exists "$name"; rm -r "containers/$name" ;;
    list) show_all ;;
    inspect) exists "$name"; printf '['; show "$name"; echo ']' ;;
    image-list) printf '['; cat images 2>/dev/null; echo ']' ;;
    system-status) cat status ;;
    system-start) echo '{"status":"running"}' >status ;;
    esac
}
if [ -f "faults/$call" ]; then . "faults/$call"; fi
if [ -f "faults/$call.once" ]; then mv "faults/$call.once" "faults/$call.used"; . "faults/$call.used"; fi
perform "$@"
"#;

/// The message of `container` if the service died in the middle of the call.
const INTERRUPTED: &str = "fail 'interrupted: \"XPC connection error: Connection interrupted\"'";

/// A program that acts like `container`, and its directory.
struct Fake {
    directory: tempfile::TempDir,
}

impl Fake {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let fake = Self { directory };
        for name in ["containers", "faults", "journals"] {
            std::fs::create_dir(fake.path(name)).expect("made");
        }
        std::fs::write(fake.path("status"), "{\"status\":\"running\"}").expect("written");
        write_program(&fake.program(), SCRIPT);
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("container")
    }

    /// Sets shell code for each call of this name, or for the next one only.
    fn fault(&self, call: &str, code: &str) {
        std::fs::write(self.path("faults").join(call), code).expect("written");
    }

    fn cli(&self) -> ContainerCli {
        ContainerCli::new(Caller::new(self.program()).expect("a shell starts"), PATIENCE)
    }

    fn owner(&self) -> Owner {
        Owner::new(&self.path("journals"), "1-a")
    }

    /// Counts the calls that began with the words `call`.
    fn count(&self, call: &str) -> usize {
        let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        calls
            .lines()
            .filter(|line| line.split(' ').next() == Some(call) || line.starts_with(&format!("{call} ")))
            .count()
    }

    /// Adds a container with these labels.
    fn put(&self, name: &str, labels: &BTreeMap<String, String>, state: &str) {
        let directory = self.path("containers").join(name);
        std::fs::create_dir(&directory).expect("made");
        let labels: Vec<_> = labels.iter().map(|(key, value)| format!("\"{key}\":\"{value}\"")).collect();
        for (file, content) in [("labels", labels.join(",").as_str()), ("image", IMAGE), ("state", state)] {
            std::fs::write(directory.join(file), content).expect("written");
        }
    }

    fn put_ours(&self, name: &str, state: &str) {
        self.put(name, &labels(&self.owner(), "c1"), state);
    }

    fn exists(&self, name: &str) -> bool {
        self.path("containers").join(name).exists()
    }

    fn state(&self, name: &str) -> String {
        std::fs::read_to_string(self.path("containers").join(name).join("state")).expect("readable").trim().to_owned()
    }

    fn spec(&self, name: &str) -> ContainerSpec {
        ContainerSpec {
            name: name.to_owned(),
            labels: self.owner().labels("c1"),
            cpus: 2,
            memory_bytes: 1 << 30,
            api_port: 1,
            etcd_port: 2,
            cluster_directory: self.path("a"),
            log_directory: self.path("b"),
            image: IMAGE.to_owned(),
        }
    }
}

const IMAGE: &str = "kina.local/cluster:1";
const PATIENCE: Patience =
    Patience { list_lag_max: Duration::from_millis(300), signal_acted_max: Duration::from_millis(100) };

fn labels(owner: &Owner, cluster: &str) -> BTreeMap<String, String> {
    owner.labels(cluster).into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn foreign_labels() -> BTreeMap<String, String> {
    BTreeMap::from([(REALM.to_owned(), "another".to_owned())])
}

/// Writes a program through another process: a file that this process has open for writing may be inherited by a child
/// that another test is just starting, and cannot be run until that closes it.
pub(super) fn write_program(path: &Path, script: &str) {
    let text = path.with_extension("text");
    std::fs::write(&text, script).expect("written");
    std::fs::set_permissions(&text, std::fs::Permissions::from_mode(0o755)).expect("set");
    // With its permissions.
    let copied = std::process::Command::new("/bin/cp").arg("-p").args([&text, &path.to_owned()]).status();
    assert!(copied.expect("cp runs").success());
}

fn words(text: &str) -> Vec<OsString> {
    text.split(' ').map(OsString::from).collect()
}
