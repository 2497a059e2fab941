//! The function under the attribute: parsed as far as kina needs it, then checked.

use proc_macro2::{Delimiter, Group, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, FnArg, LitStr, Safety, Signature, Token, Type, Visibility};

use crate::complaints::Complaints;

/// A client and a cluster: there is nothing else to ask for.
const ARGUMENT_COUNT_MAX: usize = 2;

/// A function, its body unread: kina changes nothing there, and an editor can still work while it is half written.
pub(crate) struct TestFunction {
    /// The user's attributes, in order.
    pub(crate) attributes: Vec<Attribute>,
    /// The user's visibility.
    pub(crate) visibility: Visibility,
    /// The user's signature.
    pub(crate) signature: Signature,
    /// The braces and all in them.
    pub(crate) body: Group,
}

impl Parse for TestFunction {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        if !starts_a_function(input) {
            return Err(input.error("#[kina::test] goes on an `async fn`"));
        }
        let signature = input.parse()?;
        if input.peek(Token![;]) {
            return Err(input.error("a kina test needs a body"));
        }
        let body: Group = input.parse()?;
        if body.delimiter() != Delimiter::Brace {
            return Err(Error::new(body.span(), "expected the body of the test, in braces"));
        }
        Ok(TestFunction { attributes, visibility, signature, body })
    }
}

impl TestFunction {
    /// Takes the attributes away that would make a second test of the function, and complains about each.
    pub(crate) fn remove_other_test_attributes(&mut self, complaints: &mut Complaints) {
        self.attributes.retain(|attribute| {
            let is_other_test = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
            if is_other_test {
                let text = "a second test attribute: #[kina::test] makes a test by itself, remove this one";
                complaints.push(Error::new_spanned(attribute, text));
            }
            !is_other_test
        });
    }

    /// Complains about what a test's signature cannot have. True if kina can call the function.
    pub(crate) fn check_signature(&self, complaints: &mut Complaints) -> bool {
        let count_before = complaints.count();
        self.check_qualifiers(complaints);
        self.check_generics(complaints);
        self.check_arguments(complaints);
        complaints.count() == count_before
    }

    fn check_qualifiers(&self, complaints: &mut Complaints) {
        let signature = &self.signature;
        if signature.asyncness.is_none() {
            let text = "a kina test talks to a cluster and has to be asynchronous: make it an `async fn`";
            complaints.push(Error::new(signature.fn_token.span, text));
        }
        if let Some(constness) = &signature.constness {
            complaints.push(Error::new(constness.span, "a kina test cannot be `const`"));
        }
        if let Safety::Unsafe(token) = &signature.safety {
            complaints.push(Error::new(token.span, "a kina test cannot be `unsafe`: kina could not call it"));
        }
        if let Some(abi) = &signature.abi {
            complaints
                .push(Error::new_spanned(abi, "a kina test cannot be `extern`: kina calls it as a Rust function"));
        }
    }

    fn check_generics(&self, complaints: &mut Complaints) {
        let generics = &self.signature.generics;
        if !generics.params.is_empty() {
            let text = "a kina test cannot be generic: nothing would choose its parameters";
            complaints.push(Error::new_spanned(generics, text));
        }
        if let Some(where_clause) = &generics.where_clause {
            complaints.push(Error::new_spanned(where_clause, "a kina test cannot have a `where` clause"));
        }
    }

    fn check_arguments(&self, complaints: &mut Complaints) {
        let signature = &self.signature;
        if let Some(variadic) = &signature.variadic {
            complaints.push(Error::new_spanned(variadic, "a kina test cannot take variadic arguments"));
        }
        if signature.inputs.is_empty() {
            let text =
                "a kina test takes its cluster as an argument: `client: kube::Client` or `cluster: kina::Cluster`";
            complaints.push(Error::new(signature.paren_token.span.join(), text));
        }
        let mut arguments = signature.inputs.iter().filter(|input| matches!(input, FnArg::Typed(_)));
        if let Some(extra) = arguments.nth(ARGUMENT_COUNT_MAX) {
            let text = "one argument too many: a kina test takes a `kube::Client`, a `kina::Cluster`, or one of each";
            complaints.push(Error::new_spanned(extra, text));
        }
        for input in &signature.inputs {
            match input {
                FnArg::Receiver(receiver) => {
                    let text = "a kina test is a free function and has no `self`";
                    complaints.push(Error::new(receiver.self_token.span, text));
                }
                FnArg::Typed(argument) => match &*argument.ty {
                    Type::Reference(reference) => {
                        let text = "a kina test owns its arguments: take it by value, without the `&`";
                        complaints.push(Error::new_spanned(reference, text));
                    }
                    Type::ImplTrait(type_) => {
                        let text = "name the type: a kina test takes `kube::Client` or `kina::Cluster`";
                        complaints.push(Error::new_spanned(type_, text));
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Whether a function follows. Told apart from other items here, because syn would only speak of syntax.
fn starts_a_function(input: ParseStream<'_>) -> bool {
    let ahead = input.fork();
    let is_qualifier = |ahead: ParseStream<'_>| {
        ahead.peek(Token![const])
            || ahead.peek(Token![async])
            || ahead.peek(Token![unsafe])
            || ahead.peek(Token![extern])
            || ahead.peek(LitStr)
    };
    while is_qualifier(&ahead) && ahead.parse::<TokenTree>().is_ok() {}
    ahead.peek(Token![fn])
}
