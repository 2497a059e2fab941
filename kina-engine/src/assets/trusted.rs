//! The promise that no other user can have put the binaries where they are.

use std::path::{Path, PathBuf};

use super::{Assets, AssetsError, ControllerAssets};
use crate::trust::{Distrust, Rule, expect_program};

/// The rule by which binaries are judged, and the directories that judging starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trusted {
    rule: Rule,
    /// All directories from here down to a program are judged with it.
    stores: Vec<PathBuf>,
}

impl Trusted {
    pub(super) fn new(rule: Rule, stores: Vec<PathBuf>) -> Self {
        Self { rule, stores }
    }
}

impl Assets {
    /// Checks one of the programs; needed before each start of it, since it may have been exchanged.
    pub(crate) fn expect_trusted(&self, program: &Path) -> Result<(), Distrust> {
        let Trusted { rule, stores } = &self.trusted;
        let store = stores.iter().find(|store| program.starts_with(store)).map_or(program, PathBuf::as_path);
        expect_program(rule, store, program)
    }

    /// Checks all of them.
    pub(crate) fn expect_all_trusted(&self) -> Result<(), Distrust> {
        let mut programs: Vec<&Path> = vec![&self.kube_apiserver, &self.etcd];
        if let Some(ControllerAssets { kube_controller_manager, kube_scheduler, kwok }) = &self.controllers {
            programs.extend([kube_controller_manager.as_path(), kube_scheduler, kwok]);
        }
        programs.into_iter().try_for_each(|program| self.expect_trusted(program))
    }
}

impl From<Distrust> for AssetsError {
    fn from(distrust: Distrust) -> Self {
        Self::Distrusted { distrust }
    }
}
