//! JSON as the CLI prints it.

use serde::Serialize;
use serde_json::Value;

use crate::Version;

/// Prints JSON on one line, with sorted keys.
pub fn compact<T: Serialize>(value: &T, version: Version) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_value(value)?.sorted().to_string(), version))
}

/// Prints JSON on several lines, with sorted keys.
pub fn pretty<T: Serialize>(value: &T, version: Version) -> Result<String, serde_json::Error> {
    Ok(escaped(serde_json::to_string_pretty(&serde_json::to_value(value)?.sorted())?, version))
}

/// Escapes every slash, which JSON allows only inside strings, if the version does so.
fn escaped(document: String, version: Version) -> String {
    if version.escapes_slashes() { document.replace('/', "\\/") } else { document }
}

trait Sorted {
    /// Sorts the keys, since their order depends on the features of `serde_json`.
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
