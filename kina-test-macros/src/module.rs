//! `#[kina::tests(options)] mod …`: options that apply to every test of a module.

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};
use quote::quote;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, Error, Path, Token, Visibility};

use crate::complaints::Complaints;
use crate::options::{OF_MODULE, Options};
use crate::render;

/// Limit of the nesting of modules; deeper ones do not get the options.
const DEPTH_MAX: usize = 64;

/// Expands `#[kina::tests(options)] item`. If anything is wrong, the item stays and all errors are reported at once.
pub(crate) fn expand(option_tokens: TokenStream, item: TokenStream) -> TokenStream {
    let mut complaints = Complaints::default();
    let options = Options::parse(option_tokens.clone(), &mut complaints);
    if !is_inline_module(&item) {
        let place = item.clone().into_iter().next().map_or_else(Span::call_site, |token| token.span());
        let text = "#[kina::tests] goes on a module with its tests in braces: `mod tests { … }`";
        complaints.push(Error::new(place, text));
        let errors = complaints.into_tokens();
        return quote!(#item #errors);
    }
    // Otherwise each test would repeat the complaint.
    let handed_on = if complaints.count() == 0 { option_tokens } else { TokenStream::new() };
    let expansion = hand_on(item, &handed_on, options.crate_path.as_ref(), &render::minor_check(&options), 0);
    let errors = complaints.into_tokens();
    quote!(#expansion #errors)
}

fn is_inline_module(item: &TokenStream) -> bool {
    let parser = |input: ParseStream<'_>| -> syn::Result<bool> {
        input.call(Attribute::parse_outer)?;
        input.parse::<Visibility>()?;
        input.parse::<Token![mod]>()?;
        input.parse::<Ident>()?;
        let body: Group = input.parse()?;
        Ok(body.delimiter() == Delimiter::Brace)
    };
    parser.parse2(item.clone()).unwrap_or(false)
}

/// Adds the options to kina's attributes on these items and on those of nested modules, and some items to the end of the
/// first module. Everything else, above all the bodies of functions, stays untouched.
fn hand_on(
    items: TokenStream,
    options: &TokenStream,
    crate_path: Option<&Path>,
    further_items: &TokenStream,
    depth: usize,
) -> TokenStream {
    let mut changed = Vec::new();
    let mut is_in_attribute = false;
    let mut words_after_mod = None;
    for token in items {
        let token = match token {
            TokenTree::Group(group) if is_in_attribute && group.delimiter() == Delimiter::Bracket => {
                TokenTree::Group(with_options(group, options, crate_path))
            }
            TokenTree::Group(group)
                if words_after_mod == Some(1) && group.delimiter() == Delimiter::Brace && depth < DEPTH_MAX =>
            {
                let inside = hand_on(group.stream(), options, crate_path, &TokenStream::new(), depth + 1);
                TokenTree::Group(rebuilt(&group, quote!(#inside #further_items)))
            }
            other => other,
        };
        is_in_attribute = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '#');
        words_after_mod = match &token {
            TokenTree::Ident(word) if word == "mod" => Some(0),
            TokenTree::Ident(_) => words_after_mod.map(|count: u32| count + 1),
            _ => None,
        };
        changed.push(token);
    }
    changed.into_iter().collect()
}

/// The content of an attribute, with the options if it is one of kina's.
fn with_options(attribute: Group, options: &TokenStream, crate_path: Option<&Path>) -> Group {
    let parser = |input: ParseStream<'_>| -> syn::Result<(Path, TokenStream)> {
        Ok((input.call(Path::parse_mod_style)?, input.parse()?))
    };
    let Ok((path, arguments)) = parser.parse2(attribute.stream()) else { return attribute };
    if !is_kinas(&path, crate_path) {
        return attribute;
    }
    let own = match arguments.into_iter().next() {
        None => TokenStream::new(),
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => group.stream(),
        // Not a valid form of kina's attribute, which reports that itself.
        Some(_) => return attribute,
    };
    let comma = (!own.is_empty() && !ends_with_comma(&own)).then(|| quote!(,));
    let of_module = Ident::new(OF_MODULE, Span::call_site());
    rebuilt(&attribute, quote!(#path(#own #comma #of_module(#options))))
}

fn is_kinas(path: &Path, crate_path: Option<&Path>) -> bool {
    let names = |path: &Path| path.segments.iter().map(|segment| segment.ident.to_string()).collect::<Vec<_>>();
    let path = names(path);
    let Some((last, before)) = path.split_last() else { return false };
    let is_in_crate =
        before.last().is_some_and(|name| name == "kina") || crate_path.is_some_and(|path| names(path) == before);
    is_in_crate && (last == "test" || last == "tests")
}

fn ends_with_comma(tokens: &TokenStream) -> bool {
    matches!(tokens.clone().into_iter().last(), Some(TokenTree::Punct(punct)) if punct.as_char() == ',')
}

/// The same group around other tokens.
fn rebuilt(group: &Group, tokens: TokenStream) -> Group {
    let mut rebuilt = Group::new(group.delimiter(), tokens);
    rebuilt.set_span(group.span());
    rebuilt
}
