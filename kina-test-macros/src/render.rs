//! What the attribute leaves behind: plain functions, the user's tokens in them unchanged.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::FnArg;

use crate::function::TestFunction;
use crate::options::Options;

/// A test as libtest knows it. In it the user's function, for kina to call.
///
/// The generated test attribute comes after the user's, so that a macro which follows can see it.
pub(crate) fn test(function: &TestFunction, options: &Options) -> TokenStream {
    let TestFunction { attributes, visibility, signature, body } = function;
    let (name, inputs, output) = (&signature.ident, &signature.inputs, &signature.output);
    let name_text = name.to_string();
    let function_pointer = function_pointer(function);
    let crate_path = options.crate_path.as_ref().map_or_else(|| quote!(::kina), ToTokens::to_token_stream);
    let optional = |literal: &Option<syn::LitStr>| match literal {
        Some(literal) => quote!(::core::option::Option::Some(#literal)),
        None => quote!(::core::option::Option::None),
    };
    let (kubernetes, provider) = (optional(&options.kubernetes), optional(&options.provider));
    quote! {
        #(#attributes)*
        #[::core::prelude::v1::test]
        #visibility fn #name() #output {
            // kina needs the `async`, the body may not.
            #[allow(clippy::unused_async)]
            async fn #name(#inputs) #output #body

            #crate_path::__private::run_test(
                #crate_path::__private::TestCase {
                    name: ::core::concat!(::core::module_path!(), "::", #name_text),
                    package_directory: ::core::env!("CARGO_MANIFEST_DIR"),
                    kubernetes: #kubernetes,
                    provider: #provider,
                },
                #function_pointer,
            )
        }
    }
}

/// The function itself, where no test can be made of it. So an editor still completes in it, and nothing that it uses
/// is reported as unused: the one thing to repair is what the error says.
pub(crate) fn as_written(function: &TestFunction) -> TokenStream {
    let TestFunction { attributes, visibility, signature, body } = function;
    quote! {
        #(#attributes)*
        #[cfg(test)]
        #[allow(dead_code)]
        #visibility #signature #body
    }
}

/// The user's function as a function pointer, so that its signature chooses how kina calls it. The expression is placed
/// on the types of the arguments: there the compiler complains about one that kina cannot provide.
fn function_pointer(function: &TestFunction) -> TokenStream {
    let signature = &function.signature;
    let types: TokenStream = signature
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument.ty.to_token_stream()),
            _ => None,
        })
        .collect();
    let place = |token: Option<proc_macro2::TokenTree>| {
        token.map_or_else(Span::call_site, |token| Span::call_site().located_at(token.span()))
    };
    let (first, last) = (place(types.clone().into_iter().next()), place(types.into_iter().last()));
    let mut name: Ident = signature.ident.clone();
    name.set_span(first);
    let arguments = signature.inputs.iter().map(|_| quote_spanned!(last=> _));
    quote_spanned!(last=> #name as fn(#(#arguments),*) -> _)
}
