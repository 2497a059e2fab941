//! A crate as a user writes it, in a directory of its own.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;

use super::super::cargo::Cargo;

/// The kube that the crate depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kube {
    Five,
    Three,
    None,
}

/// The crate, ready to be built.
pub(super) struct UserCrate {
    cargo: Cargo,
}

impl UserCrate {
    /// Writes the crate; with kina-test if its repository is given.
    pub(super) fn write(directory: &Path, kube: Kube, repository: Option<&Path>) -> anyhow::Result<Self> {
        let name = format!("user-{}-{}", kube.name(), if repository.is_some() { "with-kina" } else { "alone" });
        let path = directory.join(&name);
        std::fs::create_dir_all(path.join("src"))?;
        std::fs::write(path.join("src/lib.rs"), "")?;
        std::fs::write(path.join("Cargo.toml"), manifest(&name, kube, repository))
            .with_context(|| format!("writing {} failed", path.display()))?;
        Ok(Self { cargo: Cargo::find(&path, &directory.join(format!("target-{name}")))? })
    }

    /// The crates of a build, each with its version.
    pub(super) async fn crates(&self) -> anyhow::Result<BTreeSet<String>> {
        let tree = self.cargo.run(&["tree", "--edges", "normal", "--prefix", "none"]).await?;
        let tree = String::from_utf8(tree).context("cargo's tree is no text")?;
        // A line may end with a path, or with a mark of a repetition.
        let first_words = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" "));
        Ok(first_words.filter(|line| !line.is_empty() && !line.starts_with("user-")).collect())
    }

    /// Builds everything from nothing, and returns the processor time in seconds.
    pub(super) async fn build(&self) -> anyhow::Result<f64> {
        self.cargo.run(&["fetch"]).await?;
        self.cargo.forget_builds()?;
        self.cargo.run_timed(&["build", "--offline", "--quiet"]).await
    }
}

impl Kube {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Five => "kube5",
            Self::Three => "kube3",
            Self::None => "none",
        }
    }

    /// The dependencies of the crate itself.
    fn dependencies(self) -> &'static str {
        match self {
            Self::Five => "kube = \"5\"\nk8s-openapi = { version = \"0.29\", features = [\"latest\"] }\n",
            Self::Three => "kube = \"3\"\nk8s-openapi = { version = \"0.27\", features = [\"latest\"] }\n",
            Self::None => "",
        }
    }

    /// The features of kina-test: its default ones, with another major.
    fn features(self) -> &'static str {
        match self {
            Self::Five => "\"cel\", \"embedded\", \"kube5\", \"webhook\"",
            Self::Three => "\"cel\", \"embedded\", \"kube3\", \"webhook\"",
            Self::None => "\"cel\", \"embedded\"",
        }
    }
}

fn manifest(name: &str, kube: Kube, repository: Option<&Path>) -> String {
    let kina = repository.map_or_else(String::new, |repository| {
        let path = toml_text(&repository.join("kina-test").display().to_string());
        format!("kina-test = {{ path = {path}, default-features = false, features = [{}] }}\n", kube.features())
    });
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{}{kina}",
        kube.dependencies()
    )
}

/// A basic string of TOML, whose escapes are those of JSON.
fn toml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kina_is_added_by_its_path_and_with_the_majors_feature() {
        let alone = manifest("user", Kube::Three, None);
        assert!(alone.contains("kube = \"3\"") && !alone.contains("kina"), "{alone}");
        let with_kina = manifest("user", Kube::Three, Some(Path::new("/a \"b\"")));
        assert!(with_kina.starts_with(&alone), "{with_kina}");
        assert!(with_kina.contains(r#"path = "/a \"b\"/kina-test""#) && with_kina.contains("\"kube3\""), "{with_kina}");
        assert!(!manifest("user", Kube::None, Some(Path::new("/k"))).contains("kube"));
    }
}
