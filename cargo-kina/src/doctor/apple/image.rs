//! Checks of the image that clusters boot from.

use std::path::PathBuf;

use kina_engine::doctor::{ContainerError, Examination};
use kina_engine::{Architecture, EnginePaths, ProviderName, SupervisorError, with_causes};

use super::super::check::Check;
use super::SECTION;

pub(super) async fn examine(examined: Option<&Result<Examination, ContainerError>>) -> Vec<Check> {
    let (Ok(architecture), Ok(paths)) = (Architecture::host(), EnginePaths::from_environment(ProviderName::Apple))
    else {
        let why = "kina makes no images for this processor, or has no directory to make them in";
        return ["supervisor", "image"].map(|name| SECTION.skipped(name, why)).into();
    };
    let directory = kina_engine::image_directory(&paths.cache_directory);
    let made = kina_engine::last_used_image(architecture, None, &directory).map(|image| image.reference);
    let built = tokio::task::spawn_blocking(move || kina_engine::provide_supervisor(architecture, &directory)).await;
    let loaded = match examined {
        Some(Ok(Examination { inside: Some(inside), .. })) => inside.images.as_ref().ok(),
        _ => None,
    };
    let supervisor = match built {
        Ok(built) => supervisor(&built),
        Err(panic) => SECTION.wrong("supervisor", format!("bug: {panic}"), "this is a bug in kina", "please report it"),
    };
    vec![supervisor, image(made.as_deref(), loaded.map(Vec::as_slice))]
}

fn supervisor(built: &Result<PathBuf, SupervisorError>) -> Check {
    let name = "supervisor";
    match built {
        Ok(path) => SECTION.ok(name, format!("compiled, or named by KINA_SUPERVISOR: {}", path.display())),
        Err(error) => {
            let repair = match error {
                SupervisorError::NoTarget { toolchain: Some(toolchain), target, .. } => {
                    format!("rustup target add --toolchain {toolchain} {target}")
                }
                SupervisorError::NoTarget { target, .. } => format!("rustup target add {target}"),
                SupervisorError::Given { .. } => "unset KINA_SUPERVISOR".to_owned(),
                SupervisorError::NoCompiler { .. } => "install Rust with rustup".to_owned(),
                _ => "see the message".to_owned(),
            };
            let meaning = "the image has no first process, so this provider has no clusters";
            SECTION.wrong(name, with_causes(error), meaning, repair)
        }
    }
}

/// Checks if the service has the image that was used last. A missing image is no fault: it is made and loaded when
/// needed.
fn image(made: Option<&str>, loaded: Option<&[String]>) -> Check {
    let name = "image";
    match (made, loaded) {
        (None, _) => SECTION.ok(name, "none was made yet; the first cluster makes one and loads it"),
        (Some(made), None) => SECTION.skipped(name, format!("{made} was made; it is not known if it is loaded")),
        (Some(made), Some(loaded)) if loaded.iter().any(|loaded| loaded == made) => {
            SECTION.ok(name, format!("{made} is loaded"))
        }
        (Some(made), Some(_)) => SECTION.ok(name, format!("{made} was made; the next cluster loads it")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;

    #[test]
    fn a_missing_target_is_wrong_and_its_repair_is_the_command_that_adds_it() {
        let missing = |toolchain: Option<&str>| {
            let toolchain = toolchain.map(str::to_owned);
            let target = "aarch64-unknown-linux-musl";
            supervisor(&Err(SupervisorError::NoTarget { sysroot: "/r".to_owned(), toolchain, target }))
        };
        let check = missing(Some("stable"));
        assert_eq!(check.outcome, CheckOutcome::Wrong);
        assert_eq!(check.repair.as_deref(), Some("rustup target add --toolchain stable aarch64-unknown-linux-musl"));
        assert_eq!(missing(None).repair.as_deref(), Some("rustup target add aarch64-unknown-linux-musl"));
        assert_eq!(supervisor(&Ok("/s".into())).outcome, CheckOutcome::Ok);
    }

    #[test]
    fn an_image_is_reported_as_loaded_only_if_that_is_known() {
        let loaded = ["kina.local/cluster:1".to_owned()];
        assert!(image(Some("kina.local/cluster:1"), Some(&loaded)).found.ends_with("is loaded"));
        assert!(image(Some("kina.local/cluster:2"), Some(&loaded)).found.ends_with("the next cluster loads it"));
        assert_eq!(image(Some("kina.local/cluster:1"), None).outcome, CheckOutcome::Skipped);
        assert_eq!(image(None, None).outcome, CheckOutcome::Ok);
    }
}
