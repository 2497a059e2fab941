//! The making of one container: its image is there when it is created, and the outcome of the call is looked up.

use super::boot_queue::Turn;
use super::cli::TRIES_MAX;
use super::command::{self, Command, ContainerSpec};
use super::error::{ContainerError, ContainerErrorKind as Kind};
use super::failures::Failures;
use super::image::{ClusterImage, Presence};
use super::shared::Shared;

/// Makes a container for this cluster, which does not run yet.
pub(super) async fn make(
    shared: &Shared,
    spec: &ContainerSpec,
    image: &ClusterImage,
    cluster: &str,
) -> Result<(), ContainerError> {
    let command = command::create(spec);
    let mut failures = Failures::default();
    loop {
        // Directly before each create, also after one that failed for a reason that may have been the image.
        let turn = turn_with_image(shared, &command, image).await?;
        let created = shared.cli.run_unless(&turn, &command, || is_pointless(shared, spec, image, cluster)).await;
        drop(turn);
        let Err(error) = created else { return Ok(()) };
        let is_open = error.kind.leaves_open_what_happened() || error.kind == Kind::ImageMissing;
        // An earlier try whose outcome is unknown may have made one by now.
        if !is_open && (error.kind != Kind::Exists || failures.is_empty()) {
            return Err(error);
        }
        match shared.cli.find(&spec.name).await? {
            Some(container) if shared.owner.is_of_cluster(&container.labels, cluster) => return Ok(()),
            Some(_) => return Err(error.with_kind(Kind::Foreign)),
            None if !failures.allow_another(&error, TRIES_MAX) => return Err(error),
            None => tracing::info!(%error, "a container was not made: trying again"),
        }
    }
}

/// Waits for the turn of a create, and loads the image first if it is missing. Others boot meanwhile.
async fn turn_with_image<'a>(
    shared: &'a Shared,
    command: &Command,
    image: &ClusterImage,
) -> Result<Turn<'a>, ContainerError> {
    let turn = shared.cli.turn(command).await?;
    let asked = shared.images.ask(&shared.cli, image).await;
    if matches!(asked.presence, Presence::Loaded) {
        return Ok(turn);
    }
    drop(turn);
    shared.images.provide(&shared.cli, &shared.service, image, asked).await?;
    shared.cli.turn(command).await
}

/// Returns true if a create that still runs has had its effect, or waits for an image that no registry has. Otherwise
/// it may be waiting for the service's lock.
async fn is_pointless(shared: &Shared, spec: &ContainerSpec, image: &ClusterImage, cluster: &str) -> bool {
    let is_ours = |container: &super::json::Container| {
        container.id == spec.name && shared.owner.is_of_cluster(&container.labels, cluster)
    };
    if shared.cli.list_once().await.is_ok_and(|containers| containers.iter().any(is_ours)) {
        return true;
    }
    matches!(shared.images.ask(&shared.cli, image).await.presence, Presence::Missing)
}
