//! A process that outlives the engine just long enough to delete the engine's containers: unlike processes, virtual
//! machines do not die with the process that started them.
//!
//! It reads from a pipe whose other end only the engine holds, and which the kernel closes however the engine dies. It
//! deletes only containers that it was given by name and that bear the realm's label. Each removal has a time limit,
//! after which it is killed. The next engine's sweep finds the containers that it misses.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The watcher's program. It reads which names to watch and to forget, and removes those watched when its pipe is
/// closed, a few at a time. It does so twice, because a create that was under way when the engine died may end after
/// the first round.
///
/// A shell cannot wait for one of two things, so each removal has a sleeper beside it, and the first that is done ends
/// the other.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
program=$1 label=$2 seconds=$3 pause=$4
names=' '
while read -r what name; do
    case $what in
    watch) names="$names$name " ;;
    forget)
        case $names in
        *" $name "*) names="${names%% $name *} ${names#* $name }" ;;
        esac
        ;;
    esac
done
exec 0</dev/null
remove() {
    seen=$(mktemp) || return
    sleep "$seconds" &
    sleeper=$!
    (
        trap 'kill -9 "$call" 2>/dev/null' USR1
        "$program" inspect "$1" >"$seen" 2>/dev/null &
        call=$!
        if wait "$call" && grep -q "$label" "$seen"; then
            "$program" delete -f "$1" >/dev/null 2>&1 &
            call=$!
            wait "$call"
        fi
        kill -9 "$sleeper" 2>/dev/null
    ) &
    remover=$!
    wait "$sleeper"
    kill -USR1 "$remover" 2>/dev/null
    wait "$remover"
    rm -f "$seen"
}
[ "$names" = ' ' ] && exit
for round in 1 2; do
    count=0
    for name in $names; do
        remove "$name" &
        count=$((count + 1))
        [ $((count % 4)) -eq 0 ] && wait
    done
    wait
    [ "$round" -eq 1 ] && sleep "$pause"
done
"#;

/// Time limit of an inspect and a delete of one container together.
const REMOVAL_SECONDS: &str = "45";
/// Time after which a create that was under way has ended.
const PAUSE_SECONDS: &str = "5";

/// The watcher and its names. Dropping this value makes it delete the containers that are still watched, on its own.
#[derive(Debug)]
pub(super) struct DeathWatcher {
    process: Child,
    arguments: [OsString; 4],
    names: BTreeSet<String>,
}

impl DeathWatcher {
    /// Starts a watcher that runs `program` and deletes only containers with the label `key` of the value `value`.
    pub(super) fn start(program: &Path, key: &str, value: &str) -> io::Result<Self> {
        let label = format!("\"{key}\" *: *\"{value}\"");
        Self::start_with(program, label, REMOVAL_SECONDS, PAUSE_SECONDS)
    }

    fn start_with(program: &Path, label: String, seconds: &str, pause: &str) -> io::Result<Self> {
        let arguments = [PathBuf::from(program).into_os_string(), label.into(), seconds.into(), pause.into()];
        Ok(Self { process: start_shell(&arguments)?, arguments, names: BTreeSet::new() })
    }

    /// Makes a container of this name be deleted when this process dies, even if it is made only later.
    pub(super) fn watch(&mut self, name: &str) -> io::Result<()> {
        self.names.insert(name.to_owned());
        match self.tell("watch", name) {
            Ok(()) => Ok(()),
            // It was killed. Another watcher takes over all names.
            Err(_) => self.replace(),
        }
    }

    /// Ends the watch over a container that is gone.
    pub(super) fn forget(&mut self, name: &str) {
        // If the watcher is gone, the next one gets a list without this name.
        if self.names.remove(name) && self.tell("forget", name).is_err() && !self.names.is_empty() {
            let _ = self.replace();
        }
    }

    /// Returns true if no container is watched.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn tell(&mut self, what: &str, name: &str) -> io::Result<()> {
        let pipe = self.process.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        // One short write, which the kernel does not tear.
        pipe.write_all(format!("{what} {name}\n").as_bytes())
    }

    fn replace(&mut self) -> io::Result<()> {
        self.end_without_deleting();
        self.process = start_shell(&self.arguments)?;
        let names: Vec<_> = self.names.iter().cloned().collect();
        names.iter().try_for_each(|name| self.tell("watch", name))
    }

    fn end_without_deleting(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for DeathWatcher {
    fn drop(&mut self) {
        if self.names.is_empty() {
            self.end_without_deleting();
        }
        // Otherwise the pipe closes with this value, and it does its work, which takes too long to wait for.
    }
}

fn start_shell(arguments: &[OsString]) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    for variable in super::call::UNWANTED_VARIABLES {
        command.env_remove(variable);
    }
    command
        .args(["-c", SCRIPT, "kina-death-watcher"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .process_group(0)
        .spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a program whose containers are files in a directory, each with its labels in it. Deleting the one called
    /// `hangs` takes for ever.
    fn program(directory: &Path) -> PathBuf {
        let script = format!(
            "#!/bin/sh\ncd '{}' || exit 1\nfor name; do :; done\ncase $1 in\n\
             inspect) cat \"$name\" ;;\n\
             delete) [ \"$name\" = hangs ] && exec sleep 1000; echo \"$*\" >>calls; rm \"$name\" ;;\nesac\n",
            directory.display()
        );
        let path = directory.join("program");
        crate::provider::apple::tests::write_program(&path, &script);
        path
    }

    /// Lets it do its work, and waits for its end.
    fn end(mut watcher: DeathWatcher) {
        drop(watcher.process.stdin.take());
        watcher.process.wait().expect("it ends");
        watcher.names.clear();
    }

    #[test]
    fn watched_containers_are_deleted_and_no_others() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ours = "[ { \"labels\" : {\n \"dev.kina.realm\" : \"r1\"\n} } ]";
        let compact = "[{\"labels\":{\"dev.kina.realm\":\"r1\"}}]";
        let foreign = "[{\"labels\":{\"dev.kina.realm\":\"r10\"}}]";
        let names =
            [("a", ours), ("b", compact), ("foreign", foreign), ("forgotten", ours), ("untold", ours), ("hangs", ours)];
        for (name, labels) in names {
            std::fs::write(directory.path().join(name), labels).expect("written");
        }
        let label = "\"dev.kina.realm\" *: *\"r1\"".to_owned();
        let mut watcher = DeathWatcher::start_with(&program(directory.path()), label, "2", "0").expect("a shell");
        for name in ["a", "hangs", "b", "foreign", "forgotten", "never-made"] {
            watcher.watch(name).expect("sent");
        }
        watcher.forget("forgotten");
        // Another takes over from one that was killed.
        watcher.process.kill().expect("killed");
        watcher.process.wait().expect("ended");
        watcher.watch("late").expect("sent to the next watcher");
        std::fs::write(directory.path().join("late"), ours).expect("written");
        end(watcher);
        let left = ["a", "b", "late", "foreign", "forgotten", "untold", "hangs"]
            .map(|name| directory.path().join(name).exists());
        assert_eq!(left, [false, false, false, true, true, true, true]);
        let calls = std::fs::read_to_string(directory.path().join("calls")).expect("called");
        assert!(calls.lines().all(|call| call.starts_with("delete -f ")), "{calls}");
    }

    #[test]
    fn with_nothing_to_watch_it_ends_at_once() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut watcher = DeathWatcher::start(&program(directory.path()), "k", "v").expect("a shell");
        watcher.watch("a").expect("sent");
        watcher.forget("a");
        assert!(watcher.is_empty());
        drop(watcher);
        assert!(!directory.path().join("calls").exists());
    }
}
