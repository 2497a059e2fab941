//! The emulator with each of its faults in turn. A cluster's life may fail under some of them. Then the failure must be
//! reported, nothing may be left, and the next life must succeed.

use crate::contract::emulator::Emulator;

/// The expected outcome of a fault.
enum Outcome {
    /// The driver overcomes it: the first life succeeds.
    Unnoticed,
    /// The first life fails, with one of these phrases in its error.
    Told(&'static [&'static str]),
    /// Either, as the fault's time is random.
    Either,
}

fn lives_under(faults: &str, outcome: &Outcome) {
    let emulator = Emulator::new();
    let run = emulator.contract(&["--only", "replaces-what-fails"], faults);
    let check = &run.report["checks"][0];
    assert_eq!((&check["outcome"], run.is_success), (&"passed".into(), true), "{check}\n{}", run.stderr);
    let happened = emulator.faults_that_happened();
    for fault in faults.split(',') {
        let name = fault.split(['=', ';']).next().unwrap_or(fault);
        // `lie-stop` and `lie-rm` are lies, at the command that the plan names.
        let name = if name.starts_with("lie") { "lie".to_owned() } else { name.replace("xpc-", "").replace('-', "") };
        let is_found = happened.iter().any(|entry| entry.to_lowercase().contains(&name));
        assert!(is_found, "`{fault}` has not happened: {happened:?}");
    }
    let told = check["reason"].as_str();
    match outcome {
        Outcome::Unnoticed => assert_eq!(told, None, "{}", run.stderr),
        Outcome::Told(phrases) => {
            let told = told.unwrap_or_else(|| panic!("no failure was reported: {}", run.stderr));
            assert!(phrases.iter().any(|phrase| told.contains(phrase)), "{told}");
        }
        Outcome::Either => {}
    }
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.processes(), [0_u32; 0]);
}

/// Defines a test for each plan, so that each has its own name and time.
macro_rules! faults {
    ($is_tried:expr; $($name:ident: $faults:literal => $outcome:expr;)*) => {
        $(
            #[test]
            fn $name() {
                use Outcome::{Either, Told, Unnoticed};
                // Each row uses only one of them.
                let _ = (Told(&[]), Unnoticed, Either);
                if $is_tried {
                    lives_under($faults, &$outcome);
                } else {
                    eprintln!("left to long runs: KINA_LONG_TESTS=1");
                }
            }
        )*
    };
}

faults! { true;
    a_list_that_hangs: "hang=list:1:1" => Unnoticed;
    a_container_that_is_pruned: "pruned=inspect:1:1" => Told(&["pruned or deleted outside of kina"]);
    calls_that_lie: "lie=create:1:1,lie-stop=stop:1:1,lie-rm=delete:1:1" => Unnoticed;
}

faults! { crate::contract::is_long();
    a_port_that_is_taken: "port-taken=start:1:1" => Unnoticed;
    a_service_that_crashes: "crash=stop:1:1" => Told(&["stop"]);
    a_start_that_hangs: "hang=start:1:1" => Either;
    a_stop_that_hangs: "hang=stop:1:1" => Either;
    a_connection_that_breaks: "xpc-interrupted=*:0.08:6" => Either;
    a_machine_that_reboots: "reboot=inspect:1:1" => Either;
    a_service_that_is_down: "down=create:1:1" => Either;
    calls_that_are_slow_and_noisy: "slow=*:0.1:20,noise=*:0.5" => Unnoticed;
    an_old_kernel: "no-nftables" => Unnoticed;
    another_subnet: "subnet" => Unnoticed;
}
