//! Other test attributes beside kina's: those that kina works together with, and those that it refuses.

use syn::{Attribute, Error, Meta};

use crate::complaints::Complaints;

/// The role of a user's attribute for kina.
enum Role {
    /// It generates functions that are tests themselves, with kina's attribute on each: rstest.
    MakesTests,
    /// It makes a test of a plain function without arguments: test_log.
    IsTest,
    /// The compiler's own, under the name that only macros use: other macros leave it, and so does kina.
    IsCompilers,
    /// A test attribute that calls the function in its own way.
    IsRival,
    /// Any other attribute.
    Other,
}

/// Returns true if rstest has to be expanded first.
pub(crate) fn make_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(role(attribute), Role::MakesTests))
}

/// Returns true if one of them makes the function a test, so that kina does not have to.
pub(crate) fn is_test_already(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| matches!(role(attribute), Role::IsTest))
}

/// Removes the attributes that would make the function a second test. Complains about those that the user wrote.
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

/// Removes all attributes that would make a test of a function that is not one.
pub(crate) fn remove_all_tests(attributes: &mut Vec<Attribute>) {
    attributes.retain(|attribute| matches!(role(attribute), Role::Other));
}

fn role(attribute: &Attribute) -> Role {
    let path = attribute.path();
    let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match segments.as_slice() {
        [.., "rstest"] => Role::MakesTests,
        // With an argument in parentheses it would put another test attribute on the function.
        [.., "test_log", "test"] if matches!(attribute.meta, Meta::Path(_)) => Role::IsTest,
        ["core" | "std", "prelude", _, "test"] => Role::IsCompilers,
        [.., "test"] => Role::IsRival,
        _ => Role::Other,
    }
}
