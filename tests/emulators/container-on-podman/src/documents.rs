//! podman's containers, in the documents of `container`.

use std::collections::BTreeMap;

use container_command_line::command::Format;
use container_command_line::{Code, Failure, json, messages, pretty};
use serde_json::{Value, json};

use crate::commands::{Outcome, not_mapped, printed};
use crate::create::{CPUS, MEMORY};
use crate::images;
use crate::{VERSION, podman};

/// Returns podman's document of the container with exactly this name.
pub(crate) fn find(name: &str) -> Result<Option<Value>, Failure> {
    if let Some(mut found) = exactly(&[name.to_owned()]) {
        return Ok(found.pop());
    }
    Ok(all()?.into_iter().find(|container| container["Name"] == name))
}

/// Returns true if the container runs, according to podman.
pub(crate) fn runs(container: &Value) -> bool {
    matches!(container["State"]["Status"].as_str(), Some("running" | "paused" | "stopping"))
}

/// Returns all of these in order, by one call of podman; `None` if one is missing, or if podman has read a name as the
/// beginning of another container's id.
fn exactly(names: &[String]) -> Option<Vec<Value>> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let answer = podman::json(&[&["inspect", "--type", "container", "--"], names.as_slice()].concat()).ok()?;
    let containers = answer.as_array()?;
    let is_each = containers.len() == names.len()
        && containers.iter().zip(&names).all(|(container, name)| container["Name"] == *name);
    is_each.then(|| containers.clone())
}

/// Returns all containers. One can vanish between the two calls, so they are repeated after a failure.
fn all() -> Result<Vec<Value>, Failure> {
    let mut failure = None;
    for _ in 0..5 {
        let names = podman::run(&["ps", "--all", "--no-trunc", "--format", "{{.ID}}"])?;
        let ids: Vec<&str> = names.lines().filter(|line| !line.is_empty()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = [&["inspect", "--type", "container"], ids.as_slice()].concat();
        match podman::json(&arguments) {
            Ok(containers) => return Ok(containers.as_array().cloned().unwrap_or_default()),
            Err(error) => failure = Some(error),
        }
    }
    Err(failure.unwrap_or_else(|| Failure::runtime(Code::InternalError, "podman inspect")))
}

/// `list`.
pub(crate) fn list(every: bool, format: Format, quiet: bool) -> Outcome {
    let containers: Vec<Value> = all()?.into_iter().filter(|container| every || runs(container)).collect();
    match format {
        Format::Json => printed(&containers.iter().map(document).collect::<Vec<_>>()),
        Format::Table if quiet => Ok(containers.iter().map(|container| text(&container["Name"]) + "\n").collect()),
        _ => Err(not_mapped("lists other than json and -q")),
    }
}

/// `inspect`: prints nothing at all if one id is unknown.
pub(crate) fn inspect(ids: &[String]) -> Outcome {
    let containers = exactly(ids).map_or_else(all, Ok)?;
    let one = |id: &String| {
        let found = containers.iter().find(|container| container["Name"] == id.as_str());
        found.map(document).ok_or_else(|| messages::inspect_missing(id))
    };
    let documents = ids.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    let unprintable = |error: serde_json::Error| Failure::runtime(Code::InternalError, error.to_string());
    pretty(&documents, VERSION).map(|text| text + "\n").map_err(unprintable)
}

/// `stats`: one sample, without stopped containers.
pub(crate) fn stats(ids: &[String]) -> Outcome {
    let containers = all()?;
    if let Some(id) = ids.iter().find(|id| !containers.iter().any(|container| container["Name"] == id.as_str())) {
        return Err(messages::stats_missing(id));
    }
    const FORMAT: &str = "{{.Name}} {{.CPUNano}} {{.ContainerStats.MemUsage}} {{.ContainerStats.NetInput}} \
                          {{.ContainerStats.NetOutput}} {{.ContainerStats.BlockInput}} \
                          {{.ContainerStats.BlockOutput}} {{.ContainerStats.PIDs}}";
    let mut samples = Vec::new();
    for line in podman::run(&["stats", "--no-stream", "--format", FORMAT])?.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let numbers: Vec<Option<u64>> = words.map(|word| word.parse().ok()).collect();
        let number = |index: usize| numbers.get(index).copied().flatten();
        let Some(container) = containers.iter().find(|container| container["Name"] == name.as_str()) else { continue };
        if !ids.is_empty() && !ids.contains(&name) {
            continue;
        }
        samples.push(json::Stats {
            id: name,
            block_read_bytes: number(4),
            block_write_bytes: number(5),
            cpu_usage_usec: number(0).map(|nanoseconds| nanoseconds / 1000),
            memory_limit_bytes: annotation(container, MEMORY).or_else(|| container["HostConfig"]["Memory"].as_u64()),
            memory_usage_bytes: number(1),
            network_rx_bytes: number(2),
            network_tx_bytes: number(3),
            num_processes: number(6),
            extra: BTreeMap::from([("simulated".to_owned(), true.into())]),
        });
    }
    printed(&samples)
}

fn document(container: &Value) -> json::Container {
    let id = text(&container["Name"]);
    let (config, host) = (&container["Config"], &container["HostConfig"]);
    let running = runs(container);
    let started = whole_seconds(&container["State"]["StartedAt"]).filter(|date| !date.starts_with("0001"));
    let process = json::InitProcess {
        arguments: strings(&container["Args"]),
        environment: strings(&config["Env"]),
        executable: text(&container["Path"]),
        rlimits: Vec::new(),
        supplemental_groups: Vec::new(),
        terminal: config["Tty"].as_bool().unwrap_or(false),
        user: match text(&config["User"]).as_str() {
            "" => json!({"id": {"uid": 0, "gid": 0}}),
            user => json!({"raw": {"userString": user}}),
        },
        working_directory: text(&config["WorkingDir"]),
        extra: BTreeMap::new(),
    };
    let configuration = json::Configuration {
        cap_add: strings(&host["CapAdd"]),
        cap_drop: strings(&host["CapDrop"]),
        creation_date: whole_seconds(&container["Created"]).unwrap_or_default(),
        dns: json::Dns {
            domain: None,
            nameservers: Vec::new(),
            options: Vec::new(),
            search_domains: Vec::new(),
            extra: BTreeMap::new(),
        },
        id: id.clone(),
        image: json::ImageReference {
            descriptor: json::Descriptor {
                digest: text(&container["ImageDigest"]),
                media_type: images::MANIFEST.to_owned(),
                size: 0,
                extra: BTreeMap::new(),
            },
            reference: text(&container["ImageName"]),
            extra: BTreeMap::new(),
        },
        init_process: process,
        labels: labels(config),
        masked_paths: None,
        mounts: container["Mounts"].as_array().into_iter().flatten().map(mount).collect(),
        networks: vec![json::NetworkReference {
            network: "default".to_owned(),
            options: json!({"hostname": config["Hostname"], "mtu": 1280}),
            extra: BTreeMap::new(),
        }],
        platform: json::Platform {
            architecture: container_command_line::architecture().to_owned(),
            os: "linux".to_owned(),
            variant: None,
            extra: BTreeMap::new(),
        },
        published_ports: ports(&host["PortBindings"]),
        published_sockets: Vec::new(),
        read_only: host["ReadonlyRootfs"].as_bool().unwrap_or(false),
        readonly_paths: None,
        resources: json::Resources {
            cpu_overhead: 1,
            cpus: annotation(container, CPUS).and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(4),
            memory_in_bytes: annotation(container, MEMORY).unwrap_or(1 << 30),
            storage: None,
            extra: BTreeMap::new(),
        },
        rosetta: false,
        runtime_handler: "container-runtime-linux".to_owned(),
        shm_size: None,
        ssh: false,
        stop_signal: config["StopSignal"].as_u64().map(|signal| signal.to_string()),
        sysctls: BTreeMap::new(),
        use_init: false,
        virtualization: false,
        extra: BTreeMap::new(),
    };
    let status = json::Status {
        networks: if running { attachments(container) } else { Vec::new() },
        started_date: started,
        state: if running { "running" } else { "stopped" }.to_owned(),
        extra: BTreeMap::new(),
    };
    json::Container { configuration, id, status, extra: BTreeMap::new() }
}

fn attachments(container: &Value) -> Vec<json::Attachment> {
    let networks = container["NetworkSettings"]["Networks"].as_object();
    let one = |network: &Value| json::Attachment {
        hostname: text(&container["Config"]["Hostname"]),
        ipv4_address: format!("{}/{}", text(&network["IPAddress"]), network["IPPrefixLen"]),
        ipv4_gateway: text(&network["Gateway"]),
        ipv6_address: None,
        mac_address: text(&network["MacAddress"]),
        mtu: 1280,
        network: "default".to_owned(),
        variant: None,
        extra: BTreeMap::new(),
    };
    let with_address = |network: &&Value| !text(&network["IPAddress"]).is_empty();
    networks.into_iter().flat_map(|networks| networks.values()).filter(with_address).map(one).collect()
}

/// Returns the published ports.
pub(crate) fn ports(bindings: &Value) -> Vec<json::PublishedPort> {
    let mut published = Vec::new();
    for (key, hosts) in bindings.as_object().into_iter().flatten() {
        let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        for host in hosts.as_array().into_iter().flatten() {
            let (Ok(container_port), Ok(host_port)) = (port.parse(), text(&host["HostPort"]).parse()) else { continue };
            let address = Some(text(&host["HostIp"])).filter(|address| !address.is_empty());
            published.push(json::PublishedPort {
                container_port,
                count: 1,
                host_address: address.unwrap_or_else(|| "0.0.0.0".to_owned()),
                host_port,
                proto: protocol.to_owned(),
                extra: BTreeMap::new(),
            });
        }
    }
    published
}

fn mount(mount: &Value) -> json::MountDocument {
    let writable = mount["RW"].as_bool().unwrap_or(true);
    let kind = match mount["Type"].as_str() {
        Some("volume") => {
            json!({"volume": {"name": mount["Name"], "format": "ext4", "cache": {"on": {}}, "sync": {"fsync": {}}}})
        }
        Some("tmpfs") => json!({"tmpfs": {}}),
        _ => json!({"virtiofs": {}}),
    };
    json::MountDocument {
        destination: text(&mount["Destination"]),
        options: if writable { Vec::new() } else { vec!["ro".to_owned()] },
        source: text(&mount["Source"]),
        kind,
        extra: BTreeMap::new(),
    }
}

fn labels(config: &Value) -> BTreeMap<String, String> {
    let labels = config["Labels"].as_object().into_iter().flatten();
    labels.map(|(key, value)| (key.clone(), text(value))).collect()
}

fn annotation(container: &Value, name: &str) -> Option<u64> {
    container["Config"]["Annotations"][name].as_str().and_then(|value| value.parse().ok())
}

/// Returns a date without its fraction, in UTC like podman's.
fn whole_seconds(date: &Value) -> Option<String> {
    let text = date.as_str()?;
    Some(format!("{}Z", text.get(..19)?))
}

/// Returns a text, or an empty one.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
