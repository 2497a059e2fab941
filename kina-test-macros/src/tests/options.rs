//! Tests of options and their values.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::quote;

use super::check_complaints;
use crate::complaints::Complaints;
use crate::options::Options;

fn check_options(options: &str, expected: &[&str]) -> Options {
    let mut complaints = Complaints::default();
    let options = Options::parse(options.parse().expect("the test's own tokens"), &mut complaints);
    check_complaints(&complaints, expected);
    options
}

fn options_of(options: &Options) -> (Option<String>, Option<String>) {
    let kubernetes = options.kubernetes.as_ref().map(|literal| literal.value());
    (kubernetes, options.crate_path.as_ref().map(|path| quote! { #path }.to_string()))
}

#[test]
fn known_options() {
    assert_eq!(options_of(&check_options("", &[])), (None, None));
    // The expansion checks if kina knows the minor: its list is elsewhere.
    for minor in ["1.33", "1.34", "1.35", "1.36", "1.37", "1.2", "1.370", "latest", ""] {
        let options = check_options(&format!("kubernetes = \"{minor}\""), &[]);
        assert_eq!(options_of(&options), (Some(minor.to_owned()), None));
    }
    assert_eq!(options_of(&check_options("crate = \"crate::a\",", &[])), (None, Some("crate :: a".to_owned())));
}

#[test]
fn a_minor_passed_on_by_a_macro() {
    let literal: TokenStream = "\"1.36\"".parse().expect("the test's own tokens");
    let invisible_group = Group::new(Delimiter::None, literal);
    let mut complaints = Complaints::default();
    let options = Options::parse(quote! { kubernetes = #invisible_group }, &mut complaints);
    check_complaints(&complaints, &[]);
    assert_eq!(options_of(&options), (Some("1.36".to_owned()), None));
}

#[test]
fn providers() {
    for name in ["process", "apple"] {
        let options = check_options(&format!("provider = \"{name}\""), &[]);
        assert_eq!(options.provider.map(|literal| literal.value()).as_deref(), Some(name));
    }
    check_options("provider = \"docker\"", &["kina has no provider `docker`; the providers are `process`, `apple`"]);
    check_options("provider = apple", &["expected a provider in quotes, as in `provider = \"process\"`"]);
}

#[test]
fn wrong_values_of_kubernetes() {
    let cases = [
        (r#""1.37.1""#, "only the minor can be chosen, kina takes its newest patch: write `1.37` instead of `1.37.1`"),
        (r#""v1.37""#, "a minor is two numbers and nothing else: write `1.37` instead of `v1.37`"),
        (r#"" 1.37""#, "a minor is two numbers and nothing else: write `1.37` instead of ` 1.37`"),
        ("1.37", "quote it: `kubernetes = \"1.37\"`"),
        ("1", "expected a Kubernetes minor in quotes, as in `kubernetes = \"1.37\"`"),
        ("b\"1.37\"", "expected a Kubernetes minor in quotes"),
        ("minor", "expected a Kubernetes minor in quotes"),
    ];
    for (value, start) in cases {
        let mut complaints = Complaints::default();
        let tokens = format!("kubernetes = {value}").parse().expect("the test's own tokens");
        assert!(Options::parse(tokens, &mut complaints).kubernetes.is_none());
        check_complaints(&complaints, &[start]);
    }
}

#[test]
fn one_wrong_option_does_not_hide_another() {
    let options = check_options(
        r#"timeouts = 3, kubernetes = "1.36" "1.37", crate, crate = "a b", kubernetes = "1.35", "1.37", crate: "x""#,
        &[
            "unknown option `timeouts`; the options are `crds = [Type, \"path\"]`, ",
            "expected a comma or the end after the value of `kubernetes`",
            "option `crate` has no value",
            "option `crate` is given twice",
            "option `kubernetes` is given twice",
            "unknown option `\"1.37\"`",
            "option `crate` is given twice",
        ],
    );
    assert_eq!(options_of(&options), (Some("1.36".to_owned()), None));
    check_options("crate = \"a b\"", &["`a b` is not a path to the crate kina"]);
    check_options("crate = kina", &["expected a path in quotes"]);
    check_options("kubernetes: \"1.37\"", &["expected `=`"]);
}

#[test]
fn options_of_a_test_override_those_of_its_module() {
    let options = check_options(
        r#"kubernetes = "1.36", flavor = "multi_thread",
           __of_module(kubernetes = "1.35", timeout = "3s", flavor = "current_thread",
                       __of_module(timeout = "4s", provider = "apple", profile = "none"))"#,
        &[],
    );
    assert_eq!(options_of(&options), (Some("1.36".to_owned()), None));
    assert_eq!(options.timeout_ms, Some(3000));
    assert_eq!(options.provider.map(|literal| literal.value()).as_deref(), Some("apple"));
    assert_eq!(options.flavor.map(|flavor| flavor.name), Some("multi_thread"));
    assert!(options.profile.is_none());
    // A number of threads belongs to the flavor it was given with.
    let options =
        check_options(r#"flavor = "current_thread", __of_module(flavor = "multi_thread", worker_threads = 3)"#, &[]);
    assert!(options.worker_threads.is_none());
}

#[test]
fn durations() {
    for (text, expected) in [("500ms", 500), ("30s", 30_000), ("5m", 300_000), ("1h", 3_600_000), ("24h", 86_400_000)] {
        assert_eq!(check_options(&format!("timeout = \"{text}\""), &[]).timeout_ms, Some(expected), "{text}");
    }
    for (value, start) in [
        (r#""30""#, "`30` is not a duration; a duration is a whole number and a unit"),
        (r#""s""#, "`s` is not a duration"),
        (r#""1.5s""#, "`1.5s` is not a duration"),
        (r#""-1s""#, "`-1s` is not a duration"),
        (r#""3 s""#, "`3 s` is not a duration"),
        (r#""0s""#, "a test with a limit of zero would always fail"),
        (r#""25h""#, "the limit of a test is at most one day"),
        (r#""99999999999999999999s""#, "the limit of a test is at most one day"),
        ("30", "write `timeout = \"30s\"`"),
        ("5m", "write `timeout = \"5m\"`"),
        ("LIMIT", "expected a duration in quotes, as in `timeout = \"30s\"`"),
    ] {
        assert!(check_options(&format!("timeout = {value}"), &[start]).timeout_ms.is_none());
    }
}

#[test]
fn words_and_numbers() {
    check_options("profile = \"nodes\"", &["`profile` cannot be `nodes`; there are `api` and `controllers`"]);
    check_options("isolation = namespace", &["expected a word in quotes, as in `isolation = \"cluster\"`"]);
    check_options("flavor = \"local\"", &["`flavor` cannot be `local`; there are `current_thread` and `multi_thread`"]);
    check_options("start_paused = true", &["kina has no `start_paused`: a paused clock jumps"]);
    check_options("worker_threads = 2", &["`worker_threads` needs `flavor = \"multi_thread\"` beside it"]);
    for value in ["0", "\"2\"", "1025", "-1", "many"] {
        let options = format!("flavor = \"multi_thread\", worker_threads = {value}");
        let mut complaints = Complaints::default();
        Options::parse(options.parse().expect("the test's own tokens"), &mut complaints);
        assert!(complaints.texts()[0].starts_with("expected a number from 1 to 1024"), "{value}");
    }
}

#[test]
fn lists_of_files_and_types() {
    for (options, start) in [
        (
            "crds = []",
            "an empty list: name types with a CRD and paths of files, as in `crds = [Widget, \"crds/*.yaml\"]`",
        ),
        ("crds = Widget", "expected a list of types with a CRD"),
        ("crds = [3]", "expected types with a CRD and paths of files"),
        ("crds = [\"nowhere.yaml\"]", "there is no file `nowhere.yaml`; paths are relative to the directory of"),
        ("crds = [\"\"]", "an empty path names nothing"),
        ("crds = [\"/etc/*.yaml\"]", "`/etc/*.yaml` exists on one machine only"),
        ("fixtures = [\"src/*.yaml\"]", "no file matches `src/*.yaml`"),
        ("fixtures = [\"src\"]", "no .yaml, .yml or .json file is in the folder `src`"),
        ("fixtures = [\"***\"]", "`***` is not a pattern"),
        ("fixtures = [Widget]", "expected paths of files in quotes"),
        ("fixtures = \"src\"", "expected a list of paths of files in quotes"),
        ("template = 3", "expected the path of a function that returns a `kina::Template`"),
        ("template = a b", "expected the path of a function"),
    ] {
        check_options(options, &[start]);
    }
}
