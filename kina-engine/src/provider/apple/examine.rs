//! An examination of `container` that changes nothing, for diagnosis.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::AppleProvider;
use super::call::Answer;
use super::command;
use super::error::ContainerError;
use super::image::{ClusterImage, Presence};
use super::json::{Container, DiskUsage};
use super::labels::{ENGINE, Owner, REALM};
use super::service::RUNNING;
use super::sweep::{SUFFIX, engine_of};
use crate::living_file::{Found, files_in, look_at};
use crate::provider::ProviderError;

/// The state of the service.
#[derive(Debug)]
pub struct Examination {
    /// The answer of `system status`: `running`, `not running`, `unregistered`.
    pub status: String,
    /// The directory where `container` keeps everything, if known.
    pub app_root: Option<PathBuf>,
    /// Further details, if the service runs.
    pub inside: Option<Inside>,
}

/// Details that only a running service provides.
#[derive(Debug)]
pub struct Inside {
    /// Versions of the program and of the service, if they differ.
    pub version_skew: Result<Option<(String, String)>, ContainerError>,
    /// Disk space that `container` takes; `None` if it was not to be asked for.
    pub disk_usage: Option<Result<DiskUsage, ProviderError>>,
    /// Numbers of containers.
    pub containers: Result<ContainerCount, ContainerError>,
    /// Set if the image that was asked about is loaded; `None` if there was none to ask about.
    pub image_is_loaded: Option<Result<bool, ContainerError>>,
    /// Names of all images.
    pub image_names: Result<Vec<String>, ContainerError>,
}

/// The numbers of containers by owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerCount {
    /// Containers of this realm, with an engine that lives.
    pub held: usize,
    /// Names of this realm's containers without a living engine.
    pub left_behind: Vec<String>,
    /// Containers of kina's other realms: of other cache directories.
    pub of_other_realms: usize,
    /// Containers that are not kina's.
    pub of_others: usize,
}

impl AppleProvider {
    /// Examines the service without changing anything, and asks it for this image. Each call has its deadline, and a
    /// service that does not run is asked nothing more. The disk space is asked for only if `asks_disk_usage` is set,
    /// because that call holds the service's one lock, for which boots and starts wait.
    ///
    /// # Errors
    /// If the service's status cannot be determined.
    pub async fn examine(
        &self,
        image: Option<&ClusterImage>,
        asks_disk_usage: bool,
    ) -> Result<Examination, ContainerError> {
        let (cli, service, owner) = (&self.shared.cli, &self.shared.service, &self.shared.owner);
        let found = service.status(cli).await?;
        let mut inside = None;
        if found.status == RUNNING {
            let containers = cli.list().await;
            let directory = &self.shared.settings.journal_directory;
            let image_is_loaded = match image {
                Some(image) => Some(match self.shared.images.ask(cli, image).await.presence {
                    Presence::Loaded => Ok(true),
                    Presence::Missing => Ok(false),
                    Presence::Unknown(error) => Err(error),
                }),
                None => None,
            };
            let names = |answer: Answer| String::from_utf8_lossy(&answer.output).lines().map(str::to_owned).collect();
            inside = Some(Inside {
                version_skew: service.version_skew(cli).await,
                disk_usage: if asks_disk_usage { Some(self.disk_usage().await) } else { None },
                containers: containers.map(|all| ContainerCount::of(&all, owner, &living_engines(directory))),
                image_is_loaded,
                image_names: cli.look(&command::image_names()).await.map(names),
            });
        }
        Ok(Examination { status: found.status, app_root: found.app_root, inside })
    }
}

impl ContainerCount {
    fn of(containers: &[Container], owner: &Owner, living_engines: &BTreeSet<String>) -> Self {
        let mut count = Self::default();
        for Container { id, labels, .. } in containers {
            let engine = labels.get(ENGINE).map(String::as_str).unwrap_or_default();
            match (labels.contains_key(REALM), owner.is_of_realm(labels)) {
                (_, true) if living_engines.contains(engine) => count.held += 1,
                (_, true) => count.left_behind.push(id.clone()),
                (true, false) => count.of_other_realms += 1,
                (false, false) => count.of_others += 1,
            }
        }
        count.left_behind.sort();
        count
    }
}

/// Returns the engines that hold a lock as a sign of life. If that cannot be determined, an engine counts as living.
fn living_engines(journal_directory: &Path) -> BTreeSet<String> {
    let files = files_in(journal_directory, SUFFIX).into_iter();
    files
        .filter(|path| !matches!(look_at(path), Ok(Some(Found::Left(_)) | None)))
        .map(|path| engine_of(&path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::apple::json::ContainerState;

    #[test]
    fn containers_are_told_apart_by_realm_and_by_the_life_of_their_engine() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let elsewhere = tempfile::tempdir().expect("a temporary directory");
        let container = |id: &str, owner: Option<Owner>| Container {
            id: id.to_owned(),
            state: ContainerState::Stopped,
            labels: owner
                .map(|owner| owner.labels("c").map(|(key, value)| (key.to_owned(), value)).into())
                .unwrap_or_default(),
            image_reference: None,
            image_digest: None,
        };
        let of_engine = |name: &str| Some(Owner::new(directory.path(), name));
        let all = [
            container("foreign", None),
            container("dead-2", of_engine("2-b")),
            container("held", of_engine("1-a")),
            container("dead-1", of_engine("2-b")),
            container("other-cache", Some(Owner::new(elsewhere.path(), "1-a"))),
        ];
        let count = ContainerCount::of(&all, &Owner::new(directory.path(), "me"), &BTreeSet::from(["1-a".to_owned()]));
        let left_behind = vec!["dead-1".to_owned(), "dead-2".to_owned()];
        assert_eq!(count, ContainerCount { held: 1, left_behind, of_other_realms: 1, of_others: 1 });
    }

    #[test]
    fn an_engine_lives_as_long_as_its_lock_is_held() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let living = crate::living_file::LivingFile::create(directory.path(), SUFFIX, b"").expect("made");
        let engine = engine_of(living.path());
        assert_eq!(living_engines(directory.path()), BTreeSet::from([engine]));
        drop(living);
        assert_eq!(living_engines(directory.path()), BTreeSet::new());
    }
}
