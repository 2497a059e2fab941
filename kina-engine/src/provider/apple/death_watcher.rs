//! A process that outlives the engine just long enough to delete the containers that the engine has made: unlike
//! processes, virtual machines do not die with who started them.
//!
//! It reads from a pipe of which only the engine holds the other end, and which the kernel closes however the engine
//! dies. It deletes only what it was told of, and of that only what bears the realm's label; each call of `container`
//! has its time, and is killed after that. What it misses, the next engine's sweep finds.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Keeps a list of names, as it is told to, and removes all of them when nobody can tell it anything any more. Twice: a
/// create that was under way when the engine died may come to its end after the first time. A few at a time.
///
/// A shell cannot wait for one of two things; so each removal has a sleeper beside it, and whichever is done first
/// ends the other.
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

/// How long an inspect and a delete of one container may take together.
const REMOVAL_SECONDS: &str = "45";
/// After which time a create that was under way has come to its end.
const PAUSE_SECONDS: &str = "5";

/// The watcher and what it watches. When this value is dropped, it deletes what it still watches, on its own.
#[derive(Debug)]
pub(super) struct DeathWatcher {
    process: Child,
    arguments: [OsString; 4],
    names: BTreeSet<String>,
}

impl DeathWatcher {
    /// A watcher that runs `program` and deletes only what has the label `key` with the value `value`.
    pub(super) fn start(program: &Path, key: &str, value: &str) -> io::Result<Self> {
        let label = format!("\"{key}\" *: *\"{value}\"");
        Self::start_with(program, label, REMOVAL_SECONDS, PAUSE_SECONDS)
    }

    fn start_with(program: &Path, label: String, seconds: &str, pause: &str) -> io::Result<Self> {
        let arguments = [PathBuf::from(program).into_os_string(), label.into(), seconds.into(), pause.into()];
        Ok(Self { process: start_shell(&arguments)?, arguments, names: BTreeSet::new() })
    }

    /// From now on a container of this name is deleted when this process dies, also if it is made only later.
    pub(super) fn watch(&mut self, name: &str) -> io::Result<()> {
        self.names.insert(name.to_owned());
        match self.tell("watch", name) {
            Ok(()) => Ok(()),
            // Somebody killed it. Another takes over, of all of them.
            Err(_) => self.replace(),
        }
    }

    /// There is no container of this name any more.
    pub(super) fn forget(&mut self, name: &str) {
        // Should it be gone, the next one is not told of this name.
        if self.names.remove(name) && self.tell("forget", name).is_err() && !self.names.is_empty() {
            let _ = self.replace();
        }
    }

    /// Whether there is no container left to watch.
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
        // Else the pipe closes with this value, and it goes to work, for which nobody has the time to wait.
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

    /// A program whose containers are files in a directory, each with its labels in it. To delete the one called `hangs`
    /// takes for ever.
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

    /// Lets it do its work, and waits for that.
    fn end(mut watcher: DeathWatcher) {
        drop(watcher.process.stdin.take());
        watcher.process.wait().expect("it ends");
        watcher.names.clear();
    }

    #[test]
    fn what_it_was_told_of_is_deleted_and_nothing_else() {
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
            watcher.watch(name).expect("told");
        }
        watcher.forget("forgotten");
        // Another takes over from one that was killed.
        watcher.process.kill().expect("killed");
        watcher.process.wait().expect("ended");
        watcher.watch("late").expect("told to the next one");
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
        watcher.watch("a").expect("told");
        watcher.forget("a");
        assert!(watcher.is_empty());
        drop(watcher);
        assert!(!directory.path().join("calls").exists());
    }
}
