//! The output of the attribute: plain functions that contain the user's tokens unchanged.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, LitStr};

use crate::function::TestFunction;
use crate::options::{Choice, Entry, Options};
use crate::other_attributes;
use crate::paths::PathKind;

/// The limit of a clippy lint.
const CLIPPYS_ARGUMENT_COUNT_MAX: usize = 7;

/// A test as libtest knows it. It contains the user's function, which kina calls.
///
/// The generated test attribute comes after the user's, so that a macro expanded later can see it.
pub(crate) fn test(function: &TestFunction, options: &Options) -> TokenStream {
    let TestFunction { attributes, visibility, signature, body } = function;
    let (name, inputs, output, asyncness) =
        (&signature.ident, &signature.inputs, &signature.output, &signature.asyncness);
    let name_text = name.to_string();
    let crate_path = crate_path(options);
    let test_attribute = (!other_attributes::is_test_already(attributes)).then(|| quote!(#[::core::prelude::v1::test]));
    // kina needs the `async`, even if the body does not.
    let allow_async = asyncness.map(|_| quote!(#[allow(clippy::unused_async)]));
    // Only kina calls it.
    let allow_many = (CLIPPYS_ARGUMENT_COUNT_MAX < inputs.len()).then(|| quote!(#[allow(clippy::too_many_arguments)]));
    let run = match asyncness {
        Some(_) => quote!(run_test),
        None => quote!(run_plain_test),
    };
    let fields = fields(options, &crate_path);
    let plain_case = quote! {
        #crate_path::__private::TestCase::new(
            ::core::concat!(::core::module_path!(), "::", #name_text),
            ::core::env!("CARGO_MANIFEST_DIR"),
        )
    };
    let test_case = match fields.as_slice() {
        [] => plain_case,
        fields => quote!(#crate_path::__private::TestCase { #(#fields,)* ..#plain_case }),
    };
    let minor_check = minor_check(options);
    let function_pointer = function_pointer(function);
    let makers = makers(function, &crate_path);
    quote! {
        #(#attributes)*
        #test_attribute
        #visibility fn #name() #output {
            #allow_async
            #allow_many
            #asyncness fn #name(#inputs) #output #body

            #crate_path::__private::#run(
                #test_case,
                #function_pointer,
                (#(#makers,)*),
            )
        }
        #minor_check
    }
}

/// The function with kina's attribute as the last one, for rstest to go first: it makes a function for each case, with
/// the attributes on each.
pub(crate) fn after_others(function: &TestFunction, options: &Options, option_tokens: &TokenStream) -> TokenStream {
    let TestFunction { attributes, visibility, signature, body } = function;
    let crate_path = crate_path(options);
    quote! {
        #(#attributes)*
        #[#crate_path::test(#option_tokens)]
        #visibility #signature #body
    }
}

/// The function itself, if it cannot become a test. So an editor still completes in it, and nothing that it uses is
/// reported as unused: the error is the only thing left to fix.
pub(crate) fn as_written(function: &TestFunction) -> TokenStream {
    let TestFunction { attributes, visibility, signature, body } = function;
    quote! {
        #(#attributes)*
        #[cfg(test)]
        #[allow(dead_code)]
        #visibility #signature #body
    }
}

/// A constant that compiles only if kina knows the minor, which the compiler reports at the user's own token. Empty if
/// there is no minor, or if it is the module's.
pub(crate) fn minor_check(options: &Options) -> TokenStream {
    let Some(minor) = options.kubernetes.as_ref().filter(|_| !options.minor_is_of_module) else {
        return TokenStream::new();
    };
    let place = Span::call_site().located_at(minor.span());
    let crate_path: TokenStream = crate_path(options)
        .into_iter()
        .map(|mut token| {
            token.set_span(place);
            token
        })
        .collect();
    quote_spanned!(place=> const _: () = #crate_path::__private::expect_known_minor(#minor);)
}

fn crate_path(options: &Options) -> TokenStream {
    options.crate_path.as_ref().map_or_else(|| quote!(::kina), ToTokens::to_token_stream)
}

/// The fields of the test case that the options set.
fn fields(options: &Options, crate_path: &TokenStream) -> Vec<TokenStream> {
    let mut fields = Vec::new();
    let mut field = |name: &str, value: TokenStream| {
        let name = Ident::new(name, Span::call_site());
        fields.push(quote!(#name: ::core::option::Option::Some(#value)));
    };
    let variant = |type_: &str, name: &str| {
        let (type_, name) = (Ident::new(type_, Span::call_site()), Ident::new(name, Span::call_site()));
        quote!(#crate_path::__private::#type_::#name)
    };
    if let Some(kubernetes) = &options.kubernetes {
        field("kubernetes", quote!(#kubernetes));
    }
    if let Some(Choice { name, .. }) = options.profile {
        field("profile", variant("Profile", if name == "api" { "Api" } else { "Controllers" }));
    }
    if let Some(provider) = &options.provider {
        field("provider", quote!(#provider));
    }
    if let Some(Choice { name, .. }) = options.isolation {
        field("isolation", variant("Isolation", if name == "cluster" { "Cluster" } else { "Namespace" }));
    }
    if let Some(timeout_ms) = options.timeout_ms {
        field("timeout_ms", quote!(#timeout_ms));
    }
    if let Some(Choice { name, .. }) = options.flavor {
        field("flavor", variant("Flavor", if name == "current_thread" { "CurrentThread" } else { "MultiThread" }));
    }
    if let Some(worker_threads) = options.worker_threads {
        let number = worker_threads.number;
        field("worker_threads", quote!(#number));
    }
    if let Some(template) = template(options, crate_path) {
        field("template", template);
    }
    fields
}

/// A function that returns the test's template.
fn template(options: &Options, crate_path: &TokenStream) -> Option<TokenStream> {
    let entries = || options.crds.iter().flatten().chain(options.fixtures.iter().flatten());
    if options.template.is_none() && entries().next().is_none() {
        return None;
    }
    let calls = |entries: &Option<Vec<Entry>>, name: &str| {
        let calls = entries.iter().flatten().map(|entry| match entry {
            // Has the type's span, so that the compiler reports a type without a CRD at its own place.
            Entry::Type(type_) => quote_spanned!(type_.span()=> .definition_of::<#type_, _>()),
            Entry::Files { pattern, .. } => {
                let name = Ident::new(name, Span::call_site());
                quote!(.#name(#pattern))
            }
        });
        calls.collect::<TokenStream>()
    };
    let (crds, fixtures) = (calls(&options.crds, "crds"), calls(&options.fixtures, "fixtures"));
    let given = options.template.as_ref().map(|function| quote_spanned!(function.span()=> .and(#function())));
    let tracked = entries().filter_map(|entry| match entry {
        Entry::Files { pattern, kind: PathKind::File } => Some(tracked(pattern)),
        _ => None,
    });
    Some(quote! {
        || {
            #(#tracked)*
            #crate_path::Template::new() #given #crds #fixtures
        }
    })
}

/// Makes the compiler track the file: when it changes, the test is compiled again. The program contains nothing of it.
fn tracked(path: &LitStr) -> TokenStream {
    quote! {
        const _: &[u8] = ::core::include_bytes!(::core::concat!(::core::env!("CARGO_MANIFEST_DIR"), "/", #path));
    }
}

/// The user's function as a function pointer, whose signature determines the arguments.
fn function_pointer(function: &TestFunction) -> TokenStream {
    let name = &function.signature.ident;
    let arguments = argument_places(function).into_iter().map(|(place, _)| quote_spanned!(place=> _));
    quote!(#name as fn(#(#arguments),*) -> _)
}

/// The makers of the arguments. Each expression has the span of its argument's type, so that the compiler reports an
/// unsupported type there.
fn makers(function: &TestFunction, crate_path: &TokenStream) -> Vec<TokenStream> {
    let maker = |(first, last): (Span, Span)| {
        let crate_path = crate_path.clone().into_iter().map(|mut token| {
            token.set_span(first);
            token
        });
        let crate_path: TokenStream = crate_path.collect();
        let call = quote_spanned!(last=> ());
        quote_spanned!(first=> #crate_path::__private::argument #call)
    };
    argument_places(function).into_iter().map(maker).collect()
}

/// The start and the end of each argument's type.
fn argument_places(function: &TestFunction) -> Vec<(Span, Span)> {
    let types = function.signature.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(argument) => Some(&argument.ty),
        FnArg::Receiver(_) => None,
    });
    let place = |token: Option<&TokenTree>| {
        token.map_or_else(Span::call_site, |token| Span::call_site().located_at(token.span()))
    };
    types
        .map(|type_| {
            let tokens: Vec<TokenTree> = type_.to_token_stream().into_iter().collect();
            (place(tokens.first()), place(tokens.last()))
        })
        .collect()
}
