//! The engine itself: one background process of a user that owns the pool.
//!
//! - `detach`: the first acts of the new process.
//! - `server`: the socket, and the end of everything.
//! - `client_socket`: the socket's connections. `client_stream`: one connection. `connection`: the requests on it.
//! - `engine`: the parts that all connections share.
//! - `clients`: the clients that wait or have a lease.
//! - `dispatcher`: feeds the pool with events and carries its actions out; the only owner of its state.
//! - `message`: the messages to the dispatcher.
//! - `slot`: the parts of a slot: cluster, rewinder, gateway.
//! - `boot`: making a cluster.
//! - `binaries`: the assets, found once for all clients that want the same.
//! - `steps`: progress messages to waiting clients.
//! - `old_logs`: the removal of old logs.
//! - `high_water`: peaks.
//! - `lease`: leases, as the parts of the engine know them. `lease_socket`: their further connections.
//! - `beginnings`: leases that are just beginning.
//! - `lease_files`: the removal of the files that leases leave.
//! - `limits`: the limits of this machine.
//! - `metrics`: counters and measurements, for Prometheus.
//! - `namespaces`: leases on single namespaces, many on one cluster.
//! - `numbers`: the numbers of requests and of leases.
//! - `templates`: templates, made once and shared. `template_upload`: their way from the client to there.
//! - `status`: the engine's report on itself.

mod beginnings;
mod binaries;
pub mod boot;
mod client_socket;
mod client_stream;
mod clients;
mod connection;
mod detach;
mod dispatcher;
mod engine;
mod high_water;
mod in_force;
mod lease;
mod lease_files;
mod lease_socket;
mod limits;
mod message;
mod metrics;
mod namespaces;
mod numbers;
mod old_logs;
mod process_watch;
mod server;
mod slot;
mod status;
mod steps;
mod template_upload;
mod templates;

use crate::settings::BECOME_ENGINE;

/// Exit code of an engine that could not start; its log says why.
const EXIT_FAILED: i32 = 70;

/// Becomes the engine if this process was started to be it, and then never returns. Otherwise does nothing.
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
    // Tasks that still run must not hold the process back.
    runtime.shutdown_background();
    result
}
