//! A separate root for each test, and an image that the tests make themselves.
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The image of the tests.
pub const IMAGE: &str = "kina.local/probe:1";

/// An empty list of processes.
pub const NO_PROCESSES: [u32; 0] = [];

/// An emulator with separate state.
pub struct Emulator {
    directory: tempfile::TempDir,
    faults: Option<String>,
    version: Option<&'static str>,
}

impl Emulator {
    /// Makes an emulator whose service does not run yet.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("a temporary directory"), faults: None, version: None }
    }

    /// Makes an emulator whose service runs, with the image.
    pub fn started() -> Self {
        let emulator = Self::new();
        emulator.good("system start --enable-kernel-install");
        let image = emulator.directory.path().join("image.tar");
        fs::write(&image, image_archive()).expect("the archive can be written");
        assert_eq!(emulator.good(&format!("image load -i {}", image.display())), format!("{IMAGE}\n"));
        emulator
    }

    /// Sets a plan of faults from now on.
    pub fn faults(&mut self, plan: &str) -> &mut Self {
        self.faults = Some(plan.to_owned()).filter(|plan| !plan.is_empty());
        self
    }

    /// Sets another version from now on.
    pub fn version(&mut self, version: &'static str) -> &mut Self {
        self.version = Some(version);
        self
    }

    /// Makes a directory that outlives the containers.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir_all(&path).expect("a directory");
        path
    }

    /// Opens the lock that the service holds during a creation, a whole boot and every start of a process.
    pub fn boot_lock(&self) -> fs::File {
        let path = self.directory.path().join("root/boot.lock");
        fs::File::options().create(true).truncate(false).write(true).open(path).expect("the lock can be opened")
    }

    /// Prepares a call.
    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_container"));
        command.args(line.split_whitespace()).env("KINA_EMULATOR_ROOT", self.directory.path().join("root"));
        command.env_remove("KINA_EMULATOR_FAULTS").env_remove("KINA_EMULATOR_VERSION").stdin(Stdio::null());
        command.envs(self.faults.iter().map(|plan| ("KINA_EMULATOR_FAULTS", plan)));
        command.envs(self.version.map(|version| ("KINA_EMULATOR_VERSION", version)));
        command
    }

    /// Makes a call.
    pub fn call(&self, line: &str) -> Output {
        self.command(line).output().expect("the emulator starts")
    }

    /// Makes a call that succeeds; returns its stdout.
    pub fn good(&self, line: &str) -> String {
        let output = self.call(line);
        assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Makes a call that ends with this code; returns its stderr.
    pub fn bad(&self, line: &str, code: i32) -> String {
        let output = self.call(line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "`{line}`: {said}");
        said
    }

    /// Makes a call that succeeds; returns its JSON.
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.good(line)).expect("JSON")
    }

    /// Returns the state of a container, as `list -a` shows it.
    pub fn state(&self, id: &str) -> Option<String> {
        let list = self.json("list -a --format json");
        let found = list.as_array().into_iter().flatten().find(|one| one["id"] == id);
        found.map(|one| one["status"]["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Returns the processes of living machines.
    pub fn processes(&self) -> Vec<u32> {
        let noted = fs::read_to_string(self.directory.path().join("root/processes")).unwrap_or_default();
        noted.lines().filter_map(living).collect()
    }

    /// Returns the number of times that a fault has happened.
    pub fn fault_count(&self, name: &str) -> u64 {
        let service = fs::read(self.directory.path().join("root/service.json")).expect("the state of the service");
        let service: Value = serde_json::from_slice(&service).expect("JSON");
        let counts = service["faults"].as_object().expect("counted by fault");
        counts.iter().filter(|(key, _)| key.contains(name)).filter_map(|(_, count)| count.as_u64()).sum()
    }

    /// Returns all calls so far, as they were recorded.
    pub fn calls(&self) -> Vec<String> {
        let calls = fs::read_to_string(self.directory.path().join("root/calls")).expect("recorded");
        calls.lines().map(str::to_owned).collect()
    }

    /// Returns the processes that hold the lock for others.
    pub fn holders(&self) -> Vec<u32> {
        let root = self.directory.path().join("root").display().to_string();
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let is_holder = |process: &u32| {
            let words = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            words.contains("__hold") && words.contains(&root)
        };
        numbers.filter(is_holder).collect()
    }

    /// Makes a call that hangs, and kills it after it had time for its effect.
    pub fn hangs(&self, line: &str) {
        let mut child = self.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_millis(700));
        let ended = child.try_wait().expect("a child");
        assert!(ended.is_none(), "`{line}` ended: {ended:?}");
        child.kill().expect("a child can be killed");
        child.wait().expect("a child ends");
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.faults = None;
        // This is faster than `system stop`, which then ends processes that the service does not know.
        self.call("delete -f --all");
        self.call("system stop");
        let left = self.processes();
        if !std::thread::panicking() {
            assert_eq!(left, NO_PROCESSES, "processes of machines that outlived `system stop`");
        }
    }
}

fn living(line: &str) -> Option<u32> {
    let mut words = line.split_whitespace();
    let (pid, start) = (words.next()?.parse().ok()?, words.next()?);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split_whitespace().collect();
    (fields[0] != "Z" && fields[19] == start).then_some(pid)
}

/// Waits until a condition is true, within a generous limit.
pub fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Returns a port of the host that is free right now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Returns the answer of the machine behind a published port: its name and the text that it sends back.
pub fn ask(port: u16, text: &str) -> Option<String> {
    let mut client = TcpStream::connect(("127.0.0.1", port)).ok()?;
    client.write_all(text.as_bytes()).ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    let mut answer = String::new();
    client.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

/// Makes the image as an OCI layout: one static program, compiled here.
fn image_archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/emulator/programs/probe.rs");
        let program = test_support::static_program(Path::new(env!("CARGO_TARGET_TMPDIR")), &source);
        archive(&fs::read(program).expect("the program was made"))
    })
}

fn archive(program: &[u8]) -> Vec<u8> {
    let layer =
        tar_of(&[("kina/probe", program), ("etc/passwd", b"root:x:0:0::/:/none\nnobody:x:65534:65534::/:/none\n")]);
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&layer).expect("memory can be written");
    let zipped = zipped.finish().expect("memory can be written");
    let processor = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": processor, "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Entrypoint": ["/kina/probe"], "Env": ["OF=image"]},
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
    });
    let config = config.to_string();
    let object = |kind: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "config": object("config.v1+json", config.as_bytes()),
        "layers": [object("layer.v1.tar+gzip", &zipped)],
    });
    let manifest = manifest.to_string();
    let mut variant = object("manifest.v1+json", manifest.as_bytes());
    variant["platform"] = json!({"architecture": processor, "os": "linux"});
    let inner = json!({"schemaVersion": 2, "manifests": [variant]}).to_string();
    let mut named = object("index.v1+json", inner.as_bytes());
    named["annotations"] = json!({"org.opencontainers.image.ref.name": IMAGE});
    let index = json!({"schemaVersion": 2, "manifests": [named]}).to_string();
    let objects = [config.as_bytes(), &zipped, manifest.as_bytes(), inner.as_bytes()];
    let names: Vec<String> = objects.iter().map(|bytes| digest(bytes).replace("sha256:", "blobs/sha256/")).collect();
    let mut files: Vec<(&str, &[u8])> =
        vec![("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#), ("index.json", index.as_bytes())];
    files.extend(names.iter().map(String::as_str).zip(objects));
    tar_of(&files)
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        archive.append_data(&mut header, name, *bytes).expect("memory can be written");
    }
    archive.into_inner().expect("memory can be written")
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
