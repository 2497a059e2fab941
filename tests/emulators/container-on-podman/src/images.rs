//! podman's images, in the documents of `container`.

use std::collections::BTreeMap;
use std::process::Stdio;

use container_command_line::{Code, Failure, json, messages, pretty, qualified};
use serde_json::{Value, json};

use crate::commands::{Outcome, printed};
use crate::documents::text;
use crate::{VERSION, podman};

/// The media type of an image for one platform.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Returns podman's document of the image with exactly this name.
pub(crate) fn find(name: &str) -> Result<Option<Value>, Failure> {
    Ok(all()?.remove(name))
}

fn all() -> Result<BTreeMap<String, Value>, Failure> {
    let ids = podman::run(&["images", "--quiet", "--no-trunc"])?;
    let ids: std::collections::BTreeSet<&str> = ids.lines().filter(|line| !line.is_empty()).collect();
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<&str> = ids.into_iter().collect();
    let images = podman::json(&[&["image", "inspect"], ids.as_slice()].concat())?;
    let mut named = BTreeMap::new();
    for image in images.as_array().into_iter().flatten() {
        for tag in image["RepoTags"].as_array().into_iter().flatten() {
            named.insert(text(tag), image.clone());
        }
    }
    Ok(named)
}

/// `image list`.
pub(crate) fn list() -> Outcome {
    printed(&all()?.iter().map(|(name, image)| document(name, image)).collect::<Vec<_>>())
}

/// `image list -q`.
pub(crate) fn names() -> Outcome {
    Ok(all()?.into_keys().map(|name| name + "\n").collect())
}

/// `image inspect`.
pub(crate) fn inspect(references: &[String]) -> Outcome {
    let images = all()?;
    let one = |reference: &String| {
        let name = qualified(reference);
        images.get(&name).map(|image| document(&name, image)).ok_or_else(|| messages::image_inspect_missing(reference))
    };
    let documents = references.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let unprintable = |error: serde_json::Error| Failure::runtime(Code::InternalError, error.to_string());
    pretty(&documents, VERSION).map(|text| text + "\n").map_err(unprintable)
}

/// `image load`: prints the names of the loaded images.
pub(crate) fn load(input: Option<&str>) -> Outcome {
    let mut command = podman::command(&["load", "--quiet"]);
    match input {
        Some(path) => {
            command.args(["--input", path]);
        }
        None => {
            command.stdin(Stdio::inherit());
        }
    }
    let output = podman::output(command)?;
    if !output.status.success() {
        return Err(podman::failed("load", &output));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(said.lines().filter_map(|line| line.strip_prefix("Loaded image: ")).map(|name| format!("{name}\n")).collect())
}

/// `image tag`.
pub(crate) fn tag(source: &str, target: &str) -> Outcome {
    let (from, to) = (qualified(source), qualified(target));
    find(&from)?.ok_or_else(|| messages::image_missing(source))?;
    podman::run(&["tag", &from, &to])?;
    Ok(format!("{to}\n"))
}

/// `image delete`: `-f` ignores missing images only. An image that a container needs only loses its name.
pub(crate) fn delete(force: bool, references: &[String]) -> Outcome {
    let mut printed = String::new();
    for reference in references {
        let name = qualified(reference);
        match find(&name)? {
            None if force => continue,
            None => return Err(messages::image_missing(reference)),
            Some(image) => {
                podman::run(&["untag", &text(&image["Id"]), &name])?;
                let last = image["RepoTags"].as_array().is_none_or(|tags| tags.len() <= 1);
                if last {
                    // If a container uses it, it stays until that is gone.
                    let _ = podman::run(&["rmi", &text(&image["Id"])]);
                }
            }
        }
        printed.push_str(&format!("{name}\n"));
    }
    Ok(printed)
}

fn document(name: &str, image: &Value) -> json::Image {
    let digest = text(&image["Digest"]);
    let size = image["Size"].as_u64().unwrap_or(0);
    let platform = json::Platform {
        architecture: text(&image["Architecture"]),
        os: text(&image["Os"]),
        variant: None,
        extra: BTreeMap::new(),
    };
    let config = json!({
        "architecture": image["Architecture"],
        "os": image["Os"],
        "config": image["Config"],
        "rootfs": {"type": "layers", "diff_ids": image["RootFS"]["Layers"]},
    });
    json::Image {
        configuration: json::ImageConfiguration {
            creation_date: text(&image["Created"]),
            descriptor: json::Descriptor {
                digest: digest.clone(),
                media_type: MANIFEST.to_owned(),
                size: 0,
                extra: BTreeMap::new(),
            },
            name: name.to_owned(),
            extra: BTreeMap::new(),
        },
        id: digest.trim_start_matches("sha256:").to_owned(),
        variants: vec![json::ImageVariant { config, digest, platform, size, extra: BTreeMap::new() }],
        extra: BTreeMap::new(),
    }
}
