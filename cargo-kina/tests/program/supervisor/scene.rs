//! An image with emulated components, unpacked into a directory, and its supervisor at work there.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use kina_engine::lab::image::{self, Image, layout};
use kina_engine::{Architecture, AssetRequest, KubernetesMinor, provide_assets};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Far more than any wait here takes; only a failure lasts that long.
const TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// The file for the supervisor's output.
const OUTPUT: &str = "output";

/// The directory that stands for the root of an image.
pub(crate) struct Scene {
    root: TempDir,
}

/// A running supervisor. It ends with this value, and its components end with it.
pub(crate) struct Supervisor<'a> {
    scene: &'a Scene,
    child: Child,
    /// The supervisor itself, which may be a child of the process that was started.
    process: u32,
}

impl Scene {
    /// Makes an image whose etcd and kube-apiserver have these arguments. Its supervisor is compiled for this machine,
    /// because not every Rust installation has the target for images.
    pub(crate) fn new(etcd: &[&str], api_server: &[&str]) -> Self {
        Self::of_image(&archive_with_supervisor_for_this_machine(), etcd, api_server)
    }

    /// The same with the supervisor that kina compiles.
    pub(crate) fn of_kinas_own_image(etcd: &[&str], api_server: &[&str]) -> Self {
        Self::of_image(&build_image(&directory().join("images")).archive, etcd, api_server)
    }

    fn of_image(archive: &Path, etcd: &[&str], api_server: &[&str]) -> Self {
        let scene = Self { root: tempfile::tempdir().expect("directory") };
        let archive = std::fs::read(archive).expect("archive");
        let unpacked = tempfile::tempdir().expect("directory");
        let mut blobs = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().expect("entries") {
            let mut entry = entry.expect("entry");
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).expect("content");
            blobs.insert(entry.path().expect("path").display().to_string(), content);
        }
        let blob = |digest: &Value| &blobs[&digest.as_str().expect("digest").replace("sha256:", "blobs/sha256/")];
        let parse = |content: &[u8]| serde_json::from_slice::<Value>(content).expect("JSON");
        let index = parse(&blobs["index.json"]);
        let manifest = parse(blob(&index["manifests"][0]["digest"]));
        for layer in manifest["layers"].as_array().expect("layers") {
            tar::Archive::new(blob(&layer["digest"]).as_slice()).unpack(unpacked.path()).expect("unpacked");
        }
        // Another process makes the copies that are run: a file that this process wrote may still be open in a child
        // that another test's thread is just starting, and is "busy" then.
        let from = unpacked.path().join(".");
        assert!(
            Command::new("cp").arg("-Rp").args([from.as_path(), scene.root.path()]).status().expect("cp").success()
        );
        scene.set_arguments(layout::ETCD_ARGUMENTS, etcd);
        scene.set_arguments(layout::API_SERVER_ARGUMENTS, api_server);
        scene
    }

    pub(crate) fn set_arguments(&self, file: &str, arguments: &[&str]) {
        // The components of an image have absolute paths as arguments, which here are below another root.
        let text = arguments.join("\n").replace("ROOT", &self.root.path().display().to_string());
        std::fs::write(self.path(layout::CLUSTER_DIRECTORY).join(file), text).expect("write");
    }

    /// Returns the path of a file of the image.
    pub(crate) fn path(&self, absolute: &str) -> PathBuf {
        self.root.path().join(absolute.trim_start_matches('/'))
    }

    /// Returns the text of a log; empty as long as there is none.
    pub(crate) fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(layout::LOG_DIRECTORY).join(name)).unwrap_or_default()
    }

    /// Returns everything that the supervisor has printed.
    pub(crate) fn output(&self) -> String {
        std::fs::read_to_string(self.root.path().join(OUTPUT)).unwrap_or_default()
    }

    pub(crate) fn forget_log(&self) {
        std::fs::remove_file(self.path(layout::LOG_DIRECTORY).join(layout::SUPERVISOR_LOG)).expect("log");
    }

    /// Returns the events that the supervisor has logged so far, with their details.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let log = self.log(layout::SUPERVISOR_LOG);
        // The last line may not be complete yet.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        let mut last_ms = 0;
        let told = whole.lines().map(|line| {
            let event: Value = serde_json::from_str(line).expect(line);
            let now_ms = event["since_start_ms"].as_u64().expect(line);
            assert!(now_ms >= last_ms, "{log}");
            last_ms = now_ms;
            let text = |name: &str| event[name].as_str().expect(line).to_owned();
            (text("event"), text("detail"))
        });
        told.collect()
    }

    pub(crate) fn event_names(&self) -> Vec<String> {
        self.events().into_iter().map(|(event, _)| event).collect()
    }

    /// Returns the process id in the detail of the `index`th event of a name.
    pub(crate) fn process(&self, event: &str, index: usize) -> u32 {
        let found = self.events().into_iter().filter(|(name, _)| name == event).nth(index).expect("event");
        found.1.strip_prefix("process ").and_then(|number| number.parse().ok()).expect("a number")
    }

    pub(crate) fn wait_event(&self, event: &str) {
        self.wait(event, || self.events().iter().any(|(name, _)| name == event));
    }

    pub(crate) fn wait_log(&self, log: &str, text: &str) {
        self.wait(text, || self.log(log).contains(text));
    }

    /// Waits until `is_true`.
    pub(crate) fn wait(&self, what: &str, is_true: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_true() {
            assert!(start.elapsed() < TIMEOUT, "{what}: never; the supervisor's log:\n{}", self.log("supervisor.log"));
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Starts the supervisor.
    pub(crate) fn start(&self) -> Supervisor<'_> {
        let child = self.command(&[]).spawn().expect("a supervisor starts");
        Supervisor { scene: self, process: child.id(), child }
    }

    /// Starts the supervisor as the first process of a namespace of its own.
    pub(crate) fn start_as_first_process(&self, unshare: &[&str]) -> Supervisor<'_> {
        let child = self.command(unshare).spawn().expect("unshare starts");
        let mut supervisor = Supervisor { scene: self, process: 0, child };
        self.wait("the first process", || children_of(supervisor.child.id()).len() == 1);
        supervisor.process = children_of(supervisor.child.id())[0].0;
        supervisor
    }

    fn command(&self, before: &[&str]) -> Command {
        let program = self.path(layout::SUPERVISOR).into_os_string();
        let mut words: Vec<_> = before.iter().map(Into::into).collect();
        words.extend([program, "--root".into(), self.root.path().into()]);
        let mut command = Command::new(&words[0]);
        let output = File::create(self.root.path().join(OUTPUT)).expect("a file");
        command.args(&words[1..]).stdin(Stdio::null()).stdout(output).process_group(0);
        command
    }
}

impl Supervisor<'_> {
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    pub(crate) fn send(&self, signal: Signal) {
        let process = Pid::from_raw(self.process.cast_signed()).expect("a process");
        kill_process(process, signal).expect("a signal is sent");
    }

    /// Waits for its end, and returns its status.
    pub(crate) fn wait_ended(mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(start.elapsed() < TIMEOUT, "it has not ended:\n{}", self.scene.log("supervisor.log"));
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for Supervisor<'_> {
    fn drop(&mut self) {
        // Its components are killed with it. This fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the children of a process that have not been reaped, with their states.
pub(crate) fn children_of(parent: u32) -> Vec<(u32, char)> {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may contain anything, but no bracket follows it.
            let mut fields = stat[stat.rfind(')')? + 1..].split_whitespace();
            let state = fields.next()?.chars().next()?;
            let is_child = fields.next()?.parse::<u32>().ok()? == parent;
            let process = entry.file_name().to_str()?.parse().ok()?;
            is_child.then_some((process, state))
        })
        .collect()
}

/// Returns true if a process has ended, reaped or not.
pub(crate) fn has_ended(process: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    stat.rfind(')').is_some_and(|end| stat[end + 1..].trim_start().starts_with('Z'))
}

/// Makes an image as kina does, but with emulated etcd and kube-apiserver.
pub(crate) fn build_image(directory: &Path) -> Image {
    let architecture = host();
    let mut request = AssetRequest::new(KubernetesMinor::DEFAULT, directory.join("no-cache"));
    request.explicit_directory = Some(emulated_components());
    let assets = provide_assets(&request.for_platform(architecture.platform()), &|_| {}).expect("assets");
    image::build(&assets, architecture, directory).expect("image")
}

/// Makes the archive of such an image with a supervisor from the same source, but compiled for this machine, and given
/// to kina by KINA_SUPERVISOR.
fn archive_with_supervisor_for_this_machine() -> PathBuf {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kina-engine/supervisor/main.rs");
    let output = Command::new(env!("CARGO_BIN_EXE_cargo-kina"))
        .args(["kina", "image", "build", "--format", "json"])
        .env("KINA_SUPERVISOR", test_support::static_program(&directory(), &main))
        .env("KINA_ASSETS_DIR", emulated_components())
        .env("KINA_CACHE_DIR", directory().join("cache"))
        .env("KINA_RUNTIME_DIR", directory().join("run"))
        .env_remove("KUBEBUILDER_ASSETS")
        .stdin(Stdio::null())
        .output()
        .expect("cargo-kina starts");
    assert!(output.status.success(), "{output:?}");
    let built: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    built["archive"].as_str().expect("archive").into()
}

/// Returns a directory with an emulated etcd and an emulated kube-apiserver, compiled once for all tests.
pub(crate) fn emulated_components() -> PathBuf {
    let main = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/program/supervisor/programs/emulated_component.rs");
    let program = test_support::static_program(&directory(), &main);
    let components = program.with_extension("components");
    if !components.is_dir() {
        let scratch = tempfile::tempdir_in(directory()).expect("directory");
        let binaries = scratch.path().join("binaries");
        std::fs::create_dir(&binaries).expect("directory");
        for name in ["etcd", "kube-apiserver"] {
            std::fs::copy(&program, binaries.join(name)).expect("copy");
        }
        // Another test may have been quicker, with the same result.
        let renamed = std::fs::rename(&binaries, &components);
        assert!(renamed.is_ok() || components.is_dir(), "{renamed:?}");
    }
    components
}

/// Returns the processor architecture of this machine.
pub(crate) fn host() -> Architecture {
    Architecture::host().expect("a processor that kina makes images for")
}

/// Returns the directory of programs that all tests share.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("supervisor")
}
