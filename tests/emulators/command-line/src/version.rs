//! The emulated version of the CLI.

use std::fmt;
use std::str::FromStr;

/// A version of the CLI, which determines the options and the dialect of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
    /// The third number.
    pub patch: u16,
}

impl Version {
    /// The oldest version whose JSON has the present shape.
    pub const FIRST: Self = Self::new(1, 0, 0);
    /// The newest version that the reference knows.
    pub const NEWEST: Self = Self::new(1, 4, 1);

    /// Makes a version of these three numbers.
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Returns true if JSON shows `/` as `\/`.
    pub fn escapes_slashes(self) -> bool {
        self < Self::new(1, 4, 1)
    }

    /// Returns true if `system status` has sections for client, host, paths, resources and server.
    pub fn has_sectioned_status(self) -> bool {
        self >= Self::new(1, 4, 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers: Option<Vec<u16>> = text.split('.').map(|number| number.parse().ok()).collect();
        match numbers.as_deref() {
            Some(&[major, minor, patch]) => Ok(Self::new(major, minor, patch)),
            _ => Err(format!("`{text}` is not a version of three numbers, like 1.4.1")),
        }
    }
}
