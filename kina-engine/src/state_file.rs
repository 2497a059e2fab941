//! Stored states in files: a header of one line of JSON, then keys and values, then the SHA-256 of all before it.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::etcd::PackedState;
use crate::set_aside::set_aside;
use crate::sha256::Sha256;

/// The prefix of the name of a file that is being written.
pub(crate) const UNFINISHED_PREFIX: &str = ".unfinished-";

/// The bytes that are read at once where keys and values are smaller.
const BUFFER_BYTES: usize = 64 << 10;

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
    save_entries(path, header, state.lengths().to_vec(), state.iter().map(Ok))
}

/// Keeps keys and values that are read one after the other, and of which these are the lengths; whole or not at all.
///
/// # Errors
/// If one cannot be read or has another length, or the file cannot be written.
pub(crate) fn save_entries<H: Serialize, Part: AsRef<[u8]>>(
    path: &Path,
    header: H,
    lengths: Vec<(usize, usize)>,
    entries: impl Iterator<Item = io::Result<(Part, Part)>>,
) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut file = tempfile::Builder::new().prefix(UNFINISHED_PREFIX).tempfile_in(directory)?;
    let header = Header { header, lengths };
    let mut writer = HashingWriter { writer: BufWriter::new(file.as_file_mut()), hasher: Sha256::new() };
    writer.write(&serde_json::to_vec(&header)?)?;
    writer.write(b"\n")?;
    let mut lengths = header.lengths.iter();
    for entry in entries {
        let (key, value) = entry?;
        let (key, value) = (key.as_ref(), value.as_ref());
        if lengths.next() != Some(&(key.len(), value.len())) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        writer.write(key)?;
        writer.write(value)?;
    }
    if lengths.next().is_some() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    writer.finish()?;
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
    load_entries(path, kind, |header, entries| {
        let mut state = PackedState::default();
        while let Some((key, value)) = entries.next().ok()? {
            state.push(&key, &value);
        }
        take(header, state)
    })
}

/// The same of keys and values that are taken one after the other. What `take` returns is dropped if it turns out in the
/// end that they are not what was written.
pub(crate) fn load_entries<H: DeserializeOwned, T>(
    path: &Path,
    kind: &StateFileKind,
    take: impl FnOnce(H, &mut Entries) -> Option<T>,
) -> Option<T> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "{} cannot be read: not used", kind.what);
            return None;
        }
    };
    let taken = open::<H>(file, kind.bytes_max).and_then(|(header, mut entries)| {
        let taken = take(header, &mut entries)?;
        entries.are_sound().then_some(taken)
    });
    if taken.is_none() {
        set_aside(path, kind.set_aside_max, &format!("{} is damaged or of another version", kind.what));
    }
    taken
}

/// The keys and values of a file, which is read as far as they were asked for.
pub(crate) struct Entries {
    reader: BufReader<File>,
    hasher: Sha256,
    lengths: std::vec::IntoIter<(usize, usize)>,
}

impl Entries {
    /// The next key with its value, `None` after the last one.
    pub(crate) fn next(&mut self) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
        let Some((key_length, value_length)) = self.lengths.next() else { return Ok(None) };
        Ok(Some((self.read(key_length)?, self.read(value_length)?)))
    }

    fn read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes)?;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    /// Returns true if all were taken and are what was written.
    fn are_sound(mut self) -> bool {
        let mut hash = Vec::new();
        // The length was checked when the file was opened; one that grew has more than its hash here.
        let limit = Sha256::BYTES as u64 + 1;
        let read = self.reader.take(limit).read_to_end(&mut hash);
        self.lengths.next().is_none() && read.is_ok() && self.hasher.finalize().as_slice() == hash
    }
}

/// The header of a file and what follows it. `None` unless the file's length is the one that the header comes to, so
/// that no length in it makes anything too large.
fn open<H: DeserializeOwned>(file: File, bytes_max: u64) -> Option<(H, Entries)> {
    let metadata = file.metadata().ok()?;
    let content_bytes = metadata.len().checked_sub(Sha256::BYTES as u64)?;
    if !metadata.is_file() || bytes_max < metadata.len() {
        return None;
    }
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut line = Vec::new();
    (&mut reader).take(content_bytes).read_until(b'\n', &mut line).ok()?;
    let Header { header, lengths } = serde_json::from_slice::<Header<H>>(&line).ok()?;
    let mut sum = u64::try_from(line.len()).ok()?;
    for (key, value) in &lengths {
        sum = sum.checked_add(u64::try_from(*key).ok()?)?.checked_add(u64::try_from(*value).ok()?)?;
    }
    let mut hasher = Sha256::new();
    hasher.update(&line);
    (sum == content_bytes).then(|| (header, Entries { reader, hasher, lengths: lengths.into_iter() }))
}

/// Writes a file that ends with the hash of what was written.
struct HashingWriter<'a> {
    writer: BufWriter<&'a mut File>,
    hasher: Sha256,
}

impl HashingWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.writer.write_all(bytes)
    }

    fn finish(self) -> io::Result<()> {
        let Self { mut writer, hasher } = self;
        writer.write_all(&hasher.finalize())?;
        writer.flush()
    }
}
