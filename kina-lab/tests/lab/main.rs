//! The program `kina-lab`: chaos, the contract of providers, and the report on a Mac.
#![cfg(target_os = "linux")]

mod apple_report;
mod chaos;
mod contract;
mod stand_ins;

test_support::run_more_tests_than_cores!();
