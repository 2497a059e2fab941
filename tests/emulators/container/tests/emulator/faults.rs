//! One test for each fault.
use std::process::Stdio;
use std::time::Duration;

use super::common::{Emulator, IMAGE, NO_PROCESSES, eventually, free_port};

fn with_machine() -> Emulator {
    let emulator = Emulator::started();
    emulator.good(&format!("run -d --name kina-a1 -p 127.0.0.1:{}:6443 {IMAGE}", free_port()));
    emulator
}

#[test]
fn a_hung_call_never_ends_and_its_effect_may_be_there_or_not() {
    let mut seen = [false; 2];
    for seed in 0..8 {
        let mut emulator = Emulator::started();
        emulator
            .faults(&format!("hang=create,hold-ms=10,seed={seed}"))
            .hangs(&format!("create --name kina-a1 {IMAGE}"));
        let there = emulator.faults("").state("kina-a1").is_some();
        seen[usize::from(there)] = true;
        if seen == [true; 2] {
            return;
        }
    }
    panic!("eight seeds, and always the same: {seen:?}");
}

#[test]
fn a_call_may_have_had_its_effect_when_its_connection_breaks() {
    for (plan, there) in [("xpc-interrupted-before=create", false), ("xpc-interrupted-after=create", true)] {
        let mut emulator = Emulator::started();
        let said = emulator.faults(plan).bad(&format!("create --name kina-a1 {IMAGE}"), 1);
        assert!(said.contains("XPC connection error: Connection interrupted"), "{said}");
        assert_eq!(emulator.faults("").state("kina-a1").is_some(), there, "{plan}");
    }
}

#[test]
fn after_a_crash_a_running_machine_is_listed_as_stopped_and_only_delete_ends_it() {
    let mut emulator = with_machine();
    let said = emulator.faults("crash=inspect").bad("inspect kina-a1", 1);
    assert!(said.contains("Connection interrupted"), "{said}");
    emulator.faults("");
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    assert!(emulator.json("inspect kina-a1")[0]["status"].get("startedDate").is_none());
    emulator.good("stop -t 0 kina-a1");
    assert_eq!(emulator.processes().len(), 2, "stop exits with 0 and does nothing");
    assert!(emulator.bad("kill kina-a1", 1).contains("no runtime client exists"));
    assert!(emulator.bad("exec kina-a1 /kina/probe exit 0", 1).contains("is not running"));
    emulator.bad("start kina-a1", 1);
    emulator.good("delete -f kina-a1");
    assert_eq!(emulator.processes(), NO_PROCESSES);
    assert_eq!(emulator.state("kina-a1"), None);
}

#[test]
fn after_a_reboot_nothing_runs_and_the_service_is_down() {
    let mut emulator = with_machine();
    let said = emulator.faults("reboot=list").bad("list", 1);
    assert!(said.contains("Connection invalid"), "{said}");
    emulator.faults("");
    assert_eq!(emulator.processes(), NO_PROCESSES);
    emulator.bad("start kina-a1", 1);
    emulator.good("system start --enable-kernel-install");
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    emulator.good("start kina-a1");
}

#[test]
fn the_service_can_be_down_for_one_call() {
    let mut emulator = with_machine();
    emulator.faults("down=*:1:2");
    assert!(emulator.bad("list", 1).contains("Connection invalid"));
    let output = emulator.call("system status --format json");
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stdout).contains("not running"));
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("running"));
}

#[test]
fn a_free_port_can_be_reported_as_taken() {
    let mut emulator = Emulator::started();
    emulator.good(&format!("create --name kina-a1 -p 127.0.0.1:{}:6443 {IMAGE}", free_port()));
    let said = emulator.faults("port-taken=start:1:1").bad("start kina-a1", 1);
    assert!(said.contains("Address already in use") && said.contains("errno: 48"), "{said}");
    emulator.good("start kina-a1");
}

#[test]
fn a_stopped_container_can_vanish_but_a_running_one_never() {
    let mut emulator = with_machine();
    emulator.good(&format!("create --name kina-b2 {IMAGE}"));
    emulator.faults("pruned=inspect").bad("inspect kina-b2", 1);
    emulator.good("inspect kina-a1");
    assert_eq!(emulator.faults("").good("list -a -q"), "kina-a1\n");
}

#[test]
fn stop_and_delete_can_lie() {
    let mut emulator = with_machine();
    emulator.faults("lie-stop=stop,lie=delete");
    emulator.bad("stop -t 0 kina-a1", 1);
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    emulator.bad("delete kina-a1", 1);
    assert_eq!(emulator.state("kina-a1"), None);
}

#[test]
fn the_start_of_a_process_waits_behind_a_boot() {
    let emulator = with_machine();
    let lock = emulator.boot_lock();
    lock.lock().expect("the lock");
    let mut command = emulator.command("exec kina-a1 /kina/probe exit 5");
    let mut child = command.spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a child").is_none(), "it waits");
    lock.unlock().expect("the lock");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
}

#[test]
fn a_slow_call_holds_the_lock() {
    let mut emulator = with_machine();
    let mut command = emulator.faults("slow=inspect,slow-ms=20000").command("inspect kina-a1");
    let mut child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let lock = emulator.boot_lock();
    eventually("the lock is held", || match lock.try_lock() {
        Ok(()) => {
            lock.unlock().expect("the lock");
            false
        }
        Err(_) => true,
    });
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    lock.lock().expect("a killed call holds nothing");
}

#[test]
fn a_boot_goes_on_when_its_call_is_killed() {
    let emulator = Emulator::started();
    emulator.good(&format!("create --name kina-a1 {IMAGE}"));
    let lock = emulator.boot_lock();
    lock.lock().expect("the lock");
    let mut child = emulator.command("start kina-a1").stdout(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a child").is_none(), "it waits");
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    lock.unlock().expect("the lock");
    eventually("it runs nevertheless", || emulator.state("kina-a1").as_deref() == Some("running"));
}

#[test]
fn a_kernel_without_nftables_is_visible_inside() {
    let mut emulator = Emulator::started();
    emulator.faults("no-nftables").good(&format!("run -d --name kina-a1 {IMAGE}"));
    assert!(emulator.good("exec kina-a1 /kina/probe read /proc/sys/kernel/osrelease").starts_with("6.12"));
    assert!(emulator.good("exec kina-a1 /kina/probe read /proc/version").contains("6.12"));
    assert!(emulator.good("logs --boot kina-a1").contains("Linux version 6.12"));
    assert!(emulator.bad("exec kina-a1 /usr/sbin/iptables-nft -L", 1).contains("Could not fetch rule set"));
}

#[test]
fn noise_goes_to_stderr_and_the_subnet_can_change() {
    let mut emulator = with_machine();
    let output = emulator.faults("noise").call("list --format json");
    assert!(!output.stderr.is_empty());
    serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("stdout stays JSON");
    emulator.faults("subnet=system-start").good("system stop");
    emulator.good("system start");
    emulator.good("start kina-a1");
    let address = emulator.json("inspect kina-a1")[0]["status"]["networks"][0]["ipv4Address"].clone();
    assert!(address.as_str().is_some_and(|address| address.starts_with("192.168.65.")), "{address}");
}

#[test]
fn a_killed_helper_takes_its_machine_along() {
    let emulator = with_machine();
    let processes = emulator.processes();
    let killed = std::process::Command::new("kill").args(["-KILL", &processes[0].to_string()]).status();
    assert!(killed.expect("kill starts").success());
    eventually("nothing is left", || emulator.processes().is_empty());
    assert_eq!(emulator.state("kina-a1").as_deref(), Some("stopped"));
    emulator.good("start kina-a1");
}

#[test]
fn an_image_can_vanish_before_a_create_which_then_pulls_in_vain() {
    let mut emulator = Emulator::started();
    emulator.good(&format!("run -d --name kina-a1 {IMAGE} wait"));
    let said = emulator.faults("image-gone=create:1:1,pull-ms=1").bad(&format!("create --name kina-b2 {IMAGE}"), 1);
    assert!(said.contains("failed to resolve either repository hostname kina.local"), "{said}");
    assert!(!said.contains("404"), "{said}");
    emulator.bad(&format!("image inspect {IMAGE}"), 1);
    // The fault needs an image, so it does not happen again.
    assert_eq!(emulator.fault_count("ImageGone"), 1);
    assert_eq!(emulator.faults("").state("kina-a1").as_deref(), Some("running"), "a machine keeps its root");
    emulator.good("stop -t 0 kina-a1");
    emulator.good("start kina-a1");
}

#[test]
fn a_pull_can_hang_and_only_a_pull() {
    let mut emulator = Emulator::started();
    emulator.faults("pull-hangs");
    emulator.good(&format!("create --name kina-a1 {IMAGE}"));
    assert_eq!(emulator.fault_count("PullHangs"), 0);
    emulator.hangs("create --name kina-b2 kina.local/other:1");
    emulator.hangs("image pull kina.local/other:1");
    assert_eq!(emulator.fault_count("PullHangs"), 2);
    assert_eq!(emulator.state("kina-b2"), None);
}

#[test]
fn a_damaged_image_breaks_the_list_of_all_images_and_nothing_else() {
    let mut emulator = Emulator::started();
    emulator.faults("damaged-image=image-inspect:1:1").good(&format!("image inspect {IMAGE}"));
    for line in ["image list --format json", "image list", "image inspect damaged:1"] {
        emulator.bad(line, 1);
    }
    let names = emulator.good("image list -q");
    assert_eq!(names.lines().collect::<Vec<_>>(), ["damaged:1", IMAGE]);
    emulator.good(&format!("image inspect {IMAGE}"));
    emulator.good(&format!("create --name kina-a1 {IMAGE}"));
    emulator.good("image delete damaged:1");
    emulator.good("image list --format json");
}

#[test]
fn the_host_can_see_appends_late_or_never() {
    for (plan, late) in [("mount-lag=1500", true), ("mount-never", false)] {
        let mut emulator = Emulator::started();
        let shared = emulator.directory("shared");
        std::fs::write(shared.join("of-the-host"), "of the host").expect("written");
        let mount = format!("--mount type=bind,source={},target=/x", shared.display());
        emulator.good(&format!("create --name kina-a1 {mount} {IMAGE} wait"));
        emulator.faults(plan).good("start kina-a1");
        assert_eq!(emulator.good("exec kina-a1 /kina/probe read /x/of-the-host"), "of the host");
        emulator.good("exec kina-a1 /kina/probe write /x/of-the-machine text");
        assert_eq!(emulator.good("exec kina-a1 /kina/probe read /x/of-the-machine"), "text");
        let seen = || std::fs::read_to_string(shared.join("of-the-machine")).ok();
        if late {
            eventually("the host sees it", || seen().as_deref() == Some("text"));
        }
        emulator.good("exec kina-a1 /kina/probe write /x/at-last text");
        emulator.good("stop -t 0 kina-a1");
        assert_eq!(shared.join("at-last").exists(), late, "{plan}");
        assert_eq!(seen().is_some(), late, "{plan}");
        // A later start without the fault has the directory itself.
        emulator.faults("").good("start kina-a1");
        emulator.good("exec kina-a1 /kina/probe write /x/direct text");
        assert!(shared.join("direct").exists());
    }
}

#[test]
fn the_network_can_be_missing() {
    let mut emulator = Emulator::started();
    let said = emulator.faults("network-gone=create:1:1").bad(&format!("create --name kina-a1 {IMAGE}"), 1);
    assert!(said.contains("builtin network is not present"), "{said}");
    emulator.good(&format!("create --name kina-a1 {IMAGE} wait"));
    let mut seen = [false; 2];
    for seed in 0..16 {
        let said = emulator.faults(&format!("network-gone=start,seed={seed}")).bad("start kina-a1", 1);
        for (index, text) in ["failed to get plugin for network default", "failed to create vmnet network with status"]
            .iter()
            .enumerate()
        {
            seen[index] |= said.contains(text);
        }
    }
    assert_eq!(seen, [true; 2]);
    emulator.faults("").good("start kina-a1");
}

#[test]
fn the_service_can_be_of_another_version_from_a_call_on() {
    let mut emulator = Emulator::started();
    emulator.version("1.2.2").good(&format!("run -d --name kina-a1 {IMAGE} wait"));
    let shown = |emulator: &Emulator| {
        let status = emulator.json("system status --format json");
        status["apiServerVersion"].as_str().expect("a version").to_owned()
    };
    assert!(shown(&emulator).contains("version 1.2.2 "));
    emulator.faults("upgraded=stop:1:1").good("stop -t 0 kina-a1");
    emulator.faults("");
    assert!(shown(&emulator).contains("version 1.2.3 "));
    assert_eq!(emulator.json("system version --format json")[0]["version"], "1.2.3");
    emulator.good("start kina-a1");
}

#[test]
fn others_can_hold_the_lock_for_which_deletions_stops_and_the_disk_wait_too() {
    let mut emulator = with_machine();
    emulator.good(&format!("create --name kina-b2 {IMAGE}"));
    // The lock is held when the call begins, and for as long as the plan says, even if the call ends before.
    emulator.faults("lock-held=list:1:1,lock-ms=600000").good("list");
    for line in ["system df --format json", "delete kina-b2", "stop -t 0 kina-a1", "start kina-b2"] {
        emulator.hangs(line);
    }
    assert_eq!(emulator.state("kina-b2").as_deref(), Some("stopped"), "looking needs no lock");
    for process in emulator.holders() {
        let killed = std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status();
        assert!(killed.expect("kill starts").success());
    }
    // The start goes on without its call.
    emulator.good("delete -f kina-b2");
}

#[test]
fn every_call_is_recorded() {
    let emulator = Emulator::started();
    emulator.bad("start missing", 1);
    let calls = emulator.calls();
    assert_eq!(calls.first().map(String::as_str), Some("system start --enable-kernel-install"));
    assert_eq!(calls.last().map(String::as_str), Some("start missing"));
}
