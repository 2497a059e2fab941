//! The life of a container after its creation.

use std::fs::File;
use std::net::TcpListener;
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use container_command_line::command::Process;
use container_command_line::{Code, Failure, messages};
use serde_json::Value;

use crate::commands::{Outcome, not_mapped};
use crate::{documents, podman};

/// Interval between checks of a container that is being stopped.
const LOOK: Duration = Duration::from_millis(50);

/// `start`: succeeds for a running container.
pub(crate) fn start(id: &str) -> Outcome {
    let container = documents::find(id)?.ok_or_else(|| messages::get_failed(id))?;
    if documents::runs(&container) {
        return Ok(format!("{id}\n"));
    }
    // podman redirects the port to the new container before it notices that it is taken, and never undoes that.
    for port in documents::ports(&container["HostConfig"]["PortBindings"]) {
        let taken = |error: &std::io::Error| error.kind() == std::io::ErrorKind::AddrInUse;
        if TcpListener::bind((port.host_address.as_str(), port.host_port)).is_err_and(|error| taken(&error)) {
            return Err(messages::port_taken(id));
        }
    }
    // The log of a VM is truncated at each start. It may not exist yet.
    let log = documents::text(&container["HostConfig"]["LogConfig"]["Path"]);
    let _ = File::options().write(true).truncate(true).open(log);
    let output = podman::output(podman::command(&["start", id]))?;
    if output.status.success() {
        return Ok(format!("{id}\n"));
    }
    let said = said(&output);
    if said.contains("address already in use") {
        return Err(messages::port_taken(id));
    }
    if said.contains("executable file not found") || said.contains("no such file or directory: OCI") {
        return Err(messages::no_executable(id));
    }
    Err(podman::failed("start", &output))
}

/// `stop`: succeeds for a stopped container.
pub(crate) fn stop(grace_seconds: u32, signal: Option<&str>, ids: &[String]) -> Outcome {
    each(ids, |id| {
        let container = documents::find(id)?.ok_or_else(|| messages::container_missing(id))?;
        if !documents::runs(&container) {
            return Ok(());
        }
        let Some(signal) = signal else {
            return podman::run(&["stop", "--time", &grace_seconds.to_string(), id]).map(drop);
        };
        podman::run(&["kill", "--signal", signal, id])?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(grace_seconds.into()) {
            if !documents::find(id)?.is_some_and(|container| documents::runs(&container)) {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        podman::run(&["stop", "--time", "0", id]).map(drop)
    })
}

/// `kill`: waits for the end after KILL; fails for a stopped container.
pub(crate) fn kill(signal: &str, ids: &[String]) -> Outcome {
    each(ids, |id| {
        let container = documents::find(id)?.ok_or_else(|| messages::container_missing(id))?;
        if !documents::runs(&container) {
            return Err(messages::no_runtime_client());
        }
        podman::run(&["kill", "--signal", signal, id])?;
        if ["KILL", "SIGKILL", "9"].contains(&signal) { podman::run(&["wait", id]).map(drop) } else { Ok(()) }
    })
}

/// `delete`: fails for a running container without `-f`.
pub(crate) fn delete(force: bool, ids: &[String]) -> Outcome {
    each(ids, |id| {
        let container = documents::find(id)?.ok_or_else(|| messages::container_missing(id))?;
        if documents::runs(&container) && !force {
            return Err(messages::delete_running(id));
        }
        podman::run(&["rm", "--force", "--time", "0", id]).map(drop)
    })
}

/// `logs`: shows the last start only, like the log of a VM.
pub(crate) fn logs(lines: Option<u64>, id: &str) -> Outcome {
    let container = documents::find(id)?.ok_or_else(|| messages::container_missing(id))?;
    let started = documents::text(&container["State"]["StartedAt"]);
    if started.starts_with("0001") {
        return Err(Failure::runtime(Code::InvalidState, format!("failed to get logs: container {id} has none")));
    }
    let lines = lines.map(|lines| lines.to_string());
    let mut arguments = vec!["logs"];
    arguments.extend(lines.as_deref().map(|lines| ["--tail", lines]).into_iter().flatten());
    arguments.push(id);
    let output = podman::output(podman::command(&arguments))?;
    if !output.status.success() {
        return Err(podman::failed("logs", &output));
    }
    let unreadable = |_| Failure::runtime(Code::InternalError, "failed to convert the logs to UTF-8");
    let read = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(unreadable);
    Ok(read(output.stdout)? + &read(output.stderr)?)
}

/// `exec`: returns the command's own code.
pub(crate) fn exec(detach: bool, process: &Process, id: &str, command: &[String]) -> Outcome {
    let container: Value = documents::find(id)?.ok_or_else(|| messages::get_failed(id))?;
    if !documents::runs(&container) {
        return Err(messages::not_running(id));
    }
    if process.terminal {
        return Err(not_mapped("a terminal"));
    }
    let mut arguments = vec!["exec"];
    arguments.extend(detach.then_some("--detach"));
    arguments.extend(process.interactive.then_some("--interactive"));
    arguments.extend(process.environment.iter().flat_map(|entry| ["--env", entry]));
    arguments.extend(process.user.iter().flat_map(|user| ["--user", user]));
    arguments.extend(process.directory.iter().flat_map(|directory| ["--workdir", directory]));
    arguments.push(id);
    arguments.extend(command.iter().map(String::as_str));
    let mut call = podman::command(&arguments);
    call.stdin(if process.interactive { Stdio::inherit() } else { Stdio::null() });
    if !detach {
        call.stdout(Stdio::inherit());
    }
    call.stderr(Stdio::piped());
    let child = call.spawn().map_err(|error| Failure::runtime(Code::InternalError, format!("podman exec: {error}")))?;
    let output = child.wait_with_output();
    let output = output.map_err(|error| Failure::runtime(Code::InternalError, format!("podman exec: {error}")))?;
    let said = said(&output);
    match output.status.code() {
        Some(0) if detach => Ok(format!("{id}\n")),
        // A missing program is an error of the CLI itself, not a code of the program.
        Some(125..=127) if said.contains("OCI") => Err(messages::no_executable(&command[0])),
        code => {
            eprint!("{said}");
            match u8::try_from(code.unwrap_or(1)).unwrap_or(1) {
                0 => Ok(String::new()),
                code => Err(Failure::Exit(code)),
            }
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Acts on each of several containers, and prints the ids of those for which that succeeded.
fn each(ids: &[String], act: impl Fn(&str) -> Result<(), Failure>) -> Outcome {
    let (mut printed, mut bad) = (String::new(), Vec::new());
    for id in ids {
        match act(id) {
            Ok(()) => printed.push_str(&format!("{id}\n")),
            Err(failure) => bad.push(failure.prefixed()),
        }
    }
    if bad.is_empty() {
        return Ok(printed);
    }
    print!("{printed}");
    Err(Failure::Prefixed(bad.join("\n")))
}
