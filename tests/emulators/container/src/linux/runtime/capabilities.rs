//! The capabilities of the processes of a machine.

use container_command_line::{Code, Failure};
use rustix::thread::{CapabilitySet, capability_is_in_bounding_set, remove_capability_from_bounding_set};

use super::super::store::MachinePlan;

/// The default capabilities of a container.
const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// Removes all other capabilities from children of this process.
pub(crate) fn reduce(machine: &MachinePlan) -> Result<(), Failure> {
    let failed = |why: String| Failure::runtime(Code::InvalidArgument, format!("failed to set capabilities: {why}"));
    let set = |names: &[String]| {
        let named = |name: &String| {
            let upper = name.to_ascii_uppercase();
            let short = upper.strip_prefix("CAP_").unwrap_or(&upper).to_owned();
            match short.as_str() {
                "ALL" => Ok(CapabilitySet::all()),
                short => CapabilitySet::from_name(short).ok_or_else(|| failed(format!("unknown {name}"))),
            }
        };
        names.iter().map(named).try_fold(CapabilitySet::empty(), |all, one| one.map(|one| all | one))
    };
    if machine.all_capabilities {
        return Ok(());
    }
    let kept = DEFAULT.difference(set(&machine.capabilities_dropped)?) | set(&machine.capabilities_added)?;
    for capability in CapabilitySet::all().iter().filter(|one| one.bits().count_ones() == 1) {
        if !kept.contains(capability) && capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability).map_err(|error| failed(error.to_string()))?;
        }
    }
    Ok(())
}
