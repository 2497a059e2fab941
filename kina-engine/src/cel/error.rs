//! Errors in an expression, and in its evaluation on an object.

use ::cel::{ExecutionError, ParseErrors};

use super::EXPRESSION_BYTES_MAX;
use super::prepared::Prepared;

/// A text is not a condition. Its author can repair it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the condition cannot be understood: {problem}{}", pointer(text, *column, hint.as_deref()))]
pub struct ExpressionError {
    text: String,
    problem: String,
    /// In characters of the whole text, from 1.
    column: Option<usize>,
    hint: Option<String>,
}

/// A condition cannot be evaluated on an object. Its author can repair it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the condition `{text}` does not fit the object: {}", described(part.as_ref(), problem))]
pub struct EvaluationError {
    text: String,
    /// The part that does not fit, and the reason.
    part: Option<(String, String)>,
    problem: String,
}

impl ExpressionError {
    /// The problem, without the text.
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The place of the problem, in characters, from 1, if it is known.
    pub fn column(&self) -> Option<usize> {
        self.column
    }

    pub(super) fn too_long(text: &str) -> Self {
        let problem = format!("it has {} bytes, more than the limit of {EXPRESSION_BYTES_MAX}", text.len());
        let beginning = text.chars().take(60).collect::<String>() + "…";
        Self { text: beginning, problem, column: None, hint: None }
    }

    pub(super) fn no_condition(text: &str, what: &str) -> Self {
        let problem = format!("it is {what}, which is neither true nor false");
        let hint = Some("compare it with something, like `status.readyReplicas == spec.replicas`".to_owned());
        Self { text: text.to_owned(), problem, column: None, hint }
    }

    pub(super) fn at_offset(text: &str, offset: Option<usize>, problem: String, hint: Option<String>) -> Self {
        Self { text: text.to_owned(), problem, column: offset.map(|offset| offset + 1), hint }
    }

    /// The first of the parser's errors: those that follow are mostly consequences.
    pub(super) fn from_parser(text: &str, prepared: &Prepared, errors: &ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else {
            return Self::at_offset(text, None, "it is not an expression".to_owned(), None);
        };
        let (line, column) = first.pos;
        let lines_before = usize::try_from(line).unwrap_or(1).saturating_sub(1);
        let characters_before: usize =
            prepared.text.split_inclusive('\n').take(lines_before).map(|line| line.chars().count()).sum();
        let offset = (0 < line).then(|| characters_before + usize::try_from(column).unwrap_or(1).saturating_sub(1));
        let offset = offset.map(|offset| prepared.original(offset));
        let problem = first.msg.trim().replace('\n', " ");
        Self { text: text.to_owned(), problem, column: offset.map(|offset| offset + 1), hint: hint_for(text, offset) }
    }
}

impl EvaluationError {
    pub(super) fn new(text: &str, part: Option<(String, String)>, problem: &str) -> Self {
        Self { text: text.to_owned(), part, problem: problem.to_owned() }
    }

    /// The part of the condition that does not fit, if it is known.
    pub fn part(&self) -> Option<&str> {
        self.part.as_ref().map(|(part, _)| part.as_str())
    }
}

/// Returns true if something was missing rather than wrong.
pub(super) fn is_missing(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_) => true,
        // A selection from null: unlike null fields, null elements of lists are kept.
        ExecutionError::NoSuchOverload(overload) => {
            matches!(overload.function(), "_._" | "_[_]")
                && overload.argument_types().first().is_some_and(|operand| operand == "null_type")
        }
        _ => false,
    }
}

/// The interpreter's message, rewritten if it is about the interpreter's internals.
pub(super) fn of_execution(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types();
            let with_article: Vec<&str> = types.iter().map(|name| type_name(name)).collect();
            match (overload.function(), with_article.as_slice()) {
                ("_._", [operand, ..]) => format!("{operand} has no fields"),
                ("_[_]", [operand, index]) => format!("{operand} cannot be indexed by {index}"),
                ("@in", [element, range]) => format!("{element} cannot be in {range}"),
                ("_==_" | "_!=_", [left, right]) => format!("{left} and {right} are never equal"),
                ("_<_" | "_<=_" | "_>_" | "_>=_", [left, right]) => format!("{left} and {right} have no order"),
                (name, types) => {
                    let name = name.trim_matches(['_', '@']);
                    format!("`{name}` does not take {}", types.join(" and "))
                }
            }
        }
        ExecutionError::UnexpectedType { got, want } => {
            format!("{} is used where {} is needed", type_name(got), type_name(want))
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            format!(
                "{} and {} do not go together with `{operator}`",
                super::value::described(left),
                super::value::described(right)
            )
        }
        ExecutionError::FunctionError { function, message } => format!("`{function}`: {message}"),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "a division by zero".to_owned(),
        other => other.to_string(),
    }
}

fn type_name(name: &str) -> &str {
    match name {
        "int" | "uint" | "double" => "a number",
        "string" => "a string",
        "bool" => "a boolean",
        "map" => "a map",
        "list" => "a list",
        "null_type" => "null",
        "iterable" => "a list or map",
        "kina.pattern" => "a pattern",
        other => other,
    }
}

/// A hint at the author's probable mistake.
fn hint_for(text: &str, offset: Option<usize>) -> Option<String> {
    let rest: String = text.chars().skip(offset?).take(3).collect();
    let before = text.chars().nth(offset?.checked_sub(1)?);
    let hint = if rest.starts_with('=') && before != Some('=') {
        "`=` is not an operator: compare with `==`"
    } else if rest.starts_with('&') {
        "write `&&`"
    } else if rest.starts_with('|') {
        "write `||`"
    } else if text.contains(" and ") || text.contains(" or ") {
        "write `&&` for and, `||` for or"
    } else if text.contains("has(") {
        "`has` takes a field, like `has(status.phase)`; for a key of a map write `'key' in map`"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// The text with a mark below the place of the problem, and the hint.
fn pointer(text: &str, column: Option<usize>, hint: Option<&str>) -> String {
    let mut shown = String::new();
    let mut characters_before = 0;
    for line in text.lines() {
        shown += &format!("\n  {line}");
        let length = line.chars().count();
        if let Some(column) = column
            && characters_before < column
            && column <= characters_before + length + 1
        {
            shown += &format!("\n  {}^", " ".repeat(column - 1 - characters_before));
        }
        characters_before += length + 1;
    }
    if let Some(hint) = hint {
        shown += &format!("\n{hint}");
    }
    shown
}

fn described(part: Option<&(String, String)>, problem: &str) -> String {
    match part {
        Some((part, problem)) => format!("`{part}`: {problem}"),
        None => problem.to_owned(),
    }
}
