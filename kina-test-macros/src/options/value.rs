//! Values that are one token: words, numbers, durations.

use proc_macro2::TokenTree;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Lit, LitStr, Path};

use super::{Choice, bare, error_at};

/// The providers that can be chosen.
const KNOWN_PROVIDERS: [&str; 2] = ["process", "apple"];

/// Units of a duration, with their milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
const TIMEOUT_MS_MAX: u64 = 24 * 3_600_000;
const WORKER_THREADS_MAX: usize = 1024;

/// The value of `kubernetes`. The expansion checks that kina knows that minor, see `render::minor_check`.
pub(super) fn kubernetes_minor(value: &TokenTree) -> syn::Result<LitStr> {
    let literal = match literal(value) {
        Some(Lit::Str(literal)) => literal,
        Some(Lit::Float(number)) if minor_at_start(&number.to_string()).is_some() => {
            return Err(error_at(value, format!("quote it: `kubernetes = \"{number}\"`")));
        }
        _ => {
            let text = "expected a Kubernetes minor in quotes, as in `kubernetes = \"1.37\"`";
            return Err(error_at(value, text));
        }
    };
    let text = literal.value();
    match minor_at_start(text.trim().trim_start_matches(['v', 'V'])) {
        Some(minor) if minor == text => Ok(literal),
        Some(minor) if text.matches('.').count() > 1 => Err(error_at(
            value,
            format!("only the minor can be chosen, kina takes its newest patch: write `{minor}` instead of `{text}`"),
        )),
        Some(minor) => Err(error_at(
            value,
            format!("a minor is two numbers and nothing else: write `{minor}` instead of `{text}`"),
        )),
        None => Ok(literal),
    }
}

/// The minor that a text starts with, such as `1.37` of `1.37.1`.
fn minor_at_start(text: &str) -> Option<&str> {
    let digits = text.strip_prefix("1.")?;
    let length = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
    let (number, rest) = digits.split_at(length);
    let is_minor = !number.is_empty() && (rest.is_empty() || rest.starts_with('.'));
    is_minor.then(|| &text[.."1.".len() + length])
}

/// The value of `provider`, if kina knows that provider.
pub(super) fn provider(value: &TokenTree) -> syn::Result<LitStr> {
    let known = KNOWN_PROVIDERS.map(|name| format!("`{name}`")).join(", ");
    match literal(value) {
        Some(Lit::Str(literal)) if KNOWN_PROVIDERS.contains(&literal.value().as_str()) => Ok(literal),
        Some(Lit::Str(literal)) => {
            Err(error_at(value, format!("kina has no provider `{}`; the providers are {known}", literal.value())))
        }
        _ => Err(error_at(
            value,
            format!("expected a provider in quotes, as in `provider = \"process\"`; the providers are {known}"),
        )),
    }
}

/// A value that is one of a few words.
pub(super) fn choice(value: &TokenTree, option: &str, known: &[&'static str]) -> syn::Result<Choice> {
    let words = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    let Some(Lit::Str(literal)) = literal(value) else {
        let text = format!("expected a word in quotes, as in `{option} = \"{}\"`; there are {words}", known[0]);
        return Err(error_at(value, text));
    };
    let text = literal.value();
    match known.iter().find(|name| **name == text) {
        Some(name) => Ok(Choice { name, place: Some(value.span()) }),
        None => Err(error_at(value, format!("`{option}` cannot be `{text}`; there are {words}"))),
    }
}

/// The value of `timeout`, in milliseconds.
pub(super) fn duration_ms(value: &TokenTree) -> syn::Result<u64> {
    const FORMS: &str = "a duration is a whole number and a unit, such as \"500ms\", \"30s\", \"5m\" or \"1h\"";
    let text = match literal(value) {
        Some(Lit::Str(literal)) => literal.value(),
        Some(Lit::Int(number)) => {
            let digits = number.base10_digits();
            let unit = if number.suffix().is_empty() { "s" } else { number.suffix() };
            return Err(error_at(value, format!("write `timeout = \"{digits}{unit}\"`; {FORMS}")));
        }
        _ => return Err(error_at(value, format!("expected a duration in quotes, as in `timeout = \"30s\"`; {FORMS}"))),
    };
    let digits_end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    let duration_ms = match (digits.parse::<u64>(), factor) {
        (Ok(number), Some(factor)) => number.saturating_mul(*factor),
        (Err(_), Some(factor)) if !digits.is_empty() => factor.saturating_mul(u64::MAX),
        _ => return Err(error_at(value, format!("`{text}` is not a duration; {FORMS}"))),
    };
    match duration_ms {
        0 => Err(error_at(value, "a test with a limit of zero would always fail; leave `timeout` out for no limit")),
        1..=TIMEOUT_MS_MAX => Ok(duration_ms),
        _ => Err(error_at(value, "the limit of a test is at most one day; leave `timeout` out for no limit")),
    }
}

/// The value of `worker_threads`.
pub(super) fn thread_count(value: &TokenTree) -> syn::Result<usize> {
    let number = match literal(value) {
        Some(Lit::Int(number)) => number.base10_parse().ok(),
        _ => None,
    };
    number.filter(|number| (1..=WORKER_THREADS_MAX).contains(number)).ok_or_else(|| {
        error_at(value, format!("expected a number from 1 to {WORKER_THREADS_MAX}, as in `worker_threads = 4`"))
    })
}

/// The value of `crate`, as a path.
pub(super) fn crate_path(value: &TokenTree) -> syn::Result<Path> {
    let Some(Lit::Str(literal)) = literal(value) else {
        return Err(error_at(value, "expected a path in quotes, as in `crate = \"my_crate::kina\"`"));
    };
    literal.parse_with(Path::parse_mod_style).map_err(|_| {
        Error::new(
            literal.span(),
            format!("`{}` is not a path to the crate kina; write `crate = \"my_crate::kina\"`", literal.value()),
        )
    })
}

/// The literal in a token.
pub(super) fn literal(token: &TokenTree) -> Option<Lit> {
    (|input: ParseStream<'_>| input.parse::<Lit>()).parse2(bare(token)).ok()
}
