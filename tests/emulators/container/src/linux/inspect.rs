//! `list` and `inspect`.

use container_command_line::command::Format;
use container_command_line::{Failure, Version, json, messages};

use super::containers::State;
use super::dispatch::{Call, Outcome};
use super::store::Record;
use super::tables;

impl Call {
    /// `list`: prints containers in random order.
    pub(crate) fn list(&self, all: bool, format: Format, quiet: bool) -> Outcome {
        let mut documents = Vec::new();
        for record in self.store.containers()? {
            let wanted = all || self.state(&record)? == State::Running;
            if wanted && !self.hidden(&record) {
                documents.push(self.document(record)?);
            }
        }
        self.decision.shuffle(&mut documents);
        match format {
            Format::Json => self.compact(&documents),
            Format::Table if quiet => Ok(documents.iter().map(|document| format!("{}\n", document.id)).collect()),
            Format::Table => {
                let row = |document: &json::Container| {
                    let address = document.status.networks.first().map(|network| network.ipv4_address.clone());
                    let image = document.configuration.image.reference.clone();
                    let platform = &document.configuration.platform;
                    let (os, processor) = (platform.os.clone(), platform.architecture.clone());
                    let state = document.status.state.clone();
                    vec![document.id.clone(), image, os, processor, state, address.unwrap_or_default()]
                };
                Ok(tables::table(&["ID", "IMAGE", "OS", "ARCH", "STATE", "ADDR"], documents.iter().map(row).collect()))
            }
            Format::Yaml | Format::Toml => Err(self.not_emulated("yaml and toml")),
        }
    }

    /// `inspect`: prints nothing at all if one id is unknown.
    pub(crate) fn inspect(&self, ids: &[String]) -> Outcome {
        let one = |id: &String| {
            let record = self.store.container(id)?.ok_or_else(|| messages::inspect_missing(id))?;
            self.document(record)
        };
        self.pretty(&ids.iter().map(one).collect::<Result<Vec<_>, _>>()?)
    }

    fn document(&self, mut record: Record) -> Result<json::Container, Failure> {
        let running = self.state(&record)? == State::Running;
        let id = record.configuration.id.clone();
        let runtime = if running { self.runtime_of(&id)? } else { None };
        let mut networks = Vec::new();
        if let Some((runtime, address)) = runtime.and_then(|runtime| runtime.address.map(|address| (runtime, address)))
        {
            let subnet = address.octets()[2];
            let variant = self.settings.version >= Version::new(1, 1, 0) && self.decision.coin(11);
            networks.push(json::Attachment {
                hostname: record.hostname(),
                ipv4_address: format!("{address}/24"),
                ipv4_gateway: format!("192.168.{subnet}.1"),
                ipv6_address: self.decision.coin(12).then(|| "fd00:1::f0ff:fe00:1/64".to_owned()),
                mac_address: runtime.hardware_address,
                mtu: record.mtu(),
                network: record.network(),
                variant: variant.then(|| "reserved".to_owned()),
                extra: self.unknown_keys(13),
            });
        }
        record.configuration.extra = self.unknown_keys(14);
        let status = json::Status {
            networks,
            started_date: record.started_date,
            state: if running { "running" } else { "stopped" }.to_owned(),
            extra: self.unknown_keys(15),
        };
        Ok(json::Container { configuration: record.configuration, id, status, extra: self.unknown_keys(16) })
    }
}

impl Record {
    /// Returns the first label of the name.
    pub(crate) fn hostname(&self) -> String {
        self.configuration.id.split('.').next().unwrap_or_default().to_owned()
    }

    /// Returns the name of the first network.
    pub(crate) fn network(&self) -> String {
        self.configuration.networks.first().map(|network| network.network.clone()).unwrap_or_default()
    }

    fn mtu(&self) -> u32 {
        let options = self.configuration.networks.first().map(|network| &network.options);
        options.and_then(|options| options["mtu"].as_u64()).and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(1280)
    }
}
