//! Names of images.

/// Returns the processor of this host, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Completes a name with its registry and its tag.
pub fn qualified(reference: &str) -> String {
    let (path, digest) = reference.split_once('@').map_or((reference, None), |(path, digest)| (path, Some(digest)));
    let first = path.split('/').next().unwrap_or_default();
    let named = path.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let mut full = match (named, path.contains('/')) {
        (true, _) => path.to_owned(),
        (false, true) => format!("docker.io/{path}"),
        (false, false) => format!("docker.io/library/{path}"),
    };
    let tagged = full.rsplit('/').next().is_some_and(|last| last.contains(':'));
    match digest {
        Some(digest) => full = format!("{full}@{digest}"),
        None if !tagged => full.push_str(":latest"),
        None => {}
    }
    full
}
