//! Network namespaces, made by the system's own programs: without the rights for them, and on a Mac, there are none.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use kina_engine::lab::search_path;
use tokio::process::Command;

/// Time limit for making a namespace.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
/// Gets `ip`, `iptables`, and the command that it becomes.
const PLAIN: &str = "\"$1\" link set lo up && shift 2 && exec \"$@\"";
/// xnu does not answer the first packet to a silent port. This drops the answer to it, and all other resets with it.
const DOUBLE: &str =
    "\"$1\" link set lo up && \"$2\" -A OUTPUT -p tcp --tcp-flags RST RST -j DROP && shift 2 && exec \"$@\"";

/// A network of its own for a process and its children: nothing but loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// As the system makes it.
    Plain,
    /// A double of xnu.
    Double,
}

impl Network {
    /// A command that runs a program in a network of this kind.
    ///
    /// # Errors
    /// If one of the programs that make it is missing.
    pub(super) fn command(self, program: &Path) -> Result<Command, String> {
        let mut command = Command::new(found("unshare")?);
        command.arg("--net");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let script = match self {
            Self::Plain => PLAIN,
            Self::Double => DOUBLE,
        };
        command.args(["--", "/bin/sh", "-c", script, "sh"]).arg(found("ip")?).arg(found("iptables")?).arg(program);
        Ok(command)
    }
}

/// Fails, with the reason, if there can be no double here.
pub(super) async fn check() -> Result<(), String> {
    let mut command = Network::Double.command(Path::new("/bin/true"))?;
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(CHECK_TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("this process may make no network namespace that drops resets ({}: {said})", output.status))
        }
        Ok(Err(error)) => Err(format!("`unshare` cannot be started ({error})")),
        Err(_) => Err(format!("making a network namespace took longer than {} s", CHECK_TIMEOUT.as_secs())),
    }
}

fn found(name: &str) -> Result<PathBuf, String> {
    let missing = || format!("there is no program `{name}`, which a network namespace that drops resets needs");
    search_path::find(name, &search_path::of_this_process()).ok_or_else(missing)
}
