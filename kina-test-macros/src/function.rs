//! The function under the attribute: parsed as far as kina needs it, then checked.

use proc_macro2::{Delimiter, Group, TokenTree};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, FnArg, LitStr, Safety, Signature, Token, Type, Visibility};

use crate::complaints::Complaints;
use crate::options::{Choice, Options};

/// More than any known test needs; further arguments fit into a type of the test's own.
const ARGUMENT_COUNT_MAX: usize = 8;

/// A function whose body is not parsed: kina changes nothing there, and an editor still works while it is incomplete.
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
            return Err(input.error(
                "#[kina::test] goes on a function; options for all tests of a module go into #[kina::tests(…)]",
            ));
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
    /// Complains about everything in the signature that a test cannot have. True if kina can call the function.
    pub(crate) fn check_signature(&self, complaints: &mut Complaints) -> bool {
        let count_before = complaints.count();
        self.check_qualifiers(complaints);
        self.check_generics(complaints);
        self.check_arguments(complaints);
        complaints.count() == count_before
    }

    /// Complains about a runtime that does not suit the function. True if it suits.
    pub(crate) fn check_flavor(&self, options: &Options, complaints: &mut Complaints) -> bool {
        match options.flavor {
            Some(Choice { name: "current_thread", place }) if self.signature.asyncness.is_none() => {
                // An option of a module applies only to those tests that it suits.
                if let Some(place) = place {
                    let text = "a test that is not an `async fn` keeps its thread to itself, so its runtime needs \
                                another one: leave `flavor` out, or make the test an `async fn`";
                    complaints.push(Error::new(place, text));
                }
                false
            }
            _ => true,
        }
    }

    fn check_qualifiers(&self, complaints: &mut Complaints) {
        let signature = &self.signature;
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
            let text = format!(
                "one argument too many: a kina test takes {ARGUMENT_COUNT_MAX} at most; put some of them together in a \
                 type of your own, with `kina::FromTest`"
            );
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
                        let text = "name the type: kina makes each argument by its type, such as `kube::Client`";
                        complaints.push(Error::new_spanned(type_, text));
                    }
                    _ => {}
                },
            }
        }
    }
}

/// Returns true if a function follows. Checked first, since syn would report other items only as syntax errors.
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
