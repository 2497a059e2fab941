//! The harness around a test: its failures, its time limit, and waits for other tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::children::{Realm, output, text_of};
use crate::common::{PATIENCE, wait_until_blocking};
use kina::{Cluster, Context, FromTest, Template};
use kina_engine::lab::protocol::{ClientMessage, EngineMessage, Refusal, RefusalKind};
use kina_engine::{FixtureOverlay, FixtureSet, FixtureSource, Isolation, Profile};
use tokio::runtime::Handle;

/// Set for those of the tests below that are to fail. On their own, they are ordinary tests.
const DOOMED: &str = "KINA_TEST_DOOMED";

fn is_doomed() -> bool {
    std::env::var_os(DOOMED).is_some()
}

/// Waits until the cluster no longer answers.
async fn wait_until_cut_off(client: kube::Client) {
    let start = Instant::now();
    while client.apiserver_version().await.is_ok() {
        assert!(start.elapsed() < PATIENCE, "the lease goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[kina::test(timeout = "1s")]
async fn sleeper(client: kube::Client) -> Result<(), kube::Error> {
    client.apiserver_version().await?;
    if is_doomed() {
        std::future::pending::<()>().await;
    }
    Ok(())
}

#[kina::test(timeout = "1s", flavor = "multi_thread")]
async fn sleeper_with_threads(_client: kube::Client) {
    if is_doomed() {
        let thread = tokio::task::spawn_blocking(|| std::thread::sleep(PATIENCE * 10));
        thread.await.expect("no panic");
    }
}

#[kina::test(timeout = "1s")]
fn plain_sleeper(client: kube::Client) {
    if is_doomed() {
        Handle::current().block_on(wait_until_cut_off(client));
    }
}

#[kina::test]
async fn sleeper_without_a_limit_of_its_own(_client: kube::Client) {
    if is_doomed() {
        std::future::pending::<()>().await;
    }
}

struct Picky;

impl FromTest for Picky {
    type Error = anyhow::Error;

    async fn from_test(_context: &Context) -> anyhow::Result<Self> {
        let reason = anyhow::anyhow!("nothing was good enough").context("choosing failed");
        if is_doomed() { Err(reason) } else { Ok(Self) }
    }
}

#[kina::test]
async fn picky(_picky: Picky) {}

#[kina::test]
async fn takes_two(first: Cluster, second: Cluster) -> Result<(), kube::Error> {
    for cluster in [first, second] {
        cluster.client().apiserver_version().await?;
    }
    Ok(())
}

#[kina::test]
async fn scribbler(context: Context) -> anyhow::Result<()> {
    let scratch = context.scratch_directory()?;
    std::fs::write(scratch.join("notes"), "notes")?;
    println!("scratch directory: {}", scratch.display());
    Ok(())
}

fn red() -> Template {
    Template::new().yaml("red things", "{apiVersion: v1, kind: ConfigMap, metadata: {name: red, namespace: default}}")
}

#[kina::test(template = red, fixtures = ["tests/data/fixtures/*.yaml", "tests/data/fixtures/blue.yaml"])]
async fn starts_from_a_template(_client: kube::Client) {}

fn expect_no_lease(realm: &Realm) {
    wait_until_blocking("the lease ends", || realm.status_of_running().slots.iter().all(|slot| slot.lease.is_none()));
}

#[test]
fn a_test_that_takes_too_long_fails_and_its_lease_ends() {
    let realm = Realm::new().with(DOOMED, "1").with("KINA_TEST_TIMEOUT_SECONDS", "2");
    for (test, limit) in [
        ("sleeper", "1s"),
        ("sleeper_with_threads", "1s"),
        ("plain_sleeper", "1s"),
        ("sleeper_without_a_limit_of_its_own", "2s"),
    ] {
        let output = realm.run(&format!("harness::{test}"));
        let text = text_of(&output);
        assert!(!output.status.success(), "{test} passed");
        assert!(
            text.contains(&format!("the test integration::harness::{test} exceeded its time limit of {limit}")),
            "{text}"
        );
        expect_no_lease(&realm);
    }
}

#[test]
fn an_argument_that_cannot_be_made_fails_the_test_with_its_reason() {
    let realm = Realm::new().with(DOOMED, "1");
    let output = realm.run("harness::picky");
    let text = text_of(&output);
    assert!(!output.status.success());
    let expected = "the test integration::harness::picky could not start: making the argument of type `integration::harness::Picky` failed: \
                    choosing failed: nothing was good enough";
    assert!(text.contains(expected), "{text}");
    expect_no_lease(&realm);
}

#[test]
fn more_clusters_than_there_can_be_are_refused_at_once() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "1");
    // Without a running engine, whose limit would be known, and with one.
    for _ in 0..2 {
        let output = realm.run("harness::takes_two");
        let text = text_of(&output);
        assert!(!output.status.success());
        let expected = "the test integration::harness::takes_two got no cluster: no cluster could be acquired: 2 clusters were \
                        requested at the same time, but the engine runs 1 at most: raise `slots_max`";
        assert!(text.contains(expected), "{text}");
        expect_no_lease(&realm);
    }
}

#[test]
fn several_clusters_are_whole_ones() {
    let realm = Realm::new().with("KINA_ISOLATION", "namespace");
    let output = realm.run("harness::takes_two");
    assert!(!output.status.success());
    let expected = "the test takes 2 clusters, but with `isolation = \"namespace\"` each would be a namespace of \
                    a shared cluster";
    assert!(text_of(&output).contains(expected), "{}", text_of(&output));
}

#[test]
fn tests_with_several_clusters_do_not_wait_for_each_other() {
    let realm = Realm::new().with("KINA_SLOTS_MAX", "3").with("KINA_ACQUIRE_TIMEOUT_SECONDS", "100");
    // Without the ticket, each would get one of the three clusters, and none the second.
    std::thread::scope(|scope| {
        let children: Vec<_> = (0..4).map(|_| scope.spawn(|| output(realm.command("harness::takes_two")))).collect();
        for child in children {
            let output = child.join().expect("no panic");
            assert!(output.status.success(), "{}", text_of(&output));
        }
    });
    expect_no_lease(&realm);
}

/// Reads the content of a template: each list follows its number, and each text its length.
fn read_template(content: &mut impl Read) -> FixtureSet {
    fn number(content: &mut impl Read) -> u64 {
        let mut bytes = [0; 8];
        content.read_exact(&mut bytes).expect("a number");
        u64::from_be_bytes(bytes)
    }
    fn text(content: &mut impl Read) -> String {
        let (length, mut text) = (number(content), String::new());
        content.take(length).read_to_string(&mut text).expect("a text");
        text
    }
    let overlays = (0..number(content)).map(|_| {
        let name = text(content);
        let sources =
            (0..number(content)).map(|_| FixtureSource { name: text(content), text: text(content) }).collect();
        FixtureOverlay { name, sources }
    });
    FixtureSet { overlays: overlays.collect() }
}

/// A fake engine: it requests the content, and then provides no cluster.
#[test]
fn the_content_of_a_template_is_sent_on_request() {
    let realm = Realm::new()
        .with("KINA_KUBERNETES", "1.36")
        .with("KINA_PROFILE", "controllers")
        .with("KINA_ISOLATION", "namespace")
        .with("KINA_ACQUIRE_TIMEOUT_SECONDS", "7");
    let listener = UnixListener::bind(realm.socket()).expect("the socket is free");
    let engine = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a client");
        let mut received = BufReader::new(stream.try_clone().expect("a stream"));
        let hear = |received: &mut BufReader<UnixStream>| {
            let mut line = String::new();
            received.read_line(&mut line).expect("read");
            serde_json::from_str(&line).expect("a message")
        };
        let say = |message: &EngineMessage| {
            let line = serde_json::to_string(message).expect("plain data");
            writeln!(&stream, "{line}").expect("said");
        };
        let ClientMessage::Hello { .. } = hear(&mut received) else { panic!("no greeting") };
        let ClientMessage::Acquire(request) = hear(&mut received) else { panic!("no request") };
        say(&EngineMessage::TemplateWanted);
        let ClientMessage::Template { bytes } = hear(&mut received) else { panic!("no template") };
        let mut content = received.take(bytes);
        let template = read_template(&mut content);
        assert_eq!((content.limit(), template.content_bytes()), (0, bytes), "the length is that of the content");
        let message = "the template was seen".to_owned();
        say(&EngineMessage::Refused(Refusal { kind: RefusalKind::User, message }));
        (request, template)
    });
    let output = realm.run("harness::starts_from_a_template");
    assert!(text_of(&output).contains("the template was seen"), "{}", text_of(&output));

    let (request, template) = engine.join().expect("the conversation is complete");
    assert_eq!(request.template, Some(template.hash()));
    assert_eq!(request.kubernetes.as_deref(), Some("1.36"));
    assert_eq!((request.profile, request.isolation), (Profile::Controllers, Isolation::Namespace));
    assert_eq!((request.test.as_str(), request.timeout_ms), ("integration::harness::starts_from_a_template", 7000));
    let overlay = |name: &str, sources: &[&str]| {
        let source = |name: &&str| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            let text = std::fs::read_to_string(file).unwrap_or_else(|_| {
                "{apiVersion: v1, kind: ConfigMap, metadata: {name: red, namespace: default}}".to_owned()
            });
            FixtureSource { name: (*name).to_owned(), text }
        };
        FixtureOverlay { name: name.to_owned(), sources: sources.iter().map(source).collect() }
    };
    let (blue, green) = ("tests/data/fixtures/blue.yaml", "tests/data/fixtures/green.yaml");
    let expected = [
        overlay("red things", &["red things"]),
        overlay("tests/data/fixtures/*.yaml", &[blue, green]),
        overlay(blue, &[blue]),
    ];
    assert_eq!(template.overlays, expected);
}

#[test]
fn a_scratch_directory_goes_with_the_lease() {
    let realm = Realm::new();
    let output = realm.run("harness::scribbler");
    let text = text_of(&output);
    assert!(output.status.success(), "{text}");
    let path = text.lines().find_map(|line| line.split_once("scratch directory: ")).expect("its path").1;
    wait_until_blocking("the directory goes", || !Path::new(path).exists());
}
