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
