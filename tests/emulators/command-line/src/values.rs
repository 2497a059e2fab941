//! The forms of values.

use crate::command::{Mount, MountKind, NetworkChoice, Publish};
use crate::{Failure, UsageError, messages};

/// Reads an amount of memory: a bare number is bytes, units are powers of 1024.
pub fn memory_in_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Returns true if a name is valid: two to 63 letters, digits, `_`, `.` and `-`, of which the first is a letter or
/// digit.
pub fn name_is_valid(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (2..=63).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(inner)
}

/// Reads a label. The value contains no `=`; a single one at its end is silently dropped.
pub fn label(text: &str) -> Result<(String, String), Failure> {
    let bad = || messages::bad_label(text);
    let (key, value) = text.split_once('=').ok_or_else(bad)?;
    let value = value.strip_suffix('=').unwrap_or(value);
    if key.is_empty() || value.contains('=') { Err(bad()) } else { Ok((key.to_owned(), value.to_owned())) }
}

/// Reads `[IP:]HOST:CONTAINER[/PROTOCOL]`, in which both ports may be ranges of the same length.
pub(crate) fn publish(text: &str) -> Result<Publish, UsageError> {
    let bad = || UsageError(format!("invalid publish value '{text}'"));
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    if !["tcp", "udp"].contains(&protocol) {
        return Err(bad());
    }
    let (ports, container) = ports.rsplit_once(':').ok_or_else(bad)?;
    let (address, host) = match ports.rsplit_once(':') {
        Some((address, host)) => (address.parse().map_err(|_| bad())?, host),
        None => (std::net::Ipv4Addr::UNSPECIFIED, ports),
    };
    let ((host_port, count), (container_port, inner)) =
        (range(host).ok_or_else(bad)?, range(container).ok_or_else(bad)?);
    if count != inner {
        return Err(bad());
    }
    Ok(Publish { address, host_port, container_port, count, protocol: protocol.to_owned() })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first > 0 && first <= last).then(|| (first, last - first + 1))
}

/// Reads `type=bind|volume|tmpfs,source=,target=,readonly`. A value contains no `=`; a single one at its end is silently
/// dropped, so that it names another directory.
pub(crate) fn mount(text: &str) -> Result<Mount, UsageError> {
    let bad = |why: &str| UsageError(format!("invalid mount '{text}': {why}"));
    let (mut kind, mut source, mut target, mut read_only) = (None, None, None, false);
    let (mut size, mut mode) = (None, None);
    for part in text.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let value = value.strip_suffix('=').unwrap_or(value);
        if value.contains('=') {
            return Err(bad("more than one `=`"));
        }
        if key != "readonly" && value.is_empty() {
            return Err(bad("an empty value"));
        }
        match key {
            "type" => kind = Some(value.to_owned()),
            "source" => source = Some(value.to_owned()),
            "target" => target = Some(value.to_owned()),
            "readonly" if part == "readonly" => read_only = true,
            "size" => size = Some(memory_in_bytes(value).ok_or_else(|| bad("size"))?),
            "mode" => mode = Some(u32::from_str_radix(value, 8).map_err(|_| bad("mode"))?),
            _ => return Err(bad("an unknown key")),
        }
    }
    let target = target.filter(|target| target.starts_with('/')).ok_or_else(|| bad("no absolute target"))?;
    let kind = match (kind.as_deref(), source) {
        (Some("bind"), Some(source)) if source.starts_with('/') => MountKind::Directory { source },
        (Some("volume"), Some(name)) if !name.contains('/') => MountKind::Volume { name: Some(name) },
        (Some("tmpfs"), None) => MountKind::Tmpfs { size_bytes: size.take(), mode: mode.take() },
        _ => return Err(bad("type and source")),
    };
    if size.is_some() || mode.is_some() {
        return Err(bad("size and mode are for tmpfs only"));
    }
    Ok(Mount { kind, target, read_only })
}

/// Reads a path alone: size and mode are for `--mount`.
pub(crate) fn tmpfs(path: &str) -> Result<Mount, UsageError> {
    if !path.starts_with('/') || path.contains([',', ':']) {
        return Err(UsageError(format!("invalid tmpfs '{path}'")));
    }
    let kind = MountKind::Tmpfs { size_bytes: None, mode: None };
    Ok(Mount { kind, target: path.to_owned(), read_only: false })
}

/// Reads `SRC:DST[:ro]`, a volume by name, or `/path` for an anonymous volume.
pub(crate) fn volume(text: &str) -> Result<Mount, UsageError> {
    let bad = || UsageError(format!("invalid volume '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, read_only) = match parts[..] {
        [target] => (None, target, false),
        [source, target] => (Some(source), target, false),
        [source, target, "ro"] => (Some(source), target, true),
        _ => return Err(bad()),
    };
    if !target.starts_with('/') || source.is_some_and(str::is_empty) {
        return Err(bad());
    }
    let kind = match source {
        None => MountKind::Volume { name: None },
        Some(source) if source.contains('/') => MountKind::Path { source: source.to_owned() },
        Some(name) => MountKind::Volume { name: Some(name.to_owned()) },
    };
    Ok(Mount { kind, target: target.to_owned(), read_only })
}

/// Reads `NAME[,mac=][,mtu=]`.
pub(crate) fn network(text: &str) -> Result<NetworkChoice, UsageError> {
    let bad = || UsageError(format!("invalid network '{text}'"));
    let mut parts = text.split(',');
    let name = parts.next().filter(|name| !name.is_empty()).ok_or_else(bad)?.to_owned();
    let mut choice = NetworkChoice { name, mac: None, mtu: 1280 };
    for part in parts {
        match part.split_once('=').ok_or_else(bad)? {
            ("mac", mac) if mac.split(':').count() == 6 && mac.len() == 17 => choice.mac = Some(mac.to_owned()),
            ("mtu", mtu) => {
                choice.mtu = mtu.parse().ok().filter(|mtu| (1280..=65535).contains(mtu)).ok_or_else(bad)?;
            }
            _ => return Err(bad()),
        }
    }
    Ok(choice)
}
