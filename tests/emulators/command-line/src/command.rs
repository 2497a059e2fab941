//! Typed commands.

use std::net::Ipv4Addr;

/// The format of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For machines.
    Json,
    /// For people.
    #[default]
    Table,
    /// For machines.
    Yaml,
    /// For machines.
    Toml,
}

/// A mount in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Its source.
    pub kind: MountKind,
    /// Its path in the container.
    pub target: String,
    /// Set if it cannot be written.
    pub read_only: bool,
}

/// The source of a mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// `--mount type=bind`: a directory of the host.
    Directory {
        /// Its absolute path.
        source: String,
    },
    /// `-v` with a path: a directory, file or socket of the host.
    Path {
        /// Its path.
        source: String,
    },
    /// A volume; an anonymous one has no name.
    Volume {
        /// Its name.
        name: Option<String>,
    },
    /// Memory.
    Tmpfs {
        /// Its limit.
        size_bytes: Option<u64>,
        /// The permissions of its root.
        mode: Option<u32>,
    },
}

/// A port of the host that leads to one of the container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The address at which the host listens.
    pub address: Ipv4Addr,
    /// The first port of the host.
    pub host_port: u16,
    /// The first port of the container.
    pub container_port: u16,
    /// The number of consecutive ports.
    pub count: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
}

/// A network to attach to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkChoice {
    /// Its name; `none` for no network at all.
    pub name: String,
    /// A fixed hardware address.
    pub mac: Option<String>,
    /// The largest packet.
    pub mtu: u32,
}

/// The process options that `create`, `run` and `exec` share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Keep stdin open.
    pub interactive: bool,
    /// Open a terminal.
    pub terminal: bool,
    /// `K=V`, or `K` for the caller's own value.
    pub environment: Vec<String>,
    /// The user, as given.
    pub user: Option<String>,
    /// The working directory.
    pub directory: Option<String>,
}

/// `create` and `run`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Create {
    /// The name, which is the id; not checked yet.
    pub name: Option<String>,
    /// Labels, as given.
    pub labels: Vec<String>,
    /// CPUs.
    pub cpus: Option<u32>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Delete when stopped.
    pub remove: bool,
    /// The file for the id.
    pub cidfile: Option<String>,
    /// The process.
    pub process: Process,
    /// Files with further environment variables.
    pub environment_files: Vec<String>,
    /// The user's number.
    pub user_id: Option<u32>,
    /// The group's number.
    pub group_id: Option<u32>,
    /// Resource limits, as given.
    pub ulimits: Vec<String>,
    /// Published ports.
    pub publish: Vec<Publish>,
    /// Published sockets, as given.
    pub publish_sockets: Vec<String>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Capabilities to add.
    pub capabilities_added: Vec<String>,
    /// Capabilities to drop.
    pub capabilities_dropped: Vec<String>,
    /// Paths to hide; `None` for the default ones.
    pub masked_paths: Option<Vec<String>>,
    /// Paths that cannot be written; `None` for the default ones.
    pub read_only_paths: Option<Vec<String>>,
    /// Arguments of the kernel.
    pub kernel_arguments: Vec<String>,
    /// A kernel for this container.
    pub kernel: Option<String>,
    /// A small reaper as PID 1.
    pub init: bool,
    /// The image of the init system.
    pub init_image: Option<String>,
    /// Nested virtualization.
    pub virtualization: bool,
    /// Translation of amd64 binaries.
    pub rosetta: bool,
    /// Forward the agent of ssh.
    pub ssh: bool,
    /// The size of /dev/shm.
    pub shared_memory_bytes: Option<u64>,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// The runtime's name.
    pub runtime: Option<String>,
    /// Networks; none given means `default`.
    pub networks: Vec<NetworkChoice>,
    /// Name servers.
    pub dns: Vec<String>,
    /// The domain.
    pub dns_domain: Option<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// No resolver at all.
    pub no_dns: bool,
    /// The platform, given by any option.
    pub architecture: Option<String>,
    /// The image.
    pub image: String,
    /// Arguments of the image's entrypoint.
    pub arguments: Vec<String>,
}

/// Every command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the command line's own")]
pub enum Command {
    SystemStart { kernel_install: Option<bool>, app_root: Option<String> },
    SystemStop,
    SystemLogs,
    SystemDiskUsage { format: Format },
    SystemStatus { format: Format },
    SystemVersion { format: Format },
    PropertyList { format: Format },
    KernelSet { recommended: bool, binary: Option<String>, tar: Option<String> },
    DnsCreate { domain: String },
    DnsList { format: Format },
    Create(Box<Create>),
    Run { detach: bool, create: Box<Create> },
    Start { attach: bool, id: String },
    Stop { grace_seconds: u32, signal: Option<String>, ids: Vec<String> },
    Kill { signal: String, ids: Vec<String> },
    Delete { force: bool, all: bool, ids: Vec<String> },
    List { all: bool, format: Format, quiet: bool },
    Inspect { ids: Vec<String> },
    Exec { detach: bool, process: Process, id: String, command: Vec<String> },
    Logs { boot: bool, lines: Option<u64>, follow: bool, id: String },
    Copy { source: String, destination: String },
    Stats { format: Format, once: bool, ids: Vec<String> },
    Export { output: Option<String>, id: String },
    Prune,
    Clean { id: String },
    ImagePull { reference: String },
    ImageList { format: Format, quiet: bool },
    ImageInspect { references: Vec<String> },
    ImageLoad { input: Option<String>, force: bool },
    ImageSave { platform: Option<String>, output: Option<String>, references: Vec<String> },
    ImageTag { source: String, target: String },
    ImageDelete { force: bool, references: Vec<String> },
    ImagePrune { all: bool },
    NetworkCreate { internal: bool, subnet: Option<String>, labels: Vec<String>, name: String },
    NetworkDelete { names: Vec<String> },
    NetworkList { format: Format, quiet: bool },
    VolumeCreate { size_bytes: Option<u64>, options: Vec<String>, labels: Vec<String>, name: String },
    VolumeDelete { names: Vec<String> },
    VolumeList { format: Format, quiet: bool },
    Build,
    Machine,
    Kubernetes,
}
