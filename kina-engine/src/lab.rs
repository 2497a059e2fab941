//! Parts of the inside for kina's own laboratory: `kina-lab`, `benches/` and `tests/`.
//!
//! Exempt from semantic versioning: any release may change or remove any of it.

pub mod api_client {
    pub use crate::api_client::{ApiClient, NoAnswer};
}

pub mod assets {
    pub use crate::assets::{AssetSource, SourceAnswer};
}

pub mod boot {
    pub use crate::daemon::boot::{BootError, wait_complete, wait_quiet};
}

pub mod cluster_name {
    pub use crate::cluster_name::engine_of;
}

pub mod etcd {
    pub use crate::etcd::{EtcdClient, EtcdError, WriteOperation};
}

pub mod fixtures {
    pub use crate::fixtures::DependencyGraph;
}

pub mod gateway {
    pub use crate::gateway::LoneGateway;
}

pub mod hex {
    pub use crate::hex::encode;
}

pub mod image {
    pub use crate::image::{Image, build};

    pub mod layout {
        pub use crate::image::layout::{
            API_PORT, API_SERVER_ARGUMENTS, CLUSTER_DIRECTORY, COMPLETE_MARKER, ETCD_ARGUMENTS, ETCD_DIRECTORY,
            KUBE_API_SERVER, LOG_DIRECTORY, PROBE_LOG, PROBE_SYNCED_LOG, SUPERVISOR, SUPERVISOR_LOG,
        };
    }
}

pub mod journal {
    pub use crate::journal::Journal;
}

pub mod lease_connector {
    pub use crate::lease_connector::of_secret;
}

pub mod pool {
    pub use crate::pool::{
        Action, BreakerLimits, ClientId, Event, Limits, Pool, ScaleLimits, SlotId, SlotKey, WaiterId, WearLimits,
    };
}

pub mod process_identity {
    pub use crate::process_identity::{numbering, pid, start_of};
}

pub mod process_memory {
    pub use crate::process_memory::resident_bytes;
}

pub mod process_time {
    pub use crate::process_time::of_this_process;
}

pub mod protocol {
    pub use crate::protocol::{
        ClientMessage, Counters, EngineMessage, HighWater, LayerHits, PROTOCOL, Refusal, RefusalKind, Traffic,
    };
}

pub mod provider {
    pub use crate::provider::{
        Capabilities, CreateRequest, EngineParts, ProvidedCluster, Provider, ProviderError, ProviderFuture, Readiness,
        SilentPorts, connect, program_variable, silent_port_refusal,
    };

    pub mod process {
        pub use crate::provider::process::ProcessProvider;
    }

    pub mod apple {
        pub use crate::provider::apple::{
            CLUSTER_LABEL, Container, ContainerState, ENGINE_LABEL, Owner, PROGRAM_VARIABLE, find_program, is_emulator,
            read_containers,
        };
    }
}

pub mod rewind {
    pub use crate::rewind::{PREFIX, UNFOLLOWED, api_name, read_fingerprint};
}

pub mod sabotage {
    pub use crate::sabotage::{IS_POSSIBLE, Part, SLOW_PERCENT, VARIABLE};
}

pub mod search_path {
    pub use crate::trust::search_path::{find, of_this_process, resolve};
}

pub mod settings {
    pub use crate::settings::BECOME_ENGINE;
}

pub mod snapshot {
    pub use crate::snapshot::Snapshot;
}

pub mod timings {
    pub use crate::timings::LOG_VARIABLE;
}
