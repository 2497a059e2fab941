//! The mapping of commands.

use container_command_line::command::{Command, Format};
use container_command_line::{Failure, compact, messages};
use serde::Serialize;
use serde_json::json;

use crate::{VERSION, create, documents, images, lifecycle, podman, version_line};

/// The output of a call to stdout, or its failure.
pub(crate) type Outcome = Result<String, Failure>;

/// Carries out a command.
pub(crate) fn perform(command: Command) -> Outcome {
    match command {
        Command::SystemStart { .. } => podman::run(&["info"]).map(|_| String::new()),
        Command::SystemStatus { format } => system_status(format),
        Command::SystemVersion { format } => system_version(format),
        Command::Create(create) => create::create(&create),
        Command::Start { attach: false, id } => lifecycle::start(&id),
        Command::Stop { grace_seconds, signal, ids } => lifecycle::stop(grace_seconds, signal.as_deref(), &ids),
        Command::Kill { signal, ids } => lifecycle::kill(&signal, &ids),
        Command::Delete { force, all: false, ids } => lifecycle::delete(force, &ids),
        Command::List { all, format, quiet } => documents::list(all, format, quiet),
        Command::Inspect { ids } => documents::inspect(&ids),
        Command::Logs { boot: false, lines, follow: false, id } => lifecycle::logs(lines, &id),
        Command::Exec { detach, process, id, command } => lifecycle::exec(detach, &process, &id, &command),
        Command::Stats { format: Format::Json, once: true, ids } => documents::stats(&ids),
        Command::ImagePull { reference } => Err(messages::pull_failed(&reference)),
        Command::ImageList { format: Format::Json, .. } => images::list(),
        Command::ImageList { quiet: true, .. } => images::names(),
        Command::ImageInspect { references } => images::inspect(&references),
        Command::ImageLoad { input, .. } => images::load(input.as_deref()),
        Command::ImageTag { source, target } => images::tag(&source, &target),
        Command::ImageDelete { force, references } => images::delete(force, &references),
        _ => Err(not_mapped("this command")),
    }
}

/// The failure of a command that the reference lists, but no test has needed so far.
pub(crate) fn not_mapped(what: &str) -> Failure {
    messages::not_emulated(what, "container-on-podman")
}

/// Prints JSON on one line.
pub(crate) fn printed<T: Serialize>(document: &T) -> Outcome {
    let unprintable =
        |error: serde_json::Error| Failure::runtime(container_command_line::Code::InternalError, error.to_string());
    compact(document, VERSION).map(|text| text + "\n").map_err(unprintable)
}

/// Reports the status. The service is podman itself, which runs if it answers.
fn system_status(format: Format) -> Outcome {
    let information = podman::json(&["info", "--format", "json"]);
    let status = if information.is_ok() { "running" } else { "unregistered" };
    let part = |name: &str, version: String| json!({"appName": name, "build": "release", "commit": "unspeci", "version": version});
    let mut document = json!({
        "status": status,
        "simulated": true,
        "client": part("container", VERSION.to_string()),
    });
    if let Ok(information) = &information {
        let (host, store) = (&information["host"], &information["store"]);
        document["server"] = part("container-apiserver", version_line("container-apiserver"));
        document["host"] =
            json!({"architecture": host["arch"], "cpus": host["cpus"], "operatingSystem": "Linux (podman)"});
        document["paths"] = json!({"appRoot": store["graphRoot"], "installRoot": "/usr/"});
        document["resources"] = json!({
            "containersRunning": store["containerStore"]["running"],
            "containersTotal": store["containerStore"]["number"],
            "images": store["imageStore"]["number"],
        });
    }
    let text = match format {
        Format::Json => printed(&document)?,
        Format::Table => format!("FIELD   VALUE\nstatus  {status}\n"),
        Format::Yaml | Format::Toml => return Err(not_mapped("yaml and toml")),
    };
    if information.is_ok() {
        return Ok(text);
    }
    print!("{text}");
    Err(Failure::Exit(1))
}

fn system_version(format: Format) -> Outcome {
    let entry = |name: &str, version: String| json!({"appName": name, "buildType": "release", "commit": "unspeci", "version": version, "simulated": true});
    let mut entries = vec![entry("container", VERSION.to_string())];
    if podman::run(&["info"]).is_ok() {
        entries.push(entry("container-apiserver", version_line("container-apiserver")));
    }
    match format {
        Format::Json => printed(&entries),
        Format::Table => Ok(version_line("container CLI") + "\n"),
        Format::Yaml | Format::Toml => Err(not_mapped("yaml and toml")),
    }
}
