//! One call: deadlines, killed processes, kept output.

use std::time::{Duration, Instant};

use super::super::call::{CallFailure, CallOutcome, Caller};
use super::super::error::{ContainerError, ContainerErrorKind as Kind};
use super::{Fake, words};
use crate::process_identity::start_of;

const SHORT: Duration = Duration::from_millis(500);
const LONG: Duration = Duration::from_secs(60);

fn caller(fake: &Fake, script: &str) -> Caller {
    super::write_program(&fake.path("program"), &format!("#!/bin/sh\ncd '{}'\n{script}\n", fake.path("").display()));
    Caller::new(fake.path("program")).expect("a shell starts")
}

/// Waits for the file and returns the process id in it.
async fn written_process(fake: &Fake, name: &str) -> u32 {
    let start = Instant::now();
    loop {
        let number = std::fs::read_to_string(fake.path(name)).ok().and_then(|text| text.trim().parse().ok());
        if let Some(number) = number {
            return number;
        }
        assert!(start.elapsed() < LONG, "nothing was written to {name}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn wait_gone(process_id: u32) {
    let start = Instant::now();
    while start_of(process_id).is_some() {
        assert!(start.elapsed() < LONG, "process {process_id} still runs");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const HANGS: &str = "echo 'waits' >&2; sleep 1000 & echo $! >child; echo $$ >itself; sleep 1000";

#[tokio::test]
async fn a_call_that_hangs_is_killed_with_its_children() {
    let fake = Fake::new();
    let failure = caller(&fake, HANGS).call(&[], SHORT).await.expect_err("it hangs");
    assert!(matches!(&failure, CallFailure::TimedOut { messages, .. } if messages == "waits\n"), "{failure:?}");
    for name in ["child", "itself"] {
        wait_gone(written_process(&fake, name).await).await;
    }
    let error = ContainerError::of_failure("container start a".to_owned(), failure);
    assert_eq!(error.kind, Kind::TimedOut);
    assert!(error.to_string().contains("0.5 s") && error.to_string().contains("waits"), "{error}");
}

#[tokio::test]
async fn a_call_whose_future_is_dropped_is_killed() {
    let fake = Fake::new();
    let caller = caller(&fake, HANGS);
    let call = tokio::spawn(async move { caller.call(&[], LONG).await.map(drop) });
    let processes = [written_process(&fake, "child").await, written_process(&fake, "itself").await];
    call.abort();
    for process in processes {
        wait_gone(process).await;
    }
}

#[tokio::test]
async fn processes_that_a_call_leaves_behind_do_not_delay_it() {
    let fake = Fake::new();
    let caller = caller(&fake, "sleep 1000 & echo $! >child; echo done");
    let answer = caller.call(&[], LONG).await.expect("it ends");
    assert!(answer.is_success());
    assert_eq!(answer.output, b"done\n");
    wait_gone(written_process(&fake, "child").await).await;
}

#[tokio::test]
async fn exit_codes_and_signals_are_told_apart() {
    let fake = Fake::new();
    let caller = caller(&fake, "case $1 in code) exit $2 ;; signal) kill -$2 $$ ;; esac");
    for (arguments, outcome, kind) in [
        ("code 0", CallOutcome::Exited(0), Kind::Other),
        ("code 1", CallOutcome::Exited(1), Kind::Other),
        ("code 64", CallOutcome::Exited(64), Kind::Usage),
        ("signal 9", CallOutcome::Killed(9), Kind::Other),
    ] {
        let answer = caller.call(&words(arguments), LONG).await.expect("it ends");
        assert_eq!(answer.outcome, outcome, "{arguments}");
        assert_eq!(ContainerError::of_answer(arguments.to_owned(), &answer).kind, kind, "{arguments}");
    }
}

#[tokio::test]
async fn endless_output_ends_the_call_and_endless_messages_are_cut() {
    let fake = Fake::new();
    let failure = caller(&fake, "yes").call(&[], LONG).await.expect_err("too much");
    assert!(matches!(failure, CallFailure::TooMuchOutput { .. }), "{failure:?}");
    let caller = caller(&fake, "yes | head -c 3000000 >&2; printf 'the \\377 end' >&2; exit 1");
    let answer = caller.call(&[], LONG).await.expect("it ends");
    assert!(answer.messages.ends_with("the \u{fffd} end"));
    assert!(answer.messages.len() < 100_000, "{} bytes", answer.messages.len());
}

#[tokio::test]
async fn a_missing_program_is_reported_as_missing() {
    let failure = Caller::new("/nowhere/container".into()).expect("a shell starts").call(&[], LONG).await;
    let error = ContainerError::of_failure("container list".to_owned(), failure.expect_err("no such program"));
    assert_eq!(error.kind, Kind::NoProgram);
    assert!(error.to_string().contains("KINA_CONTAINER_CLI"), "{error}");
}
