//! Divisors of the samples, so that a slow hour of the machine does not look like a slow-down of kina.
//!
//! Each yardstick does similar work to the scenario that it belongs to, and contains none of kina's own code.

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::api_server::ApiServer;
use super::super::change::{self, Change};
use super::super::probe::DirectAccess;

/// Objects that one sample creates and deletes, and the number of requests under way at a time: enough to keep the
/// cores busy, as a rewind does.
const ROUND_TRIP_OBJECTS: usize = 60;
const CONCURRENCY: usize = 8;
/// Bytes that one core hashes for one sample.
const HASHED_BYTES: usize = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;

/// Objects created and deleted through an open connection, straight to a running cluster.
pub struct RoundTrips {
    server: ApiServer,
}

impl RoundTrips {
    pub const NAME: &str = "60 ConfigMaps created and deleted straight in a running cluster";

    pub fn new(access: &Path) -> anyhow::Result<Self> {
        let access: DirectAccess = serde_json::from_slice(&std::fs::read(access)?)?;
        let server = ApiServer::new(access.address, &access.ca_pem, &access.certificate_pem, &access.key_pem)?;
        Ok(Self { server })
    }

    /// Takes a sample, in milliseconds.
    pub async fn sample(&self) -> anyhow::Result<f64> {
        let path = change::config_maps_path("default");
        let name = |number: usize| format!("yardstick-{number}");
        let start = Instant::now();
        let created = (0..ROUND_TRIP_OBJECTS).map(|number| {
            let change = Change::create(path.as_str(), json!({"metadata": {"name": name(number)}}));
            async move { self.server.send(&change).await }
        });
        futures::stream::iter(created).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
        let deleted = (0..ROUND_TRIP_OBJECTS).map(|number| {
            let change = Change::delete(format!("{path}/{}", name(number)));
            async move { self.server.send(&change).await }
        });
        futures::stream::iter(deleted).buffer_unordered(CONCURRENCY).try_collect::<Vec<()>>().await?;
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }
}

pub const DIRECT_LIST_NAME: &str = "a process that lists the namespaces straight in a running cluster";
pub const PROCESSOR_NAME: &str = "64 MiB hashed on every core at the same time";

/// All cores at work, until the last of them has finished: milliseconds.
pub async fn processor() -> anyhow::Result<f64> {
    let work = || {
        let chunk = vec![7_u8; CHUNK_BYTES];
        let mut hash = Sha256::new();
        for _ in 0..HASHED_BYTES / CHUNK_BYTES {
            hash.update(&chunk);
        }
        hash.finalize()
    };
    let start = Instant::now();
    let workers: Vec<_> = (0..kina_engine::cores()).map(|_| tokio::task::spawn_blocking(work)).collect();
    for worker in workers {
        std::hint::black_box(worker.await.context("a thread that hashed did not end")?);
    }
    Ok(start.elapsed().as_secs_f64() * 1e3)
}
