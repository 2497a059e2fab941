//! Networks: only their names and subnets are kept. Machines are reached through their published ports alone.

use std::collections::BTreeMap;
use std::time::SystemTime;

use container_command_line::command::Format;
use container_command_line::{Code, Failure, iso_8601, json, label, messages};
use serde_json::json;

use super::dispatch::{Call, Outcome};
use super::tables;

impl Call {
    fn networks(&self) -> Result<BTreeMap<String, json::Network>, Failure> {
        let mut networks: BTreeMap<String, json::Network> = self.store.read("networks.json")?.unwrap_or_default();
        let subnet = self.store.service()?.subnet;
        let role = ("com.apple.container.resource.role".to_owned(), "builtin".to_owned());
        let prefix = format!("192.168.{subnet}");
        networks
            .insert("default".to_owned(), network("default", BTreeMap::from([role]), &prefix, "2026-08-08T08:00:00Z"));
        Ok(networks)
    }

    /// Returns the names of all networks.
    pub(crate) fn network_names(&self) -> Result<Vec<String>, Failure> {
        Ok(self.networks()?.into_keys().collect())
    }

    /// `network create`: requires names in lower case and subnets that do not overlap.
    pub(crate) fn network_create(&self, subnet: Option<String>, labels: &[String], name: &str) -> Outcome {
        let labels = labels.iter().map(|text| label(text)).collect::<Result<_, _>>()?;
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if !name.bytes().all(lower) || name == "none" {
            return Err(Failure::runtime(Code::InvalidArgument, format!("invalid network name: {name}")));
        }
        let _lock = self.store.lock()?;
        let mut networks = self.networks()?;
        if networks.contains_key(name) {
            return Err(Failure::runtime(Code::Exists, format!("network {name} already exists")));
        }
        let taken =
            |prefix: &str| networks.values().any(|other| other.status["ipv4Subnet"] == format!("{prefix}.0/24"));
        let prefix = match subnet {
            Some(subnet) => {
                let prefix = subnet.strip_suffix(".0/24").map(str::to_owned);
                prefix.ok_or_else(|| self.not_emulated("subnets other than A.B.C.0/24"))?
            }
            None => {
                let mut free = (65..=254).map(|third| format!("192.168.{third}")).filter(|prefix| !taken(prefix));
                free.next().ok_or_else(|| Failure::runtime(Code::InvalidState, "no subnet is left"))?
            }
        };
        if taken(&prefix) {
            return Err(Failure::runtime(Code::Exists, format!("subnet {prefix}.0/24 overlaps an existing network")));
        }
        networks.insert(name.to_owned(), network(name, labels, &prefix, &iso_8601(SystemTime::now())));
        self.store.write("networks.json", &networks)?;
        Ok(format!("{name}\n"))
    }

    /// `network delete`: fails while any container refers to it, and always for `default`.
    pub(crate) fn network_delete(&self, names: &[String]) -> Outcome {
        let _lock = self.store.lock()?;
        let mut networks = self.networks()?;
        let records = self.store.containers()?;
        let mut printed = String::new();
        for name in names {
            if name == "default" {
                return Err(Failure::runtime(Code::InvalidArgument, "cannot delete builtin network default"));
            }
            let uses = |record: &&super::store::Record| {
                record.configuration.networks.iter().any(|network| network.network == *name)
            };
            let members: Vec<_> = records.iter().filter(uses).map(|record| record.configuration.id.clone()).collect();
            if !members.is_empty() {
                return Err(messages::network_in_use(name, &members.join(", ")));
            }
            networks.remove(name).ok_or_else(|| messages::network_missing(name))?;
            self.store.write("networks.json", &networks)?;
            printed.push_str(&format!("{name}\n"));
        }
        Ok(printed)
    }

    /// `network list`, sorted.
    pub(crate) fn network_list(&self, format: Format, quiet: bool) -> Outcome {
        let networks = self.networks()?;
        match format {
            Format::Json => self.compact(&networks.values().collect::<Vec<_>>()),
            Format::Table if quiet => Ok(networks.keys().map(|name| format!("{name}\n")).collect()),
            Format::Table => Ok(tables::table(
                &["NETWORK", "SUBNET"],
                networks
                    .values()
                    .map(|one| vec![one.id.clone(), one.status["ipv4Subnet"].as_str().unwrap_or_default().to_owned()])
                    .collect(),
            )),
            Format::Yaml | Format::Toml => Err(self.not_emulated("yaml and toml")),
        }
    }
}

fn network(name: &str, labels: BTreeMap<String, String>, prefix: &str, created: &str) -> json::Network {
    json::Network {
        configuration: json::NetworkConfiguration {
            creation_date: created.to_owned(),
            labels,
            mode: "nat".to_owned(),
            name: name.to_owned(),
            options: BTreeMap::new(),
            plugin: "container-network-vmnet".to_owned(),
            extra: BTreeMap::new(),
        },
        id: name.to_owned(),
        status: json!({
            "ipv4Gateway": format!("{prefix}.1"),
            "ipv4Subnet": format!("{prefix}.0/24"),
            "ipv6Subnet": "fd00:1::/64",
        }),
        extra: BTreeMap::new(),
    }
}
