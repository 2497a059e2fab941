//! Waiting for the end that others want: Ctrl-C, or the system's wish.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves when the user, or the system, wants this to end: then everything private has to be taken down first.
pub(super) async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        // Where no signal can be waited for, this one ends the process as it always does.
        Ok(()) = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
