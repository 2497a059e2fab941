//! Tests of the whole way from tokens to tokens. What users read is checked word by word in kina-test's UI tests.

use proc_macro2::{Delimiter, Group, TokenStream};
use quote::quote;

use crate::complaints::Complaints;
use crate::expand::expand;
use crate::function::TestFunction;
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
                    ::kina::__private::TestCase {
                        name: ::core::concat!(::core::module_path!(), "::", "scales_up"),
                        package_directory: ::core::env!("CARGO_MANIFEST_DIR"),
                        kubernetes: ::core::option::Option::None,
                        provider: ::core::option::Option::None,
                    },
                    scales_up as fn(_) -> _,
                )
            }
        },
    );
}

#[test]
fn a_test_with_all_options_and_two_arguments() {
    check_expansion(
        quote! { kubernetes = "1.36", provider = "apple", crate = "my::kina", },
        quote! { async fn two(mut client: kube::Client, Cluster { .. }: Cluster) {} },
        quote! {
            #[::core::prelude::v1::test]
            fn two() {
                #[allow(clippy::unused_async)]
                async fn two(mut client: kube::Client, Cluster { .. }: Cluster) {}

                my::kina::__private::run_test(
                    my::kina::__private::TestCase {
                        name: ::core::concat!(::core::module_path!(), "::", "two"),
                        package_directory: ::core::env!("CARGO_MANIFEST_DIR"),
                        kubernetes: ::core::option::Option::Some("1.36"),
                        provider: ::core::option::Option::Some("apple"),
                    },
                    two as fn(_, _) -> _,
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
        quote! { flavor = "x" },
        item,
        quote! {
            #sound
            ::core::compile_error! { "unknown option `flavor`; the options are `kubernetes = \"1.NN\"`, `provider = \"name\"`, `crate = \"path\"`" }
        },
    );
}

#[test]
fn a_function_that_cannot_be_called_is_left_as_written() {
    check_expansion(
        quote! {},
        quote! {
            #[ignore]
            pub fn f(client: Client) -> u8 { 0 }
        },
        quote! {
            #[ignore]
            #[cfg(test)]
            #[allow(dead_code)]
            pub fn f(client: Client) -> u8 { 0 }
            ::core::compile_error! {
                "a kina test talks to a cluster and has to be asynchronous: make it an `async fn`"
            }
        },
    );
}

#[test]
fn what_is_no_function_is_left_as_written() {
    check_expansion(
        quote! {},
        quote! { pub struct Thing; },
        quote! { pub struct Thing; ::core::compile_error! { "#[kina::test] goes on an `async fn`" } },
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
        r#"timeout = 3, kubernetes = "1.36" "1.37", crate, crate = "a b", kubernetes = "1.35", "1.37", crate: "x""#,
        &[
            "unknown option `timeout`; the options are `kubernetes = \"1.NN\"`, `provider = \"name\"`, `crate = \"path\"`",
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
    check_function("async fn f(a: Client, b: Cluster, c: Client, d: Client) {}", &["one argument too many"]);
    check_function(
        "const unsafe extern \"C\" fn f<T>(client: T) where T: Clone {}",
        &[
            "a kina test talks to a cluster and has to be asynchronous: make it an `async fn`",
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
            "a kina test talks to a cluster",
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
        ["#[test]", "#[tokio::test]", "#[tokio::test(start_paused = true)]", "#[::core::prelude::v1::test]"]
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
