//! Objects in a readable form.

use serde_json::Value;

const LINES_MAX: usize = 120;
const LINE_CHARACTERS_MAX: usize = 200;

/// The object without the fields that are noise in a message.
pub(super) fn without_noise(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    object
}

/// The value as lines of YAML, limited in number and length.
pub(super) fn lines(value: &Value) -> Vec<String> {
    let mut lines = all_lines(value);
    if LINES_MAX < lines.len() {
        let left_out = lines.len() - LINES_MAX;
        lines.truncate(LINES_MAX);
        lines.push(format!("# {left_out} more lines"));
    }
    for line in &mut lines {
        if let Some((end, _)) = line.char_indices().nth(LINE_CHARACTERS_MAX) {
            line.truncate(end);
            line.push('…');
        }
    }
    lines
}

fn all_lines(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(name, value)| {
                let name = scalar(&Value::String(name.clone()));
                match value {
                    Value::Object(fields) if !fields.is_empty() => {
                        let below = all_lines(value).into_iter().map(|line| format!("  {line}"));
                        std::iter::once(format!("{name}:")).chain(below).collect::<Vec<_>>()
                    }
                    Value::Array(items) if !items.is_empty() => {
                        std::iter::once(format!("{name}:")).chain(all_lines(value)).collect()
                    }
                    value => vec![format!("{name}: {}", scalar(value))],
                }
            })
            .collect(),
        Value::Array(items) if !items.is_empty() => items
            .iter()
            .flat_map(|item| {
                let marks = std::iter::once("- ").chain(std::iter::repeat("  "));
                all_lines(item).into_iter().zip(marks).map(|(line, mark)| format!("{mark}{line}")).collect::<Vec<_>>()
            })
            .collect(),
        value => vec![scalar(value)],
    }
}

/// A value that fits on a line. JSON is YAML, too.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Returns true if the text without quotes is parsed as the same text.
fn is_plain(text: &str) -> bool {
    let is_word = |letter: char| letter.is_alphanumeric() || "-_./ +@=:".contains(letter);
    text.starts_with(|letter: char| letter.is_alphabetic() || letter == '/')
        && text.chars().all(is_word)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn objects_are_written_in_the_usual_style() {
        let object = json!({
            "kind": "Pod",
            "metadata": {"name": "web", "labels": {}, "managedFields": [{"manager": "kina"}]},
            "spec": {
                "containers": [
                    {"name": "a", "args": ["-v", "true", "12", "x: y", ""], "ports": [{"containerPort": 80}]},
                    {"name": "b"},
                ],
                "flags": [true, null, 1.5, [], [["deep"]]],
                "text": "two\nlines",
            },
        });
        let expected = "\
kind: Pod
metadata:
  labels: {}
  name: web
spec:
  containers:
  - args:
    - \"-v\"
    - \"true\"
    - \"12\"
    - \"x: y\"
    - \"\"
    name: a
    ports:
    - containerPort: 80
  - name: b
  flags:
  - true
  - null
  - 1.5
  - []
  - - - deep
  text: \"two\\nlines\"";
        assert_eq!(lines(&without_noise(&object)).join("\n"), expected);
    }

    #[test]
    fn the_output_is_bounded() {
        let many: Value = (0..1000).map(|number| json!(number)).collect::<Vec<_>>().into();
        let lines_of_many = lines(&many);
        assert_eq!((lines_of_many.len(), lines_of_many[LINES_MAX].as_str()), (LINES_MAX + 1, "# 880 more lines"));
        assert_eq!(lines(&json!("ü".repeat(1000)))[0].chars().count(), LINE_CHARACTERS_MAX + 1);
    }
}
