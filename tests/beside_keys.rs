//! Each test plants something in one lease that etcd's keys do not hold, and looks for it in the next lease of the same
//! cluster. It is not there, and it is as soon as the part of the engine that ends it is switched off.
#![cfg(target_os = "linux")]

mod common;

mod beside_keys {
    mod leak;

    use leak::Leak;

    use crate::common::children::{Realm, output, text_of};

    /// Names the leak that a child plants and looks for.
    const LEAK: &str = "KINA_TEST_LEAK";
    const IS_SEEN: &str = "the second lease sees it: ";

    /// The child that the tests below run. Left alone, it looks for nothing.
    #[tokio::test]
    async fn two_leases_of_one_cluster() -> anyhow::Result<()> {
        let first = kina::Cluster::acquire().await?;
        let Ok(name) = std::env::var(LEAK) else { return Ok(()) };
        let leak = Leak::named(&name);
        let planted = leak.plant(&first).await?;
        let cluster = first.name().to_owned();
        first.release();
        drop(first);
        let second = kina::Cluster::acquire().await?;
        anyhow::ensure!(second.name() == cluster, "the second lease has {}, the first had {cluster}", second.name());
        println!("{IS_SEEN}{}", leak.is_seen(&second, &planted).await?);
        Ok(())
    }

    /// Whether a lease sees what the one before has planted, in an engine of its own.
    fn is_seen(leak: Leak, sabotaged_part: Option<&str>) -> bool {
        let mut realm = Realm::new().with("KINA_SLOTS_MAX", "1");
        if let Some(part) = sabotaged_part {
            realm = realm.with("KINA_SABOTAGE", part);
        }
        let mut command = realm.command("beside_keys::two_leases_of_one_cluster");
        command.env(LEAK, leak.name());
        let output = output(command);
        let text = text_of(&output);
        assert!(output.status.success(), "{leak:?} without {sabotaged_part:?}: {text}");
        let answer = text.split_once(IS_SEEN).and_then(|(_, rest)| rest.lines().next());
        answer.unwrap_or_else(|| panic!("no answer: {text}")).parse().expect("true or false")
    }

    fn assert_ended_by(leak: Leak, part: &str) {
        assert!(!is_seen(leak, None), "{leak:?} outlives its lease");
        assert!(is_seen(leak, Some(part)), "{leak:?} is not seen though nothing ends it, so the test proves nothing");
    }

    #[test]
    fn a_verbosity_does_not_outlive_its_lease() {
        assert_ended_by(Leak::Verbosity, "debug-endpoints");
    }

    #[test]
    fn no_lease_resets_the_metrics_of_the_next() {
        assert_ended_by(Leak::ResetMetrics, "debug-endpoints");
    }

    #[test]
    fn a_list_at_an_old_revision_shows_nothing_of_an_earlier_lease() {
        assert_ended_by(Leak::ExactList, "history");
    }

    #[test]
    fn a_list_that_an_earlier_lease_began_cannot_be_continued() {
        assert_ended_by(Leak::ContinuedList, "history");
    }

    #[test]
    fn what_a_lease_wrote_to_the_api_servers_own_lease_ends_with_it() {
        for leak in [Leak::IdentityAnnotation, Leak::RenewedAnnotation, Leak::IdentityHolder] {
            assert_ended_by(leak, "identity-lease");
        }
    }

    /// Without the fix it is a matter of less than a millisecond whether the next lease sees it.
    #[test]
    fn admission_knows_no_namespace_of_an_earlier_lease() {
        for leak in [Leak::Namespace, Leak::PodSecurity] {
            assert!(!is_seen(leak, None), "{leak:?} outlives its lease");
        }
    }

    #[test]
    fn admission_knows_no_class_of_an_earlier_lease() {
        for leak in [Leak::DefaultPriority, Leak::DefaultStorageClass, Leak::DefaultIngressClass, Leak::RuntimeClass] {
            assert!(!is_seen(leak, None), "{leak:?} outlives its lease");
        }
    }
}
