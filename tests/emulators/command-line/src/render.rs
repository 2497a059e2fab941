//! JSON as the CLI prints it.

use serde::Serialize;
use serde_json::Value;

use crate::Version;

/// One line, keys sorted.
pub fn compact<T: Serialize>(value: &T, version: Version) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_value(value)?.sorted().to_string(), version))
}

/// Several lines, keys sorted.
pub fn pretty<T: Serialize>(value: &T, version: Version) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_string_pretty(&serde_json::to_value(value)?.sorted())?, version))
}

/// A slash is legal inside strings only, so every slash of a document may be escaped.
fn escaped(document: String, version: Version) -> String {
    if version.escapes_slashes() { document.replace('/', "\\/") } else { document }
}

trait Sorted {
    /// The same value with its keys in order, whatever features `serde_json` was built with.
    fn sorted(self) -> Self;
}

impl Sorted for Value {
    fn sorted(self) -> Self {
        match self {
            Self::Array(items) => Self::Array(items.into_iter().map(Sorted::sorted).collect()),
            Self::Object(map) => {
                let mut entries: Vec<(String, Self)> =
                    map.into_iter().map(|(key, value)| (key, value.sorted())).collect();
                entries.sort_by(|left, right| left.0.cmp(&right.0));
                Self::Object(entries.into_iter().collect())
            }
            other => other,
        }
    }
}
