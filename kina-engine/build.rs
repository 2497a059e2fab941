//! Gives the engine a version that distinguishes builds.
//!
//! An engine outlives the test run that started it. Without this, developers of kina itself would be served by the
//! engine of an older build of the same version. The sources of one release are always the same, and so is its version.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let sources = sources(&root)?;
    // One by one: a change beside them is no reason to build the engine anew. A file that is added changes another one, which
    // names it.
    for source in &sources {
        println!("cargo::rerun-if-changed={}", source.display());
    }
    let version = env::var("CARGO_PKG_VERSION").map_err(io::Error::other)?;
    println!("cargo::rustc-env=KINA_VERSION={version}+{:08x}", hash(&root, &sources)?);
    Ok(())
}

/// Returns the files that an engine is made of, tests aside. Packaging rewrites the manifest, so it is left out as well.
pub(crate) fn sources(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut sources = Vec::new();
    for directory in ["src", "supervisor"] {
        collect(&root.join(directory), &mut sources)?;
    }
    sources.sort();
    Ok(sources)
}

/// Returns the hash of these files' names and contents.
pub(crate) fn hash(root: &Path, sources: &[PathBuf]) -> io::Result<u32> {
    let mut hash = Fnv::default();
    for source in sources {
        let name = source.strip_prefix(root).map_err(io::Error::other)?;
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update(&fs::read(source)?);
    }
    Ok(hash.folded())
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_directory = path.is_dir();
        if name == if is_directory { "tests" } else { "tests.rs" } || name.ends_with("_tests.rs") {
            continue;
        }
        if is_directory {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

/// FNV-1a: the hash need not withstand an attacker.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain([&0]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn folded(&self) -> u32 {
        let bytes = self.0.to_le_bytes();
        let half = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        half(0) ^ half(4)
    }
}
