//! SHA-256 (FIPS 180-4), as ring computes it: TLS brings ring along anyway, and its assembler is as fast in a test's debug build
//! as in a release build.

use ring::digest::{Context, SHA256};

/// A hash of bytes that arrive in parts.
pub(crate) struct Sha256(Context);

impl Sha256 {
    /// The length of a hash.
    pub(crate) const BYTES: usize = 32;

    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The hash of these bytes.
    #[cfg(any(test, feature = "engine"))]
    pub(crate) fn digest(bytes: impl AsRef<[u8]>) -> [u8; Self::BYTES] {
        let mut hasher = Self::new();
        hasher.update(bytes);
        hasher.finalize()
    }

    pub(crate) fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes.as_ref());
    }

    pub(crate) fn finalize(self) -> [u8; Self::BYTES] {
        let mut hash = [0; Self::BYTES];
        hash.copy_from_slice(self.0.finish().as_ref());
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standards_example_has_its_hash() {
        let mut in_parts = Sha256::new();
        in_parts.update("a");
        in_parts.update(b"bc");
        let hash = in_parts.finalize();
        assert_eq!(hash, Sha256::digest("abc"));
        assert_eq!(crate::hex::encode(&hash), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
