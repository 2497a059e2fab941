//! The Kubernetes minors that kina supports.

use std::fmt;
use std::str::FromStr;

/// A Kubernetes minor that kina supports, such as `1.37`, as a test asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubernetesMinor(u32);

/// A text that is not a Kubernetes minor that kina supports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown Kubernetes minor `{text}`: use one of {}", KubernetesMinor::TEXTS.join(", "))]
pub struct UnknownMinor {
    text: String,
}

/// Defines the minors and their texts from one list of the numbers after `1.`.
macro_rules! supported_minors {
    ($first:literal $(, $further:literal)*) => {
        /// The minors that kina supports, oldest first: those whose types k8s-openapi has.
        pub const KNOWN: [Self; Self::TEXTS.len()] = [Self($first) $(, Self($further))*];

        const TEXTS: &'static [&'static str] = &[concat!("1.", $first) $(, concat!("1.", $further))*];

        const UNKNOWN: &'static str = concat!(
            "kina does not know this Kubernetes minor: use one of 1.", $first $(, ", 1.", $further)*
        );
    };
}

/// Panics unless kina supports the Kubernetes minor that this text names. For constants, so that a test with any other
/// minor does not compile.
///
/// # Panics
/// If it is another text.
#[track_caller]
pub const fn expect_known_minor(text: &str) {
    let mut index = 0;
    while index < KubernetesMinor::TEXTS.len() {
        if is_same(KubernetesMinor::TEXTS[index].as_bytes(), text.as_bytes()) {
            return;
        }
        index += 1;
    }
    panic!("{}", KubernetesMinor::UNKNOWN);
}

/// Returns true if the bytes are the same. `==` cannot be used in constants.
const fn is_same(one: &[u8], other: &[u8]) -> bool {
    let mut index = 0;
    while index < one.len() && index < other.len() && one[index] == other[index] {
        index += 1;
    }
    index == one.len() && index == other.len()
}

/// A Go that builds all of them.
#[cfg(feature = "engine")]
pub(crate) const OLDEST_GO: &str = "1.26";

impl KubernetesMinor {
    supported_minors!(33, 34, 35, 36, 37);

    /// The minor that a test gets when it asks for none: the newest.
    pub const DEFAULT: Self = Self::KNOWN[Self::KNOWN.len() - 1];

    /// The number after `1.`.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl Default for KubernetesMinor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl FromStr for KubernetesMinor {
    type Err = UnknownMinor;

    fn from_str(text: &str) -> Result<Self, UnknownMinor> {
        text.strip_prefix("1.")
            .and_then(parse_number)
            .map(Self)
            .filter(|minor| Self::KNOWN.contains(minor))
            .ok_or_else(|| UnknownMinor { text: text.to_owned() })
    }
}

impl fmt::Display for KubernetesMinor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "1.{}", self.0)
    }
}

/// A number as versions write it: digits only, no sign, no leading zero.
pub(crate) fn parse_number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if is_plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_minor_survives_text_and_the_default_is_the_newest() {
        for minor in KubernetesMinor::KNOWN {
            assert_eq!(minor.to_string().parse(), Ok(minor));
        }
        assert_eq!(KubernetesMinor::KNOWN.iter().max(), Some(&KubernetesMinor::DEFAULT));
        assert!(KubernetesMinor::KNOWN.is_sorted());
    }

    #[test]
    fn the_check_at_compile_time_knows_the_same_minors() {
        for minor in KubernetesMinor::KNOWN {
            expect_known_minor(&minor.to_string());
        }
        for text in ["1.2", "1.38", "1.370", "1.3", "v1.37", "1.37.1", ""] {
            let panic = std::panic::catch_unwind(|| expect_known_minor(text)).expect_err(text);
            let expected = "kina does not know this Kubernetes minor: use one of 1.33, 1.34, 1.35, 1.36, 1.37";
            let message = panic.downcast_ref::<String>().map(String::as_str);
            assert_eq!(message.or(panic.downcast_ref::<&str>().copied()), Some(expected), "{text}");
        }
    }

    #[test]
    fn an_unknown_minor_is_answered_with_the_known_ones() {
        for text in ["1.2", "1.38", "1.037", "1.+37", "1.37.1", "v1.37", "37", "latest", "", "2.37"] {
            let error = text.parse::<KubernetesMinor>().expect_err(text);
            assert_eq!(
                error.to_string(),
                format!("unknown Kubernetes minor `{text}`: use one of 1.33, 1.34, 1.35, 1.36, 1.37")
            );
        }
    }
}
