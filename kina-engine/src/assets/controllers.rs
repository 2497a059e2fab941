//! The components of a cluster with controllers, beside its control plane: kube-controller-manager and kube-scheduler
//! of the same version, and the program that simulates nodes.
//!
//! Archives for envtest hold none of them, so they have sources of their own, and each is looked for by itself: beside
//! the binaries of the control plane, in kina's store, then on the network.

use std::path::{Path, PathBuf};

use super::binaries::{CONTROLLER_COMPONENTS, CONTROLLER_MANAGER, KWOK, SCHEDULER, fingerprint, problem_of};
use super::error::{AssetSource, AssetsError, NoSource, SourceAnswer, SourceFailure};
use super::request::AssetRequest;
use super::store::{self, StoreLock};
use super::{Assets, ControllerAssets, Progress, Report, go_build, release};

/// The places where components may already be.
struct Places {
    directories: Vec<PathBuf>,
    kwok: PathBuf,
}

/// Adds the programs that controllers need to `assets`.
pub(super) fn add(request: &AssetRequest, assets: Assets, report: &Report<'_>) -> Result<Assets, AssetsError> {
    let beside = assets.kube_apiserver.parent().map(Path::to_owned).unwrap_or_default();
    let root = store::root(&request.cache_directory);
    let mut places = Places { directories: vec![beside], kwok: store::kwok_path(&root, &request.platform) };
    if let Some(version) = assets.version {
        places.directories.push(store::version_directory(&root, version, &request.platform));
    }
    let missing = match places.find() {
        Ok(found) => return with(assets, found),
        Err(missing) => missing,
    };
    let Some(version) = assets.version else {
        // The version that they would need is unknown, and asking the program would mean to run it.
        return Err(AssetsError::NoControllers { directory: places.directories.swap_remove(0), missing });
    };
    let mut answers: Vec<SourceAnswer> = Vec::new();
    for directory in &places.directories {
        let answer = format!("holds no {}", missing.join(", no "));
        answers.push(SourceAnswer { asked: AssetSource::Store, place: Some(directory.display().to_string()), answer });
    }
    let mut missing = missing;
    if request.offline {
        for asked in [AssetSource::Download, AssetSource::GoBuild] {
            let answer = "not tried, because kina is set offline".to_owned();
            answers.push(SourceAnswer { asked, place: None, answer });
        }
    } else {
        let lock = StoreLock::acquire(request, report)?;
        for asked in [AssetSource::Download, AssetSource::GoBuild] {
            // The previous holder of the lock, or the previous source, may have brought the missing components.
            missing = match places.find() {
                Ok(found) => return with(assets, found),
                Err(missing) => missing,
            };
            if request.build_only && asked == AssetSource::Download {
                continue;
            }
            for components in batches(asked, &missing) {
                if request.is_cancelled() {
                    return Err(AssetsError::Cancelled { minor: request.minor });
                }
                let (place, outcome) = match (asked, components) {
                    (AssetSource::Download, [KWOK]) => {
                        (Some(request.kwok_release_url.clone()), release::download_kwok(request, &lock, report))
                    }
                    (AssetSource::Download, components) => {
                        let mut downloads = components.iter();
                        let outcome = downloads.try_for_each(|component| {
                            release::download_component(request, &lock, version, component, report)
                        });
                        (Some(request.release_url.clone()), outcome)
                    }
                    (_, [KWOK]) => (None, go_build::build_kwok(request, &lock, report)),
                    (_, components) => (None, go_build::build_components(request, &lock, version, components, report)),
                };
                match outcome {
                    Ok(()) => {}
                    Err(SourceFailure::Fatal(error)) => return Err(error),
                    Err(SourceFailure::Answered(answer)) => {
                        let answer = format!("{}: {answer}", components.join(", "));
                        report(Progress::new(format!("{asked}: {answer}")));
                        answers.push(SourceAnswer { asked, place, answer });
                    }
                }
            }
        }
        missing = match places.find() {
            Ok(found) => return with(assets, found),
            Err(missing) => missing,
        };
    }
    let components = missing;
    let (minor, platform) = (request.minor, request.platform.clone());
    Err(AssetsError::NoSource(Box::new(NoSource { minor, platform, components, answers })))
}

/// The components to ask one source for at a time: those built from one module are prepared together.
fn batches<'a>(source: AssetSource, missing: &'a [&'static str]) -> Vec<&'a [&'static str]> {
    match source {
        AssetSource::GoBuild => {
            // The order of all components puts kwok last.
            let (kubernetes, kwok) = missing.split_at(missing.iter().take_while(|name| **name != KWOK).count());
            [kubernetes, kwok].into_iter().filter(|batch| !batch.is_empty()).collect()
        }
        _ => missing.chunks(1).collect(),
    }
}

impl Places {
    /// All components, or the names of those that are nowhere.
    fn find(&self) -> Result<ControllerAssets, Vec<&'static str>> {
        let mut found = CONTROLLER_COMPONENTS.map(|component| self.find_one(component));
        if found.iter().any(Option::is_none) {
            let components = CONTROLLER_COMPONENTS.into_iter().zip(&found);
            return Err(components.filter(|(_, path)| path.is_none()).map(|(component, _)| component).collect());
        }
        let mut take = |wanted| {
            let index = CONTROLLER_COMPONENTS.iter().position(|component| *component == wanted);
            index.and_then(|index| found[index].take()).unwrap_or_default()
        };
        Ok(ControllerAssets {
            kube_controller_manager: take(CONTROLLER_MANAGER),
            kube_scheduler: take(SCHEDULER),
            kwok: take(KWOK),
        })
    }

    fn find_one(&self, component: &str) -> Option<PathBuf> {
        let mut paths: Vec<PathBuf> = self.directories.iter().map(|directory| directory.join(component)).collect();
        if component == KWOK {
            paths.push(self.kwok.clone());
        }
        paths.into_iter().find(|path| problem_of(path, component).is_none())
    }
}

/// The assets of a cluster with controllers. They have a name of their own, so that nothing kept under it is taken for
/// that of a cluster without.
fn with(assets: Assets, controllers: ControllerAssets) -> Result<Assets, AssetsError> {
    let ControllerAssets { kube_controller_manager, kube_scheduler, kwok } = &controllers;
    let digest = fingerprint(&[kube_controller_manager, kube_scheduler, kwok], true)
        .map_err(|error| AssetsError::store("read", kube_controller_manager, error))?;
    let identity = format!("{}-controllers-{digest}", assets.identity);
    Ok(Assets { identity, controllers: Some(controllers), ..assets })
}
