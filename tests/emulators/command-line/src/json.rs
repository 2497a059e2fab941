//! The documents that the CLI prints. Keys that may be absent are `Option`s; unknown keys go to `extra`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

macro_rules! document {
    ($(#[$about:meta])* $name:ident { $($(#[$field_about:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        $(#[$about])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        #[expect(missing_docs, reason = "the names are the document's own")]
        pub struct $name {
            $($(#[$field_about])* pub $field: $kind,)*
            /// Unknown keys.
            #[serde(flatten)]
            pub extra: BTreeMap<String, Value>,
        }
    };
}

document! { /// An element of `list` and `inspect`.
Container { configuration: Configuration, id: String, status: Status } }

document! { /// The configuration of a container.
Configuration {
    cap_add: Vec<String>,
    cap_drop: Vec<String>,
    creation_date: String,
    dns: Dns,
    id: String,
    image: ImageReference,
    init_process: InitProcess,
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    masked_paths: Option<Vec<String>>,
    mounts: Vec<MountDocument>,
    networks: Vec<NetworkReference>,
    platform: Platform,
    published_ports: Vec<PublishedPort>,
    published_sockets: Vec<Value>,
    read_only: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    readonly_paths: Option<Vec<String>>,
    resources: Resources,
    rosetta: bool,
    runtime_handler: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    shm_size: Option<u64>,
    ssh: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    sysctls: BTreeMap<String, String>,
    use_init: bool,
    virtualization: bool,
} }

document! { /// The resolver.
Dns {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domain: Option<String>,
    nameservers: Vec<String>,
    options: Vec<String>,
    search_domains: Vec<String>,
} }

document! { /// The image of a container.
ImageReference { descriptor: Descriptor, reference: String } }

document! { /// An object of an image.
Descriptor { digest: String, media_type: String, size: u64 } }

document! { /// The process with PID 1.
InitProcess {
    arguments: Vec<String>,
    environment: Vec<String>,
    executable: String,
    rlimits: Vec<Value>,
    supplemental_groups: Vec<u32>,
    terminal: bool,
    user: Value,
    working_directory: String,
} }

document! { /// A mount.
MountDocument {
    destination: String,
    options: Vec<String>,
    source: String,
    #[serde(rename = "type")]
    kind: Value,
} }

document! { /// A requested network.
NetworkReference { network: String, options: Value } }

document! { /// The platform of an image.
Platform {
    architecture: String,
    os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    variant: Option<String>,
} }

document! { /// A published port.
PublishedPort { container_port: u16, count: u16, host_address: String, host_port: u16, proto: String } }

document! { /// CPUs and memory.
Resources {
    cpu_overhead: u32,
    cpus: u32,
    memory_in_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    storage: Option<u64>,
} }

document! { /// The current status of a container.
Status {
    networks: Vec<Attachment>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    started_date: Option<String>,
    state: String,
} }

/// One address of a running container. Its keys follow no common rule, so they are named one by one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the document's own")]
pub struct Attachment {
    pub hostname: String,
    #[serde(rename = "ipv4Address")]
    pub ipv4_address: String,
    #[serde(rename = "ipv4Gateway")]
    pub ipv4_gateway: String,
    #[serde(rename = "ipv6Address", default, skip_serializing_if = "Option::is_none")]
    pub ipv6_address: Option<String>,
    #[serde(rename = "macAddress")]
    pub mac_address: String,
    pub mtu: u32,
    pub network: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Unknown keys.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

document! { /// An element of `stats`; values that were not measured are absent.
Stats {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_read_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_write_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_usage_usec: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_limit_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory_usage_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network_rx_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network_tx_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    num_processes: Option<u64>,
} }

document! { /// An element of `image list` and `image inspect`.
Image { configuration: ImageConfiguration, id: String, variants: Vec<ImageVariant> } }

document! { /// The name of an image.
ImageConfiguration { creation_date: String, descriptor: Descriptor, name: String } }

document! { /// An image for one platform; `config` is the image's own configuration.
ImageVariant { config: Value, digest: String, platform: Platform, size: u64 } }

document! { /// An element of `network list`.
Network { configuration: NetworkConfiguration, id: String, status: Value } }

document! { /// The configuration of a network.
NetworkConfiguration {
    creation_date: String,
    labels: BTreeMap<String, String>,
    mode: String,
    name: String,
    options: BTreeMap<String, String>,
    plugin: String,
} }

document! { /// An element of `volume list`.
Volume { configuration: VolumeConfiguration, id: String } }

document! { /// The configuration of a volume.
VolumeConfiguration {
    creation_date: String,
    driver: String,
    format: String,
    labels: BTreeMap<String, String>,
    name: String,
    options: BTreeMap<String, String>,
    size_in_bytes: u64,
    source: String,
} }

document! { /// An element of `system version`.
VersionEntry { app_name: String, build_type: String, commit: String, version: String } }
