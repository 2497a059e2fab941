//! Stored states in files: a header of one line of JSON, then keys and values, then the SHA-256 of all before it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::etcd::PackedState;
use crate::set_aside::set_aside;

/// The prefix of the name of a file that is being written.
pub(crate) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// The bounds of a kind of file.
pub(crate) struct StateFileKind {
    /// The kind's name in messages.
    pub(crate) what: &'static str,
    pub(crate) bytes_max: u64,
    /// The number of unusable files that are kept.
    pub(crate) set_aside_max: usize,
}

#[derive(Serialize, Deserialize)]
struct Header<H> {
    #[serde(flatten)]
    header: H,
    /// The lengths of each key and its value, in order.
    lengths: Vec<(usize, usize)>,
}

/// Writes a state, whole or not at all.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn save<H: Serialize>(path: &Path, header: H, state: &PackedState) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(directory)?;
    file.write_all(&to_bytes(header, state)?)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Loads a state and converts it with `take`. A file that is not exactly as written, or that `take` rejects, counts as
/// absent and is set aside.
pub(crate) fn load<H: DeserializeOwned, T>(
    path: &Path,
    kind: &StateFileKind,
    take: impl FnOnce(H, PackedState) -> Option<T>,
) -> Option<T> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(kind.bytes_max).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() != io::ErrorKind::IsADirectory => {
            tracing::warn!(path = %path.display(), %error, "{} cannot be read: not used", kind.what);
            None
        }
        // A directory yields no bytes, which are not a state either.
        _ => {
            let taken = from_bytes(bytes).and_then(|(header, state)| take(header, state));
            if taken.is_none() {
                set_aside(path, kind.set_aside_max, &format!("{} is damaged or of another version", kind.what));
            }
            taken
        }
    }
}

fn to_bytes<H: Serialize>(header: H, state: &PackedState) -> Result<Vec<u8>, serde_json::Error> {
    let (keys_and_values, lengths) = state.parts();
    let mut bytes = serde_json::to_vec(&Header { header, lengths: lengths.to_vec() })?;
    bytes.push(b'\n');
    bytes.extend_from_slice(keys_and_values);
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    Ok(bytes)
}

fn from_bytes<H: DeserializeOwned>(mut bytes: Vec<u8>) -> Option<(H, PackedState)> {
    let (content, hash) = bytes.split_at_checked(bytes.len().checked_sub(Sha256::output_size())?)?;
    if Sha256::digest(content).as_slice() != hash {
        return None;
    }
    let header_end = content.iter().position(|byte| *byte == b'\n')?;
    let header: Header<H> = serde_json::from_slice(&content[..header_end]).ok()?;
    // In place: it can be large.
    bytes.truncate(bytes.len() - Sha256::output_size());
    bytes.drain(..=header_end);
    Some((header.header, PackedState::from_parts(bytes, header.lengths)?))
}
