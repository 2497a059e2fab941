//! The text of an expression in the form that the parser gets.
//!
//! CEL's `has` takes only a field of something. The object's own fields are names here, so the parser gets
//! `has(object.data)` for `has(data)`, and places in its messages are translated back.

use super::parts::walk;
use super::roots;

const WHOLE: &str = "object.";

pub(super) struct Prepared {
    pub(super) text: String,
    /// The places of insertions, in characters of the new text.
    insertions: Vec<usize>,
}

impl Prepared {
    pub(super) fn new(text: &str) -> Self {
        let mut places = Vec::new();
        let mut letter_before = None;
        walk(text, |at, _| {
            let is_name_before =
                letter_before.is_some_and(|letter: char| letter.is_alphanumeric() || "_.".contains(letter));
            if !is_name_before && let Some(place) = argument_of_has(text, at) {
                places.push(place);
            }
            letter_before = text[at..].chars().next();
        });
        let mut prepared = Self { text: String::with_capacity(text.len()), insertions: Vec::new() };
        let mut done = 0;
        for place in places {
            prepared.text += &text[done..place];
            prepared.insertions.push(prepared.text.chars().count());
            prepared.text += WHOLE;
            done = place;
        }
        prepared.text += &text[done..];
        prepared
    }

    /// Translates a place in the new text to the user's own text, in characters.
    pub(super) fn original(&self, offset: usize) -> usize {
        let before = self.insertions.iter().filter(|insertion| **insertion < offset);
        before.fold(offset, |offset, _| offset.saturating_sub(WHOLE.len()))
    }
}

/// The beginning of the field's name, if a `has` of a field of the object begins here.
fn argument_of_has(text: &str, at: usize) -> Option<usize> {
    let rest = text[at..].strip_prefix("has")?.trim_start().strip_prefix('(')?.trim_start();
    let (name, after) = rest.split_at(rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?);
    let is_field = roots::FIELDS.contains(&name) && after.trim_start().starts_with(')');
    is_field.then_some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_the_object_become_fields_of_something() {
        for (text, expected) in [
            ("has(data)", "has(object.data)"),
            ("!has( status ) && has(spec)", "!has( object.status ) && has(object.spec)"),
            ("has(status.phase)", "has(status.phase)"),
            ("a == 'has(data)' || has(data)", "a == 'has(data)' || has(object.data)"),
            ("object.has(data) || hash(data) || has(other)", "object.has(data) || hash(data) || has(other)"),
        ] {
            assert_eq!(Prepared::new(text).text, expected);
        }
    }

    #[test]
    fn places_are_those_of_the_users_own_text() {
        let text = "has(data) && has(spec) && wheels";
        let prepared = Prepared::new(text);
        let place = prepared.text.find("wheels").expect("it is there");
        assert_eq!(prepared.original(place), text.find("wheels").expect("it is there"));
        assert_eq!(prepared.original(4), 4);
        assert_eq!(prepared.original(0), 0);
    }
}
