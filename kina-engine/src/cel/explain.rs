//! The parts of a condition that were not met, with the values that decided.

use ::cel::Value;
use serde_json::Value as Json;

use super::parts::{self, Parts};
use super::{Evaluated, Expression, error, value};

/// A part of a condition that an object does not meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    text: String,
    verdict: Verdict,
    detail: Option<String>,
}

/// The reason why a part is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is false.
    False,
    /// It depends on a missing field, which makes it false.
    Missing,
    /// It does not fit the types of the object.
    Unfit,
}

impl Part {
    /// Its text in the condition.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The reason why it is not met.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The values that decided, or the missing field.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.verdict == Verdict::Unfit { "does not fit the object" } else { "was false" };
        write!(formatter, "`{}` {verdict}", self.text)?;
        self.detail.iter().try_for_each(|detail| write!(formatter, ": {detail}"))
    }
}

/// All parts that are not met. Parts joined by `||` count only if none of them is met.
pub(super) fn explain(text: &str, object: &Json) -> Vec<Part> {
    unmet(&parts::split(text), object)
}

/// The first part that does not fit the object, and the reason.
pub(super) fn first_error(text: &str, object: &Json) -> Option<(String, String)> {
    let parts = match parts::split(text) {
        Parts::One(text) => return leaf(text, object).filter(|part| part.verdict == Verdict::Unfit).map(into_error),
        Parts::All(parts) | Parts::Any(parts) => parts,
    };
    all_of(&parts)
        .into_iter()
        .filter_map(|text| leaf(text, object))
        .find(|part| part.verdict == Verdict::Unfit)
        .map(into_error)
}

fn into_error(part: Part) -> (String, String) {
    (part.text, part.detail.unwrap_or_default())
}

fn all_of<'a>(parts: &[Parts<'a>]) -> Vec<&'a str> {
    let texts = parts.iter().map(|part| match part {
        Parts::One(text) => vec![*text],
        Parts::All(parts) | Parts::Any(parts) => all_of(parts),
    });
    texts.flatten().collect()
}

fn unmet(parts: &Parts<'_>, object: &Json) -> Vec<Part> {
    match parts {
        Parts::One(text) => leaf(text, object).into_iter().collect(),
        Parts::All(parts) => parts.iter().flat_map(|part| unmet(part, object)).collect(),
        Parts::Any(parts) => {
            let unmet: Vec<Vec<Part>> = parts.iter().map(|part| unmet(part, object)).collect();
            if unmet.iter().any(Vec::is_empty) { Vec::new() } else { unmet.into_iter().flatten().collect() }
        }
    }
}

/// The part, unless it is met.
fn leaf(text: &str, object: &Json) -> Option<Part> {
    let part = |verdict, detail| Some(Part { text: text.to_owned(), verdict, detail });
    let expression = match Expression::compile_value(text) {
        Ok(expression) => expression,
        // The whole could be compiled, so this part cannot stand alone.
        Err(_) => return part(Verdict::False, None),
    };
    match expression.bind(object).run() {
        Ok(Evaluated::Value(Value::Bool(true))) => None,
        Ok(Evaluated::Value(Value::Bool(false))) => part(Verdict::False, why_false(text, object)),
        Ok(Evaluated::Value(other)) => part(Verdict::Unfit, Some(format!("it is {}", value::described(&other)))),
        Ok(Evaluated::Missing) => part(Verdict::Missing, Some(what_is_missing(text, object))),
        Err(error) => part(Verdict::Unfit, Some(error::of_execution(&error))),
    }
}

fn why_false(text: &str, object: &Json) -> Option<String> {
    if let Some((left, operator, right)) = parts::comparison(text) {
        let (left, right) = (value_of(left, object)?, value_of(right, object)?);
        let is_number = |value: &Value| matches!(value, Value::Int(_) | Value::UInt(_) | Value::Float(_));
        let is_text = |value: &Value| matches!(value, Value::String(_));
        let remark = if operator == "==" && (is_number(&left) && is_text(&right) || is_text(&left) && is_number(&right))
        {
            " (a number and a string are never equal)"
        } else {
            ""
        };
        return Some(format!("{} {operator} {}{remark}", value::shown(&left), value::shown(&right)));
    }
    let receiver = parts::receiver(text)?;
    Some(format!("{receiver} is {}", value::shown(&value_of(receiver, object)?)))
}

fn what_is_missing(text: &str, object: &Json) -> String {
    let sides = match (parts::comparison(text), parts::receiver(text)) {
        (Some((left, _, right)), _) => vec![left, right],
        (None, Some(receiver)) => vec![receiver],
        (None, None) => Vec::new(),
    };
    // A literal is in the text already.
    let is_literal = |side: &str| side.starts_with(|letter: char| letter.is_ascii_digit() || "'\"-[{".contains(letter));
    let described: Vec<String> = sides
        .into_iter()
        .filter(|side| !is_literal(side))
        .map(|side| match value_of(side, object) {
            Some(value) => format!("{side} is {}", value::shown(&value)),
            None => format!("{side} is missing"),
        })
        .collect();
    match described.as_slice() {
        [] => "it, or a field that it depends on, is missing".to_owned(),
        all if all.iter().any(|side| side.ends_with("is missing")) => all.join(", "),
        all => format!("{}, where a field is missing", all.join(", ")),
    }
}

/// The value of an expression; `None` if it is missing.
fn value_of(text: &str, object: &Json) -> Option<Value> {
    match Expression::compile_value(text).ok()?.bind(object).run() {
        Ok(Evaluated::Value(value)) => Some(value),
        Ok(Evaluated::Missing) | Err(_) => None,
    }
}
