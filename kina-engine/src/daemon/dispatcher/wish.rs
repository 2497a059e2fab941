//! Requests that are answered once the pool has come to a state: so many clusters exist, or none stops any more.

use tokio::sync::oneshot;

use super::Dispatcher;
use crate::pool::{Event, SlotKey, SlotState};
use crate::protocol::{Refusal, RefusalKind};

/// The requests that are yet to be answered.
#[derive(Default)]
pub(super) struct Wishes {
    warm: Vec<WarmWish>,
    stop_idle: Vec<oneshot::Sender<()>>,
}

struct WarmWish {
    key: SlotKey,
    count: usize,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

impl Dispatcher {
    /// Boots clusters, and answers when so many of them run.
    pub(super) fn warm(&mut self, key: SlotKey, count: usize, reply: oneshot::Sender<Result<(), Refusal>>) {
        let wish = WarmWish { key: key.clone(), count: count.min(self.limits.slots_max), reply };
        self.wishes.warm.push(wish);
        self.feed(Event::WarmUp { key, count });
    }

    /// Stops the idle clusters, and answers when that is done.
    pub(super) fn stop_idle(&mut self, reply: oneshot::Sender<()>) {
        self.wishes.stop_idle.push(reply);
        self.feed(Event::StopIdle);
    }

    /// Answers the requests that are met, and those that will not be.
    pub(super) fn answer_wishes(&mut self) {
        let pool = &self.pool;
        let kept = std::mem::take(&mut self.wishes.warm).into_iter().filter_map(|wish| {
            let is_ready = pool.running(&wish.key) >= wish.count;
            let result = match (is_ready, pool.is_warming(&wish.key)) {
                (true, _) => Ok(()),
                (false, true) => return Some(wish),
                (false, false) => Err(Refusal {
                    kind: RefusalKind::Engine,
                    message: format!("only {} of {} clusters could be booted", pool.running(&wish.key), wish.count),
                }),
            };
            let _ = wish.reply.send(result);
            None
        });
        self.wishes.warm = kept.collect();
        // Clusters that cannot be stopped are destroyed instead.
        let on_the_way = if self.limits.can_stop { SlotState::Stopping } else { SlotState::Broken };
        let is_stopping = pool.slots().any(|(_, state)| state == on_the_way);
        if !is_stopping {
            for wish in self.wishes.stop_idle.drain(..) {
                let _ = wish.send(());
            }
        }
    }
}
