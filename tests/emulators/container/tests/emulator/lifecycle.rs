//! A machine from its creation to its end.
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use super::common::{Emulator, IMAGE, NO_PROCESSES, ask, eventually, free_port};

#[test]
fn it_identifies_itself_and_requires_a_root() {
    let emulator = Emulator::new();
    let version = emulator.good("--version");
    assert!(version.starts_with("container CLI version 1.4.1 (build: release, commit: "), "{version}");
    assert!(version.contains("kina emulator"), "{version}");
    let mut call = emulator.command("list");
    let output = call.env_remove("KINA_EMULATOR_ROOT").output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("KINA_EMULATOR_ROOT is not set"));
    emulator.bad("list --filter x", 64);
}

#[test]
fn without_its_service_nothing_works() {
    let emulator = Emulator::new();
    let said = emulator.bad("list", 1);
    assert!(said.contains("XPC connection error: Connection invalid"), "{said}");
    assert!(said.contains("Ensure container system service has been started with"), "{said}");
    let output = emulator.call("system status --format json");
    assert_eq!(output.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON even when it is down");
    assert_eq!(status["status"], "unregistered");
    assert_eq!(emulator.json("system version --format json").as_array().map(Vec::len), Some(1));
    let said = emulator.bad("system start", 1);
    assert!(said.contains("failed to read user input"), "{said}");
    emulator.good("system start --enable-kernel-install");
    emulator.good("system start");
    assert_eq!(emulator.json("system status --format json")["status"], "running");
    assert_eq!(emulator.json("system version --format json").as_array().map(Vec::len), Some(2));
    assert_eq!(emulator.good("list --format json"), "[]\n");
    assert_eq!(emulator.good("list -q"), "");
}

#[test]
fn both_dialects_are_spoken() {
    let mut emulator = Emulator::started();
    let new = emulator.json("system status --format json");
    assert!(new["server"]["version"].is_string() && new["apiServerVersion"].is_null());
    emulator.version("1.3.1");
    let old = emulator.json("system status --format json");
    assert!(
        old["apiServerVersion"].as_str().is_some_and(|version| version.contains("1.3.1")) && old["server"].is_null()
    );
    assert!(emulator.good("image list --format json").contains(r"kina.local\/probe"));
    emulator.version("1.1.0").bad(&format!("create --masked-path NONE {IMAGE}"), 64);
}

#[test]
fn a_machine_lives_through_stop_and_start() {
    let emulator = Emulator::started();
    let (shared, port) = (emulator.directory("shared"), free_port());
    fs::write(shared.join("file"), "of the host").expect("a file");
    let mount = format!("--mount type=bind,source={},target=/kina/cluster,readonly", shared.display());
    let options = format!("--name kina-a1 -l dev.kina.realm=x -e K=V -m 512m -p 127.0.0.1:{port}:6443 {mount}");
    assert_eq!(emulator.good(&format!("create {options} {IMAGE} some arguments")), "kina-a1\n");
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    let before = emulator.json("inspect kina-a1");
    assert!(before[0]["status"].get("startedDate").is_none());
    assert_eq!(before[0]["configuration"]["labels"]["dev.kina.realm"], "x");
    assert_eq!(before[0]["configuration"]["resources"]["memoryInBytes"], 512 << 20);
    emulator.bad("logs kina-a1", 1);

    assert_eq!(emulator.good("start kina-a1"), "kina-a1\n");
    assert_eq!(emulator.good("start kina-a1"), "kina-a1\n", "a running container can be started");
    eventually("the machine answers", || ask(port, "hello").as_deref() == Some("kina-a1:hello"));
    assert_eq!(emulator.good("logs kina-a1"), "serving as 1 with [\"some\", \"arguments\"]\n");
    assert_eq!(emulator.good("exec kina-a1 /kina/probe read /kina/cluster/file"), "of the host");
    emulator.bad("exec kina-a1 /kina/probe write /kina/cluster/file x", 101);
    emulator.good("exec kina-a1 /kina/probe write /kept x");
    let first = address(&emulator);

    assert_eq!(emulator.good("stop -t 1 kina-a1"), "kina-a1\n");
    assert_eq!(emulator.good("stop kina-a1"), "kina-a1\n", "stop is idempotent");
    let said = emulator.bad("kill kina-a1", 1);
    assert!(said.contains("no runtime client exists: container is stopped"), "{said}");
    assert_eq!(emulator.processes(), NO_PROCESSES);
    assert_eq!(ask(port, "hello"), None);
    let stopped = emulator.json("inspect kina-a1");
    assert_eq!(stopped[0]["status"]["networks"], serde_json::json!([]));
    assert!(stopped[0]["status"]["startedDate"].is_string(), "it lingers");

    emulator.good("start kina-a1");
    eventually("the machine answers again", || ask(port, "again").as_deref() == Some("kina-a1:again"));
    assert_ne!(address(&emulator), first, "every start has a new address");
    assert_eq!(emulator.good("logs kina-a1").lines().count(), 1, "the log was truncated");
    assert_eq!(emulator.good("logs --boot kina-a1").lines().count(), 2, "the log of the boot was not");
    assert_eq!(emulator.good("exec kina-a1 /kina/probe read /kept"), "x");

    let said = emulator.bad("delete kina-a1", 1);
    assert!(said.contains("is running and can not be deleted"), "{said}");
    emulator.good("delete -f kina-a1");
    assert_eq!(emulator.state("kina-a1"), None);
    assert_eq!(emulator.processes(), NO_PROCESSES);
}

fn address(emulator: &Emulator) -> String {
    emulator.json("inspect kina-a1")[0]["status"]["networks"][0]["ipv4Address"].as_str().expect("an address").to_owned()
}

#[test]
fn a_command_inside_has_its_own_streams_and_code() {
    let emulator = Emulator::started();
    emulator.good(&format!("run -d --name kina-a1 -e A=1 {IMAGE} wait"));
    emulator.bad("exec kina-a1 /kina/probe exit 7", 7);
    let said = emulator.bad("exec kina-a1 /no/such/program", 1);
    assert!(said.contains("failed to find target executable"), "{said}");
    let said = emulator.bad("exec kina-b2 true", 1);
    assert!(said.contains("get failed: container kina-b2 not found"), "{said}");
    let environment = emulator.good("exec -e B=2 -e A=3 kina-a1 /kina/probe environment");
    for line in ["OF=image", "A=3", "B=2"] {
        assert!(environment.lines().any(|found| found == line), "{line} in {environment}");
    }
    let mut child = emulator
        .command("exec -i kina-a1 /kina/probe echo")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"through stdin").expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"through stdin"[..], &b"to stderr"[..]));
    assert_eq!(emulator.good("exec kina-a1 /kina/probe echo"), "", "without -i there is no stdin");
    let status = emulator.good("exec -u nobody kina-a1 /kina/probe read /proc/self/status");
    assert!(status.contains("Uid:\t65534") || !rustix_is_root(), "{status}");
    assert_eq!(emulator.good("exec -d kina-a1 /kina/probe wait"), "kina-a1\n");
    let stats = emulator.json("stats --format json --no-stream kina-a1");
    assert_eq!((&stats[0]["numProcesses"], &stats[0]["simulated"]), (&2.into(), &true.into()));
    emulator.good("kill kina-a1");
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    assert_eq!(emulator.processes(), NO_PROCESSES);
}

/// Returns true if this process is root: only root can have other users inside.
fn rustix_is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

#[test]
fn files_below_a_mount_are_silently_lost() {
    let emulator = Emulator::started();
    emulator.good(&format!("run -d --name kina-a1 --tmpfs /memory {IMAGE} wait"));
    let file = emulator.directory("files").join("file");
    fs::write(&file, "copied").expect("a file");
    emulator.good(&format!("cp {} kina-a1:/new/place", file.display()));
    assert_eq!(emulator.good("exec kina-a1 /kina/probe read /new/place"), "copied");
    emulator.good(&format!("cp {} kina-a1:/memory/file", file.display()));
    emulator.bad("exec kina-a1 /kina/probe read /memory/file", 101);
    emulator.good(&format!("cp kina-a1:/new/place {}", file.with_extension("back").display()));
    assert_eq!(fs::read_to_string(file.with_extension("back")).expect("a file"), "copied");
    for state in ["running", "stopped"] {
        assert_eq!(emulator.state("kina-a1").as_deref(), Some(state));
        let path = file.with_extension(state);
        emulator.good(&format!("export -o {} kina-a1", path.display()));
        let mut archive = tar::Archive::new(fs::File::open(&path).expect("an archive"));
        let names: BTreeSet<String> = archive
            .entries()
            .expect("entries")
            .map(|entry| entry.expect("an entry").path().expect("a path").to_string_lossy().into_owned())
            .collect();
        assert!(names.contains("new/place") && names.contains("kina/probe"), "{names:?}");
        emulator.good("stop -t 0 kina-a1");
    }
}

#[test]
fn invalid_calls_are_refused_with_the_documented_messages() {
    let mut emulator = Emulator::started();
    emulator.faults("pull-ms=1").good(&format!("create --name kina-a1 {IMAGE}"));
    for (line, said) in [
        (format!("create --name kina-a1 {IMAGE}"), "container with id kina-a1 already exists"),
        (format!("create --name kina-a1.test {IMAGE}"), "hostname(s) already exist"),
        (format!("create --name a {IMAGE}"), "is not a valid container ID"),
        (format!("create -l a=b=c {IMAGE}"), "invalid label format"),
        (format!("create -m 199m {IMAGE}"), "minimum memory amount allowed is 200 MiB"),
        (format!("create --network nowhere {IMAGE}"), "network nowhere not found"),
        (format!("create --mount type=bind,source=/no/such,target=/x {IMAGE}"), "does not exist"),
        (format!("create --arch s390x {IMAGE}"), "platform linux/s390x"),
        ("create kina.local/image:1".to_owned(), "failed to resolve either repository hostname kina.local"),
        ("image pull nowhere/image:1".to_owned(), "failed to resolve either repository hostname docker.io"),
        ("image inspect nowhere".to_owned(), "image not found: nowhere"),
        ("image delete nowhere".to_owned(), "image with reference nowhere"),
        (format!("run -d --name kina-v --virtualization {IMAGE}"), "nested virtualization is not supported"),
        (format!("run -d --name kina-r --rosetta {IMAGE}"), "rosetta"),
        ("start missing".to_owned(), "get failed: container missing not found"),
        ("stop missing".to_owned(), "container with ID missing not found"),
        ("delete -f missing".to_owned(), "container with ID missing not found"),
        ("inspect kina-a1 missing".to_owned(), "container not found: missing"),
        ("stats --format json --no-stream missing".to_owned(), "no such container: missing"),
        ("exec kina-a1 true".to_owned(), "container kina-a1 is not running"),
        ("volume delete nothing".to_owned(), "volume 'nothing' not found"),
        ("network delete nothing".to_owned(), "network nothing not found"),
        ("build .".to_owned(), "unsupported: "),
    ] {
        let found = emulator.bad(&line, 1);
        assert!(found.contains(said) && found.starts_with("Error: "), "`{line}`: {found}");
    }
    let output = emulator.call("inspect kina-a1 missing");
    assert!(output.stdout.is_empty(), "no output if one id is unknown");
    assert_eq!(emulator.good("list -a -q"), "kina-a1\n", "nothing was left over");
}

#[test]
fn a_start_fails_when_its_mount_or_its_port_is_gone() {
    let emulator = Emulator::started();
    let (shared, port) = (emulator.directory("shared"), free_port());
    let mount = format!("--mount type=bind,source={},target=/x", shared.display());
    emulator.good(&format!("create --name kina-a1 -p {port}:6443 {mount} {IMAGE}"));
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    let said = emulator.bad("start kina-a1", 1);
    assert!(said.contains("Address already in use") && said.contains("errno: 48"), "{said}");
    drop(listener);
    fs::remove_dir(&shared).expect("it is empty");
    emulator.bad("start kina-a1", 1);
    fs::create_dir(&shared).expect("a directory");
    emulator.good("start kina-a1");
    eventually("the machine answers", || ask(port, "x").is_some());
}

#[test]
fn volumes_networks_and_images_are_kept_while_they_are_needed() {
    let emulator = Emulator::started();
    emulator.good("network create apart");
    emulator.good("volume create stuff");
    emulator.good(&format!("create --name kina-a1 --network apart -v stuff:/stuff {IMAGE}"));
    assert!(emulator.bad("network delete apart", 1).contains("with referring containers"));
    assert!(emulator.bad("volume delete stuff", 1).contains("is currently in use"));
    assert!(emulator.bad("volume create stuff", 1).contains("already exists"));
    emulator.good(&format!("image tag {IMAGE} kina.local/other:2"));
    emulator.good(&format!("image delete {IMAGE}"));
    assert_eq!(emulator.json("image list --format json")[0]["configuration"]["name"], "kina.local/other:2");
    emulator.good("start kina-a1");
    emulator.good("delete -f kina-a1");
    emulator.good("network delete apart");
    emulator.good("volume delete stuff");
    let networks = emulator.json("network list --format json");
    assert_eq!(networks[0]["status"]["ipv4Subnet"], "192.168.64.0/24");
    let saved = emulator.directory("files").join("saved.tar");
    emulator.good(&format!("image save -o {} kina.local/other:2", saved.display()));
    emulator.good("image delete kina.local/other:2");
    assert_eq!(emulator.good("image list --format json"), "[]\n");
    assert_eq!(emulator.good(&format!("image load -i {}", saved.display())), "kina.local/other:2\n");
}

#[test]
fn logs_that_are_not_text_are_an_error() {
    let emulator = Emulator::started();
    emulator.good(&format!("run -d --name kina-a1 {IMAGE} garbage"));
    eventually("the log is there", || emulator.call("logs kina-a1").status.code() == Some(1));
    emulator.bad(&format!("run --rm --name kina-b2 {IMAGE} exit 3"), 3);
    assert_eq!(emulator.state("kina-b2"), None, "--rm");
}

#[test]
fn ten_calls_at_once_start_ten_machines_with_ten_addresses() {
    let emulator = Emulator::started();
    std::thread::scope(|scope| {
        for number in 0..10 {
            let emulator = &emulator;
            scope.spawn(move || {
                emulator.good(&format!("create --name kina-{number:02} -l number={number} {IMAGE} wait"));
                emulator.good(&format!("start kina-{number:02}"));
                emulator.good(&format!("exec kina-{number:02} /kina/probe exit 0"));
            });
        }
    });
    let list = emulator.json("list --format json");
    let addresses: BTreeSet<&str> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["status"]["networks"][0]["ipv4Address"].as_str())
        .collect();
    assert_eq!(addresses.len(), 10, "{addresses:?}");
    assert_eq!(emulator.processes().len(), 20, "a helper and a PID 1 each");
    let orders: BTreeSet<String> = (0..8).map(|_| emulator.good("list -q")).collect();
    assert!(orders.len() > 1, "the order of a list means nothing");
    emulator.good(&format!("stop -t 0 {}", (0..10).map(|number| format!("kina-{number:02} ")).collect::<String>()));
    assert_eq!(emulator.processes(), NO_PROCESSES);
    assert_eq!(emulator.good("prune").lines().count(), 10);
}
