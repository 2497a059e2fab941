//! An archive of an image in the OCI layout, written in one pass and identical to the byte each time.
//!
//! The reasons for its form:
//! - Layers are plain tar files, not compressed ones. Apple's `container`, Podman and Docker read both, but compressed
//!   bytes differ between versions of a compressor, so the digest of a compressed layer would not identify its content.
//! - `index.json` names the one manifest directly, and not a further index: `docker save` writes it so, and every
//!   program reads it. Every document states its media type, which `container` requires.
//! - The image's name is in the three annotations in which the three programs look for it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;
use tar::{EntryType, Header};

use crate::hex;
use crate::sha256::Sha256;

const BLOCK_BYTES: u64 = 512;
/// A tar file ends with two blocks of zeros.
const END: [u8; 2 * BLOCK_BYTES as usize] = [0; 2 * BLOCK_BYTES as usize];
const COPY_BYTES: usize = 256 << 10;

/// A blob in the archive, as other blobs refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: &'static str,
    /// `sha256:…`
    pub(super) digest: String,
    size: u64,
}

/// One entry of a layer.
#[derive(Clone, Debug)]
pub(super) enum LayerEntry<'a> {
    /// A directory by its absolute path.
    Directory { path: &'a str, mode: u32 },
    /// A file with a given text.
    Text { path: &'a str, text: &'a str },
    /// A program, streamed from the host.
    Program { path: &'a str, source: &'a Path, size_bytes: u64 },
}

/// A failure to write an archive.
#[derive(Debug)]
pub(super) enum ArchiveError {
    /// Writing the archive failed.
    Write(io::Error),
    /// Reading a source failed.
    Read(io::Error),
    /// A source is longer or shorter than announced.
    Changed,
}

/// An archive that is being written.
pub(super) struct ArchiveWriter {
    file: File,
    position: u64,
}

impl ArchiveWriter {
    /// Starts an archive in an empty file.
    pub(super) fn begin(file: File) -> Result<Self, ArchiveError> {
        let mut archive = Self { file, position: 0 };
        for directory in ["blobs/", "blobs/sha256/"] {
            archive.write(header(directory, EntryType::Directory, 0o755, 0)?.as_bytes())?;
        }
        Ok(archive)
    }

    /// Adds a layer.
    pub(super) fn layer(&mut self, entries: &[LayerEntry<'_>]) -> Result<Descriptor, ArchiveError> {
        let size_bytes = entries.iter().map(LayerEntry::archived_bytes).sum::<u64>() + END.len() as u64;
        // The blob's name is its digest, which is known only once the blob has been written, so its header is written
        // last.
        let header_position = self.position;
        self.write(&[0; BLOCK_BYTES as usize])?;
        let begin = self.position;
        let mut hasher = Sha256::new();
        for entry in entries {
            self.layer_entry(entry, &mut hasher)?;
        }
        self.write_hashed(&END, &mut hasher)?;
        if self.position - begin != size_bytes {
            return Err(ArchiveError::Changed);
        }
        let digest = hex::encode(&hasher.finalize());
        let header = header(&blob_path(&digest), EntryType::Regular, 0o644, size_bytes)?;
        self.file.seek(SeekFrom::Start(header_position)).map_err(ArchiveError::Write)?;
        self.file.write_all(header.as_bytes()).map_err(ArchiveError::Write)?;
        self.file.seek(SeekFrom::Start(self.position)).map_err(ArchiveError::Write)?;
        Ok(Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar",
            digest: format!("sha256:{digest}"),
            size: size_bytes,
        })
    }

    /// Adds a document that others refer to by its digest.
    pub(super) fn blob(&mut self, media_type: &'static str, content: &[u8]) -> Result<Descriptor, ArchiveError> {
        let digest = hex::encode(&Sha256::digest(content));
        self.document(&blob_path(&digest), content)?;
        Ok(Descriptor { media_type, digest: format!("sha256:{digest}"), size: content.len() as u64 })
    }

    /// Adds a document with a name of its own.
    pub(super) fn document(&mut self, path: &str, content: &[u8]) -> Result<(), ArchiveError> {
        let size_bytes = content.len() as u64;
        self.write(header(path, EntryType::Regular, 0o644, size_bytes)?.as_bytes())?;
        self.write(content)?;
        self.write(&zeros(padding_bytes(size_bytes)))
    }

    /// Ends the archive, syncs it to disk and returns its size.
    pub(super) fn finish(mut self) -> Result<u64, ArchiveError> {
        self.write(&END)?;
        self.file.sync_all().map_err(ArchiveError::Write)?;
        Ok(self.position)
    }

    fn layer_entry(&mut self, entry: &LayerEntry<'_>, hasher: &mut Sha256) -> Result<(), ArchiveError> {
        match entry {
            LayerEntry::Directory { path, mode } => {
                let path = format!("{}/", path.trim_start_matches('/'));
                self.write_hashed(header(&path, EntryType::Directory, *mode, 0)?.as_bytes(), hasher)
            }
            LayerEntry::Text { path, text } => {
                let size_bytes = text.len() as u64;
                let path = path.trim_start_matches('/');
                self.write_hashed(header(path, EntryType::Regular, 0o644, size_bytes)?.as_bytes(), hasher)?;
                self.write_hashed(text.as_bytes(), hasher)?;
                self.write_hashed(&zeros(padding_bytes(size_bytes)), hasher)
            }
            LayerEntry::Program { path, source, size_bytes } => {
                let path = path.trim_start_matches('/');
                self.write_hashed(header(path, EntryType::Regular, 0o755, *size_bytes)?.as_bytes(), hasher)?;
                // One byte more than announced is enough to notice that the source has grown.
                let mut source = File::open(source).map_err(ArchiveError::Read)?.take(size_bytes + 1);
                let mut buffer = vec![0; COPY_BYTES];
                let mut copied_bytes = 0;
                loop {
                    let length = source.read(&mut buffer).map_err(ArchiveError::Read)?;
                    copied_bytes += length as u64;
                    if length == 0 || copied_bytes > *size_bytes {
                        break;
                    }
                    self.write_hashed(&buffer[..length], hasher)?;
                }
                if copied_bytes != *size_bytes {
                    return Err(ArchiveError::Changed);
                }
                self.write_hashed(&zeros(padding_bytes(*size_bytes)), hasher)
            }
        }
    }

    fn write_hashed(&mut self, bytes: &[u8], hasher: &mut Sha256) -> Result<(), ArchiveError> {
        hasher.update(bytes);
        self.write(bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.file.write_all(bytes).map_err(ArchiveError::Write)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

impl LayerEntry<'_> {
    /// The number of bytes that the entry takes in a tar file.
    fn archived_bytes(&self) -> u64 {
        let size_bytes = match self {
            Self::Directory { .. } => 0,
            Self::Text { text, .. } => text.len() as u64,
            Self::Program { size_bytes, .. } => *size_bytes,
        };
        BLOCK_BYTES + size_bytes + padding_bytes(size_bytes)
    }
}

/// The header of an entry that belongs to root and is dated 1970.
fn header(path: &str, kind: EntryType, mode: u32, size_bytes: u64) -> Result<Header, ArchiveError> {
    let mut header = Header::new_ustar();
    header.set_path(path).map_err(ArchiveError::Write)?;
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size_bytes);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    Ok(header)
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn padding_bytes(size_bytes: u64) -> u64 {
    size_bytes.next_multiple_of(BLOCK_BYTES) - size_bytes
}

fn zeros(count: u64) -> Vec<u8> {
    // Never more than a block.
    vec![0; usize::try_from(count).unwrap_or_default()]
}
