//! The test attributes of others beside kina's: which ones kina works together with, and which ones it cannot.

use syn::{Attribute, Error, Meta};

use crate::complaints::Complaints;

/// What an attribute of the user's means for kina.
enum Role {
    /// It makes functions that are tests themselves, with kina's attribute on each: rstest.
    MakesTests,
    /// It makes a test of a plain function without arguments: test_log.
    IsTest,
    /// The compiler's own, by the name that only macros use: what other macros put there, and kina does too.
    IsCompilers,
    /// A test attribute with its own idea of how to call the function.
    IsRival,
    /// Whatever else.
    Other,
}

/// Whether rstest is to go first.
pub(crate) fn make_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(role(attribute), Role::MakesTests))
}

/// Whether one of them makes a test of the function, so that kina need not.
pub(crate) fn is_test_already(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(role(attribute), Role::IsTest))
}

/// Takes the attributes away that would make a second test of the function. Complains about those that a user wrote.
pub(crate) fn remove_second_tests(attributes: &mut Vec<Attribute>, complaints: &mut Complaints) {
    attributes.retain(|attribute| match role(attribute) {
        Role::IsCompilers => false,
        Role::IsRival => {
            let text = "a second test attribute: #[kina::test] makes a test by itself, remove this one";
            complaints.push(Error::new_spanned(attribute, text));
            false
        }
        Role::MakesTests | Role::IsTest | Role::Other => true,
    });
}

/// Takes away all that would make a test of what is none.
pub(crate) fn remove_all_tests(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| matches!(role(attribute), Role::Other));
}

fn role(attribute: &Attribute) -> Role {
    let path = attribute.path();
    let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [.., "rstest"] => Role::MakesTests,
        // With something in parentheses it would put another test attribute on the function.
        [.., "test_log", "test"] if matches!(attribute.meta, Meta::Path(_)) => Role::IsTest,
        ["core" | "std", "prelude", _, "test"] => Role::IsCompilers,
        [.., "test"] => Role::IsRival,
        _ => Role::Other,
    }
}
