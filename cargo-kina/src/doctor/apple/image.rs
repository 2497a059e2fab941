//! Checks of the image that clusters boot from.

use std::path::PathBuf;

use kina_engine::doctor::{ClusterImage, ContainerError, Examination, Inside};
use kina_engine::{Architecture, EnginePaths, ProviderName, SupervisorError, with_causes};

use super::super::check::Check;
use super::SECTION;

/// The beginning of the names of images that kina makes.
const OF_KINA: &str = "kina.local/cluster:";

/// Returns the image that was used last, if there is one.
pub(super) fn last_used() -> Option<ClusterImage> {
    let (architecture, directory) = place()?;
    let image = kina_engine::last_used_image(architecture, None, &directory)?;
    Some(ClusterImage { reference: image.reference, archive: image.archive, digest: image.digest })
}

/// Makes the checks. `made` is the image that was used last, which the service was asked about.
pub(super) async fn examine(
    made: Option<&ClusterImage>,
    examined: Option<&Result<Examination, ContainerError>>,
) -> Vec<Check> {
    let Some((architecture, directory)) = place() else {
        let why = "kina makes no images for this processor, or has no directory to make them in";
        return ["supervisor", "image"].map(|name| SECTION.skipped(name, why)).into();
    };
    let built = tokio::task::spawn_blocking(move || kina_engine::provide_supervisor(architecture, &directory)).await;
    let inside = match examined {
        Some(Ok(Examination { inside, .. })) => inside.as_ref(),
        _ => None,
    };
    let supervisor = match built {
        Ok(built) => supervisor(&built),
        Err(panic) => SECTION.wrong("supervisor", format!("bug: {panic}"), "this is a bug in kina", "please report it"),
    };
    vec![supervisor, image(made.map(|image| image.reference.as_str()), inside)]
}

fn place() -> Option<(Architecture, PathBuf)> {
    let paths = EnginePaths::from_environment(ProviderName::Apple).ok()?;
    Some((Architecture::host().ok()?, kina_engine::image_directory(&paths.cache_directory)))
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
/// needed. The other images are known by their names alone.
fn image(made: Option<&str>, inside: Option<&Inside>) -> Check {
    let name = "image";
    let Some(made) = made else {
        return SECTION.ok(name, "none was made yet; the first cluster makes one and loads it");
    };
    let is_loaded = inside.and_then(|inside| inside.image_is_loaded.as_ref()).and_then(|loaded| loaded.as_ref().ok());
    let found = match is_loaded {
        None => return SECTION.skipped(name, format!("{made} was made; it is not known if it is loaded")),
        Some(true) => format!("{made} is loaded"),
        Some(false) => format!("{made} was made; the next cluster loads it"),
    };
    let others = inside.and_then(|inside| inside.image_names.as_ref().ok()).map(|names| {
        let others = names.iter().filter(|name| *name != made);
        let (of_kina, foreign): (Vec<_>, Vec<_>) = others.partition(|name| name.starts_with(OF_KINA));
        (of_kina.len(), foreign.len())
    });
    match others {
        None => SECTION.ok(name, format!("{found}; the names of the other images are not known")),
        Some((of_kina, foreign)) => {
            SECTION.ok(name, format!("{found}; beside it there are {of_kina} others of kina, and {foreign} of others"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::check::CheckOutcome;
    use super::*;
    use kina_engine::doctor::ContainerErrorKind;

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
        let inside = |is_loaded| Inside {
            version_skew: Ok(None),
            disk_usage: None,
            containers: Ok(Default::default()),
            image_is_loaded: Some(is_loaded),
            image_names: Ok(["kina.local/cluster:1", "kina.local/cluster:0", "alpine"].map(str::to_owned).into()),
        };
        let check = |is_loaded| image(Some("kina.local/cluster:1"), Some(&inside(is_loaded)));
        let found = check(Ok(true)).found;
        assert!(found.contains("is loaded; beside it there are 1 others of kina, and 1 of others"), "{found}");
        assert!(check(Ok(false)).found.contains("the next cluster loads it"));
        let hung = ContainerError {
            kind: ContainerErrorKind::TimedOut,
            call: "container image inspect".to_owned(),
            answer: "did not end".to_owned(),
            source: None,
        };
        assert_eq!(check(Err(hung)).outcome, CheckOutcome::Skipped);
        assert_eq!(image(Some("kina.local/cluster:1"), None).outcome, CheckOutcome::Skipped);
        assert_eq!(image(None, None).outcome, CheckOutcome::Ok);
    }
}
