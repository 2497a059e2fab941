//! The emulator with each of its faults in turn. A cluster's whole life may come to a bad end under some of them; then the
//! failure has to be told, nothing may be left, and the next life has to come to its end.

use crate::emulator::Emulator;

/// What has to come of a fault.
enum Outcome {
    /// The driver gets over it: the first life comes to its end.
    Unnoticed,
    /// The first life cannot come to its end; what is told has one of these in it.
    Told(&'static [&'static str]),
    /// Whichever: the dice decide when it happens.
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
            let told = told.unwrap_or_else(|| panic!("nothing was told: {}", run.stderr));
            assert!(phrases.iter().any(|phrase| told.contains(phrase)), "{told}");
        }
        Outcome::Either => {}
    }
    assert_eq!(emulator.containers(), "[]");
    assert_eq!(emulator.processes(), [0_u32; 0]);
}

/// One test for each plan, so that each has its own name and time.
macro_rules! faults {
    ($is_tried:expr; $($name:ident: $faults:literal => $outcome:expr;)*) => {
        $(
            #[test]
            fn $name() {
                use Outcome::{Either, Told, Unnoticed};
                // Each row uses one of them.
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
    a_service_that_crashes: "crash=stop:1:1" => Told(&["stop"]);
    a_port_that_is_taken: "port-taken=start:1:1" => Unnoticed;
    a_container_that_is_pruned: "pruned=inspect:1:1" => Told(&["pruned or deleted outside of kina"]);
    calls_that_lie: "lie=create:1:1,lie-stop=stop:1:1,lie-rm=delete:1:1" => Unnoticed;
}

faults! { crate::is_long();
    a_start_that_hangs: "hang=start:1:1" => Either;
    a_stop_that_hangs: "hang=stop:1:1" => Either;
    a_connection_that_breaks: "xpc-interrupted=*:0.08:6" => Either;
    a_machine_that_reboots: "reboot=inspect:1:1" => Either;
    a_service_that_is_down: "down=create:1:1" => Either;
    calls_that_are_slow_and_noisy: "slow=*:0.1:20,noise=*:0.5" => Unnoticed;
    an_old_kernel: "no-nftables" => Unnoticed;
    another_subnet: "subnet" => Unnoticed;
}
