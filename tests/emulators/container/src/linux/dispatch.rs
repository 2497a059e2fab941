//! One call of the CLI: its faults and its effects.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use container_command_line::command::Command;
use container_command_line::{Code, Failure, Version, compact, messages, parse, pretty, qualified};
use serde::Serialize;
use serde_json::Value;

use super::faults::{Decision, Fault};
use super::settings::{self, Settings};
use super::store::Store;
use super::{hold, images};

/// The output of a call to stdout, or its failure.
pub(crate) type Outcome = Result<String, Failure>;

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The state.
    pub(crate) store: Store,
    /// The settings from the environment.
    pub(crate) settings: Settings,
    /// The faults of this call.
    pub(crate) decision: Decision,
}

/// Runs the command line; returns the exit code.
pub(crate) fn main(arguments: &[String]) -> u8 {
    let (text, code) = match run(arguments) {
        Ok(text) => (text, 0),
        Err((text, failure)) => {
            if let Some(message) = failure.text() {
                eprintln!("{message}");
            }
            (text, failure.exit_code())
        }
    };
    let mut stdout = std::io::stdout().lock();
    // The reader may be gone.
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    code
}

fn run(arguments: &[String]) -> Result<String, (String, Failure)> {
    let silent = |failure: Failure| (String::new(), failure);
    let version = settings::version().map_err(silent)?;
    if arguments == ["--version"] {
        return Ok(version_line("container CLI", version) + "\n");
    }
    let command = parse(arguments, version).map_err(|error| silent(error.into()))?;
    let settings = Settings::from_environment().map_err(silent)?;
    let store = Store::open(&settings.root).map_err(silent)?;
    let verb = verb(arguments);
    let decision = decide(&store, &settings, &verb, &command, arguments).map_err(silent)?;
    Call { store, settings, decision }.run(&verb, command)
}

/// Returns `NAME version V (build: …, commit: …)`, followed by a hint that this is not the real program.
pub(crate) fn version_line(name: &str, version: Version) -> String {
    format!("{name} version {version} (build: release, commit: unspeci) kina emulator, simulated")
}

/// Returns the command's words, joined as in a plan of faults.
fn verb(arguments: &[String]) -> String {
    let forms = container_command_line::FORMS.iter();
    let mut paths =
        forms.map(|form| form.path).filter(|path| path.iter().zip(arguments).all(|(one, other)| one == other));
    match paths.find(|path| path.len() <= arguments.len()).map(|path| path.join("-")).unwrap_or_default().as_str() {
        "rm" => "delete".to_owned(),
        "ls" => "list".to_owned(),
        "cp" => "copy".to_owned(),
        "image-rm" => "image-delete".to_owned(),
        verb => verb.to_owned(),
    }
}

/// Decides on the faults of a call, and records it.
fn decide(
    store: &Store,
    settings: &Settings,
    verb: &str,
    command: &Command,
    arguments: &[String],
) -> Result<Decision, Failure> {
    let _lock = store.lock()?;
    let mut service = store.service()?;
    let images = images::names(store)?;
    let pulls = |faults: &[Fault]| match command {
        Command::Create(create) | Command::Run { create, .. } => {
            faults.contains(&Fault::ImageGone) || !images.contains_key(&qualified(&create.image))
        }
        Command::ImagePull { .. } => true,
        _ => false,
    };
    let is_possible = |fault, faults: &[Fault]| match fault {
        Fault::ImageGone => !images.is_empty(),
        Fault::PullHangs => pulls(faults),
        _ => true,
    };
    let decision = settings.faults.decide(verb, &mut service, is_possible);
    store.write("service.json", &service)?;
    store.note_call(&arguments.join(" "))?;
    Ok(decision)
}

impl Call {
    fn run(&self, verb: &str, command: Command) -> Result<String, (String, Failure)> {
        let silent = |failure: Failure| (String::new(), failure);
        if self.decision.has(Fault::Noise) {
            eprintln!("{} warning emulator[{}]: an unexpected line", NOISE_DATE, self.decision.chance(1) % 1000);
            eprintln!("[1/6] Fetching image [0s]");
        }
        self.strike().map_err(silent)?;
        let interrupted = || (String::new(), messages::service_down("Connection interrupted"));
        let either = self.decision.has(Fault::Interrupted);
        let after = self.decision.has(Fault::InterruptedAfter) || (either && self.decision.coin(2));
        if self.decision.has(Fault::InterruptedBefore) || (either && !after) {
            return Err(interrupted());
        }
        let hangs = self.decision.has(Fault::Hang);
        if hangs && !self.decision.coin(3) {
            self.hang().map_err(silent)?;
        }
        if self.decision.has(Fault::Slow) {
            let _lock = self.store.boot_lock().map_err(silent)?;
            std::thread::sleep(Duration::from_millis(self.settings.faults.slow_ms));
        }
        let local = matches!(
            command,
            Command::SystemStart { .. }
                | Command::SystemStop
                | Command::SystemStatus { .. }
                | Command::SystemVersion { .. }
        );
        if !local && !self.service_runs().map_err(silent)? {
            let plugin = matches!(command, Command::Machine | Command::Kubernetes);
            let text = "Plugins are unavailable. Start the container system services and retry";
            let down = || messages::service_down("Connection invalid");
            return Err(silent(if plugin { Failure::runtime(Code::InvalidState, text) } else { down() }));
        }
        let outcome = self.perform(command);
        if hangs {
            self.hang().map_err(silent)?;
        }
        match outcome {
            Ok(_) if after => Err(interrupted()),
            Ok(_) if self.decision.has(Fault::Lie) => {
                let text = format!("{}: \"failed to {verb}: emulator lies\"", Code::InternalError);
                Err(silent(Failure::Prefixed(text)))
            }
            Ok(text) => Ok(text),
            Err(failure) => Err(silent(failure)),
        }
    }

    /// Carries out the faults that change the state before the call.
    fn strike(&self) -> Result<(), Failure> {
        if self.decision.has(Fault::Pruned) {
            self.prune_one()?;
        }
        if self.decision.has(Fault::ImageGone) {
            self.image_gone()?;
        }
        if self.decision.has(Fault::DamagedImage) {
            self.damage_an_image()?;
        }
        if self.decision.has(Fault::Upgraded) {
            self.upgrade()?;
        }
        if self.decision.has(Fault::LockHeld) {
            hold::start(&self.settings.root, Duration::from_millis(self.settings.faults.lock_ms))?;
        }
        if self.decision.has(Fault::Reboot) {
            self.reboot()?;
        }
        if self.decision.has(Fault::Crash) {
            self.forget_all()?;
            return Err(messages::service_down("Connection interrupted"));
        }
        Ok(())
    }

    /// Never returns, except with an error. It may hold the global lock for a while.
    pub(crate) fn hang(&self) -> Result<(), Failure> {
        if self.decision.coin(4) {
            let _lock = self.store.boot_lock()?;
            std::thread::sleep(Duration::from_millis(self.settings.faults.hold_ms));
        }
        loop {
            std::thread::park();
        }
    }

    fn service_runs(&self) -> Result<bool, Failure> {
        Ok(self.store.service()?.running && !self.decision.has(Fault::Down))
    }

    fn perform(&self, command: Command) -> Outcome {
        match command {
            Command::SystemStart { kernel_install, app_root } => self.system_start(kernel_install, app_root),
            Command::SystemStop => self.system_stop(),
            Command::SystemDiskUsage { format } => self.disk_usage(format),
            Command::SystemStatus { format } => self.system_status(format),
            Command::SystemVersion { format } => self.system_version(format),
            Command::PropertyList { format } => self.property_list(format),
            Command::KernelSet { recommended, binary, .. } => self.kernel_set(recommended, binary.as_deref()),
            Command::Create(create) => self.create(&create),
            Command::Run { detach, create } => self.run_container(detach, &create),
            Command::Start { attach, id } => self.start(attach, &id),
            Command::Stop { grace_seconds, signal, ids } => self.stop(grace_seconds, signal.as_deref(), &ids),
            Command::Kill { signal, ids } => self.kill(&signal, &ids),
            Command::Delete { force, all, ids } => self.delete(force, all, ids),
            Command::List { all, format, quiet } => self.list(all, format, quiet),
            Command::Inspect { ids } => self.inspect(&ids),
            Command::Exec { detach, process, id, command } => self.exec(detach, &process, &id, &command),
            Command::Logs { boot, lines, follow, id } => self.logs(boot, lines, follow, &id),
            Command::Copy { source, destination } => self.copy(&source, &destination),
            Command::Stats { format, once, ids } => self.stats(format, once, &ids),
            Command::Export { output, id } => self.export(output.as_deref(), &id),
            Command::Prune => self.prune(),
            Command::ImagePull { reference } => self.pull(&reference),
            Command::ImageList { format, quiet } => self.image_list(format, quiet),
            Command::ImageInspect { references } => self.image_inspect(&references),
            Command::ImageLoad { input, .. } => self.image_load(input.as_deref()),
            Command::ImageSave { platform, output, references } => {
                self.image_save(platform.as_deref(), output.as_deref(), &references)
            }
            Command::ImageTag { source, target } => self.image_tag(&source, &target),
            Command::ImageDelete { force, references } => self.image_delete(force, &references),
            Command::ImagePrune { all } => self.image_prune(all),
            Command::NetworkCreate { subnet, labels, name, .. } => self.network_create(subnet, &labels, &name),
            Command::NetworkDelete { names } => self.network_delete(&names),
            Command::NetworkList { format, quiet } => self.network_list(format, quiet),
            Command::VolumeCreate { size_bytes, labels, name, .. } => self.volume_create(size_bytes, &labels, &name),
            Command::VolumeDelete { names } => self.volume_delete(&names),
            Command::VolumeList { format, quiet } => self.volume_list(format, quiet),
            Command::SystemLogs => Err(self.not_emulated("system logs")),
            Command::DnsCreate { .. } | Command::DnsList { .. } => Err(self.not_emulated("system dns")),
            Command::Clean { .. } => Err(self.not_emulated("clean")),
            Command::Build => Err(self.not_emulated("build")),
            Command::Machine => Err(self.not_emulated("machine")),
            Command::Kubernetes => Err(self.not_emulated("k8s")),
        }
    }

    /// Makes the failure of a command that the reference lists, but no test has needed so far.
    pub(crate) fn not_emulated(&self, what: &str) -> Failure {
        messages::not_emulated(what, "emulator")
    }

    /// Prints JSON on one line.
    pub(crate) fn compact<T: Serialize>(&self, document: &T) -> Outcome {
        compact(document, self.settings.version).map(|text| text + "\n").map_err(unprintable)
    }

    /// Prints JSON on several lines.
    pub(crate) fn pretty<T: Serialize>(&self, document: &T) -> Outcome {
        pretty(document, self.settings.version).map(|text| text + "\n").map_err(unprintable)
    }

    /// Returns unknown keys at random.
    pub(crate) fn unknown_keys(&self, purpose: u64) -> BTreeMap<String, Value> {
        let keys = || BTreeMap::from([("unknownToAllReaders".to_owned(), serde_json::json!({"since": "tomorrow"}))]);
        if self.decision.coin(purpose) { keys() } else { BTreeMap::new() }
    }
}

const NOISE_DATE: &str = "2026-08-08T09:00:00+0000";

fn unprintable(error: serde_json::Error) -> Failure {
    Failure::runtime(Code::InternalError, format!("emulator: {error}"))
}
