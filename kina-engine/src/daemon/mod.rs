//! The engine itself: one background process of a user that owns the pool.
//!
//! - `detach`: the first acts of the new process.
//! - `server`: the socket, and the end of everything.
//! - `client_socket`: the socket's connections. `connection`: one client.
//! - `clients`: who waits or has a lease.
//! - `dispatcher`: feeds the pool with events and carries its actions out; the only owner of its state.
//! - `slot`: what stands behind a slot: cluster, rewinder, gateway.
//! - `boot`: making one.
//! - `controllers`: what a cluster with controllers needs at its boot.
//! - `binaries`: the assets, found once for all who want the same.
//! - `steps`: what it tells a client that waits.
//! - `old_logs`: how long logs are kept.
//! - `high_water`: the most there ever was at a time.
//! - `lease_files`: the removal of the files that leases leave.
//! - `limits`: how much this machine can take.
//! - `metrics`: what it counts and measures, for Prometheus.
//! - `namespaces`: leases on single namespaces, many on one cluster.
//! - `templates`, `template_upload`, `template_making`, `template_store`: templates; their way in, how they are made and kept.
//! - `status`: what the engine tells about itself.

mod binaries;
pub(crate) mod boot;
mod client_socket;
mod clients;
mod connection;
mod controllers;
mod detach;
mod dispatcher;
mod high_water;
mod in_force;
mod lease_files;
mod limits;
mod metrics;
mod namespaces;
mod old_logs;
mod process_watch;
mod server;
mod slot;
mod status;
mod steps;
mod template_making;
mod template_store;
mod template_upload;
mod templates;

use crate::client::BECOME_ENGINE;

/// Exit code of an engine that could not start; its log says why.
const EXIT_FAILED: i32 = 70;

/// Becomes the engine if this process was started to be it, and then never returns. Else does nothing.
///
/// To be called before anything else: from a constructor, or as the first act of `main`.
pub fn become_engine_if_asked() {
    let Some(provider) = std::env::var_os(BECOME_ENGINE) else { return };
    let exit_code = match run(&provider.to_string_lossy()) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!(error = crate::error_text::with_causes(error.as_ref()), "the engine cannot run");
            EXIT_FAILED
        }
    };
    std::process::exit(exit_code);
}

fn run(provider: &str) -> Result<(), Box<dyn std::error::Error>> {
    detach::detach();
    let provider = provider.parse()?;
    let paths = crate::paths::EnginePaths::from_environment(provider)?;
    detach::start_log(&paths.log)?;
    crate::sabotage::read_environment()?;
    let settings = crate::settings::EngineSettings::of_this_process()?;
    let open_files = std::sync::Arc::new(crate::open_files::OpenFiles::new(crate::open_files::raise_limit()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("kina-engine")
        .enable_all()
        .build()?;
    let result = runtime.block_on(server::serve(provider, paths, settings, open_files));
    // Whatever still runs must not hold the process back.
    runtime.shutdown_background();
    result
}
