//! The parts of an expression's text, for messages: users know their own text, not the parser's form of it.

/// An expression as a combination of the parts that are shown one by one.
#[derive(Debug, PartialEq)]
pub(super) enum Parts<'a> {
    /// Joined by `&&`.
    All(Vec<Parts<'a>>),
    /// Joined by `||`.
    Any(Vec<Parts<'a>>),
    One(&'a str),
}

/// An operator outside of all brackets and strings.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Operator<'a> {
    at: usize,
    symbol: &'a str,
}

const RELATIONS: [&str; 7] = ["==", "!=", "<=", ">=", "<", ">", "in"];

/// Splits an expression into its parts.
pub(super) fn split(text: &str) -> Parts<'_> {
    let text = without_brackets(text);
    let operators = operators(text);
    let has = |symbol: &str| operators.iter().any(|operator| operator.symbol == symbol);
    // The weakest operator is the outermost.
    if has("?") {
        Parts::One(text)
    } else if has("||") {
        Parts::Any(pieces(text, &operators, "||").map(split).collect())
    } else if has("&&") {
        Parts::All(pieces(text, &operators, "&&").map(split).collect())
    } else {
        Parts::One(text)
    }
}

/// Both sides of a comparison, with the operator between them.
pub(super) fn comparison(text: &str) -> Option<(&str, &str, &str)> {
    let operators = operators(text);
    let [operator] = operators.as_slice() else { return None };
    if !RELATIONS.contains(&operator.symbol) {
        return None;
    }
    let right = &text[operator.at + operator.symbol.len()..];
    Some((text[..operator.at].trim(), operator.symbol, right.trim()))
}

/// The receiver of a function call: `items` in `items.all(item, item.ready)`.
pub(super) fn receiver(text: &str) -> Option<&str> {
    if !text.ends_with(')') || text.starts_with('!') || !operators(text).is_empty() {
        return None;
    }
    let mut last_open = None;
    walk(text, |at, depth| {
        if depth == 0 && text[at..].starts_with('(') {
            last_open = Some(at);
        }
    });
    let (receiver, name) = text[..last_open?].rsplit_once('.')?;
    let is_name = |name: &str| name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    (!receiver.is_empty() && is_name(name) && !matches!(receiver, "optional" | "strings")).then_some(receiver)
}

fn pieces<'a>(text: &'a str, operators: &[Operator<'a>], symbol: &str) -> impl Iterator<Item = &'a str> {
    let places: Vec<usize> =
        operators.iter().filter(|operator| operator.symbol == symbol).map(|operator| operator.at).collect();
    let length = symbol.len();
    let begins = std::iter::once(0).chain(places.clone().into_iter().map(move |at| at + length));
    let ends = places.into_iter().chain([text.len()]);
    begins.zip(ends).map(|(begin, end)| text[begin..end].trim()).collect::<Vec<_>>().into_iter()
}

/// Removes brackets that enclose the whole text.
fn without_brackets(text: &str) -> &str {
    let mut text = text.trim();
    // Bounded: each round removes two characters.
    while text.starts_with('(') && text.ends_with(')') {
        let mut reaches_end = true;
        walk(text, |at, depth| reaches_end &= depth != 0 || at == 0);
        if !reaches_end {
            break;
        }
        text = text[1..text.len() - 1].trim();
    }
    text
}

fn operators(text: &str) -> Vec<Operator<'_>> {
    let mut found: Vec<Operator<'_>> = Vec::new();
    let mut before = ' ';
    walk(text, |at, depth| {
        let rest = &text[at..];
        let letter = rest.chars().next().unwrap_or(' ');
        let is_covered = found.last().is_some_and(|last| at < last.at + last.symbol.len());
        if depth == 0 && !is_covered {
            let symbol =
                ["&&", "||", "==", "!=", "<=", ">=", "<", ">"].iter().find(|symbol| rest.starts_with(**symbol));
            if let Some(symbol) = symbol {
                found.push(Operator { at, symbol });
            } else if letter == '?' && before != '.' {
                found.push(Operator { at, symbol: "?" });
            } else if is_word_in(rest) && !before.is_alphanumeric() && before != '_' && before != '.' {
                found.push(Operator { at, symbol: "in" });
            }
        }
        before = letter;
    });
    found
}

fn is_word_in(rest: &str) -> bool {
    let after = rest.strip_prefix("in").and_then(|after| after.chars().next());
    after.is_some_and(|letter| !letter.is_alphanumeric() && letter != '_')
}

/// Calls `visit` for each place that is code (neither string nor comment), with the number of brackets around it: an
/// opening bracket is outside of its own pair, a closing one inside.
pub(super) fn walk(text: &str, mut visit: impl FnMut(usize, usize)) {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\'' | b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'`' => {
                at += 1 + bytes[at + 1..].iter().position(|byte| *byte == b'`').unwrap_or(bytes.len() - at - 1) + 1;
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes[at..].iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len() - at);
                continue;
            }
            b'(' | b'[' | b'{' => {
                visit(at, depth);
                depth += 1;
            }
            b')' | b']' | b'}' => {
                visit(at, depth);
                depth = depth.saturating_sub(1);
            }
            _ if text.is_char_boundary(at) => visit(at, depth),
            _ => {}
        }
        at += 1;
    }
}

/// The end of the string that begins here. Raw strings have an `r` before them, and no escapes.
fn end_of_string(bytes: &[u8], begin: usize) -> usize {
    let quote = bytes[begin];
    let is_raw = bytes[..begin].iter().rev().take(2).any(|byte| byte.eq_ignore_ascii_case(&b'r'))
        && bytes[..begin].iter().rev().take_while(|byte| byte.is_ascii_alphanumeric()).count() <= 2;
    let is_triple = bytes[begin..].starts_with(&[quote; 3]);
    let end: &[u8] = if is_triple { &[quote; 3] } else { &bytes[begin..=begin] };
    let mut at = begin + end.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' && !is_raw {
            at += 2;
        } else if bytes[at..].starts_with(end) {
            return at + end.len();
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(parts: &Parts<'_>) -> String {
        let joined = |parts: &[Parts<'_>], by: &str| parts.iter().map(shown).collect::<Vec<_>>().join(by);
        match parts {
            Parts::All(parts) => format!("({})", joined(parts, " AND ")),
            Parts::Any(parts) => format!("({})", joined(parts, " OR ")),
            Parts::One(text) => (*text).to_owned(),
        }
    }

    #[test]
    fn expressions_are_taken_apart_at_their_outermost_operators() {
        for (text, expected) in [
            ("a", "a"),
            ("a && b", "(a AND b)"),
            ("a && b || c && d", "((a AND b) OR (c AND d))"),
            ("((a || b)) && c", "((a OR b) AND c)"),
            ("(a) && (b)", "(a AND b)"),
            ("x.exists(c, c.a && c.b) && d", "(x.exists(c, c.a && c.b) AND d)"),
            ("a == 'x && y' && b == \"||\"", "(a == 'x && y' AND b == \"||\")"),
            (r"a == 'it\'s && ' && b", r"(a == 'it\'s && ' AND b)"),
            (r"a == r'\' && b", r"(a == r'\' AND b)"),
            ("a == ''' && ' ''' && b", "(a == ''' && ' ''' AND b)"),
            ("a ? b && c : d", "a ? b && c : d"),
            ("a.?b.orValue(1) == 1 && c", "(a.?b.orValue(1) == 1 AND c)"),
            ("a && // b && c\n d", "(a AND // b && c\n d)"),
            ("a.`b && c` && d", "(a.`b && c` AND d)"),
            ("name == 'ü && ö' && b", "(name == 'ü && ö' AND b)"),
        ] {
            assert_eq!(shown(&split(text)), expected, "{text}");
        }
    }

    #[test]
    fn comparisons_have_two_sides() {
        for (text, expected) in [
            ("a == b", Some(("a", "==", "b"))),
            ("a.b<=3", Some(("a.b", "<=", "3"))),
            ("size(a.filter(b, b > 1)) >= 2", Some(("size(a.filter(b, b > 1))", ">=", "2"))),
            ("'x' in metadata.labels", Some(("'x'", "in", "metadata.labels"))),
            ("a.in_use", None),
            ("inner", None),
            ("index in list", Some(("index", "in", "list"))),
            ("a.exists(b, b == 1)", None),
            ("!a", None),
        ] {
            assert_eq!(comparison(text), expected, "{text}");
        }
    }

    #[test]
    fn functions_have_receivers() {
        for (text, expected) in [
            ("a.b.exists(c, c.d == (1))", Some("a.b")),
            ("a.filter(x, x.y).all(z, z)", Some("a.filter(x, x.y)")),
            ("metadata.name.startsWith('a')", Some("metadata.name")),
            ("has(a.b)", None),
            ("!a.b.exists(c, c)", None),
            ("a.b", None),
            ("a.size() == 1", None),
        ] {
            assert_eq!(receiver(text), expected, "{text}");
        }
    }
}
