//! Switching off one of the parts that keep leases apart, to see that a test of those parts fails without it.
//!
//! Only a build with the Cargo feature `sabotage` can do it, which is off by default and which `cargo lab` has. Such an
//! engine hands out dirty clusters or leaves processes behind, as it is told to, and reports that in its log and in its
//! status. The variable is read once, when the engine starts. Each part is asked for only where its work is done.

/// The variable that names the parts, separated by commas.
pub const VARIABLE: &str = "KINA_SABOTAGE";

/// True in a build that can switch parts off.
#[cfg(feature = "lab")]
pub const IS_POSSIBLE: bool = cfg!(feature = "sabotage");

/// Percentage by which [`Part::Slow`] lengthens the time between two leases.
pub const SLOW_PERCENT: u32 = 30;

/// A part of the engine that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A rewind reports success without writing, and takes the state that it found for the baseline.
    Rewind,
    /// No proof at hand-out, and no waiting for what follows a rewind.
    Verify,
    /// Children are not killed: neither when their cluster goes nor when the engine ends.
    Reap,
    /// A gateway stays open after its lease.
    Gateway,
    /// Everything between two leases takes longer by [`SLOW_PERCENT`], for `cargo kina bench self-test`.
    Slow,
    /// The API server shows profiles, and lets any administrator set its verbosity and reset its metrics.
    DebugEndpoints,
    /// Storage and API server remember what earlier leases wrote.
    History,
    /// A lease's writes to the API server's own Lease stay there.
    IdentityLease,
    /// Nothing is done about what informers inside the API server have yet to see.
    Informers,
    /// Connections to an API server are dropped with their clients, and not read to their end.
    Drain,
    /// No look at what still runs in an API server, and no restart to end it.
    Lingering,
    /// Tokens of service accounts stay valid after the lease that asked for them.
    Tokens,
    /// The logs that a lease is shown begin with those of earlier leases.
    ClusterLogs,
    /// Rules are not waited for: a template is taken, and fixtures count as applied, before they are in force.
    InForce,
    /// A template is taken with keys that none of its objects made.
    TemplateKeys,
}

/// The parts that are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage(u32);

/// A name that no part has.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE} names `{name}`, but must be a list of {}: unset it", Part::names())]
pub struct UnknownPart {
    name: String,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 15] = [
        Self::Rewind,
        Self::Verify,
        Self::Reap,
        Self::Gateway,
        Self::Slow,
        Self::DebugEndpoints,
        Self::History,
        Self::IdentityLease,
        Self::Informers,
        Self::Drain,
        Self::Lingering,
        Self::Tokens,
        Self::ClusterLogs,
        Self::InForce,
        Self::TemplateKeys,
    ];

    /// The name that [`VARIABLE`] and `--sabotage` know it by.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rewind => "rewind",
            Self::Verify => "verify",
            Self::Reap => "reap",
            Self::Gateway => "gateway",
            Self::Slow => "slow",
            Self::DebugEndpoints => "debug-endpoints",
            Self::History => "history",
            Self::IdentityLease => "identity-lease",
            Self::Informers => "informers",
            Self::Drain => "drain",
            Self::Lingering => "lingering",
            Self::Tokens => "tokens",
            Self::ClusterLogs => "cluster-logs",
            Self::InForce => "in-force",
            Self::TemplateKeys => "template-keys",
        }
    }

    /// The part of this name.
    #[cfg_attr(not(feature = "sabotage"), allow(dead_code, reason = "asked by builds that can switch parts off"))]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|part| part.name() == name)
    }

    /// The parts that keep leases apart beside their keys: traces of a lease in memory, under way or in files.
    #[cfg(feature = "lab")]
    pub fn keeping_apart() -> impl Iterator<Item = Self> {
        let is_basic =
            |part: &Self| matches!(part, Self::Rewind | Self::Verify | Self::Reap | Self::Gateway | Self::Slow);
        Self::ALL.into_iter().filter(move |part| !is_basic(part))
    }

    /// The names of all parts, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Sabotage {
    /// Reads the variable's value.
    #[cfg_attr(not(feature = "sabotage"), allow(dead_code, reason = "asked by builds that can switch parts off"))]
    pub fn parse(text: &str) -> Result<Self, UnknownPart> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let mut sabotage = Self::default();
        for name in names {
            let part = Part::named(name).ok_or_else(|| UnknownPart { name: name.to_owned() })?;
            sabotage.0 |= part.bit();
        }
        Ok(sabotage)
    }

    /// The names of the parts that are switched off.
    pub fn names(self) -> Vec<String> {
        let is_off = |part: &Part| self.0 & part.bit() != 0;
        Part::ALL.into_iter().filter(is_off).map(|part| part.name().to_owned()).collect()
    }
}

/// Returns whether this part is switched off in this engine. Usually none is.
pub fn is_off(part: Part) -> bool {
    active().0 & part.bit() != 0
}

#[cfg(feature = "sabotage")]
static ACTIVE: once_cell::sync::OnceCell<Sabotage> = once_cell::sync::OnceCell::new();

/// The parts that are switched off in this engine.
#[cfg(feature = "sabotage")]
pub fn active() -> Sabotage {
    ACTIVE.get().copied().unwrap_or_default()
}

/// The parts that are switched off in this engine: none, since this build cannot switch any off.
#[cfg(not(feature = "sabotage"))]
pub fn active() -> Sabotage {
    Sabotage::default()
}

/// Switches off the parts that the environment names, for the rest of this process.
#[cfg(feature = "sabotage")]
pub fn read_environment() -> Result<(), UnknownPart> {
    let sabotage = Sabotage::parse(&std::env::var(VARIABLE).unwrap_or_default())?;
    if sabotage != Sabotage::default() {
        tracing::error!(
            parts = sabotage.names().join(","),
            "SABOTAGE: this engine was told to do these badly; nothing it hands out can be trusted"
        );
    }
    // Only a second call could find it set, and that would have read the same.
    let _ = ACTIVE.set(sabotage);
    Ok(())
}

/// Leaves the environment alone: this build cannot switch anything off.
#[cfg(not(feature = "sabotage"))]
#[expect(clippy::unnecessary_wraps, reason = "the other form of this function can fail")]
pub fn read_environment() -> Result<(), UnknownPart> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_and_nothing_else() {
        assert_eq!(Sabotage::parse("").expect("nothing"), Sabotage::default());
        let both = Sabotage::parse("verify, gateway").expect("two parts");
        assert_eq!(both.names(), ["verify", "gateway"]);
        let error = Sabotage::parse("rewind,pool").expect_err("no such part");
        assert!(error.to_string().contains("`pool`"), "{error}");
    }

    #[test]
    fn each_part_has_a_name_and_a_bit_of_its_own() {
        for part in Part::ALL {
            assert_eq!(Part::named(part.name()), Some(part));
            assert_eq!(Sabotage(part.bit()).names(), [part.name()]);
        }
    }

    #[test]
    fn nothing_is_switched_off_unless_the_environment_says_so() {
        assert_eq!(active(), Sabotage::default());
    }
}
