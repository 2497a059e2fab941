//! Errors of the CLI.

use std::fmt;

/// The command line is not one that the reference lists. Programs answer with exit code 64.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// The codes of runtime errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// An invalid value.
    InvalidArgument,
    /// Something went wrong inside.
    InternalError,
    /// The name is taken.
    Exists,
    /// The object does not exist.
    NotFound,
    /// The object is in another state.
    InvalidState,
    /// It took too long.
    Timeout,
    /// Not on this system.
    Unsupported,
    /// The service went away.
    Interrupted,
}

/// The reason for an exit code other than 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Exit 64.
    Usage(UsageError),
    /// Exit 1, with `Error: TEXT` on stderr. The code shows only where the CLI prefixes it.
    Runtime {
        /// The kind of error.
        code: Code,
        /// The text of the error.
        text: String,
    },
    /// Exit 1, with a text that already has its prefixes.
    Prefixed(String),
    /// The code of a process inside the container.
    Exit(u8),
}

impl Failure {
    /// Makes a runtime error.
    pub fn runtime(code: Code, text: impl Into<String>) -> Self {
        Self::Runtime { code, text: text.into() }
    }

    /// Returns the text with its code in front, as `stop`, `kill` and `delete` print it.
    pub fn prefixed(&self) -> String {
        match self {
            Self::Runtime { code, text } => format!("{code}: \"{text}\""),
            Self::Prefixed(text) => text.clone(),
            Self::Usage(error) => error.to_string(),
            Self::Exit(code) => format!("exit code {code}"),
        }
    }

    /// Returns the text for stderr.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Usage(error) => Some(format!("Error: {error}")),
            Self::Runtime { text, .. } | Self::Prefixed(text) => Some(format!("Error: {text}")),
            Self::Exit(_) => None,
        }
    }

    /// Returns the exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Runtime { .. } | Self::Prefixed(_) => 1,
            Self::Exit(code) => *code,
        }
    }
}

impl From<UsageError> for Failure {
    fn from(error: UsageError) -> Self {
        Self::Usage(error)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::InvalidArgument => "invalidArgument",
            Self::InternalError => "internalError",
            Self::Exists => "exists",
            Self::NotFound => "notFound",
            Self::InvalidState => "invalidState",
            Self::Timeout => "timeout",
            Self::Unsupported => "unsupported",
            Self::Interrupted => "interrupted",
        })
    }
}

/// The texts that a driver must recognise: one function for each row of the reference's section 3.
pub mod messages {
    use super::{Code, Failure};

    /// The service does not answer: `Connection invalid` (not registered) or `Connection interrupted` (died in a call).
    pub fn service_down(connection: &str) -> Failure {
        Failure::Prefixed(format!(
            "{}: \"XPC connection error: {connection}\"\nEnsure container system service has been started with `container \
             system start`.",
            Code::Interrupted
        ))
    }

    /// The name is taken.
    pub fn name_taken(name: &str) -> Failure {
        Failure::runtime(Code::Exists, format!("container with id {name} already exists"))
    }

    /// `start` and `exec` of a container that does not exist.
    pub fn get_failed(id: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("get failed: container {id} not found"))
    }

    /// `stop`, `kill`, `delete`, `logs` and `cp` of a container that does not exist.
    pub fn container_missing(id: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("container with ID {id} not found"))
    }

    /// `inspect` of a container that does not exist.
    pub fn inspect_missing(id: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("container not found: {id}"))
    }

    /// `stats` of a container that does not exist.
    pub fn stats_missing(id: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("no such container: {id}"))
    }

    /// A command that needs a running container.
    pub fn not_running(id: &str) -> Failure {
        Failure::runtime(Code::InvalidState, format!("container {id} is not running"))
    }

    /// `kill` of a stopped container.
    pub fn no_runtime_client() -> Failure {
        Failure::runtime(Code::InvalidState, "no runtime client exists: container is stopped")
    }

    /// `delete` without `-f` of a running container.
    pub fn delete_running(id: &str) -> Failure {
        Failure::runtime(Code::InvalidState, format!("container {id} is running and can not be deleted"))
    }

    /// A name outside of the rule.
    pub fn bad_name(name: &str) -> Failure {
        Failure::runtime(Code::InvalidArgument, format!("{name} is not a valid container ID"))
    }

    /// A label outside of the rule.
    pub fn bad_label(label: &str) -> Failure {
        Failure::runtime(Code::InvalidArgument, format!("invalid label format {label}"))
    }

    /// The image does not exist.
    pub fn image_missing(reference: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("image with reference {reference} not found"))
    }

    /// `image inspect` of an image that does not exist.
    pub fn image_inspect_missing(reference: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("image not found: {reference}"))
    }

    /// A pull from a registry that does not exist. A creation without its image pulls as well, and ends like this. A
    /// reference that begins with no host is one of Docker Hub.
    pub fn pull_failed(reference: &str) -> Failure {
        let is_host = |first: &&str| first.contains(['.', ':']) || *first == "localhost";
        let host = reference.split_once('/').map(|(first, _)| first).filter(is_host).unwrap_or("docker.io");
        Failure::runtime(Code::InternalError, format!("failed to resolve either repository hostname {host}"))
    }

    /// The service did not answer within its own limit.
    pub fn service_hung(request: &str) -> Failure {
        Failure::runtime(Code::Timeout, format!("XPC timeout for request to {request}"))
    }

    /// `create` without a network of the service's own.
    pub fn no_builtin_network() -> Failure {
        Failure::runtime(Code::InvalidState, "builtin network is not present")
    }

    /// `start` without the helper of a network.
    pub fn no_network_plugin(network: &str) -> Failure {
        Failure::runtime(Code::InternalError, format!("failed to get plugin for network {network}"))
    }

    /// `start` without a network of macOS.
    pub fn no_vmnet_network() -> Failure {
        let text = "failed to create vmnet network with status vmnet_return_t(rawValue: 1001)";
        Failure::runtime(Code::Unsupported, text)
    }

    /// The image is not for this platform.
    pub fn platform_missing(reference: &str, platform: &str) -> Failure {
        let text = format!("image {reference} does not support the required platform linux/{platform}");
        Failure::runtime(Code::Unsupported, text)
    }

    /// No kernel was installed.
    pub fn no_kernel(architecture: &str) -> Failure {
        let text = format!(
            "default kernel not configured for architecture {architecture}, please use the `container system kernel set` \
             command to configure it"
        );
        Failure::runtime(Code::NotFound, text)
    }

    /// A published port is taken.
    pub fn port_taken(id: &str) -> Failure {
        let text = format!(
            "failed to bootstrap container {id} (cause: \"unknown: \"bind(descriptor:ptr:bytes:): Address already in use \
             (errno: 48)\"\")"
        );
        Failure::runtime(Code::InternalError, text)
    }

    /// A port that only root may bind.
    pub fn privileged_port(port: u16) -> Failure {
        let text =
            format!("Permission denied while binding to host port {port}. Binding to ports below 1024 requires root");
        Failure::runtime(Code::InvalidArgument, text)
    }

    /// Less memory than a VM needs.
    pub fn memory_too_small() -> Failure {
        Failure::runtime(Code::InvalidArgument, "minimum memory amount allowed is 200 MiB")
    }

    /// The network does not exist.
    pub fn network_missing(name: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("network {name} not found"))
    }

    /// The network has members.
    pub fn network_in_use(name: &str, members: &str) -> Failure {
        let text = format!("cannot delete subnet {name} with referring containers: {members}");
        Failure::runtime(Code::InvalidState, text)
    }

    /// The volume does not exist.
    pub fn volume_missing(name: &str) -> Failure {
        Failure::runtime(Code::NotFound, format!("volume '{name}' not found"))
    }

    /// The volume exists already.
    pub fn volume_exists(name: &str) -> Failure {
        Failure::runtime(Code::Exists, format!("volume '{name}' already exists"))
    }

    /// The volume is used by a container.
    pub fn volume_in_use(name: &str) -> Failure {
        Failure::runtime(Code::InvalidState, format!("volume '{name}' is currently in use"))
    }

    /// The machine does not support nested virtualization.
    pub fn no_nested_virtualization() -> Failure {
        Failure::runtime(Code::Unsupported, "nested virtualization is not supported on the platform")
    }

    /// The program to run is not in the image.
    pub fn no_executable(program: &str) -> Failure {
        let text = format!(
            "failed to create process (cause: \"internalError: \"failed to find target executable {program}\"\")"
        );
        Failure::runtime(Code::InternalError, text)
    }

    /// A feature that the reference lists, but this program does not have.
    pub fn not_emulated(what: &str, program: &str) -> Failure {
        Failure::runtime(Code::Unsupported, format!("unsupported: {what} ({program})"))
    }
}
