//! The envtest release index: the existing archives, their addresses, and their hashes.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::platform::Platform;
use crate::assets::version::KubernetesVersion;
use crate::kubernetes_minor::KubernetesMinor;

/// The whole index.
#[derive(Debug, Deserialize)]
pub(super) struct ReleaseIndex {
    releases: BTreeMap<String, BTreeMap<String, ListedArchive>>,
}

/// An archive as the index lists it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ListedArchive {
    /// The SHA-512 of the archive, in hexadecimal digits.
    pub(super) hash: String,
    /// The address of the archive.
    #[serde(rename = "selfLink")]
    pub(super) url: String,
}

impl ReleaseIndex {
    /// Reads the text of an index.
    pub(super) fn parse(text: &str) -> Result<Self, serde_saphyr::Error> {
        serde_saphyr::from_str(text)
    }

    /// The archive of the newest patch of `minor` for `platform`.
    pub(super) fn newest(
        &self,
        minor: KubernetesMinor,
        platform: &Platform,
    ) -> Option<(KubernetesVersion, ListedArchive)> {
        self.versions()
            .filter(|(version, _)| version.is_of(minor))
            .filter_map(|(version, archives)| {
                Some((version, archives.get(&format!("envtest-v{version}-{platform}.tar.gz"))?.clone()))
            })
            .max_by_key(|(version, _)| *version)
    }

    /// The oldest and the newest version in the index, for a message about a version that it lacks.
    pub(super) fn range(&self) -> Option<(KubernetesVersion, KubernetesVersion)> {
        let versions = || self.versions().map(|(version, _)| version);
        Some((versions().min()?, versions().max()?))
    }

    /// Every released version; pre-releases are not for tests that must give the same result tomorrow.
    fn versions(&self) -> impl Iterator<Item = (KubernetesVersion, &BTreeMap<String, ListedArchive>)> {
        self.releases.iter().filter_map(|(name, archives)| Some((name.strip_prefix('v')?.parse().ok()?, archives)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "
releases:
  v1.36.2:
    envtest-v1.36.2-linux-amd64.tar.gz:
      hash: 0a2
      selfLink: https://example.com/1.36.2
  v1.36.10:
    envtest-v1.36.10-linux-amd64.tar.gz:
      hash: '10'
      selfLink: https://example.com/1.36.10
    envtest-v1.36.10-darwin-arm64.tar.gz:
      hash: d10
      selfLink: https://example.com/1.36.10-darwin
  v1.36.11:
    envtest-v1.36.11-linux-arm64.tar.gz:
      hash: a11
      selfLink: https://example.com/1.36.11
  v1.37.0-rc.1:
    envtest-v1.37.0-rc.1-linux-amd64.tar.gz:
      hash: rc
      selfLink: https://example.com/rc
";

    #[test]
    fn the_newest_patch_with_an_archive_for_the_platform_is_chosen() {
        let index = ReleaseIndex::parse(INDEX).expect("index");
        let platform = Platform { os: "linux".to_owned(), arch: "amd64".to_owned() };
        let minor = |text: &str| text.parse::<KubernetesMinor>().expect(text);
        let (version, archive) = index.newest(minor("1.36"), &platform).expect("listed");
        assert_eq!((version.to_string().as_str(), archive.url.as_str()), ("1.36.10", "https://example.com/1.36.10"));
        assert_eq!(archive.hash, "10");
        assert!(index.newest(minor("1.37"), &platform).is_none(), "a pre-release is no release");
        assert!(index.newest(minor("1.35"), &platform).is_none());
        let range = index.range().map(|(oldest, newest)| (oldest.to_string(), newest.to_string()));
        assert_eq!(range, Some(("1.36.2".to_owned(), "1.36.11".to_owned())));
    }

    #[test]
    fn a_text_that_is_no_index_is_an_error() {
        for text in ["", "<html></html>", "releases: [1]", "releases:\n  v1.36.0:\n    a.tar.gz:\n      hash: x\n"] {
            assert!(ReleaseIndex::parse(text).is_err(), "{text}");
        }
    }
}
