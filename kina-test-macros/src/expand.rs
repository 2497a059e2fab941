//! From the attribute's tokens to the expansion: parse, check, render.

use proc_macro2::TokenStream;
use quote::quote;

use crate::complaints::Complaints;
use crate::function::TestFunction;
use crate::options::Options;
use crate::render;

/// Expands `#[kina::test(options)] item`. Whatever is wrong, the item stays and all errors are reported at once.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut complaints = Complaints::default();
    let options = Options::parse(options, &mut complaints);
    let parsed = syn::parse2::<TestFunction>(item.clone());
    let expansion = match complaints.keep(parsed) {
        Some(mut function) => {
            function.remove_other_test_attributes(&mut complaints);
            if function.check_signature(&mut complaints) {
                render::test(&function, &options)
            } else {
                render::as_written(&function)
            }
        }
        None => item,
    };
    let errors = complaints.into_tokens();
    quote!(#expansion #errors)
}
