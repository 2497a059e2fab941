//! The program `kina-lab`: chaos, and the contract of providers.
#![cfg(target_os = "linux")]

mod chaos;
mod contract;
mod stand_ins;

test_support::run_more_tests_than_cores!();
