//! `create`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use container_command_line::command::{Create, Mount, MountKind, NetworkChoice, Publish};
use container_command_line::{Code, Failure, iso_8601, json, label, messages, name_is_valid};
use serde_json::{Value, json};

use super::dispatch::{Call, Outcome};
use super::faults::Fault;
use super::images;
use super::layers;
use super::processes;
use super::store::{MachinePlan, MountPlan, Record};

/// The service's own limit of a creation, which counts the wait for the lock.
const CREATE_LIMIT: Duration = Duration::from_secs(60);
const LEAST_MEMORY: u64 = 200 << 20;
const MEBIBYTE: u64 = 1 << 20;
/// Paths that are read-only by default, unless a container has `--read-only-path NONE`.
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
const MASKED: &[&str] = &["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"];

impl Call {
    /// `create`: prints the id.
    pub(crate) fn create(&self, create: &Create) -> Outcome {
        self.refuse_what_is_not_emulated(create)?;
        let id = match &create.name {
            Some(name) => name.clone(),
            None => random_name()?,
        };
        if !name_is_valid(&id) {
            return Err(messages::bad_name(&id));
        }
        let labels = create.labels.iter().map(|text| label(text)).collect::<Result<BTreeMap<_, _>, _>>()?;
        let memory = create.memory_bytes.unwrap_or(1 << 30) / MEBIBYTE * MEBIBYTE;
        if memory < LEAST_MEMORY {
            return Err(messages::memory_too_small());
        }
        if create.cpus == Some(0) {
            return Err(Failure::runtime(Code::InvalidArgument, "invalid number of cpus: 0"));
        }
        let wanted = create.architecture.clone().unwrap_or_else(|| container_command_line::architecture().to_owned());
        let reference = container_command_line::qualified(&create.image);
        // Without the lock: the program itself looks for the image, and pulls it.
        let Some(descriptor) = images::names(&self.store)?.remove(&reference) else {
            return self.pull(&reference);
        };
        let Some(_boot) = self.store.boot_lock_within(CREATE_LIMIT)? else {
            return Err(messages::service_hung("com.apple.container.apiserver/containerCreate"));
        };
        let variant = images::variant(&self.store, &reference, &descriptor, &wanted)?;
        if wanted != container_command_line::architecture() {
            return Err(self.not_emulated("images for another processor than the host's"));
        }
        let snapshot = layers::unpack(&self.store, &variant.digest)?;
        let (_, image) = layers::configuration(&self.store, &variant.digest)?;
        let image = &image["config"];
        let networks = self.networks_of(create, &id)?;
        let process = process_of(create, image)?;
        let stop_signal = image["StopSignal"].as_str().map(str::to_owned);
        if let Some(signal) = &stop_signal {
            processes::signal(signal)?;
        }

        let _lock = self.store.lock()?;
        if self.store.container(&id)?.is_some() {
            return Err(messages::name_taken(&id));
        }
        let host = id.split('.').next().unwrap_or_default();
        let taken = self.store.containers()?.iter().any(|other| other.machine.networked && other.hostname() == host);
        if taken && !networks.is_empty() {
            return Err(Failure::runtime(Code::Exists, format!("hostname(s) already exist: [\"{host}\"]")));
        }
        let mounts = create.mounts.iter().map(|mount| self.mount_of(mount, &id)).collect::<Result<Vec<_>, _>>()?;
        let configuration = json::Configuration {
            cap_add: create.capabilities_added.clone(),
            cap_drop: create.capabilities_dropped.clone(),
            creation_date: iso_8601(SystemTime::now()),
            dns: json::Dns {
                domain: create.dns_domain.clone(),
                nameservers: create.dns.clone(),
                options: create.dns_options.clone(),
                search_domains: create.dns_search.clone(),
                extra: BTreeMap::new(),
            },
            id: id.clone(),
            image: json::ImageReference {
                descriptor: images::document(&descriptor),
                reference,
                extra: BTreeMap::new(),
            },
            init_process: process,
            labels,
            masked_paths: create.masked_paths.clone(),
            mounts: mounts.iter().map(mount_document).collect(),
            platform: json::Platform {
                architecture: wanted,
                os: "linux".to_owned(),
                variant: None,
                extra: BTreeMap::new(),
            },
            published_ports: create.publish.iter().map(published).collect(),
            published_sockets: Vec::new(),
            read_only: create.read_only,
            readonly_paths: create.read_only_paths.clone(),
            resources: json::Resources {
                cpu_overhead: 1,
                cpus: create.cpus.unwrap_or(4),
                memory_in_bytes: memory,
                storage: None,
                extra: BTreeMap::new(),
            },
            rosetta: false,
            runtime_handler: "container-runtime-linux".to_owned(),
            shm_size: create.shared_memory_bytes,
            ssh: false,
            stop_signal,
            sysctls: BTreeMap::new(),
            use_init: false,
            virtualization: create.virtualization,
            networks: networks.iter().map(|network| network_document(network, host)).collect(),
            extra: BTreeMap::new(),
        };
        let machine = MachinePlan {
            snapshot,
            mounts,
            user: user_of(create, image),
            all_capabilities: create.capabilities_added.iter().any(|name| name.eq_ignore_ascii_case("ALL")),
            capabilities_added: create.capabilities_added.clone(),
            capabilities_dropped: create.capabilities_dropped.clone(),
            masked_paths: create.masked_paths.clone().unwrap_or_else(|| owned(MASKED)),
            read_only_paths: create.read_only_paths.clone().unwrap_or_else(|| owned(READ_ONLY)),
            shared_memory_bytes: create.shared_memory_bytes.unwrap_or(64 << 20),
            nameservers: create.dns.clone(),
            virtualization: create.virtualization,
            networked: !networks.is_empty(),
        };
        let bundle = self.store.bundle(&id);
        fs::create_dir_all(&bundle).map_err(|error| super::store::broken(&bundle, &error))?;
        self.store.put_container(&Record {
            configuration,
            machine,
            remove: create.remove,
            started_date: None,
            forgotten: false,
            ever_started: false,
        })?;
        if let Some(path) = &create.cidfile {
            fs::write(path, &id).map_err(|error| super::store::broken(Path::new(path), &error))?;
        }
        Ok(format!("{id}\n"))
    }

    fn refuse_what_is_not_emulated(&self, create: &Create) -> Result<(), Failure> {
        if create.rosetta {
            let text = "rosetta is not supported on this host, or not installed";
            return Err(Failure::runtime(Code::Unsupported, text));
        }
        let wanted = [
            (create.kernel.is_some(), "--kernel"),
            (!create.kernel_arguments.is_empty(), "--kernel-arg"),
            (create.init, "--init"),
            (create.init_image.is_some(), "--init-image"),
            (create.ssh, "--ssh"),
            (create.runtime.is_some(), "--runtime"),
            (!create.publish_sockets.is_empty(), "--publish-socket"),
            (!create.ulimits.is_empty(), "--ulimit"),
            (create.process.terminal, "a terminal"),
            (create.publish.iter().any(|port| port.protocol != "tcp"), "udp"),
        ];
        wanted.iter().find(|(wanted, _)| *wanted).map_or(Ok(()), |(_, what)| Err(self.not_emulated(what)))
    }

    fn networks_of(&self, create: &Create, id: &str) -> Result<Vec<NetworkChoice>, Failure> {
        let default = || vec![NetworkChoice { name: "default".to_owned(), mac: None, mtu: 1280 }];
        let chosen = if create.networks.is_empty() { default() } else { create.networks.clone() };
        if self.decision.has(Fault::NetworkGone) && create.networks.is_empty() {
            return Err(messages::no_builtin_network());
        }
        if chosen.iter().any(|network| network.name == "none") {
            if chosen.len() > 1 {
                let text = format!("container {id}: no other network besides `none`");
                return Err(Failure::runtime(Code::InvalidArgument, text));
            }
            return Ok(Vec::new());
        }
        let known = self.network_names()?;
        match chosen.iter().find(|network| !known.contains(&network.name)) {
            Some(network) => Err(messages::network_missing(&network.name)),
            None => Ok(chosen),
        }
    }

    fn mount_of(&self, mount: &Mount, id: &str) -> Result<MountPlan, Failure> {
        let (target, read_only) = (mount.target.clone(), mount.read_only);
        let plan = |source: Option<PathBuf>, volume: Option<String>| MountPlan {
            source,
            target: target.clone(),
            read_only,
            options: String::new(),
            volume,
        };
        Ok(match &mount.kind {
            MountKind::Directory { source } if Path::new(source).is_dir() => plan(Some(source.into()), None),
            MountKind::Path { source } if Path::new(source).exists() => {
                plan(Some(std::path::absolute(source).unwrap_or_else(|_| source.into())), None)
            }
            MountKind::Directory { source } | MountKind::Path { source } => return Err(no_source(Path::new(source))),
            MountKind::Volume { name } => {
                let name = match name {
                    Some(name) => name.clone(),
                    None => format!("anon-{}", random_name()?),
                };
                let source = self.volume_for(&name, id)?;
                plan(Some(source), Some(name))
            }
            MountKind::Tmpfs { size_bytes, mode } => {
                let size = size_bytes.map(|bytes| format!("size={bytes}"));
                let mode = mode.map(|mode| format!("mode={mode:o}"));
                MountPlan { options: size.into_iter().chain(mode).collect::<Vec<_>>().join(","), ..plan(None, None) }
            }
        })
    }
}

/// Makes the error for a mount whose source is missing, which lets a creation or a start fail.
pub(crate) fn no_source(path: &Path) -> Failure {
    let text = format!("path '{}' does not exist or is not a directory", path.display());
    Failure::runtime(Code::InvalidArgument, text)
}

fn process_of(create: &Create, image: &Value) -> Result<json::InitProcess, Failure> {
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|word| word.as_str().map(str::to_owned)).collect()
    };
    let mut words = strings(&image["Entrypoint"]);
    words.extend(if create.arguments.is_empty() { strings(&image["Cmd"]) } else { create.arguments.clone() });
    if words.is_empty() {
        return Err(Failure::runtime(
            Code::InvalidArgument,
            "no command or entrypoint specified for the container process",
        ));
    }
    let executable = words.remove(0);
    let mut environment = strings(&image["Env"]);
    for file in &create.environment_files {
        let text = fs::read_to_string(file).map_err(|error| super::store::broken(Path::new(file), &error))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.for_each(|line| set(&mut environment, line));
    }
    create.process.environment.iter().for_each(|entry| set(&mut environment, entry));
    if !environment.iter().any(|entry| entry.starts_with("PATH=")) {
        environment.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
    }
    let number = create.user_id.is_some() || create.group_id.is_some();
    let raw = user_of(create, image);
    let user = match number || raw.is_empty() {
        true => json!({"id": {"uid": create.user_id.unwrap_or(0), "gid": create.group_id.unwrap_or(0)}}),
        false => json!({"raw": {"userString": raw}}),
    };
    let directory = image["WorkingDir"].as_str().filter(|directory| !directory.is_empty()).unwrap_or("/");
    Ok(json::InitProcess {
        arguments: words,
        environment,
        executable,
        rlimits: Vec::new(),
        supplemental_groups: Vec::new(),
        terminal: false,
        user,
        working_directory: create.process.directory.clone().unwrap_or_else(|| directory.to_owned()),
        extra: BTreeMap::new(),
    })
}

fn user_of(create: &Create, image: &Value) -> String {
    match (&create.process.user, create.user_id, create.group_id) {
        (Some(user), None, None) => user.clone(),
        (None, None, None) => image["User"].as_str().unwrap_or_default().to_owned(),
        (_, user, group) => format!("{}:{}", user.unwrap_or(0), group.unwrap_or(0)),
    }
}

/// Sets `K=V`; a bare `K` takes the caller's own value, if there is one.
pub(crate) fn set(environment: &mut Vec<String>, entry: &str) {
    let (key, value) = match entry.split_once('=') {
        Some((key, value)) => (key, value.to_owned()),
        None => match std::env::var(entry) {
            Ok(value) => (entry, value),
            Err(_) => return,
        },
    };
    environment.retain(|old| old.split('=').next() != Some(key));
    environment.push(format!("{key}={value}"));
}

fn mount_document(mount: &MountPlan) -> json::MountDocument {
    let source = mount.source.as_ref().map_or_else(|| "tmpfs".to_owned(), |source| source.display().to_string());
    let kind = match (&mount.volume, &mount.source) {
        (Some(name), _) => {
            json!({"volume": {"name": name, "format": "ext4", "cache": {"on": {}}, "sync": {"fsync": {}}}})
        }
        (None, Some(_)) => json!({"virtiofs": {}}),
        (None, None) => json!({"tmpfs": {}}),
    };
    let mut options: Vec<String> = mount.options.split(',').filter(|one| !one.is_empty()).map(str::to_owned).collect();
    if mount.read_only {
        options.push("ro".to_owned());
    }
    json::MountDocument { destination: mount.target.clone(), options, source, kind, extra: BTreeMap::new() }
}

fn network_document(network: &NetworkChoice, host: &str) -> json::NetworkReference {
    let mut options = json!({"hostname": host, "mtu": network.mtu});
    if let Some(mac) = &network.mac {
        options["macAddress"] = mac.clone().into();
    }
    json::NetworkReference { network: network.name.clone(), options, extra: BTreeMap::new() }
}

fn published(publish: &Publish) -> json::PublishedPort {
    json::PublishedPort {
        container_port: publish.container_port,
        count: publish.count,
        host_address: publish.address.to_string(),
        host_port: publish.host_port,
        proto: publish.protocol.clone(),
        extra: BTreeMap::new(),
    }
}

/// Makes a name for a container without one.
pub(crate) fn random_name() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    let path = Path::new("/dev/urandom");
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| super::store::broken(path, &error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn owned(paths: &[&str]) -> Vec<String> {
    paths.iter().map(|path| (*path).to_owned()).collect()
}
