//! The memory that storage has of earlier leases: every value that was overwritten or removed since its last
//! compaction.
//!
//! A list at an old revision (`resourceVersionMatch=Exact`, a continue token) shows it. The API server would keep old
//! states as well (`ListFromCacheSnapshot`); that is switched off, so that such a list comes from etcd. A watch that
//! begins at an old revision gets its events from the API server's own window, which only a restart empties.

use crate::etcd::{EtcdClient, EtcdError};
use crate::sabotage::{self, Part};

/// The part of its history that a cluster's storage has forgotten, and the part that it may forget.
#[derive(Debug, Default)]
pub(super) struct History {
    over: i64,
    forgotten: i64,
}

impl History {
    /// Notes that at this revision storage was at its baseline, and that every watch cache that was rewound has come
    /// as far. A cache that still has to follow older events would be cut off and not serve for a second.
    pub(super) fn over(&mut self, revision: i64) {
        self.over = revision;
    }

    /// Makes storage forget everything overwritten or removed before that revision.
    pub(super) async fn forget(&mut self, etcd: &EtcdClient) -> Result<(), EtcdError> {
        if self.over <= self.forgotten || sabotage::is_off(Part::History) {
            return Ok(());
        }
        etcd.compact(self.over).await?;
        self.forgotten = self.over;
        Ok(())
    }
}
