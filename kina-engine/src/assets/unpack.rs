//! Takes the wanted programs out of a gzipped tar archive, and nothing else.
//!
//! The caller chooses where the bytes go, so that a test can have a full disk on any machine.

use std::io::{self, Read, Write};
use std::path::Component;

use flate2::read::GzDecoder;
use tar::Archive;

/// No release archive has more than a handful of entries.
const ENTRIES_MAX: usize = 10_000;
const COPY_BUFFER_BYTES: usize = 128 * 1024;

/// The reason why an archive could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnpackError {
    #[error("the archive is damaged")]
    Damaged(#[source] io::Error),
    #[error("the archive holds the unsafe name `{0}`")]
    UnsafeName(String),
    #[error("the archive holds `{0}` twice")]
    Twice(String),
    #[error("the archive holds no file `{0}`")]
    Missing(String),
    #[error("the archive unpacks to more than {0} bytes")]
    TooLarge(u64),
    #[error("the archive has more than {ENTRIES_MAX} entries")]
    TooManyEntries,
    #[error("cannot write `{name}`")]
    Write {
        name: String,
        #[source]
        source: io::Error,
    },
}

/// Writes each regular file of `archive` whose base name is in `wanted` to what `create` makes for that name.
///
/// Any name in the archive that is absolute or climbs refuses the archive as a whole: an honest one has none.
pub(super) fn unpack<W: Write>(
    archive: impl Read,
    wanted: &[&str],
    unpacked_bytes_max: u64,
    mut create: impl FnMut(&str) -> io::Result<W>,
) -> Result<(), UnpackError> {
    let bounded = Bounded { inner: GzDecoder::new(archive), remaining_bytes: unpacked_bytes_max };
    let too_large_or_damaged = |error: io::Error| match error.get_ref() {
        Some(inner) if inner.is::<BoundReached>() => UnpackError::TooLarge(unpacked_bytes_max),
        _ => UnpackError::Damaged(error),
    };
    let mut archive = Archive::new(bounded);
    let mut found: Vec<String> = Vec::new();
    for (count, entry) in archive.entries().map_err(too_large_or_damaged)?.enumerate() {
        if count >= ENTRIES_MAX {
            return Err(UnpackError::TooManyEntries);
        }
        let mut entry = entry.map_err(too_large_or_damaged)?;
        let path = entry.path().map_err(too_large_or_damaged)?.into_owned();
        if !path.components().all(|component| matches!(component, Component::Normal(_) | Component::CurDir)) {
            return Err(UnpackError::UnsafeName(path.display().to_string()));
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if !entry.header().entry_type().is_file() || !wanted.contains(&name) {
            continue;
        }
        if found.iter().any(|known| known == name) {
            return Err(UnpackError::Twice(name.to_owned()));
        }
        let write_error = |source| UnpackError::Write { name: name.to_owned(), source };
        let mut output = create(name).map_err(write_error)?;
        copy(&mut entry, &mut output).map_err(|error| match error {
            CopyError::Read(error) => too_large_or_damaged(error),
            CopyError::Write(error) => write_error(error),
        })?;
        output.flush().map_err(write_error)?;
        found.push(name.to_owned());
    }
    // The checksum of the compression comes last, after the entries of the archive.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(too_large_or_damaged)?;
    match wanted.iter().find(|name| !found.iter().any(|known| known == *name)) {
        Some(name) => Err(UnpackError::Missing((*name).to_owned())),
        None => Ok(()),
    }
}

enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies everything, and reports which side failed, which `std::io::copy` does not tell.
fn copy(reader: &mut impl Read, writer: &mut impl Write) -> Result<(), CopyError> {
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => writer.write_all(&buffer[..length]).map_err(CopyError::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(CopyError::Read(error)),
        }
    }
}

/// A reader that fails once it has given out as much as it may.
struct Bounded<R> {
    inner: R,
    remaining_bytes: u64,
}

#[derive(Debug, thiserror::Error)]
#[error("more than may be read")]
struct BoundReached;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.remaining_bytes =
            self.remaining_bytes.checked_sub(length as u64).ok_or_else(|| io::Error::other(BoundReached))?;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use tar::{Builder, EntryType, Header};

    use super::*;

    const WANTED: [&str; 2] = ["kube-apiserver", "etcd"];

    fn archive(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (name, entry_type, content) in entries {
            let mut header = Header::new_gnu();
            // The builder refuses names that an attacker would write, so they go into the header by hand.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*entry_type);
            header.set_size(content.len() as u64);
            if !content.is_empty() && *entry_type != EntryType::Regular {
                header.set_size(0);
            }
            header.set_mode(0o755);
            header.set_cksum();
            let content: &[u8] = if *entry_type == EntryType::Regular { content } else { &[] };
            builder.append(&header, content).expect("append");
        }
        builder.into_inner().expect("archive").finish().expect("gzip")
    }

    /// A disk with room for so many bytes, shared by the files on it.
    #[derive(Clone, Default)]
    struct Disk {
        files: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
        room_bytes: Rc<RefCell<usize>>,
    }

    struct DiskFile(Disk, String);

    impl Write for DiskFile {
        fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
            let mut room_bytes = self.0.room_bytes.borrow_mut();
            let length = buffer.len().min(*room_bytes);
            if length == 0 && !buffer.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            *room_bytes -= length;
            self.0.files.borrow_mut().entry(self.1.clone()).or_default().extend_from_slice(&buffer[..length]);
            Ok(length)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn unpack_to(disk: &Disk, archive: &[u8], unpacked_bytes_max: u64) -> Result<(), UnpackError> {
        unpack(archive, &WANTED, unpacked_bytes_max, |name| Ok(DiskFile(disk.clone(), name.to_owned())))
    }

    fn check(entries: &[(&str, EntryType, &[u8])]) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
        let disk = Disk { room_bytes: Rc::new(RefCell::new(1 << 20)), ..Disk::default() };
        unpack_to(&disk, &archive(entries), 1 << 20)?;
        Ok(disk.files.take())
    }

    const APISERVER: (&str, EntryType, &[u8]) = ("controller-tools/envtest/kube-apiserver", EntryType::Regular, b"a");
    const ETCD: (&str, EntryType, &[u8]) = ("controller-tools/envtest/etcd", EntryType::Regular, b"e");

    #[test]
    fn only_the_wanted_files_come_out() {
        let directory = ("controller-tools/envtest/", EntryType::Directory, &b""[..]);
        let kubectl = ("controller-tools/envtest/kubectl", EntryType::Regular, &b"k"[..]);
        let files = check(&[directory, kubectl, APISERVER, ETCD]).expect("unpack");
        assert_eq!(
            files.into_iter().collect::<Vec<_>>(),
            [("etcd".to_owned(), b"e".to_vec()), ("kube-apiserver".to_owned(), b"a".to_vec())]
        );
    }

    #[test]
    fn a_name_that_climbs_or_is_absolute_refuses_the_archive() {
        for name in ["controller-tools/../../etcd", "../etcd", "/etcd", "..", "a/.."] {
            let error = check(&[APISERVER, ETCD, (name, EntryType::Regular, b"x")]).expect_err(name);
            assert!(matches!(error, UnpackError::UnsafeName(_)), "{name}: {error}");
        }
    }

    #[test]
    fn links_are_never_taken_for_files() {
        for link in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Directory] {
            let error = check(&[APISERVER, ("x/etcd", link, b"")]).expect_err("no etcd");
            assert!(matches!(error, UnpackError::Missing(ref name) if name == "etcd"), "{error}");
        }
    }

    #[test]
    fn a_file_that_comes_twice_is_refused() {
        let error = check(&[APISERVER, ETCD, ("other/etcd", EntryType::Regular, b"x")]).expect_err("twice");
        assert!(matches!(error, UnpackError::Twice(ref name) if name == "etcd"), "{error}");
    }

    #[test]
    fn an_archive_cut_off_anywhere_is_damaged_and_never_half_accepted() {
        let whole = archive(&[APISERVER, ETCD]);
        let disk = || Disk { room_bytes: Rc::new(RefCell::new(1 << 20)), ..Disk::default() };
        unpack_to(&disk(), &whole, 1 << 20).expect("whole");
        for length in 0..whole.len() {
            assert!(unpack_to(&disk(), &whole[..length], 1 << 20).is_err(), "{length} of {} bytes", whole.len());
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_from_a_damaged_archive() {
        let whole = archive(&[APISERVER, ("etcd", EntryType::Regular, &[7; 5000])]);
        for room_bytes in [0, 1, 2, 5000] {
            let disk = Disk { room_bytes: Rc::new(RefCell::new(room_bytes)), ..Disk::default() };
            match unpack_to(&disk, &whole, 1 << 20).expect_err("full") {
                UnpackError::Write { source, .. } => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
                other => panic!("{room_bytes}: {other}"),
            }
        }
    }

    #[test]
    fn an_archive_that_grows_beyond_the_bound_is_stopped() {
        let bomb = archive(&[("filler", EntryType::Regular, &vec![0; 3 << 20]), APISERVER, ETCD]);
        assert!(bomb.len() < 1 << 16, "the bomb is small: {} bytes", bomb.len());
        let disk = Disk { room_bytes: Rc::new(RefCell::new(1 << 20)), ..Disk::default() };
        let error = unpack_to(&disk, &bomb, 1 << 20).expect_err("bomb");
        assert!(matches!(error, UnpackError::TooLarge(_)), "{error}");
        assert!(disk.files.borrow().is_empty());
    }
}
