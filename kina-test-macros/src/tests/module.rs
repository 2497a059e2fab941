//! Tests of options around a module.

use proc_macro2::TokenStream;
use quote::quote;

use crate::module;

fn check_module(options: TokenStream, item: TokenStream, expected: TokenStream) {
    assert_eq!(module::expand(options, item).to_string(), expected.to_string());
}

#[test]
fn a_module_passes_its_options_on_and_changes_nothing_else() {
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
fn a_module_checks_its_minor_once() {
    check_module(
        quote! { kubernetes = "1.36" },
        quote! { mod tests { #[kina::test] fn one(client: Client) {} mod deeper { } } },
        quote! {
            mod tests {
                #[kina::test(__of_module(kubernetes = "1.36"))]
                fn one(client: Client) {}
                mod deeper { }
                const _: () = ::kina::__private::expect_known_minor("1.36");
            }
        },
    );
    let of_outer = quote! { timeout = "3s", __of_module(kubernetes = "1.36") };
    check_module(of_outer, quote! { mod deeper { } }, quote! { mod deeper { } });
}

#[test]
fn an_item_that_is_not_a_module_with_tests_is_left_as_written() {
    const TEXT: &str = "#[kina::tests] goes on a module with its tests in braces: `mod tests { … }`";
    for item in [quote! { mod elsewhere; }, quote! { fn f() {} }] {
        check_module(quote! {}, item.clone(), quote! { #item ::core::compile_error! { #TEXT } });
    }
}
