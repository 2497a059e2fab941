//! Versions of `container`.

use std::fmt;

/// The oldest version whose output kina can read.
const FLOOR: Version = Version([1, 0, 0]);

/// A version of `container`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version([u64; 3]);

/// The output of `container --version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// Its first line, for messages.
    pub(super) text: String,
    pub(super) version: Version,
    /// Set if it is kina's own emulator of `container`, or another imitation.
    pub(super) is_emulator: bool,
}

impl Program {
    /// Reads the line; `None` if there is no version in it.
    pub(super) fn parse(output: &str) -> Option<Self> {
        let text = output.trim().lines().next().unwrap_or_default().to_owned();
        let version = Version::find(&text)?;
        let said = output.to_lowercase();
        let is_emulator = ["emulator", "simulated"].iter().any(|word| said.contains(word));
        Some(Self { text, version, is_emulator })
    }

    /// Returns the oldest supported version, if this one is older.
    pub(super) fn older_than_allowed(&self) -> Option<Version> {
        (self.version < FLOOR).then_some(FLOOR)
    }
}

impl Version {
    /// Finds the first word of a text that is three numbers with dots in between.
    pub(super) fn find(text: &str) -> Option<Self> {
        text.split(|character: char| character.is_whitespace() || matches!(character, '(' | ')' | ',' | ':'))
            .find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Self> {
        // Details of the build follow a hyphen or a plus.
        let numbers = word.trim_start_matches('v').split(['-', '+']).next()?;
        let numbers: Vec<u64> = numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
        Some(Self(numbers.try_into().ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_all_kinds_of_builds_are_found() {
        let cases = [
            ("container CLI version 1.2.2 (build: release, commit: abcdef1)\n", "1.2.2", false, false),
            ("container CLI version 1.0.0 (build: release, commit: unspeci)", "1.0.0", false, false),
            ("container CLI version 0.12.3 (build: release, commit: abcdef1)", "0.12.3", false, true),
            ("container CLI version 1.4.1-7-gabc (build: debug, commit: abcdef1)", "1.4.1", false, false),
            ("container CLI version 1.4.1 (build: emulator, kina's emulator of `container`)", "1.4.1", true, false),
            (
                "container CLI version 1.4.1 (build: release, commit: unspeci) kina on podman, simulated",
                "1.4.1",
                true,
                false,
            ),
        ];
        for (output, version, is_emulator, is_too_old) in cases {
            let program = Program::parse(output).expect(output);
            assert_eq!(program.version.to_string(), version);
            assert_eq!(program.is_emulator, is_emulator, "{output}");
            assert_eq!(program.older_than_allowed().is_some(), is_too_old, "{output}");
        }
        for nonsense in ["", "podman version four", "container CLI version 1.2", "1.2.3.4"] {
            assert_eq!(Program::parse(nonsense), None, "{nonsense}");
        }
    }
}
