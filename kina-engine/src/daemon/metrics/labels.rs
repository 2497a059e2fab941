//! The labels of families. All values of a label are known here, and all are there from the start: an event that has
//! not happened yet counts zero.

use crate::pool::{DestroyCause, Layer};
use crate::protocol::RefusalKind;
use crate::timings::ServedFrom;

/// The values of one label.
pub(in crate::daemon) trait Label: Copy + PartialEq + std::fmt::Debug + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];

    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($($(#[$comment:meta])* $type:ident is $name:literal { $($(#[$value_comment:meta])* $value:ident = $text:literal,)+ })+) => {$(
        $(#[$comment])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::daemon) enum $type {
            $($(#[$value_comment])* $value,)+
        }

        impl Label for $type {
            const NAME: &'static str = $name;
            const ALL: &'static [Self] = &[$(Self::$value),+];

            fn text(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }
        }
    )+};
}

labels! {
    /// The state from which a cluster became ready.
    StartedFrom is "from" {
        Frozen = "frozen",
        Stopped = "stopped",
        Snapshot = "snapshot",
        /// A new cluster that bootstrapped from nothing; for a failed boot, the origin is unknown.
        Nothing = "nothing",
    }

    /// The number of keys that a rewind put back or removed, in the ranges of the budgets for its duration.
    KeyCount is "keys" {
        Few = "0_to_250",
        Many = "251_to_5000",
        VeryMany = "over_5000",
    }

    /// The fate of a cluster that was not pristine when it had to be.
    Verification is "outcome" {
        /// A late write was found at hand-out, and the cluster rewound once more.
        Rewound = "rewound",
        /// It could not be proven pristine, and was given up.
        Replaced = "replaced",
    }

    /// The place where a template was found.
    TemplateFrom is "found" {
        Memory = "memory",
        Disk = "disk",
        /// It was just being made.
        Making = "making",
        Nowhere = "nowhere",
    }

    /// A call of the provider.
    ProviderCall is "call" {
        Create = "create",
        WaitReady = "wait_ready",
        RestartApiServer = "restart_api_server",
        StartControllers = "start_controllers",
        StopControllers = "stop_controllers",
        Freeze = "freeze",
        Thaw = "thaw",
        Stop = "stop",
        Start = "start",
        Destroy = "destroy",
    }
}

impl ServedFrom {
    pub(in crate::daemon) fn new(layer: Layer, is_from_snapshot: bool) -> Self {
        match layer {
            Layer::Ready => Self::Ready,
            Layer::Rewound => Self::Rewound,
            Layer::OtherTemplate => Self::OtherTemplate,
            Layer::Frozen => Self::Frozen,
            Layer::Stopped => Self::Stopped,
            Layer::Booted if is_from_snapshot => Self::Snapshot,
            Layer::Booted => Self::Bootstrapped,
        }
    }
}

/// The layer of reuse that a lease was served from, the cheapest first.
impl Label for ServedFrom {
    const NAME: &'static str = "layer";
    const ALL: &'static [Self] = &[
        Self::Ready,
        Self::Rewound,
        Self::OtherTemplate,
        Self::Frozen,
        Self::Stopped,
        Self::Snapshot,
        Self::Bootstrapped,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Rewound => "rewound",
            Self::OtherTemplate => "other_template",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Snapshot => "snapshot",
            Self::Bootstrapped => "bootstrapped",
        }
    }
}

impl KeyCount {
    pub(super) fn new(keys: usize) -> Self {
        match keys {
            0..=250 => Self::Few,
            251..=5000 => Self::Many,
            _ => Self::VeryMany,
        }
    }
}

impl Label for DestroyCause {
    const NAME: &'static str = "cause";
    const ALL: &'static [Self] = &[Self::Broke, Self::Worn, Self::MakesRoom, Self::Old, Self::Unneeded];

    fn text(self) -> &'static str {
        match self {
            Self::Broke => "broke",
            Self::Worn => "worn",
            Self::MakesRoom => "makes_room",
            Self::Old => "old",
            Self::Unneeded => "unneeded",
        }
    }
}

impl Label for RefusalKind {
    const NAME: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::User, Self::Timeout, Self::Engine];

    fn text(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Timeout => "timeout",
            Self::Engine => "engine",
        }
    }
}

/// One metric for each value of a label.
#[derive(Debug)]
pub(super) struct Labelled<Value, Metric>(Vec<(Value, Metric)>);

impl<Value: Label, Metric> Labelled<Value, Metric> {
    pub(super) fn new(make: impl Fn() -> Metric) -> Self {
        Self(Value::ALL.iter().map(|value| (*value, make())).collect())
    }

    /// Every value is in there, so this is always some.
    pub(super) fn get(&self, wanted: Value) -> Option<&Metric> {
        self.0.iter().find(|(value, _)| *value == wanted).map(|(_, metric)| metric)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, &Metric)> {
        self.0.iter().map(|(value, metric)| (value.text(), metric))
    }
}
