//! Switching off one of the parts that keep leases apart, to see that a test of those parts fails without it.
//!
//! Made for `cargo kina chaos --sabotage` and for nothing else: an engine so treated hands out dirty clusters or leaves
//! processes behind, by order. It says so in its log and in its status. Read once, when the engine starts, and looked
//! at only where the part itself is done.

use once_cell::sync::OnceCell;

/// The variable that names the parts, separated by commas.
pub(crate) const VARIABLE: &str = "KINA_SABOTAGE";

/// By how much what is slowed takes longer.
pub(crate) const SLOW_PERCENT: u32 = 30;

static ACTIVE: OnceCell<Sabotage> = OnceCell::new();
static NONE: Sabotage = Sabotage { rewind: false, verify: false, reap: false, gateway: false, slow: false };

/// Which parts are switched off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sabotage {
    /// A rewind reports success without writing, and takes what it found for the baseline.
    pub(crate) rewind: bool,
    /// No proof at hand-out, and no waiting for what follows a rewind.
    pub(crate) verify: bool,
    /// Children are not killed: neither when their cluster goes nor when the engine ends.
    pub(crate) reap: bool,
    /// A gateway stays open after its lease.
    pub(crate) gateway: bool,
    /// Whatever happens between two leases takes longer by [`SLOW_PERCENT`], for `cargo kina bench self-test`.
    pub(crate) slow: bool,
}

/// A part that there is not.
#[derive(Debug, thiserror::Error)]
#[error("{VARIABLE} names `{name}`, but must be a list of rewind, verify, reap, gateway and slow: unset it")]
pub(crate) struct UnknownPart {
    name: String,
}

impl Sabotage {
    /// Reads the variable's value.
    pub(crate) fn parse(text: &str) -> Result<Self, UnknownPart> {
        let mut sabotage = Self::default();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "rewind" => sabotage.rewind = true,
                "verify" => sabotage.verify = true,
                "reap" => sabotage.reap = true,
                "gateway" => sabotage.gateway = true,
                "slow" => sabotage.slow = true,
                _ => return Err(UnknownPart { name: name.to_owned() }),
            }
        }
        Ok(sabotage)
    }

    /// The parts by name.
    pub(crate) fn names(self) -> Vec<String> {
        let parts = [
            ("rewind", self.rewind),
            ("verify", self.verify),
            ("reap", self.reap),
            ("gateway", self.gateway),
            ("slow", self.slow),
        ];
        parts.into_iter().filter(|(_, is_off)| *is_off).map(|(name, _)| name.to_owned()).collect()
    }
}

/// What is switched off in this engine: usually nothing.
pub(crate) fn active() -> &'static Sabotage {
    ACTIVE.get().unwrap_or(&NONE)
}

/// Takes what the environment says, for the rest of this process.
pub(crate) fn read_environment() -> Result<(), UnknownPart> {
    let sabotage = Sabotage::parse(&std::env::var(VARIABLE).unwrap_or_default())?;
    if sabotage != NONE {
        tracing::error!(
            parts = sabotage.names().join(","),
            "SABOTAGE: this engine was told to do these badly; nothing it hands out can be trusted"
        );
    }
    // Only a second call could find it set, and that would have read the same.
    let _ = ACTIVE.set(sabotage);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_and_nothing_else() {
        assert_eq!(Sabotage::parse("").expect("nothing"), NONE);
        let both = Sabotage::parse("verify, gateway").expect("two parts");
        assert_eq!(both, Sabotage { verify: true, gateway: true, ..NONE });
        assert_eq!(both.names(), ["verify", "gateway"]);
        let error = Sabotage::parse("rewind,pool").expect_err("no such part");
        assert!(error.to_string().contains("`pool`"), "{error}");
    }

    #[test]
    fn nothing_is_switched_off_unless_somebody_says_so() {
        assert_eq!(*active(), NONE);
    }
}
