//! Tests of the whole way from tokens to tokens. The messages to users are checked in `tests/messages` of the workspace.

mod module;
mod options;

use proc_macro2::TokenStream;
use quote::quote;

use crate::complaints::Complaints;
use crate::expand::expand;
use crate::function::TestFunction;

/// Compares tokens regardless of white space.
fn check_expansion(options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(expand(options, item).to_string(), expected.to_string());
}

/// Checks that there are exactly these complaints, each with the start of its text.
fn check_complaints(complaints: &Complaints, expected: &[&str]) {
    let texts = complaints.texts();
    assert_eq!(texts.len(), expected.len(), "{texts:#?}");
    for (text, expected) in texts.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text:?} does not start with {expected:?}");
    }
}

fn check_function(item: &str, expected: &[&str]) {
    let mut complaints = Complaints::default();
    let mut function: TestFunction = syn::parse_str(item).expect("the test's own tokens");
    crate::other_attributes::remove_second_tests(&mut function.attributes, &mut complaints);
    let is_callable = function.check_signature(&mut complaints);
    assert!(is_callable || !expected.is_empty());
    check_complaints(&complaints, expected);
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
                                .definition_of::<my::Widget<u8, u16>, _>()
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
            const _: () = my::kina::__private::expect_known_minor("1.36");
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
fn an_item_that_is_not_a_function_is_left_as_written() {
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
fn signatures_that_are_refused() {
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
fn other_test_attributes_are_refused_and_removed() {
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
fn the_compilers_attribute_is_not_duplicated() {
    let item = quote! { async fn f(client: Client) {} };
    check_expansion(quote! {}, quote! { #[::core::prelude::v1::test] #item }, expand(quote! {}, item.clone()));
    // If test_log comes later, it makes the test.
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
    // Complaints made once are not repeated for each case.
    check_expansion(
        quote! { crate = "my::kina", kubernetes = "v1.2" },
        quote! { #[rstest::rstest] fn f() {} },
        quote! {
            #[rstest::rstest]
            #[my::kina::test()]
            fn f() {}
            ::core::compile_error! { "a minor is two numbers and nothing else: write `1.2` instead of `v1.2`" }
        },
    );
}

#[test]
fn a_plain_function_has_no_runtime_on_its_own_thread() {
    let item = quote! { fn f(client: Client) {} };
    let text = expand(quote! { flavor = "current_thread" }, item.clone()).to_string();
    assert!(text.contains("keeps its thread to itself"), "{text}");
    // On the module, it applies to the other tests.
    let of_module = quote! { __of_module(flavor = "current_thread") };
    check_expansion(of_module, item.clone(), expand(quote! {}, item));
}
