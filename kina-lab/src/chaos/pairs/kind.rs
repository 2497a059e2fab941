//! A kind of leak: the deed of lease A, and the look that lease B takes for it.

use futures::future::LocalBoxFuture;
use kina_engine::{EngineClient, FixtureSet, LeaseGrant};
use serde_json::Value;
use tokio::sync::Mutex;

use super::api::Api;
use super::raw::Raw;

/// A kind of leak.
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// One line.
    pub(super) about: &'static str,
    pub(super) cost: Cost,
    /// Parts of the engine without which the leak is seen soon.
    pub(super) shown_without: &'static [&'static str],
    /// Its look leaves something that would be in the way of the same kind in the same lease.
    pub(super) look_writes: bool,
    /// After its deed the lease can send no more requests.
    pub(super) goes_last: bool,
    /// The engine's work for other kinds would end it too.
    pub(super) is_alone: bool,
    /// The template may contain an object that refuses the deed.
    pub(super) is_without_template: bool,
    pub(super) start: Start,
    pub(super) deed: Deed,
}

/// The rounds that a kind can afford.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    Ordinary,
    /// Its lease makes the engine restart the API server, or start from a template that is made anew.
    Restart,
}

/// The state that leases of a kind start from; the number is another one in each round.
#[derive(Clone, Copy)]
pub(super) enum Start {
    /// Both from a bare cluster.
    Bare,
    /// Both from the same template.
    SameTemplate(fn() -> FixtureSet),
    /// A from a bare cluster, B from a template that no lease has had.
    NewTemplate(fn(u64) -> FixtureSet),
    /// The same, and while it is made an intruder writes to its cluster once this key is stored. The engine has to make
    /// it on another cluster, so B has that one.
    IntrudedTemplate(fn(u64) -> FixtureSet, &'static str),
}

/// The deed and the look.
pub(super) enum Deed {
    /// An object that A makes. For B it may be neither in storage nor in the caches.
    Object { collection: &'static str, manifest: &'static str },
    /// Anything else.
    Own {
        plant: Plant,
        /// B's first requests.
        look: Look,
        /// B's last requests, for late effects.
        look_late: Option<Look>,
    },
}

/// Does the deed, and makes sure that it took effect.
pub(super) type Plant = for<'a> fn(&'a Side) -> LocalBoxFuture<'a, anyhow::Result<Planted>>;

/// Returns the trace of A that was seen.
pub(super) type Look = for<'a> fn(&'a Side, &'a Former) -> LocalBoxFuture<'a, anyhow::Result<Option<String>>>;

/// A deed that took effect, with the facts that B needs.
#[derive(Default)]
pub(super) struct Planted {
    pub(super) trace: Value,
    /// A connection that lives until the lease ends, or longer.
    pub(super) connection: Option<Raw>,
    /// The engine runs its API servers so that they refuse such a request. B looks all the same.
    pub(super) is_refused: bool,
}

/// A lease, as its client sees it.
pub(super) struct Side {
    pub(super) api: Api,
    pub(super) grant: LeaseGrant,
    pub(super) engine: EngineClient,
    /// Different in each lease of a run, and a valid part of names.
    pub(super) mark: String,
}

/// The traces of the lease before.
pub(super) struct Former {
    pub(super) grant: LeaseGrant,
    /// The open connections of that lease's client, if it kept them.
    pub(super) api: Option<Api>,
    pub(super) trace: Value,
    /// The same, of a connection with bytes of its own.
    pub(super) connection: Mutex<Option<Raw>>,
}

impl Planted {
    pub(super) fn with(trace: impl Into<Value>) -> Self {
        Self { trace: trace.into(), ..Self::default() }
    }

    pub(super) fn on(connection: Raw) -> Self {
        Self { connection: Some(connection), ..Self::default() }
    }
}

impl Kind {
    /// The common case: an ordinary lease of a bare cluster, looked at once.
    pub(super) const fn own(name: &'static str, about: &'static str, plant: Plant, look: Look) -> Self {
        let deed = Deed::Own { plant, look, look_late: None };
        Self::new(name, about, deed)
    }

    /// An object in a collection.
    pub(super) const fn object(
        name: &'static str,
        about: &'static str,
        collection: &'static str,
        manifest: &'static str,
    ) -> Self {
        let deed = Deed::Object { collection, manifest };
        Self::new(name, about, deed)
    }

    const fn new(name: &'static str, about: &'static str, deed: Deed) -> Self {
        Self {
            name,
            about,
            cost: Cost::Ordinary,
            shown_without: &[],
            look_writes: false,
            goes_last: false,
            is_alone: false,
            is_without_template: false,
            start: Start::Bare,
            deed,
        }
    }

    /// Its lease makes the engine restart the API server.
    pub(super) const fn restarting(mut self) -> Self {
        self.cost = Cost::Restart;
        self
    }

    /// Seen soon if one of these parts is switched off.
    pub(super) const fn shown_without(mut self, parts: &'static [&'static str]) -> Self {
        self.shown_without = parts;
        self
    }

    /// Its look makes objects, of which the next lease's deed must not be part.
    pub(super) const fn look_writes(mut self) -> Self {
        self.look_writes = true;
        self
    }

    /// After its deed the lease can send no more requests.
    pub(super) const fn going_last(mut self) -> Self {
        self.goes_last = true;
        self
    }

    /// The engine's work for other kinds would end it too.
    pub(super) const fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    /// Not planted in a lease that starts from a template: an object of the template may refuse its deed.
    pub(super) const fn without_template(mut self) -> Self {
        self.is_without_template = true;
        self
    }

    pub(super) const fn starting(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// Also looked for with B's last requests.
    pub(super) const fn looked_late(mut self, late: Look) -> Self {
        if let Deed::Own { plant, look, .. } = self.deed {
            self.deed = Deed::Own { plant, look, look_late: Some(late) };
        }
        self
    }
}
