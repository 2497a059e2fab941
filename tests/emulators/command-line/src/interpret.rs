//! From options and arguments to typed commands.

use crate::command::{Command, Create, Format, Process};
use crate::{Matches, UsageError, Version, grammar, memory_in_bytes, values};

/// Reads a command line without the program's own name.
pub fn parse(arguments: &[String], version: Version) -> Result<Command, UsageError> {
    let matches = grammar::matches_of(arguments, version)?;
    command(&matches)
}

fn command(matches: &Matches) -> Result<Command, UsageError> {
    let first = || matches.arguments.first().cloned().unwrap_or_default();
    let second = || matches.arguments.get(1).cloned().unwrap_or_default();
    let all = || matches.arguments.clone();
    let (format, quiet) = (format(matches), matches.has("-q"));
    Ok(match *matches.form.path {
        ["system", ..] => return system(matches, format),
        ["image", ..] => return image(matches, format),
        ["create"] => Command::Create(Box::new(create(matches)?)),
        ["run"] => Command::Run { detach: matches.has("-d"), create: Box::new(create(matches)?) },
        ["start"] => Command::Start { attach: matches.has("-a"), id: first() },
        ["stop"] => {
            let grace_seconds = u32::try_from(matches.number("-t").unwrap_or(5)).unwrap_or(u32::MAX);
            Command::Stop { grace_seconds, signal: matches.one("-s"), ids: all() }
        }
        ["kill"] => Command::Kill { signal: matches.one("-s").unwrap_or_else(|| "KILL".to_owned()), ids: all() },
        ["delete" | "rm"] => {
            let (every, ids) = (matches.has("--all"), all());
            if every != ids.is_empty() {
                return Err(UsageError("delete takes either container ids or --all".to_owned()));
            }
            Command::Delete { force: matches.has("-f"), all: every, ids }
        }
        ["list" | "ls"] => Command::List { all: matches.has("-a"), format, quiet },
        ["inspect"] => Command::Inspect { ids: all() },
        ["exec"] => Command::Exec {
            detach: matches.has("-d"),
            process: process(matches)?,
            id: first(),
            command: matches.arguments[1..].to_vec(),
        },
        ["logs"] => Command::Logs {
            boot: matches.has("--boot"),
            lines: matches.number("-n"),
            follow: matches.has("-f"),
            id: first(),
        },
        ["copy" | "cp"] => copy(first(), second())?,
        ["stats"] => Command::Stats { format, once: matches.has("--no-stream"), ids: all() },
        ["export"] => Command::Export { output: matches.one("-o"), id: first() },
        ["prune"] => Command::Prune,
        ["clean"] => Command::Clean { id: first() },
        ["network", "create"] => Command::NetworkCreate {
            internal: matches.has("--internal"),
            subnet: matches.one("--subnet"),
            labels: matches.all("--label"),
            name: first(),
        },
        ["network", "delete"] => Command::NetworkDelete { names: all() },
        ["network", "list"] => Command::NetworkList { format, quiet },
        ["volume", "create"] => Command::VolumeCreate {
            size_bytes: matches.one("-s").as_deref().and_then(memory_in_bytes),
            options: matches.all("--opt"),
            labels: matches.all("--label"),
            name: first(),
        },
        ["volume", "delete"] => Command::VolumeDelete { names: all() },
        ["volume", "list"] => Command::VolumeList { format, quiet },
        ["build"] => Command::Build,
        ["machine"] => Command::Machine,
        ["k8s"] => Command::Kubernetes,
        _ => return Err(UsageError(format!("unexpected command '{}'", matches.form.path.join(" ")))),
    })
}

fn system(matches: &Matches, format: Format) -> Result<Command, UsageError> {
    Ok(match *matches.form.path {
        ["system", "start"] => {
            let kernel_install = match (matches.has("--enable-kernel-install"), matches.has("--disable-kernel-install"))
            {
                (true, true) => return Err(UsageError("kernel install is either enabled or disabled".to_owned())),
                (false, false) => None,
                (enabled, _) => Some(enabled),
            };
            Command::SystemStart { kernel_install, app_root: matches.one("--app-root") }
        }
        ["system", "stop"] => Command::SystemStop,
        ["system", "logs"] => Command::SystemLogs,
        ["system", "df"] => Command::SystemDiskUsage { format },
        ["system", "status"] => Command::SystemStatus { format },
        ["system", "version"] => Command::SystemVersion { format },
        ["system", "property", "list"] => Command::PropertyList { format },
        ["system", "kernel", "set"] => {
            let ways = ["--recommended", "--binary", "--tar"].iter().filter(|way| matches.has(way)).count();
            if ways != 1 || matches.has("--tar") != matches.has("--digest") {
                return Err(UsageError("one of --recommended, --binary, --tar with --digest".to_owned()));
            }
            let (binary, tar) = (matches.one("--binary"), matches.one("--tar"));
            Command::KernelSet { recommended: matches.has("--recommended"), binary, tar }
        }
        ["system", "dns", "create"] => Command::DnsCreate { domain: matches.arguments[0].clone() },
        _ => Command::DnsList { format },
    })
}

fn image(matches: &Matches, format: Format) -> Result<Command, UsageError> {
    let references = matches.arguments.clone();
    let force = matches.has("-f");
    Ok(match *matches.form.path {
        ["image", "pull"] => Command::ImagePull { reference: references[0].clone() },
        ["image", "list"] => Command::ImageList { format, quiet: matches.has("-q") },
        ["image", "inspect"] => Command::ImageInspect { references },
        ["image", "load"] => Command::ImageLoad { input: matches.one("-i"), force },
        ["image", "save"] => {
            Command::ImageSave { platform: matches.one("--platform"), output: matches.one("-o"), references }
        }
        ["image", "tag"] => Command::ImageTag { source: references[0].clone(), target: references[1].clone() },
        ["image", "prune"] => Command::ImagePrune { all: matches.has("-a") },
        _ => Command::ImageDelete { force, references },
    })
}

fn format(matches: &Matches) -> Format {
    match matches.one("--format").as_deref() {
        Some("json") => Format::Json,
        Some("yaml") => Format::Yaml,
        Some("toml") => Format::Toml,
        _ => Format::Table,
    }
}

fn copy(source: String, destination: String) -> Result<Command, UsageError> {
    let inside = |side: &str| side.split_once(':').is_some_and(|(id, path)| !id.contains('/') && path.starts_with('/'));
    if inside(&source) == inside(&destination) {
        return Err(UsageError("exactly one side of a copy is CONTAINER:/ABSOLUTE/PATH".to_owned()));
    }
    Ok(Command::Copy { source, destination })
}

fn process(matches: &Matches) -> Result<Process, UsageError> {
    let environment = matches.all("-e");
    if let Some(bad) = environment.iter().find(|entry| entry.starts_with('=')) {
        return Err(UsageError(format!("invalid environment variable '{bad}'")));
    }
    Ok(Process {
        interactive: matches.has("-i"),
        terminal: matches.has("-t"),
        environment,
        user: matches.one("-u"),
        directory: matches.one("-w"),
    })
}

fn create(matches: &Matches) -> Result<Create, UsageError> {
    let each = |name: &str,
                read: fn(&str) -> Result<crate::command::Mount, UsageError>|
     -> Result<Vec<_>, UsageError> { matches.all(name).iter().map(|text| read(text)).collect() };
    let mut mounts = each("--mount", values::mount)?;
    mounts.extend(each("-v", values::volume)?);
    mounts.extend(each("--tmpfs", values::tmpfs)?);
    let small = |name: &str| matches.number(name).and_then(|number| u32::try_from(number).ok());
    let memory = |name: &str| matches.one(name).as_deref().and_then(memory_in_bytes);
    let paths =
        |name: &str| matches.has(name).then(|| matches.all(name).into_iter().filter(|path| path != "NONE").collect());
    let platform = matches.one("--platform").map(|platform| platform.trim_start_matches("linux/").to_owned());
    let publish = matches.all("--publish").iter().map(|text| values::publish(text)).collect::<Result<Vec<_>, _>>()?;
    if publish.len() > 64 {
        return Err(UsageError("at most 64 ports can be published".to_owned()));
    }
    Ok(Create {
        name: matches.one("--name"),
        labels: matches.all("--label"),
        cpus: small("--cpus"),
        memory_bytes: memory("--memory"),
        remove: matches.has("--rm"),
        cidfile: matches.one("--cidfile"),
        process: process(matches)?,
        environment_files: matches.all("--env-file"),
        user_id: small("--uid"),
        group_id: small("--gid"),
        ulimits: matches.all("--ulimit"),
        publish,
        publish_sockets: matches.all("--publish-socket"),
        mounts,
        capabilities_added: matches.all("--cap-add"),
        capabilities_dropped: matches.all("--cap-drop"),
        masked_paths: paths("--masked-path"),
        read_only_paths: paths("--read-only-path"),
        kernel_arguments: matches.all("--kernel-arg"),
        kernel: matches.one("--kernel"),
        init: matches.has("--init"),
        init_image: matches.one("--init-image"),
        virtualization: matches.has("--virtualization"),
        rosetta: matches.has("--rosetta"),
        ssh: matches.has("--ssh"),
        shared_memory_bytes: memory("--shm-size"),
        read_only: matches.has("--read-only"),
        runtime: matches.one("--runtime"),
        networks: matches.all("--network").iter().map(|text| values::network(text)).collect::<Result<_, _>>()?,
        dns: matches.all("--dns"),
        dns_domain: matches.one("--dns-domain"),
        dns_search: matches.all("--dns-search"),
        dns_options: matches.all("--dns-option"),
        no_dns: matches.has("--no-dns"),
        architecture: platform.or_else(|| matches.one("--arch")),
        image: matches.arguments[0].clone(),
        arguments: matches.arguments[1..].to_vec(),
    })
}
