use std::sync::Arc;

use tokio::sync::OnceCell;

use crate::provider::silent_ports::SilentPorts;

/// The behaviour of the system at silent ports, found out when it is needed for the first time.
#[derive(Clone, Default)]
pub(super) struct KnownSilentPorts(Arc<OnceCell<SilentPorts>>);

impl KnownSilentPorts {
    #[cfg(feature = "lab")]
    pub(super) fn of(silent_ports: SilentPorts) -> Self {
        Self(Arc::new(OnceCell::new_with(Some(silent_ports))))
    }

    pub(super) async fn get(&self) -> SilentPorts {
        *self.0.get_or_init(SilentPorts::of_this_system).await
    }
}
