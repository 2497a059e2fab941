//! The reason not to ask the service for anything that holds its one lock, for which boots and starts wait.

use std::time::Duration;

use kina_engine::{EngineClient, EnginePaths, EngineProgram, ProviderName};

/// Time limit of the engine's answer, which takes milliseconds.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// States of a slot whose cluster is being made or started.
const BOOTING: [&str; 2] = ["booting", "starting"];

/// Asks the engine; `None` if no cluster of it boots or starts. Other engines and other users are not known.
pub(super) async fn reason() -> Option<&'static str> {
    let paths = EnginePaths::from_environment(ProviderName::Apple).ok()?;
    let client = EngineClient::new(paths, ProviderName::Apple, EngineProgram::ThisExecutable);
    match tokio::time::timeout(ENGINE_TIMEOUT, client.status(false)).await {
        Ok(Ok(None)) => None,
        Ok(Ok(Some(status))) => reason_in(status.slots.iter().map(|slot| slot.state.as_str())),
        Ok(Err(_)) | Err(_) => Some("the engine does not answer, so a cluster may be booting"),
    }
}

fn reason_in<'a>(mut states: impl Iterator<Item = &'a str>) -> Option<&'static str> {
    states.any(|state| BOOTING.contains(&state)).then_some("a cluster boots or starts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_or_a_start_is_a_reason_and_nothing_else() {
        assert_eq!(reason_in([].into_iter()), None);
        assert_eq!(reason_in(["ready", "stopped", "leased", "stopping"].into_iter()), None);
        for state in ["booting", "starting"] {
            assert_eq!(reason_in(["ready", state].into_iter()), Some("a cluster boots or starts"));
        }
    }
}
