//! Tests of the whole way from tokens to tokens. What users read is checked word by word in kina-test's UI tests.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::quote;

use crate::complaints::Complaints;
use crate::expand::expand;
use crate::function::TestFunction;
use crate::module;
use crate::options::Options;

/// Compares tokens, blind to white space.
fn check_expansion(options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(expand(options, item).to_string(), expected.to_string());
}

/// Each of the expected texts starts the complaint at its place, and there are no others.
fn check_complaints(complaints: &Complaints, expected: &[&str]) {
    let texts = complaints.texts();
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text:?} does not start with {expected:?}");
    }
}

fn check_options(options: &str, expected: &[&str]) -> Options {
    let mut complaints = Complaints::default();
    let options = Options::parse(options.parse().expect("the test's own tokens"), &mut complaints);
    check_complaints(&complaints, expected);
    options
}

fn check_function(item: &str, expected: &[&str]) {
    let mut complaints = Complaints::default();
    let mut function: TestFunction = syn::parse_str(item).expect("the test's own tokens");
    crate::other_attributes::remove_second_tests(&mut function.attributes, &mut complaints);
    let is_callable = function.check_signature(&mut complaints);
    assert!(is_callable || !expected.is_empty());
    check_complaints(&complaints, expected);
}

fn options_of(options: &Options) -> (Option<String>, Option<String>) {
    let kubernetes = options.kubernetes.as_ref().map(|literal| literal.value());
    (kubernetes, options.crate_path.as_ref().map(|path| quote! { #path }.to_string()))
}

#[test]
fn a_test_without_options() {
    check_expansion(
        quote! {},
        quote! {
            /// Scales up.
            #[should_panic(expected = "no")]
            pub(crate) async fn scales_up(client: kube::Client) -> anyhow::Result<()> { body(client).await; Ok(()) }
        },
        quote! {
            /// Scales up.
            #[should_panic(expected = "no")]
            #[::core::prelude::v1::test]
            pub(crate) fn scales_up() -> anyhow::Result<()> {
                #[allow(clippy::unused_async)]
                async fn scales_up(client: kube::Client) -> anyhow::Result<()> { body(client).await; Ok(()) }

                ::kina::__private::run_test(
                    ::kina::__private::TestCase::new(
                        ::core::concat!(::core::module_path!(), "::", "scales_up"),
                        ::core::env!("CARGO_MANIFEST_DIR"),
                    ),
                    scales_up as fn(_) -> _,
                    (::kina::__private::argument(),),
                )
            }
        },
    );
}

#[test]
fn a_test_with_all_options_and_two_arguments() {
    check_expansion(
        quote! {
            crds = [my::Widget<u8, u16>, "src/*.rs"], fixtures = ["Cargo.toml", "**/*.toml"], template = my::template,
            kubernetes = "1.36", profile = "controllers", provider = "apple", isolation = "namespace", timeout = "2m",
            flavor = "multi_thread", worker_threads = 3, crate = "my::kina",
        },
        quote! { async fn two(mut client: kube::Client, Cluster { .. }: Cluster) {} },
        quote! {
            #[::core::prelude::v1::test]
            fn two() {
                #[allow(clippy::unused_async)]
                async fn two(mut client: kube::Client, Cluster { .. }: Cluster) {}

                my::kina::__private::run_test(
                    my::kina::__private::TestCase {
                        kubernetes: ::core::option::Option::Some("1.36"),
                        profile: ::core::option::Option::Some(my::kina::__private::Profile::Controllers),
                        provider: ::core::option::Option::Some("apple"),
                        isolation: ::core::option::Option::Some(my::kina::__private::Isolation::Namespace),
                        timeout_ms: ::core::option::Option::Some(120000u64),
                        flavor: ::core::option::Option::Some(my::kina::__private::Flavor::MultiThread),
                        worker_threads: ::core::option::Option::Some(3usize),
                        template: ::core::option::Option::Some(|| {
                            const _: &[u8] = ::core::include_bytes!(
                                ::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", "Cargo.toml")
                            );
                            my::kina::Template::new()
                                .and(my::template())
                                .crd::<my::Widget<u8, u16> >()
                                .crds("src/*.rs")
                                .fixtures("Cargo.toml")
                                .fixtures("**/*.toml")
                        }),
                        ..my::kina::__private::TestCase::new(
                            ::core::concat!(::core::module_path!(), "::", "two"),
                            ::core::env!("CARGO_MANIFEST_DIR"),
                        )
                    },
                    two as fn(_, _) -> _,
                    (my::kina::__private::argument(), my::kina::__private::argument(),),
                )
            }
        },
    );
}

#[test]
fn a_plain_function() {
    check_expansion(
        quote! {},
        quote! { fn plain(cluster: kina::Cluster) -> u8 { 3 } },
        quote! {
            #[::core::prelude::v1::test]
            fn plain() -> u8 {
                fn plain(cluster: kina::Cluster) -> u8 { 3 }

                ::kina::__private::run_plain_test(
                    ::kina::__private::TestCase::new(
                        ::core::concat!(::core::module_path!(), "::", "plain"),
                        ::core::env!("CARGO_MANIFEST_DIR"),
                    ),
                    plain as fn(_) -> _,
                    (::kina::__private::argument(),),
                )
            }
        },
    );
}

#[test]
fn the_body_is_not_parsed() {
    let body = quote! { { #![allow(unused)] half written . ; if else "kept" } };
    let expansion = expand(quote! {}, quote! { async fn f(client: Client) #body });
    assert!(expansion.to_string().contains(&body.to_string()), "{expansion}");
}

#[test]
fn a_wrong_option_still_leaves_the_test() {
    let item = quote! { async fn f(client: Client) {} };
    let sound = expand(quote! {}, item.clone());
    check_expansion(
        quote! { flavour = "x" },
        item,
        quote! {
            #sound
            ::core::compile_error! { "unknown option `flavour`; the options are `crds = [Type, \"path\"]`, `fixtures = [\"path\"]`, `template = function`, `kubernetes = \"1.NN\"`, `profile = \"name\"`, `provider = \"name\"`, `isolation = \"name\"`, `timeout = \"30s\"`, `flavor = \"name\"`, `worker_threads = 4`, `crate = \"path\"`" }
        },
    );
}

#[test]
fn a_function_that_cannot_be_called_is_left_as_written() {
    check_expansion(
        quote! {},
        quote! {
            #[ignore]
            #[test_log::test]
            pub const fn f(client: Client) -> u8 { 0 }
        },
        quote! {
            #[ignore]
            #[cfg(test)]
            #[allow(dead_code)]
            pub const fn f(client: Client) -> u8 { 0 }
            ::core::compile_error! { "a kina test cannot be `const`" }
        },
    );
}

#[test]
fn what_is_no_function_is_left_as_written() {
    check_expansion(
        quote! {},
        quote! { pub struct Thing; },
        quote! { pub struct Thing; ::core::compile_error! {
            "#[kina::test] goes on a function; options for all tests of a module go into #[kina::tests(…)]"
        } },
    );
    check_expansion(
        quote! {},
        quote! { async fn f(client: Client); },
        quote! { async fn f(client: Client); ::core::compile_error! { "a kina test needs a body" } },
    );
}

#[test]
fn known_options() {
    assert_eq!(options_of(&check_options("", &[])), (None, None));
    for minor in ["1.33", "1.34", "1.35", "1.36", "1.37"] {
        let options = check_options(&format!("kubernetes = \"{minor}\""), &[]);
        assert_eq!(options_of(&options), (Some(minor.to_owned()), None));
    }
    assert_eq!(options_of(&check_options("crate = \"crate::a\",", &[])), (None, Some("crate :: a".to_owned())));
}

#[test]
fn a_minor_that_a_macro_handed_on() {
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
fn wrong_values_of_kubernetes_list_the_known_minors() {
    let cases = [
        (r#""1.2""#, "kina has no Kubernetes minor `1.2`"),
        (r#""1.370""#, "kina has no Kubernetes minor `1.370`"),
        (r#""1.37.1""#, "only the minor is chosen, kina takes its newest patch: write `1.37` instead of `1.37.1`"),
        (r#""v1.37""#, "a minor is two numbers and nothing else: write `1.37` instead of `v1.37`"),
        (r#"" 1.37""#, "a minor is two numbers and nothing else: write `1.37` instead of ` 1.37`"),
        (r#""""#, "no Kubernetes minor given"),
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
        assert!(complaints.texts()[0].ends_with("; the known minors are 1.33, 1.34, 1.35, 1.36, 1.37"), "{value}");
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
            "option `crate` stands here twice",
            "option `kubernetes` stands here twice",
            "unknown option `\"1.37\"`",
            "option `crate` stands here twice",
        ],
    );
    assert_eq!(options_of(&options), (Some("1.36".to_owned()), None));
    check_options("crate = \"a b\"", &["`a b` is no path to the crate kina"]);
    check_options("crate = kina", &["expected a path in quotes"]);
    check_options("kubernetes: \"1.37\"", &["expected `=`"]);
}

#[test]
fn signatures_that_are_no_test() {
    check_function("async fn f(client: Client) -> Result<()> {}", &[]);
    check_function("async fn f(client: Client, cluster: Cluster) {}", &[]);
    check_function("async fn f() {}", &["a kina test takes its cluster as an argument"]);
    check_function("fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H) {}", &[]);
    check_function("async fn f(a: A, b: B, c: C, d: D, e: E, f: F, g: G, h: H, i: I) {}", &["one argument too many"]);
    check_function(
        "const unsafe extern \"C\" fn f<T>(client: T) where T: Clone {}",
        &[
            "a kina test cannot be `const`",
            "a kina test cannot be `unsafe`",
            "a kina test cannot be `extern`",
            "a kina test cannot be generic",
            "a kina test cannot have a `where` clause",
        ],
    );
    check_function(
        "async fn f(&self, client: &Client, other: impl Into<Client>) {}",
        &["a kina test is a free function", "a kina test owns its arguments", "name the type"],
    );
    check_function(
        "unsafe extern \"C\" fn f(mut arguments: ...) {}",
        &[
            "a kina test cannot be `unsafe`",
            "a kina test cannot be `extern`",
            "a kina test cannot take variadic arguments",
            "a kina test takes its cluster as an argument",
        ],
    );
}

#[test]
fn other_test_attributes_are_refused_and_taken_away() {
    for attribute in
        ["#[test]", "#[tokio::test]", "#[tokio::test(start_paused = true)]", "#[test_log::test(tokio::test)]"]
    {
        check_function(&format!("{attribute} #[ignore] async fn f(client: Client) {{}}"), &["a second test attribute"]);
    }
    let sound = expand(
        quote! {},
        quote! { #[ignore]
        async fn f(client: Client) {} },
    );
    let expansion = expand(
        quote! {},
        quote! { #[tokio::test]
        #[ignore]
        async fn f(client: Client) {} },
    )
    .to_string();
    assert!(expansion.starts_with(&sound.to_string()), "{expansion}");
}

#[test]
fn the_compilers_attribute_that_other_macros_leave_is_made_once() {
    let item = quote! { async fn f(client: Client) {} };
    check_expansion(quote! {}, quote! { #[::core::prelude::v1::test] #item }, expand(quote! {}, item.clone()));
    // Where test_log comes later, it makes the test.
    let sound = expand(quote! {}, item.clone()).to_string();
    let without_attribute = sound.replace(&quote! { #[::core::prelude::v1::test] }.to_string(), "");
    let expected: TokenStream = format!("#[test_log::test] {without_attribute}").parse().expect("tokens");
    check_expansion(quote! {}, quote! { #[test_log::test] #item }, expected);
}

#[test]
fn rstest_goes_first() {
    check_expansion(
        quote! { kubernetes = "1.36" },
        quote! {
            #[rstest]
            #[case(1)]
            async fn f(#[case] number: u8, #[ignore] client: Client) { half written . ; }
        },
        quote! {
            #[rstest]
            #[case(1)]
            #[::kina::test(kubernetes = "1.36")]
            async fn f(#[case] number: u8, #[ignore] client: Client) { half written . ; }
        },
    );
    // What was told once is not told again for each case.
    check_expansion(
        quote! { crate = "my::kina", kubernetes = "1.2" },
        quote! { #[rstest::rstest] fn f() {} },
        quote! {
            #[rstest::rstest]
            #[my::kina::test()]
            fn f() {}
            ::core::compile_error! { "kina has no Kubernetes minor `1.2`; the known minors are 1.33, 1.34, 1.35, 1.36, 1.37" }
        },
    );
}

fn check_module(options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(module::expand(options, item).to_string(), expected.to_string());
}

#[test]
fn a_module_hands_its_options_on_and_changes_nothing_else() {
    check_module(
        quote! { timeout = "30s", crate = "my::support" },
        quote! {
            /// Tests.
            #[cfg(test)]
            pub(super) mod tests {
                #![allow(unused)]
                use kina::test;

                #[should_panic]
                #[kina::test]
                async fn one(client: Client) { let x = #[kina::test] half written; mod inside { #[kina::test] fn f() {} } }

                #[::kina::test(timeout = "1s",)]
                fn two(client: Client) {}

                #[my::support::test(kubernetes = "1.36")]
                fn three(client: Client) {}

                #[tokio::test]
                async fn not_kinas() {}

                #[kina::tests(kubernetes = "1.35")]
                mod deeper {
                    #[kina::test]
                    fn four(client: Client) {}
                }
            }
        },
        quote! {
            /// Tests.
            #[cfg(test)]
            pub(super) mod tests {
                #![allow(unused)]
                use kina::test;

                #[should_panic]
                #[kina::test(__of_module(timeout = "30s", crate = "my::support"))]
                async fn one(client: Client) { let x = #[kina::test] half written; mod inside { #[kina::test] fn f() {} } }

                #[::kina::test(timeout = "1s", __of_module(timeout = "30s", crate = "my::support"))]
                fn two(client: Client) {}

                #[my::support::test(kubernetes = "1.36", __of_module(timeout = "30s", crate = "my::support"))]
                fn three(client: Client) {}

                #[tokio::test]
                async fn not_kinas() {}

                #[kina::tests(kubernetes = "1.35", __of_module(timeout = "30s", crate = "my::support"))]
                mod deeper {
                    #[kina::test(__of_module(timeout = "30s", crate = "my::support"))]
                    fn four(client: Client) {}
                }
            }
        },
    );
}

#[test]
fn what_is_no_module_with_tests_is_left_as_written() {
    const TEXT: &str = "#[kina::tests] goes on a module with its tests in braces: `mod tests { … }`";
    for item in [quote! { mod elsewhere; }, quote! { fn f() {} }] {
        check_module(quote! {}, item.clone(), quote! { #item ::core::compile_error! { #TEXT } });
    }
}

#[test]
fn a_tests_own_options_come_before_its_modules() {
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
    // A number of threads goes with the flavor that it was said for.
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
        (r#""30""#, "`30` is no duration; a duration is a whole number and a unit"),
        (r#""s""#, "`s` is no duration"),
        (r#""1.5s""#, "`1.5s` is no duration"),
        (r#""-1s""#, "`-1s` is no duration"),
        (r#""3 s""#, "`3 s` is no duration"),
        (r#""0s""#, "a test that may take no time would always fail"),
        (r#""25h""#, "a test may take a day at most"),
        (r#""99999999999999999999s""#, "a test may take a day at most"),
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
fn a_plain_function_has_no_runtime_on_its_own_thread() {
    let item = quote! { fn f(client: Client) {} };
    let text = expand(quote! { flavor = "current_thread" }, item.clone()).to_string();
    assert!(text.contains("keeps its thread to itself"), "{text}");
    // Said around the module, it is for the others.
    let of_module = quote! { __of_module(flavor = "current_thread") };
    check_expansion(of_module, item.clone(), expand(quote! {}, item));
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
        ("crds = [\"/etc/*.yaml\"]", "`/etc/*.yaml` is there on one machine only"),
        ("fixtures = [\"src/*.yaml\"]", "no file matches `src/*.yaml`"),
        ("fixtures = [\"src\"]", "no .yaml, .yml or .json file is in the folder `src`"),
        ("fixtures = [\"***\"]", "`***` is no pattern"),
        ("fixtures = [Widget]", "expected paths of files in quotes"),
        ("fixtures = \"src\"", "expected a list of paths of files in quotes"),
        ("template = 3", "expected the path of a function that returns a `kina::Template`"),
        ("template = a b", "expected the path of a function"),
    ] {
        check_options(options, &[start]);
    }
}
