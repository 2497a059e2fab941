//! Tests with a small program that acts like `container`, with and without its faults.

mod calls;
mod clusters;
mod faults;
mod live;
mod looks;
mod services;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::apple_error::AppleError;
use super::call::Caller;
use super::cli::{ContainerCli, Patience};
use super::cluster::{AppleCluster, Parts};
use super::command::ContainerSpec;
use super::create::{Order, prepare_directory};
use super::error::ContainerErrorKind as Kind;
use super::guest_events::GuestEvents;
use super::image::ClusterImage;
use super::labels::{Owner, REALM};
use super::settings::AppleSettings;
use super::shared::Shared;
use crate::assets::{AssetSource, Assets};
use crate::etcd::PackedState;
use crate::protocol::Profile;
use crate::provider::port::ReservedPort;
use crate::provider::tokens::{AUDIT_LOG, TokenKeys};
use crate::provider::{CreateRequest, ProviderError};

/// The program. It keeps a directory for each container, with its labels and state, and a line for each image with its
/// name and digest, and logs each call. Before a call it runs the code in `faults/<call>`, and once that in
/// `faults/<call>.once`. `perform` carries out the call itself.
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
load() {
    number=${1##*/} number=${number%.tar}
    case $number in *[!0-9]*) number=1 ;; esac
    echo "kina.local/cluster:$number d$number" >>images; echo "kina.local/cluster:$number"
}
show_image() {
    digest=$(sed -n "s|^$1 ||p" images 2>/dev/null | tail -n 1)
    [ "$digest" ] || fail "image not found: $1"
    printf '[{"configuration":{"name":"%s"},"id":"of-the-index","variants":[{"digest":"sha256:%s"}]}]\n' "$1" "$digest"
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
    image-list) [ "$3" = -q ] || fail 'not asked for'; cut -d ' ' -f 1 images 2>/dev/null ;;
    image-inspect) show_image "$name" ;;
    image-load) load "$name" ;;
    logs) cat "containers/$name/output" 2>/dev/null ;;
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

    /// Returns the calls so far that began with one of these words, by those words alone.
    fn transcript(&self, of: &[&str]) -> Vec<String> {
        let calls = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        let begins = |line: &str, call: &str| line == call || line.starts_with(&format!("{call} "));
        let named = |line: &str| of.iter().find(|call| begins(line, call)).map(|call| (*call).to_owned());
        calls.lines().filter_map(named).collect()
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
const PATIENCE: Patience = Patience {
    list_lag_max: Duration::from_millis(300),
    signal_acted_max: Duration::from_millis(100),
    file_lag_max: Duration::from_millis(50),
    doubt_after: Duration::from_millis(400),
};

/// A provider that uses the program.
struct Setup {
    fake: Fake,
    shared: Arc<Shared>,
}

impl Setup {
    fn new() -> Self {
        Self::with(PATIENCE)
    }

    fn with(patience: Patience) -> Self {
        let fake = Fake::new();
        let shared = Arc::new(Shared::new(settings(&fake), patience).expect("a shell starts"));
        Self { fake, shared }
    }

    fn image() -> ClusterImage {
        ClusterImage { reference: IMAGE.to_owned(), archive: "/none".into(), digest: "sha256:d1".to_owned() }
    }

    fn order(request: &CreateRequest) -> Order<'_> {
        Order { image: Self::image(), service_version: None, request }
    }

    /// A container with this name, of the cluster `c1`.
    fn spec(&self, name: &str) -> ContainerSpec {
        ContainerSpec { labels: self.shared.owner.labels("c1"), ..self.fake.spec(name) }
    }

    /// Makes a cluster called `c1` whose container, called `a`, runs. Version 1 of the service has made it.
    async fn running(&self) -> AppleCluster {
        let (state_directory, log_directory) = (self.fake.path("clusters/c1"), self.fake.path("logs/c1"));
        for directory in [state_directory.join("cluster"), log_directory.clone()] {
            std::fs::create_dir_all(directory).expect("made");
        }
        let mut access = prepare_directory(&state_directory.join("cluster")).expect("prepared");
        access.api_address = ReservedPort::reserve().expect("a free port").address();
        access.etcd_address = ReservedPort::reserve().expect("a free port").address();
        self.fake.put("a", &labels(&self.shared.owner, "c1"), "running");
        let parts = Parts {
            name: "c1".to_owned(),
            keeper: self.shared.leftovers.keep("a".to_owned(), state_directory.clone()).expect("sent"),
            image: Self::image(),
            access,
            token_keys: TokenKeys::new(state_directory.join("cluster"), log_directory.join(AUDIT_LOG)),
            state_directory,
            events: GuestEvents::of_next_start("a", &log_directory, false),
            log_directory,
            container: self.shared.cli.inspect("a").await.expect("there"),
            made_by: Some("1".to_owned()),
        };
        AppleCluster::new(Arc::clone(&self.shared), parts).expect("a client")
    }
}

fn settings(fake: &Fake) -> AppleSettings {
    AppleSettings::new(fake.program(), fake.path("clusters"), fake.path("logs"), fake.path("journals"))
}

fn kind(error: &ProviderError) -> Option<Kind> {
    let ProviderError::Own(error) = error else { return None };
    match error.downcast_ref()? {
        AppleError::Container { source, .. } | AppleError::Service(source) => Some(source.kind),
        _ => None,
    }
}

fn request() -> CreateRequest {
    request_of("c1", PackedState::default())
}

/// A cluster of this name from this state. Its binaries do not exist: they are in the image.
fn request_of(name: &str, initial_state: PackedState) -> CreateRequest {
    let assets = Assets {
        kube_apiserver: "/none/kube-apiserver".into(),
        etcd: "/none/etcd".into(),
        identity: "none".to_owned(),
        version: None,
        source: AssetSource::ExplicitDirectory,
        controllers: None,
        trusted: Default::default(),
    };
    CreateRequest { name: name.to_owned(), assets, profile: Profile::Api, initial_state: Arc::new(initial_state) }
}

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
