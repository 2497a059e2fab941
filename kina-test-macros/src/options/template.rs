//! Values that name the objects of a template.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::parse::{ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, ExprPath, LitStr, Token, Type};

use super::{bare, error_at};
use crate::paths::{self, PathKind};

/// One entry of a list.
pub(crate) enum Entry {
    /// A type that knows its CRD.
    Type(Box<Type>),
    /// Files, relative to the package.
    Files {
        /// The path as the user wrote it.
        pattern: LitStr,
        /// The kind of the path.
        kind: PathKind,
    },
}

/// The value of `crds`.
pub(super) fn crds(value: &TokenTree) -> syn::Result<Vec<Entry>> {
    const FORM: &str = "types with a CRD and paths of files, as in `crds = [Widget, \"crds/*.yaml\"]`";
    list(value, FORM)?
        .into_iter()
        .map(|tokens| match syn::parse2::<LitStr>(tokens.clone()) {
            Ok(pattern) => files(pattern),
            Err(_) => match syn::parse2::<Type>(tokens.clone()) {
                Ok(type_) => Ok(Entry::Type(Box::new(type_))),
                Err(_) => Err(Error::new_spanned(tokens, format!("expected {FORM}"))),
            },
        })
        .collect()
}

/// The value of `fixtures`.
pub(super) fn fixtures(value: &TokenTree) -> syn::Result<Vec<Entry>> {
    const FORM: &str = "paths of files in quotes, as in `fixtures = [\"base/*.yaml\"]`";
    list(value, FORM)?
        .into_iter()
        .map(|tokens| match syn::parse2::<LitStr>(tokens.clone()) {
            Ok(pattern) => files(pattern),
            Err(_) => Err(Error::new_spanned(tokens, format!("expected {FORM}"))),
        })
        .collect()
}

/// The value of `template`.
pub(super) fn function(value: &[TokenTree]) -> syn::Result<ExprPath> {
    let tokens: TokenStream = value.iter().cloned().collect();
    syn::parse2(tokens.clone()).map_err(|_| {
        let text = "expected the path of a function that returns a `kina::Template`, as in `template = my_template`";
        Error::new_spanned(tokens, text)
    })
}

/// The entries of a list in brackets.
fn list(value: &TokenTree, form: &str) -> syn::Result<Vec<TokenStream>> {
    let group = match bare(value).into_iter().next() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => group,
        _ => return Err(error_at(value, format!("expected a list of {form}"))),
    };
    let entries = entries(&group)?;
    if entries.is_empty() {
        return Err(error_at(value, format!("an empty list: name {form}, or leave the option out")));
    }
    Ok(entries)
}

/// Split by the parser: a comma in a type's own parameters does not end an entry.
fn entries(group: &Group) -> syn::Result<Vec<TokenStream>> {
    let entry = |input: ParseStream<'_>| -> syn::Result<TokenStream> {
        if input.peek(syn::Lit) {
            return input.parse::<syn::Lit>().map(quote::ToTokens::into_token_stream);
        }
        input.parse::<Type>().map(quote::ToTokens::into_token_stream)
    };
    let parser = |input: ParseStream<'_>| Punctuated::<TokenStream, Token![,]>::parse_terminated_with(input, entry);
    parser.parse2(group.stream()).map(|entries| entries.into_iter().collect())
}

/// A user's path, if it matches files.
fn files(pattern: LitStr) -> syn::Result<Entry> {
    match paths::look_up(&pattern.value()) {
        Ok(kind) => Ok(Entry::Files { pattern, kind }),
        Err(problem) => Err(Error::new(pattern.span(), problem)),
    }
}
