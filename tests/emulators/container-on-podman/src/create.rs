//! `create`.

use std::path::Path;

use container_command_line::command::{Create, Mount, MountKind};
use container_command_line::{Code, Failure, label, messages, name_is_valid};

use crate::commands::{Outcome, not_mapped};
use crate::host::Host;
use crate::{documents, images, podman};

/// The annotation with the requested processors, which podman itself does not keep.
pub(crate) const CPUS: &str = "container-on-podman.cpus";
/// The annotation with the requested memory.
pub(crate) const MEMORY: &str = "container-on-podman.memory";
const MEBIBYTE: u64 = 1 << 20;
const LEAST_MEMORY: u64 = 200 * MEBIBYTE;

/// `create`: prints the id, which is the name.
pub(crate) fn create(create: &Create) -> Outcome {
    refuse_what_is_not_mapped(create)?;
    let name = create.name.as_deref().ok_or_else(|| not_mapped("a container without a name"))?;
    if !name_is_valid(name) {
        return Err(messages::bad_name(name));
    }
    for text in &create.labels {
        label(text)?;
    }
    let memory = create.memory_bytes.unwrap_or(1 << 30) / MEBIBYTE * MEBIBYTE;
    if memory < LEAST_MEMORY {
        return Err(messages::memory_too_small());
    }
    if documents::find(name)?.is_some() {
        return Err(messages::name_taken(name));
    }
    let image = container_command_line::qualified(&create.image);
    if images::find(&image)?.is_none() {
        return Err(messages::pull_failed(&image));
    }
    let arguments = arguments(create, name, &image, memory, &Host::find()?)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    podman::run(&arguments)?;
    if let Some(path) = &create.cidfile {
        let failed = |error| Failure::runtime(Code::InternalError, format!("{path}: {error}"));
        std::fs::write(path, name).map_err(failed)?;
    }
    Ok(format!("{name}\n"))
}

fn arguments(create: &Create, name: &str, image: &str, memory: u64, host: &Host) -> Result<Vec<String>, Failure> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| arguments.extend([option.to_owned(), value]);
    let cpus = create.cpus.unwrap_or(4);
    add("--name", name.to_owned());
    add("--hostname", name.split('.').next().unwrap_or_default().to_owned());
    add("--annotation", format!("{CPUS}={cpus}"));
    add("--annotation", format!("{MEMORY}={memory}"));
    // With this driver the log is a file, which can be truncated.
    add("--log-driver", "k8s-file".to_owned());
    if host.limits("cpu") {
        add("--cpus", cpus.to_string());
    }
    if host.limits("memory") {
        add("--memory", memory.to_string());
    }
    for limit in host.ulimits() {
        add("--ulimit", limit);
    }
    for text in &create.labels {
        let (key, value) = label(text)?;
        add("--label", format!("{key}={value}"));
    }
    for port in &create.publish {
        let range = |first: u16| match port.count {
            1 => first.to_string(),
            count => format!("{first}-{}", first + count - 1),
        };
        let ports = format!("{}:{}", range(port.host_port), range(port.container_port));
        add("--publish", format!("{}:{ports}/{}", port.address, port.protocol));
    }
    for mount in &create.mounts {
        add("--mount", mount_of(mount)?);
    }
    for entry in &create.process.environment {
        add("--env", entry.clone());
    }
    for file in &create.environment_files {
        add("--env-file", file.clone());
    }
    for capability in &create.capabilities_added {
        add("--cap-add", capability.clone());
    }
    for capability in &create.capabilities_dropped {
        add("--cap-drop", capability.clone());
    }
    if let Some(user) = user(create) {
        add("--user", user);
    }
    if let Some(directory) = &create.process.directory {
        add("--workdir", directory.clone());
    }
    if let Some(bytes) = create.shared_memory_bytes {
        add("--shm-size", bytes.to_string());
    }
    if create.masked_paths.as_ref().is_some_and(Vec::is_empty) {
        add("--security-opt", "unmask=ALL".to_owned());
    }
    if create.networks.first().is_some_and(|network| network.name == "none") {
        add("--network", "none".to_owned());
    }
    let flags =
        [(create.read_only, "--read-only"), (create.remove, "--rm"), (create.process.interactive, "--interactive")];
    let flags = flags.into_iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag.to_owned());
    let mut all = vec!["create".to_owned(), "--pull".to_owned(), "never".to_owned()];
    all.extend(arguments);
    all.extend(flags);
    all.push(image.to_owned());
    all.extend(create.arguments.iter().cloned());
    Ok(all)
}

fn user(create: &Create) -> Option<String> {
    match (&create.process.user, create.user_id, create.group_id) {
        (Some(user), None, None) => Some(user.clone()),
        (None, None, None) => None,
        (_, user, group) => Some(format!("{}:{}", user.unwrap_or(0), group.unwrap_or(0))),
    }
}

fn mount_of(mount: &Mount) -> Result<String, Failure> {
    let target = &mount.target;
    let missing = |source: &str| {
        let text = format!("path '{source}' does not exist or is not a directory");
        Failure::runtime(Code::InvalidArgument, text)
    };
    let read_only = if mount.read_only { ",readonly" } else { "" };
    match &mount.kind {
        MountKind::Directory { source } if !Path::new(source).is_dir() => Err(missing(source)),
        MountKind::Path { source } if !Path::new(source).exists() => Err(missing(source)),
        MountKind::Directory { source } | MountKind::Path { source } => {
            Ok(format!("type=bind,source={source},target={target}{read_only}"))
        }
        MountKind::Volume { name: Some(name) } => Ok(format!("type=volume,source={name},target={target}{read_only}")),
        MountKind::Volume { name: None } => Err(not_mapped("an anonymous volume")),
        MountKind::Tmpfs { size_bytes, mode } => {
            let size = size_bytes.map(|bytes| format!(",tmpfs-size={bytes}")).unwrap_or_default();
            let mode = mode.map(|mode| format!(",tmpfs-mode={mode:o}")).unwrap_or_default();
            Ok(format!("type=tmpfs,target={target}{size}{mode}"))
        }
    }
}

fn refuse_what_is_not_mapped(create: &Create) -> Result<(), Failure> {
    if create.virtualization {
        return Err(messages::no_nested_virtualization());
    }
    let other_network = |name: &str| !["default", "none"].contains(&name);
    let wanted = [
        (create.rosetta, "--rosetta"),
        (create.kernel.is_some(), "--kernel"),
        (!create.kernel_arguments.is_empty(), "--kernel-arg"),
        (create.init, "--init"),
        (create.init_image.is_some(), "--init-image"),
        (create.ssh, "--ssh"),
        (create.runtime.is_some(), "--runtime"),
        (!create.publish_sockets.is_empty(), "--publish-socket"),
        (!create.ulimits.is_empty(), "--ulimit"),
        (create.process.terminal, "a terminal"),
        (create.networks.iter().any(|network| other_network(&network.name)), "other networks"),
        (!create.dns.is_empty() || create.no_dns, "--dns"),
    ];
    wanted.iter().find(|(wanted, _)| *wanted).map_or(Ok(()), |(_, what)| Err(not_mapped(what)))
}
