//! The JSON that `container` prints, read leniently: unknown keys are ignored, keys that may be absent are optional,
//! and containers that are not kina's need only a name.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

/// A container, as `list` and `inspect` show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub id: String,
    pub state: ContainerState,
    pub labels: BTreeMap<String, String>,
    pub image_reference: Option<String>,
    pub image_digest: Option<String>,
}

/// The state of a container. The service only ever reports the first two: a container being stopped still runs, and one
/// being booted is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerState {
    Running,
    Stopped,
    Stopping,
    /// Reported as unknown, or a state that kina does not know.
    Unknown,
}

/// The output of `system status`, in the format of versions up to 1.3 or in that of later ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServiceStatus {
    /// `running`, `not running`, `unregistered`, or a status that kina does not know.
    pub(super) status: String,
    pub(super) server_version: Option<String>,
    /// The directory where everything is kept.
    pub(super) app_root: Option<PathBuf>,
}

/// One part of `container`, as `system version` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) version: String,
}

/// An image that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LoadedImage {
    pub(super) name: String,
    /// Digests of its index and of its variants, without the name of the hash.
    pub(super) digests: Vec<String>,
}

/// The disk space of `container` in total, as it is not split by owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Root file systems of containers.
    pub containers_bytes: u64,
    /// Images.
    pub images_bytes: u64,
    /// Volumes.
    pub volumes_bytes: u64,
}

/// Output that cannot be understood, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable(pub(super) String);

/// Reads the output of `list` or `inspect`. The order means nothing.
pub(super) fn containers(output: &[u8]) -> Result<Vec<Container>, Unreadable> {
    array(output)?.iter().map(container).collect()
}

/// Reads the output of `system status`.
pub(super) fn service_status(output: &[u8]) -> Result<ServiceStatus, Unreadable> {
    let value = parse(output)?;
    let status = text(&value, "/status").ok_or_else(|| Unreadable("it has no `status`".to_owned()))?;
    let server_version = text(&value, "/server/version").or_else(|| text(&value, "/apiServerVersion"));
    let app_root = text(&value, "/paths/appRoot").or_else(|| text(&value, "/appRoot")).map(PathBuf::from);
    Ok(ServiceStatus { status, server_version, app_root })
}

/// Reads the output of `system version`.
pub(super) fn parts(output: &[u8]) -> Result<Vec<Part>, Unreadable> {
    let part = |value: &Value| Some(Part { name: text(value, "/appName")?, version: text(value, "/version")? });
    Ok(array(output)?.iter().filter_map(part).collect())
}

/// Reads the output of `image inspect`.
pub(super) fn images(output: &[u8]) -> Result<Vec<LoadedImage>, Unreadable> {
    let image = |value: &Value| {
        // kina looks images up by name, so one without a name does not matter.
        let name = text(value, "/configuration/name")?;
        let of_index = [text(value, "/id"), text(value, "/configuration/descriptor/digest")];
        let variants = value.get("variants").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of_variants = variants.iter().map(|variant| text(variant, "/digest"));
        let mut digests: Vec<_> =
            of_index.into_iter().chain(of_variants).flatten().map(|digest| bare_digest(&digest).to_owned()).collect();
        digests.sort();
        digests.dedup();
        Some(LoadedImage { name, digests })
    };
    Ok(array(output)?.iter().filter_map(image).collect())
}

/// Reads the output of `system df`.
pub(super) fn disk_usage(output: &[u8]) -> Result<DiskUsage, Unreadable> {
    let value = parse(output)?;
    let bytes = |of: &str| value.pointer(&format!("/{of}/sizeInBytes")).and_then(Value::as_u64).unwrap_or_default();
    Ok(DiskUsage {
        containers_bytes: bytes("containers"),
        images_bytes: bytes("images"),
        volumes_bytes: bytes("volumes"),
    })
}

/// Returns a digest without the name of its hash, which only some places include.
pub(super) fn bare_digest(digest: &str) -> &str {
    digest.rsplit_once(':').map_or(digest, |(_, bare)| bare)
}

fn container(value: &Value) -> Result<Container, Unreadable> {
    let id = text(value, "/id").or_else(|| text(value, "/configuration/id"));
    // A container without a name could be one of kina's.
    let id = id.ok_or_else(|| Unreadable("a container in it has no `id`".to_owned()))?;
    let state = match text(value, "/status/state").or_else(|| text(value, "/status")).as_deref() {
        Some("running") => ContainerState::Running,
        Some("stopped") => ContainerState::Stopped,
        Some("stopping") => ContainerState::Stopping,
        _ => ContainerState::Unknown,
    };
    let labels = value.pointer("/configuration/labels").and_then(Value::as_object);
    let labels =
        labels.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Ok(Container {
        id,
        state,
        labels: labels.collect(),
        image_reference: text(value, "/configuration/image/reference"),
        image_digest: text(value, "/configuration/image/descriptor/digest"),
    })
}

fn array(output: &[u8]) -> Result<Vec<Value>, Unreadable> {
    match parse(output)? {
        Value::Array(values) => Ok(values),
        _ => Err(Unreadable("it is not a list".to_owned())),
    }
}

/// Parses JSON leniently, so that a foreign label that is not text does not make the rest unreadable.
fn parse(output: &[u8]) -> Result<Value, Unreadable> {
    serde_json::from_str(&String::from_utf8_lossy(output)).map_err(|error| Unreadable(error.to_string()))
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: &str = r#"{"configuration":{"id":"kina-a","creationDate":"2026-08-08T09:00:00Z","maskedPaths":[],
        "image":{"descriptor":{"digest":"sha256:ce97","mediaType":"x","size":741},"reference":"kina.local\/cluster:1"},
        "labels":{"dev.kina.realm":"r1"},"somethingNew":{"a":[1]}},"id":"kina-a",
        "status":{"networks":[{"ipv4Address":"192.168.64.5/24","variant":"reserved"}],"state":"running"}}"#;
    const BARE: &str = r#"{"configuration":{"id":"other"},"status":{"networks":[],"state":"paused"}}"#;

    #[test]
    fn containers_are_read_in_any_order_with_whatever_is_new_or_absent() {
        for output in [format!("[{RUNNING},{BARE}]"), format!("[{BARE}, {RUNNING}]\n")] {
            let mut read = containers(output.as_bytes()).expect("readable");
            read.sort_by(|one, other| one.id.cmp(&other.id));
            let labels = BTreeMap::from([("dev.kina.realm".to_owned(), "r1".to_owned())]);
            let running = Container {
                id: "kina-a".to_owned(),
                state: ContainerState::Running,
                labels,
                image_reference: Some("kina.local/cluster:1".to_owned()),
                image_digest: Some("sha256:ce97".to_owned()),
            };
            assert_eq!(read[0], running);
            assert_eq!((read[1].id.as_str(), read[1].state), ("other", ContainerState::Unknown));
        }
        assert_eq!(containers(b"[]\n"), Ok(Vec::new()));
    }

    #[test]
    fn all_four_states_are_known() {
        let states = ["running", "stopped", "stopping", "unknown"].map(|state| {
            let output = format!(r#"[{{"id":"a","status":{{"state":"{state}"}}}}]"#);
            containers(output.as_bytes()).expect("readable")[0].state
        });
        let expected =
            [ContainerState::Running, ContainerState::Stopped, ContainerState::Stopping, ContainerState::Unknown];
        assert_eq!(states, expected);
    }

    #[test]
    fn output_without_every_containers_name_is_an_error() {
        for output in ["", "Error: x", "{}", "[{}]", "[1]", "[{\"id\":1}]", "[{\"id\":\"a\""] {
            assert!(containers(output.as_bytes()).is_err(), "{output}");
        }
    }

    #[test]
    fn text_that_is_not_unicode_does_not_hide_the_rest() {
        let output = b"[{\"id\":\"a\",\"configuration\":{\"labels\":{\"k\":\"\xff\xfe\"}}},{\"id\":\"b\"}]";
        assert_eq!(containers(output).expect("readable").len(), 2);
    }

    #[test]
    fn the_status_is_read_in_both_dialects() {
        let old = r#"{"apiServerAppName":"container-apiserver","appRoot":"\/Users\/me\/","status":"running",
            "apiServerVersion":"container-apiserver version 1.2.2 (build: release, commit: 0190097)"}"#;
        let new = r#"{"client":{"version":"1.4.1"},"server":{"version":"1.4.1"},"status":"running","paths":{"appRoot":"/Users/me/"}}"#;
        let down = r#"{"client":{"version":"1.4.1"},"status":"unregistered"}"#;
        let versions = [old, new, down].map(|output| service_status(output.as_bytes()).expect("readable"));
        let server_versions = versions.each_ref().map(|status| status.server_version.as_deref().unwrap_or("none"));
        assert!(server_versions[0].contains("1.2.2"));
        assert_eq!(server_versions[1..], ["1.4.1", "none"]);
        let app_roots = versions
            .each_ref()
            .map(|status| status.app_root.as_deref().is_some_and(|root| root == std::path::Path::new("/Users/me/")));
        assert_eq!(app_roots, [true, true, false]);
        assert_eq!(versions.map(|status| status.status), ["running", "running", "unregistered"]);
        assert!(service_status(b"apiserver is not running").is_err());
    }

    #[test]
    fn images_have_the_digests_of_index_and_variants() {
        let output = br#"[{"configuration":{"descriptor":{"digest":"sha256:ce97"},"name":"kina.local/cluster:1"},
            "id":"ce97","variants":[{"digest":"sha256:bb","platform":{"architecture":"arm64","os":"linux"}}]},{"id":"x"}]"#;
        let image = LoadedImage { name: "kina.local/cluster:1".to_owned(), digests: vec!["bb".into(), "ce97".into()] };
        assert_eq!(images(output), Ok(vec![image]));
    }

    #[test]
    fn disk_usage_is_read() {
        let output =
            br#"{"containers":{"active":1,"reclaimable":0,"sizeInBytes":7,"total":1},"images":{"sizeInBytes":5}}"#;
        assert_eq!(disk_usage(output), Ok(DiskUsage { containers_bytes: 7, images_bytes: 5, volumes_bytes: 0 }));
    }
}
