//! podman, behind the command line of Apple's `container`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::contract::run::{Run, contract};
use crate::stand_ins::{CONTAINER_CLI, stand_ins};

/// The beginning of the names of clusters' images.
const CLUSTER_IMAGES: &str = "kina.local/cluster:";

/// A podman that can be run. Images that are added while this value lives are removed with it.
pub struct Podman {
    images_before: BTreeSet<String>,
}

impl Podman {
    /// Finds podman; `None` if it is not installed.
    pub fn find() -> Option<Self> {
        let program = std::env::var_os("KINA_PODMAN").unwrap_or_else(|| OsString::from("podman"));
        match Command::new(program).arg("--version").stdin(Stdio::null()).output() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            tried => {
                tried.expect("podman can be run");
                Some(Self { images_before: images() })
            }
        }
    }

    /// Runs the suite on it.
    pub fn contract(&self, arguments: &[&str]) -> Run {
        contract(&[&["--provider", "apple"], arguments].concat(), &[(CONTAINER_CLI, stand_ins().on_podman.as_os_str())])
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        for image in images().difference(&self.images_before) {
            // An image that is in use elsewhere by now stays.
            let _ = call(&["image", "delete", image]).output();
        }
    }
}

fn images() -> BTreeSet<String> {
    let output = call(&["image", "list", "--format", "json"]).output().expect("it starts");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = list.to_string();
    // A name is always in quotes, wherever it occurs.
    let names = text.split('"').filter(|word| word.starts_with(CLUSTER_IMAGES));
    names.map(str::to_owned).collect()
}

fn call(arguments: &[&str]) -> Command {
    let mut command = Command::new(&stand_ins().on_podman);
    command.args(arguments).stdin(Stdio::null());
    command
}
