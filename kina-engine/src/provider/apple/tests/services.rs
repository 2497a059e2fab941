//! The prerequisites of a container, and the remains of dead engines.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::cli::ContainerCli;
use super::super::error::{ContainerError, ContainerErrorKind as Kind};
use super::super::image::{ClusterImage, Images, Presence};
use super::super::labels::Owner;
use super::super::service::Service;
use super::super::sweep::{SUFFIX, engine_of, sweep};
use super::{Fake, INTERRUPTED, foreign_labels, labels};
use crate::living_file::LivingFile;

#[tokio::test]
async fn the_version_has_a_floor() {
    let fake = Fake::new();
    assert!(!fake.cli().version().await.expect("new enough").is_emulator);
    fake.fault("--version", "echo 'container CLI version 0.12.3 (build: release)'; exit 0");
    let error = fake.cli().version().await.expect_err("too old");
    assert_eq!(error.kind, Kind::TooOld);
    assert!(error.to_string().contains("0.12.3") && error.to_string().contains("1.0.0"), "{error}");
    fake.fault("--version", "echo hello; exit 0");
    assert_eq!(fake.cli().version().await.expect_err("no version").kind, Kind::Unreadable);
}

#[tokio::test]
async fn a_service_that_is_down_is_started_only_where_that_is_allowed() {
    let fake = Fake::new();
    let down = "[ -f started ] || { echo '{\"status\":\"unregistered\"}'; exit 1; }";
    fake.fault("system-status", down);
    let error = Service::new(false).ensure(&fake.cli()).await.expect_err("down");
    assert_eq!((error.kind, fake.count("system start")), (Kind::ServiceDown, 0));
    assert!(error.to_string().contains("system start --enable-kernel-install"), "{error}");
    assert!(Service::new(true).is_down(&fake.cli()).await);
    // The start reports a failure, but the service comes up.
    fake.fault("system-start", "touch started; fail 'failed to get a response from apiserver'");
    Service::new(true).ensure(&fake.cli()).await.expect("started");
    assert_eq!(fake.count("system start"), 1);
    assert!(!Service::new(true).is_down(&fake.cli()).await);
    Service::new(false).ensure(&fake.cli()).await.expect("runs");
}

#[tokio::test]
async fn program_and_service_of_different_versions_are_noticed() {
    let fake = Fake::new();
    let cases = [
        (
            "{\"appName\":\"container\",\"version\":\"1.2.2\"},{\"appName\":\"container-apiserver\",\"version\":\"container-apiserver version 1.2.1 (build: release)\"}",
            true,
        ),
        (
            "{\"appName\":\"container-apiserver\",\"version\":\"1.2.2\"},{\"appName\":\"container\",\"version\":\"1.2.2\"}",
            false,
        ),
        ("{\"appName\":\"container\",\"version\":\"1.2.2\"}", false),
    ];
    for (parts, differ) in cases {
        fake.fault("system-version", &format!("echo '[{parts}]'; exit 0"));
        let skew = Service::new(false).version_skew(&fake.cli()).await.expect("readable");
        assert_eq!(skew.is_some(), differ, "{parts}");
    }
}

/// Asks for the image, and loads it if it is missing.
async fn provide(cli: &ContainerCli, images: &Images, number: usize) -> Result<(), ContainerError> {
    let image = image(number);
    let asked = images.ask(cli, &image).await;
    match asked.presence {
        Presence::Loaded => Ok(()),
        _ => images.provide(cli, &Service::new(true), &image, asked).await,
    }
}

fn image(number: usize) -> ClusterImage {
    ClusterImage {
        reference: format!("kina.local/cluster:{number}"),
        archive: format!("/cache/{number}.tar").into(),
        digest: format!("sha256:d{number}"),
    }
}

#[tokio::test]
async fn an_image_is_loaded_once_and_no_more_than_three_at_a_time() {
    let fake = Fake::new();
    let (cli, images) = (fake.cli(), Images::new());
    // Each load sets a mark for a moment, and notes the number of marks.
    let slow = "mkdir -p now; touch now/$$; ls now | wc -l >>most; sleep 0.3; rm now/$$\n
        until mkdir lock 2>/dev/null; do sleep 0.01; done; load \"$name\"; rmdir lock; exit 0";
    fake.fault("image-load", slow);
    let numbers = [1, 1, 2, 3, 4, 5, 1];
    futures::future::join_all(numbers.map(|number| {
        let (cli, images) = (&cli, &images);
        async move { provide(cli, images, number).await.expect("loaded") }
    }))
    .await;
    assert_eq!(fake.count("image load"), 5);
    let most = std::fs::read_to_string(fake.path("most")).expect("noted");
    let most = most.lines().filter_map(|line| line.trim().parse::<usize>().ok()).max();
    assert!((2..=3).contains(&most.expect("a number")), "{most:?}");
    // It is asked for each time, and loaded again when it is gone.
    provide(&cli, &images, 1).await.expect("there");
    assert_eq!(fake.count("image load"), 5);
    std::fs::remove_file(fake.path("images")).expect("removed");
    provide(&cli, &images, 1).await.expect("loaded again");
    assert_eq!(fake.count("image load"), 6);
}

#[tokio::test]
async fn the_digest_decides_and_not_the_name_alone() {
    let fake = Fake::new();
    std::fs::write(fake.path("images"), "kina.local/cluster:1 another\n").expect("written");
    provide(&fake.cli(), &Images::new(), 1).await.expect("loaded");
    assert_eq!(fake.count("image load"), 1);
}

#[tokio::test]
async fn an_image_is_not_loaded_because_the_service_is_down_or_busy() {
    for fault in [
        "fail 'XPC connection error: Connection invalid'",
        "[ -f started ] || fail 'image not found: as if nothing was there'",
        "[ -f asked ] || { touch asked; fail 'XPC timeout for request to x'; }",
    ] {
        let fake = Fake::new();
        std::fs::write(fake.path("images"), "kina.local/cluster:1 d1\n").expect("written");
        fake.fault("image-inspect", &format!("[ -f started ] || [ -f asked ] || {{ {fault}; }}"));
        if !fault.contains("asked") {
            let down = "[ -f started ] || { echo '{\"status\":\"unregistered\"}'; exit 1; }";
            fake.fault("system-status", down);
            fake.fault("system-start", "touch started; exit 0");
        }
        provide(&fake.cli(), &Images::new(), 1).await.expect(fault);
        assert_eq!(fake.count("image load"), 0, "{fault}");
    }
}

#[tokio::test]
async fn an_image_that_is_there_after_a_load_is_loaded_whatever_the_load_reports() {
    for (fault, loads) in [
        (format!("load \"$name\"; {INTERRUPTED}"), 1),
        ("load \"$name\" >/dev/null; exit 0".to_owned(), 1),
        (format!("[ -f again ] || {{ touch again; {INTERRUPTED}; }}"), 2),
    ] {
        let fake = Fake::new();
        fake.fault("image-load", &fault);
        provide(&fake.cli(), &Images::new(), 1).await.expect("loaded");
        assert_eq!(fake.count("image load"), loads, "{fault}");
    }
    let fake = Fake::new();
    fake.fault("image-load", "exit 0");
    assert_eq!(provide(&fake.cli(), &Images::new(), 1).await.expect_err("not there").kind, Kind::ImageMissing);
}

#[tokio::test]
async fn containers_of_dead_engines_go_and_no_others() {
    let fake = Fake::new();
    let journals = fake.path("journals");
    let dead = LivingFile::create(&journals, SUFFIX, b"").expect("made");
    let (dead_path, dead_engine) = (dead.path().to_owned(), engine_of(dead.path()));
    drop(dead);
    let living = LivingFile::create(&journals, SUFFIX, b"").expect("made");
    let own = LivingFile::create(&journals, SUFFIX, b"").expect("made");
    let owner = Owner::new(&journals, &engine_of(own.path()));
    let of_engine = |engine: &str| labels(&Owner::new(&journals, engine), "c1");
    fake.put("of-dead", &of_engine(&dead_engine), "running");
    fake.put("of-gone", &of_engine("1-gone"), "stopped");
    fake.put("of-living", &of_engine(&engine_of(living.path())), "running");
    fake.put("own", &labels(&owner, "c1"), "running");
    fake.put("foreign", &foreign_labels(), "running");
    fake.put("unlabelled", &std::collections::BTreeMap::new(), "stopped");
    // The same engine's name in another realm.
    fake.put("elsewhere", &labels(&Owner::new(&fake.path("elsewhere"), &dead_engine), "c1"), "running");

    let mut report = sweep(&fake.cli(), &owner, &journals).await.expect("listed");
    report.deleted.sort();
    assert_eq!(
        (report.held, report.deleted, report.left),
        (1, vec!["of-dead".to_owned(), "of-gone".to_owned()], vec![])
    );
    for (name, exists) in [
        ("of-dead", false),
        ("of-gone", false),
        ("of-living", true),
        ("own", true),
        ("foreign", true),
        ("unlabelled", true),
        ("elsewhere", true),
    ] {
        assert_eq!(fake.exists(name), exists, "{name}");
    }
    assert!(!dead_path.exists() && living.path().exists() && own.path().exists());
}

#[tokio::test]
async fn containers_that_a_sweep_cannot_delete_are_left_to_the_next_with_their_engines_file() {
    let fake = Fake::new();
    let journals = fake.path("journals");
    let dead = LivingFile::create(&journals, SUFFIX, b"").expect("made");
    let (path, engine) = (dead.path().to_owned(), engine_of(dead.path()));
    drop(dead);
    fake.put("of-dead", &labels(&Owner::new(&journals, &engine), "c1"), "running");
    fake.fault("delete", "fail busy");
    let report = sweep(&fake.cli(), &fake.owner(), &journals).await.expect("listed");
    assert_eq!((report.deleted, report.left), (vec![], vec!["of-dead".to_owned()]));
    assert!(path.exists());
    let tries = AtomicUsize::new(fake.count("delete"));
    std::fs::remove_file(fake.path("faults/delete")).expect("removed");
    let report = sweep(&fake.cli(), &fake.owner(), &journals).await.expect("listed");
    assert_eq!(report.deleted, ["of-dead"]);
    assert!(!path.exists() && tries.load(Ordering::Relaxed) < fake.count("delete"));
}
