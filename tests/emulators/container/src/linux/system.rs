//! The service itself.

use std::fs;
use std::io::BufRead;
use std::time::Duration;

use container_command_line::command::Format;
use container_command_line::{Code, Failure, Version, messages};
use serde_json::{Value, json};

use super::containers::State;
use super::dispatch::{Call, Outcome, version_line};
use super::faults::Fault;
use super::images;

impl Call {
    /// `system start`: asks on stdin if there is no kernel and no option about it.
    pub(crate) fn system_start(&self, kernel_install: Option<bool>, app_root: Option<String>) -> Outcome {
        if app_root.is_some_and(|root| std::path::absolute(root).is_ok_and(|root| root != self.settings.root)) {
            return Err(self.not_emulated("another root than KINA_EMULATOR_ROOT"));
        }
        if self.decision.has(Fault::Down) {
            return Err(Failure::runtime(Code::Timeout, "failed to get a response from apiserver"));
        }
        let installed = self.store.service()?.kernel_installed;
        let install = match kernel_install {
            Some(install) => install,
            None if installed => false,
            None => asked()?,
        };
        let _lock = self.store.lock()?;
        let mut service = self.store.service()?;
        service.kernel_installed |= install;
        if !service.running {
            service.running = true;
            if self.decision.has(Fault::Subnet) {
                service.subnet = if service.subnet >= 200 { 64 } else { service.subnet + 1 };
            }
            self.load_at_boot()?;
        }
        self.store.write("service.json", &service)?;
        Ok(String::new())
    }

    /// Forgets the start times of containers, and removes those with `--rm`.
    fn load_at_boot(&self) -> Result<(), Failure> {
        for mut record in self.store.containers()? {
            if record.remove && !record.forgotten && self.state(&record)? == State::Stopped {
                self.remove_bundle(&record.configuration.id)?;
            } else if record.started_date.take().is_some() {
                self.store.put_container(&record)?;
            }
        }
        Ok(())
    }

    /// `system stop`: stops everything, even if forgotten in a crash. Its log goes to stdout.
    pub(crate) fn system_stop(&self) -> Outcome {
        // First, so that a boot that still waits for its turn finds no service.
        self.take_down()?;
        let records = self.store.containers()?;
        let mut log = String::from("stopping containers\n");
        std::thread::scope(|scope| {
            for record in &records {
                scope.spawn(|| self.end(record, Some(Duration::from_secs(5))));
            }
        });
        for record in &records {
            if !self.end(record, None)? {
                log.push_str(&format!("container {} did not stop\n", record.configuration.id));
            }
        }
        log.push_str("stopping service\n");
        Ok(log)
    }

    fn take_down(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let mut service = self.store.service()?;
        service.running = false;
        self.store.write("service.json", &service)
    }

    /// Emulates an upgrade to the next version. Machines keep what they were made with.
    pub(crate) fn upgrade(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        let mut service = self.store.service()?;
        service.upgrades += 1;
        self.store.write("service.json", &service)
    }

    /// Returns the version that is shown now; options and dialects stay those of the first one.
    fn version_now(&self) -> Result<Version, Failure> {
        let version = self.settings.version;
        Ok(Version { patch: version.patch.saturating_add(self.store.service()?.upgrades), ..version })
    }

    /// Emulates a reboot of the host: nothing runs, and the service is down.
    pub(crate) fn reboot(&self) -> Result<(), Failure> {
        self.take_down()?;
        for record in self.store.containers()? {
            self.end(&record, None)?;
        }
        let _lock = self.store.lock()?;
        for mut record in self.store.containers()? {
            record.forgotten = false;
            self.store.put_container(&record)?;
        }
        Ok(())
    }

    /// Emulates a crash of the service: it comes back, and lists everything as stopped.
    pub(crate) fn forget_all(&self) -> Result<(), Failure> {
        let _lock = self.store.lock()?;
        for mut record in self.store.containers()? {
            record.forgotten = self.runtime_of(&record.configuration.id)?.is_some();
            record.started_date = None;
            self.store.put_container(&record)?;
        }
        Ok(())
    }

    /// `system status`: prints JSON to stdout by itself, because it does so even if it fails.
    pub(crate) fn system_status(&self, format: Format) -> Outcome {
        let service = self.store.service()?;
        let status = match (service.running, self.decision.has(Fault::Down)) {
            (true, false) => "running",
            (true, true) => "not running",
            (false, _) => "unregistered",
        };
        let running = status == "running";
        let text = match format {
            Format::Json => self.compact(&self.status_document(status, running)?)?,
            Format::Table if running => format!("FIELD   VALUE\nstatus  {status}\n"),
            Format::Table => "apiserver is not running and not registered with launchd\n".to_owned(),
            Format::Yaml | Format::Toml => return Err(self.not_emulated("yaml and toml")),
        };
        print!("{text}");
        if running { Ok(String::new()) } else { Err(Failure::Exit(1)) }
    }

    fn status_document(&self, status: &str, running: bool) -> Result<Value, Failure> {
        let version = self.settings.version;
        let root = format!("{}/", self.settings.root.display());
        let shown = self.version_now()?;
        let line = version_line("container-apiserver", shown);
        let mut document = json!({"status": status, "simulated": true});
        let part = |name: &str, version: &str| json!({"appName": name, "build": "release", "commit": "unspeci", "version": version});
        if !version.has_sectioned_status() {
            document["apiServerAppName"] = "container-apiserver".into();
            document["apiServerBuild"] = if running { "release" } else { "" }.into();
            document["apiServerCommit"] = if running { "unspeci" } else { "" }.into();
            document["apiServerVersion"] = if running { line } else { String::new() }.into();
            document["appRoot"] = if running { root } else { String::new() }.into();
            document["installRoot"] = if running { "/usr/local/" } else { "" }.into();
            return Ok(document);
        }
        document["client"] = part("container", &shown.to_string());
        if running {
            let records = self.store.containers()?;
            let mut live = 0;
            for record in &records {
                live += u64::from(self.state(record)? == State::Running);
            }
            let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            document["server"] = part("container-apiserver", &line);
            document["host"] = json!({"architecture": container_command_line::architecture(), "cpus": cpus, "operatingSystem": "Linux (emulator)"});
            document["paths"] = json!({"appRoot": root, "installRoot": "/usr/local/"});
            let images = images::names(&self.store)?.len();
            document["resources"] =
                json!({"containersRunning": live, "containersTotal": records.len(), "images": images});
        }
        Ok(document)
    }

    /// `system version`: has an entry for the service only if that answers.
    pub(crate) fn system_version(&self, format: Format) -> Outcome {
        let version = self.version_now()?;
        let entry = |name: &str, version: String| json!({"appName": name, "buildType": "release", "commit": "unspeci", "version": version, "simulated": true});
        let mut entries = vec![entry("container", version.to_string())];
        if self.store.service()?.running && !self.decision.has(Fault::Down) {
            entries.push(entry("container-apiserver", version_line("container-apiserver", version)));
        }
        match format {
            Format::Json => self.compact(&entries),
            Format::Table => Ok(format!("{}\n", version_line("container CLI", version))),
            Format::Yaml | Format::Toml => Err(self.not_emulated("yaml and toml")),
        }
    }

    /// `system property list`.
    pub(crate) fn property_list(&self, format: Format) -> Outcome {
        if format != Format::Json {
            return Err(self.not_emulated("properties in another format than json"));
        }
        self.compact(&json!({
            "build": {"cpus": 2, "memory": "2048MB"},
            "container": {"cpus": 4, "memory": "1g"},
            "dns": {},
            "kernel": {"binaryPath": "opt/kata/share/kata-containers/vmlinux-6.18.15-186", "digest": "", "url": ""},
            "machine": {},
            "network": {},
            "registry": {},
            "vminit": {},
        }))
    }

    /// `system kernel set`: keeps the setting, but the kernel is never booted.
    pub(crate) fn kernel_set(&self, recommended: bool, binary: Option<&str>) -> Outcome {
        let found = binary.is_some_and(|path| fs::metadata(path).is_ok_and(|found| found.is_file()));
        if !recommended && !found {
            return Err(self.not_emulated("kernels other than the recommended one and an existing file"));
        }
        let _lock = self.store.lock()?;
        let mut service = self.store.service()?;
        service.kernel_installed = true;
        self.store.write("service.json", &service)?;
        Ok(String::new())
    }

    /// Fails if no kernel was installed.
    pub(crate) fn need_kernel(&self) -> Result<(), Failure> {
        if self.store.service()?.kernel_installed {
            Ok(())
        } else {
            Err(messages::no_kernel(container_command_line::architecture()))
        }
    }
}

fn asked() -> Result<bool, Failure> {
    eprint!("No default kernel configured.\nInstall the recommended default kernel? [Y/n]: ");
    let mut answer = String::new();
    match std::io::stdin().lock().read_line(&mut answer) {
        Ok(length) if length > 0 => Ok(!answer.trim().eq_ignore_ascii_case("n")),
        _ => Err(Failure::runtime(Code::InternalError, "failed to read user input")),
    }
}
