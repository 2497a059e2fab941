//! From the attribute's tokens to the expansion: parse, check, render.

use proc_macro2::TokenStream;
use quote::quote;

use crate::complaints::Complaints;
use crate::function::TestFunction;
use crate::options::Options;
use crate::{other_attributes, render};

/// Expands `#[kina::test(options)] item`. If anything is wrong, the item stays and all errors are reported at once.
pub(crate) fn expand(option_tokens: TokenStream, item: TokenStream) -> TokenStream {
    let mut complaints = Complaints::default();
    let options = Options::parse(option_tokens.clone(), &mut complaints);
    let parsed = syn::parse2::<TestFunction>(item.clone());
    let expansion = match complaints.keep(parsed) {
        Some(function) if other_attributes::make_tests(&function.attributes) => {
            // Options that were complained about here must not cause the same complaint for each test.
            let option_tokens = if complaints.count() == 0 { option_tokens } else { TokenStream::new() };
            render::after_others(&function, &options, &option_tokens)
        }
        Some(mut function) => {
            other_attributes::remove_second_tests(&mut function.attributes, &mut complaints);
            let is_callable = function.check_signature(&mut complaints);
            let is_runnable = function.check_flavor(&options, &mut complaints);
            if is_callable {
                // The code must still compile: a runtime of the wrong flavor is replaced by the default one.
                let flavor = if is_runnable { options.flavor } else { None };
                render::test(&function, &Options { flavor, ..options })
            } else {
                other_attributes::remove_all_tests(&mut function.attributes);
                render::as_written(&function)
            }
        }
        None => item,
    };
    let errors = complaints.into_tokens();
    quote!(#expansion #errors)
}
