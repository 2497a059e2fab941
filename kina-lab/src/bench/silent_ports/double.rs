//! Network namespaces, made by the system's own programs: without the rights for them, and on a Mac, there are none.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// Time limit for making a namespace.
const CHECK_TIMEOUT: Duration = Duration::from_secs(20);
const UP: &str = "ip link set lo up";
/// xnu drops only the first packet to a silent port; this drops the answer to it, and all other resets with it.
const DROP_RESETS: &str = "iptables -A OUTPUT -p tcp --tcp-flags RST RST -j DROP";

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
    pub(super) fn command(self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        command.arg("--net");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
        }
        let script = match self {
            Self::Plain => format!("{UP} && exec \"$0\" \"$@\""),
            Self::Double => format!("{UP} && {DROP_RESETS} && exec \"$0\" \"$@\""),
        };
        command.args(["--", "sh", "-c", &script]).arg(program);
        command
    }
}

/// Fails, with the reason, if there can be no double here.
pub(super) async fn check() -> Result<(), String> {
    let mut command = Network::Double.command(Path::new("true"));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let needs = "`unshare`, `ip` and `iptables` have to be there, with the rights to make a network namespace";
    match tokio::time::timeout(CHECK_TIMEOUT, command.output()).await {
        Ok(Ok(output)) if output.status.success() => Ok(()),
        Ok(Ok(output)) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Err(format!("no network namespace that drops resets can be made ({}: {said}): {needs}", output.status))
        }
        Ok(Err(error)) => Err(format!("`unshare` cannot be started ({error}): {needs}")),
        Err(_) => Err(format!("making a network namespace took longer than {} s", CHECK_TIMEOUT.as_secs())),
    }
}
