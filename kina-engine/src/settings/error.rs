use std::path::PathBuf;

use crate::trust::Distrust;

/// A setting, or the file it should be in, makes no sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The file is there and cannot be read.
    #[error("reading the settings in {path} failed")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Others could have written the file.
    #[error("the settings in {path} are not read, because they can name programs to run: {distrust}")]
    Distrusted {
        /// The file.
        path: PathBuf,
        /// The fault of it, or of its directory, and its repair.
        distrust: Distrust,
    },
    /// The file is not TOML.
    #[error("{path}, line {line}: this is no TOML ({problem})")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        problem: String,
    },
    /// No setting has this name.
    #[error("{path}, line {line}: there is no setting `{key}`: {advice}")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The name in the file.
        key: String,
        /// The nearest known key.
        advice: String,
    },
    /// The setting belongs in the other file.
    #[error("{path}, line {line}: `{key}` {advice}")]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The setting.
        key: &'static str,
        /// The place where it belongs.
        advice: String,
    },
    /// The value in a file is of the wrong kind, or out of bounds.
    #[error("{path}, line {line}: `{key}` is {found}, but must be {wanted}")]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The setting.
        key: &'static str,
        /// The value in the file.
        found: String,
        /// The values that are allowed.
        wanted: String,
    },
    /// The value of a variable is of the wrong kind, or out of bounds.
    #[error("the variable {name} is `{value}`, but must be {wanted}")]
    BadVariable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// The values that are allowed.
        wanted: String,
    },
    /// A variable whose name resembles one of kina's.
    #[error("there is no variable {name} of kina's: did you mean {nearest}? Rename it, or unset it")]
    UnknownVariable {
        /// The variable.
        name: String,
        /// The variable of kina's.
        nearest: &'static str,
    },
}
