//! Parsing of values in files and variables, with a description of any that is not valid.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use toml_span::value::ValueInner;

use super::keys::Takes;

/// A setting that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Number(u64),
    Text(String),
    Directory(PathBuf),
}

/// Reads a value of a file in `directory`. Fails with a description of the value.
pub(super) fn from_file(value: &ValueInner<'_>, takes: Takes, directory: &Path) -> Result<Value, String> {
    let understood = match (takes, value) {
        (Takes::Number { minimum, maximum }, ValueInner::Integer(number)) => {
            u64::try_from(*number).ok().and_then(|number| bounded(number, minimum, maximum))
        }
        (Takes::Bytes { minimum, maximum }, ValueInner::Integer(number)) => {
            u64::try_from(*number).ok().and_then(|number| bounded(number, minimum, maximum))
        }
        (Takes::Bytes { minimum, maximum }, ValueInner::String(text)) => {
            bytes(text).and_then(|number| bounded(number, minimum, maximum))
        }
        (Takes::Kubernetes, ValueInner::String(text)) => kubernetes(text),
        (Takes::Word { known }, ValueInner::String(text)) => word(text, known),
        (Takes::Directory, ValueInner::String(text)) if !text.is_empty() => {
            Some(Value::Directory(directory.join(text.as_ref())))
        }
        _ => None,
    };
    understood.ok_or_else(|| describe(value))
}

/// Reads the value of a variable.
pub(super) fn from_variable(value: &OsStr, takes: Takes) -> Option<Value> {
    match takes {
        Takes::Number { minimum, maximum } => bounded(value.to_str()?.trim().parse().ok()?, minimum, maximum),
        Takes::Bytes { minimum, maximum } => bounded(bytes(value.to_str()?)?, minimum, maximum),
        Takes::Kubernetes => kubernetes(value.to_str()?),
        Takes::Word { known } => word(value.to_str()?, known),
        // The engine has another working directory.
        Takes::Directory => {
            let path = Path::new(value);
            Some(Value::Directory(std::path::absolute(path).unwrap_or_else(|_| path.to_owned())))
        }
    }
}

fn bounded(number: u64, minimum: u64, maximum: u64) -> Option<Value> {
    (minimum..=maximum).contains(&number).then_some(Value::Number(number))
}

/// A whole number, with or without a unit.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits_end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "ki" | "kib" => 1 << 10,
        "mi" | "mib" => 1 << 20,
        "gi" | "gib" => 1 << 30,
        "ti" | "tib" => 1 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

/// Checks only the form: the engine knows which minors exist.
fn kubernetes(text: &str) -> Option<Value> {
    let minor = text.strip_prefix("1.")?;
    let is_number = !minor.is_empty() && minor.len() <= 4 && minor.bytes().all(|letter| letter.is_ascii_digit());
    is_number.then(|| Value::Text(text.to_owned()))
}

fn word(text: &str, known: &[&str]) -> Option<Value> {
    known.contains(&text).then(|| Value::Text(text.to_owned()))
}

fn describe(value: &ValueInner<'_>) -> String {
    match value {
        ValueInner::String(text) => format!("the text \"{text}\""),
        ValueInner::Integer(number) => format!("the number {number}"),
        ValueInner::Float(number) => format!("the number {number}"),
        ValueInner::Boolean(truth) => format!("{truth}"),
        ValueInner::Array(_) => "an array".to_owned(),
        ValueInner::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_with_and_without_units() {
        for (text, expected) in [
            ("4096", Some(4096)),
            ("4GiB", Some(4 << 30)),
            (" 4 gib ", Some(4 << 30)),
            ("512Mi", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("1TiB", Some(1 << 40)),
            ("", None),
            ("GiB", None),
            ("-1", None),
            ("1.5GiB", None),
            ("4 elephants", None),
            ("99999999999999999999", None),
            ("18446744073709551615TiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_minor_has_the_form_of_one() {
        for (text, is_minor) in
            [("1.36", true), ("1.7", true), ("1.", false), ("1.36.2", false), ("v1.36", false), ("2.1", false)]
        {
            assert_eq!(kubernetes(text).is_some(), is_minor, "{text}");
        }
    }
}
