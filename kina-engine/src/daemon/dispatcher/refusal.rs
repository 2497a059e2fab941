//! Refusal messages.

use crate::pool::PoolRefusal;
use crate::protocol::{Refusal, RefusalKind};

pub(super) fn to_refusal(refusal: PoolRefusal) -> Refusal {
    match refusal {
        PoolRefusal::Deadline { waited_ms, slots, waiting, slots_max } => Refusal {
            kind: RefusalKind::Timeout,
            message: format!(
                "no cluster became free in time ({waited_ms} ms): {slots} of at most {slots_max} slots, {waiting} other \
                 clients waiting. Run fewer tests at a time, raise KINA_SLOTS_MAX, or wait longer \
                 (KINA_ACQUIRE_TIMEOUT_SECONDS)"
            ),
        },
        PoolRefusal::StartFailed { reason, is_user_error: true, .. } => {
            Refusal { kind: RefusalKind::User, message: reason }
        }
        PoolRefusal::StartFailed { reason, is_user_error: false, retry_after_ms } => Refusal {
            kind: RefusalKind::Engine,
            message: format!(
                "clusters do not start; after several failures in a row kina tries again in {} s, if asked. The last \
                 failure: {reason}",
                retry_after_ms.div_ceil(1000)
            ),
        },
        PoolRefusal::TemplateBroke { reason } => Refusal {
            kind: RefusalKind::Engine,
            message: format!("no cluster could be put to the template; the last failure: {reason}"),
        },
        PoolRefusal::QueueFull { waiting_max } => Refusal {
            kind: RefusalKind::Timeout,
            message: format!("{waiting_max} clients wait for a cluster already: run fewer tests at a time"),
        },
    }
}
