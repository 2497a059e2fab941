//! `system df`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use container_command_line::Failure;
use container_command_line::command::Format;
use serde_json::json;

use super::containers::State;
use super::dispatch::{Call, Outcome};
use super::images;

impl Call {
    /// Prints the disk usage by kind.
    pub(crate) fn disk_usage(&self, format: Format) -> Outcome {
        if format != Format::Json {
            return Err(self.not_emulated("disk usage in another format than json"));
        }
        let _boot = self.store.boot_lock()?;
        let records = self.store.containers()?;
        let (mut active, mut size, mut reclaimable) = (0, 0, 0);
        for record in &records {
            let used = bytes_below(&self.store.bundle(&record.configuration.id));
            size += used;
            match self.state(record)? {
                State::Running => active += 1,
                State::Stopped | State::Forgotten => reclaimable += used,
            }
        }
        let kind = |active: usize, total: usize, size: u64, reclaimable: u64| json!({"active": active, "total": total, "sizeInBytes": size, "reclaimable": reclaimable});
        let names = images::names(&self.store)?;
        let uses = |name: &&String| records.iter().any(|record| record.configuration.image.reference == **name);
        let used = names.keys().filter(uses).count();
        let image_bytes = bytes_below(&self.store.path("snapshots")) + bytes_below(&self.store.path("blobs"));
        let volumes = fs::read_dir(self.store.path("volumes")).map_or(0, Iterator::count);
        let volume_bytes = bytes_below(&self.store.path("volumes"));
        self.compact(&json!({
            "containers": kind(active, records.len(), size, reclaimable),
            "images": kind(used, names.len(), image_bytes, 0),
            "volumes": kind(0, volumes, volume_bytes, 0),
        }))
    }

    /// Returns the bytes that a container has written, for `stats`.
    pub(crate) fn written(&self, id: &str) -> Result<u64, Failure> {
        Ok(bytes_below(&self.store.bundle(id)))
    }
}

/// Returns the disk space of the files below a directory. Files that vanish meanwhile do not count.
fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(found) = entry.path().symlink_metadata() else { continue };
            if found.is_dir() {
                open.push(entry.path());
            }
            bytes += found.blocks() * 512;
        }
    }
    bytes
}
