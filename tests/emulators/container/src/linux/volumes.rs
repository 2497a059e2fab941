//! Volumes: directories here, separate file systems in the real service.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use container_command_line::command::Format;
use container_command_line::{Failure, iso_8601, json, label, messages, name_is_valid};

use super::dispatch::{Call, Outcome};
use super::store::broken;
use super::tables;

impl Call {
    fn volumes(&self) -> Result<BTreeMap<String, json::Volume>, Failure> {
        Ok(self.store.read("volumes.json")?.unwrap_or_default())
    }

    fn data(&self, name: &str) -> PathBuf {
        self.store.path("volumes").join(name)
    }

    /// Returns the directory of a volume, and makes it with a warning if there is none. The state must be locked.
    pub(crate) fn volume_for(&self, name: &str, id: &str) -> Result<PathBuf, Failure> {
        if !self.volumes()?.contains_key(name) {
            eprintln!("Warning: volume '{name}' of container {id} did not exist and was created");
            self.add_volume(None, BTreeMap::new(), name)?;
        }
        Ok(self.data(name))
    }

    fn add_volume(&self, size_bytes: Option<u64>, labels: BTreeMap<String, String>, name: &str) -> Result<(), Failure> {
        if !name_is_valid(name) {
            return Err(messages::bad_name(name));
        }
        let mut volumes = self.volumes()?;
        if volumes.contains_key(name) {
            return Err(messages::volume_exists(name));
        }
        let found = self.data(name).join("lost+found");
        fs::create_dir_all(&found).map_err(|error| broken(&found, &error))?;
        let configuration = json::VolumeConfiguration {
            creation_date: iso_8601(SystemTime::now()),
            driver: "local".to_owned(),
            format: "ext4".to_owned(),
            labels,
            name: name.to_owned(),
            options: BTreeMap::new(),
            size_in_bytes: size_bytes.unwrap_or(512 << 30),
            source: self.data(name).display().to_string(),
            extra: BTreeMap::new(),
        };
        volumes.insert(name.to_owned(), json::Volume { configuration, id: name.to_owned(), extra: BTreeMap::new() });
        self.store.write("volumes.json", &volumes)
    }

    /// `volume create`.
    pub(crate) fn volume_create(&self, size_bytes: Option<u64>, labels: &[String], name: &str) -> Outcome {
        let labels = labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?;
        let _lock = self.store.lock()?;
        self.add_volume(size_bytes, labels, name)?;
        Ok(format!("{name}\n"))
    }

    /// `volume delete`: fails while any container refers to it.
    pub(crate) fn volume_delete(&self, names: &[String]) -> Outcome {
        let _lock = self.store.lock()?;
        let mut volumes = self.volumes()?;
        let records = self.store.containers()?;
        let mut printed = String::new();
        for name in names {
            if !volumes.contains_key(name) {
                return Err(messages::volume_missing(name));
            }
            let uses = |mount: &super::store::MountPlan| mount.volume.as_ref() == Some(name);
            if records.iter().any(|record| record.machine.mounts.iter().any(uses)) {
                return Err(messages::volume_in_use(name));
            }
            fs::remove_dir_all(self.data(name)).map_err(|error| broken(&self.data(name), &error))?;
            volumes.remove(name);
            self.store.write("volumes.json", &volumes)?;
            printed.push_str(&format!("{name}\n"));
        }
        Ok(printed)
    }

    /// `volume list`.
    pub(crate) fn volume_list(&self, format: Format, quiet: bool) -> Outcome {
        let volumes = self.volumes()?;
        match format {
            Format::Json => self.compact(&volumes.values().collect::<Vec<_>>()),
            Format::Table if quiet => Ok(volumes.keys().map(|name| format!("{name}\n")).collect()),
            Format::Table => Ok(tables::table(&["NAME"], volumes.keys().map(|name| vec![name.clone()]).collect())),
            Format::Yaml | Format::Toml => Err(self.not_emulated("yaml and toml")),
        }
    }
}
