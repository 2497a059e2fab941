//! A self-contained HTML page that needs no network and no other file. Its script draws the report that it contains.

mod report;
#[cfg(test)]
mod tests;

pub(super) use report::Report;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page that shows a report.
pub fn html(report: &Report) -> String {
    // Plain data without maps, so it can always be written.
    let data = serde_json::to_string(report).expect("a report can be written as JSON");
    fill(TEMPLATE, &[("style", STYLE), ("script", SCRIPT), ("data", &escape(&data))])
}

/// Escapes the only characters of JSON that can end or change the element around it. All of them occur only within
/// strings.
fn escape(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => escaped.push(other),
        }
    }
    escaped
}

/// Replaces the names in the template with values; the values themselves are not searched for names.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(template.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        filled.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        let value = values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    filled
}
