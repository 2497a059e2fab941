//! All metrics as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeMetric, MetricEncoder, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::labels::{Label, Labelled};
use super::recorder::{Metrics, lock};
use crate::pool::SlotState;
use crate::protocol::{SlotStatus, Status};

const PREFIX: &str = "kina";

/// The sources of one text.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) metrics: Arc<Metrics>,
    pub(super) status: Status,
    pub(super) orphans: usize,
    /// By slot.
    pub(super) processor_seconds: HashMap<u64, f64>,
    pub(super) engine_seconds: Option<f64>,
}

/// A sample without a label, or with one.
type Sample<Value> = (Option<(&'static str, String)>, Value);

/// A family that is being written.
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    help: &'static str,
}

struct Writer<'a>(DescriptorEncoder<'a>);

impl Scrape {
    pub(super) fn text(self) -> Result<String, fmt::Error> {
        // Every figure from an emulator is labelled as such.
        let simulated = self.status.simulated.then(|| ("simulated".into(), "true".into()));
        let mut registry = Registry::with_prefix_and_labels(PREFIX, simulated.into_iter());
        registry.register_collector(Box::new(self));
        let mut written = String::new();
        text::encode(&mut written, &registry)?;
        Ok(written)
    }

    fn engine(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let status = &self.status;
        let about = [
            ("version", status.version.as_str()),
            ("engine_profile", status.engine_profile.as_str()),
            ("provider", status.provider.as_str()),
        ];
        family("engine", "The engine that tells this")
            .describe(&mut writer.0, MetricType::Info)?
            .encode_info(&about.as_slice())?;
        let uptime = std::time::Duration::from_millis(status.uptime_ms).as_secs_f64();
        writer.gauge(family("engine_uptime", "For how long the engine has been running").in_seconds(), uptime)?;
        let memory = known(status.engine_rss_bytes);
        writer.gauges(family("engine_memory", "Resident memory of the engine itself").in_bytes(), memory)?;
        let seconds = self.engine_seconds.map(|seconds| (None, seconds));
        writer.counters(family("engine_cpu", "What the engine itself has used of the processors").in_seconds(), seconds)
    }

    fn leases(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let (metrics, counters) = (&self.metrics, &self.status.counters);
        writer.histograms(
            family("acquire", "From a request for a cluster to its being handed over and proven, by layer of reuse")
                .in_seconds(),
            &metrics.acquire,
        )?;
        let hits = counters.hits;
        let hits = [
            ("ready", hits.ready),
            ("rewound", hits.rewound),
            ("other_template", hits.other_template),
            ("frozen", hits.frozen),
            ("stopped", hits.stopped),
            ("snapshot", hits.snapshot),
            ("bootstrapped", hits.bootstrapped),
        ];
        let hits = hits.map(|(layer, count)| (Some(("layer", layer.to_owned())), count));
        writer
            .counters(family("leases", "Leases on clusters, by the layer of reuse that they were served from"), hits)?;
        writer.counters(
            family("namespace_leases", "Leases on namespaces, whose clusters are leased as well"),
            [(None, counters.namespace_leases)],
        )?;
        let slots = &self.status.slots;
        let namespaces: usize = slots.iter().map(|slot| slot.namespaces.len()).sum();
        let clusters = slots.iter().filter(|slot| slot.lease.is_some()).count();
        let active = [("cluster", clusters), ("namespace", namespaces)];
        let active = active.map(|(isolation, count)| (Some(("isolation", isolation.to_owned())), count));
        writer.gauges(family("leases_active", "Leases that have not ended, by what they hold alone"), active)?;
        writer.labelled_counters(
            family("refusals", "Requests for a cluster that were refused, by whose turn it is then"),
            &metrics.refusals,
        )?;
        writer.labelled_counters(
            family("template_lookups", "Templates that tests asked for, by where they were found"),
            &metrics.template_lookups,
        )
    }

    fn queue(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.gauge(family("queue_depth", "Clients that wait for a cluster or a namespace"), self.status.waiting)?;
        writer.gauge(family("queue_limit", "How many clients may wait"), self.status.high_water.queue_max)?;
        writer.histogram(
            family("queue_wait", "How long clients waited until a cluster was chosen for them, or they went without")
                .in_seconds(),
            &self.metrics.queue_wait,
        )
    }

    fn pool(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let (metrics, status) = (&self.metrics, &self.status);
        let mut states: BTreeMap<&str, usize> = SlotState::names().map(|name| (name, 0)).collect();
        for slot in &status.slots {
            *states.entry(slot.state.as_str()).or_default() += 1;
        }
        let states = states.into_iter().map(|(state, count)| (Some(("state", state.to_owned())), count));
        writer.gauges(family("slots", "Slots of the pool, by state"), states)?;
        writer.gauge(family("slots_limit", "How many slots there may be"), status.high_water.slots_max)?;
        writer.counters(family("boots", "Clusters that were created"), [(None, status.counters.boots)])?;
        writer.histograms(
            family("start", "How long clusters took to become ready, by what from").in_seconds(),
            &metrics.starts,
        )?;
        writer.labelled_counters(
            family("start_failures", "Clusters that did not become ready, by what from"),
            &metrics.start_failures,
        )?;
        writer.counters(family("freezes", "Idle clusters that were frozen"), [(None, status.counters.freezes)])?;
        writer.counters(
            family("stops", "Idle clusters that were stopped, their state kept"),
            [(None, metrics.stops.get())],
        )?;
        writer.labelled_counters(
            family("evictions", "Clusters that were removed from the pool, by cause"),
            &metrics.evictions,
        )?;
        let breakers = *lock(&metrics.breakers);
        let breakers = [("paused", breakers.paused), ("open", breakers.open), ("half_open", breakers.half_open)];
        let breakers = breakers.map(|(state, count)| (Some(("state", state.to_owned())), count));
        writer.gauges(
            family("breaker_kinds", "Kinds of clusters that did not boot lately, by state of their breaker"),
            breakers,
        )?;
        writer.gauge(family("orphans", "Running processes of clusters that the pool does not have"), self.orphans)?;
        writer.counters(
            family("orphans_ended", "Processes that had outlived an earlier engine, and were ended by this one"),
            [(None, metrics.orphans_ended.get())],
        )
    }

    fn rewinds(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let metrics = &self.metrics;
        writer.histogram(family("rewind_keys", "How many keys rewinds put back or removed"), &metrics.rewind_keys)?;
        writer
            .histograms(family("rewind", "How long rewinds took, by how many keys").in_seconds(), &metrics.rewinds)?;
        writer.histogram(
            family("release", "From the end of a lease to its cluster's being proven and ready again").in_seconds(),
            &metrics.releases,
        )?;
        let restarts = self.status.counters.api_server_restarts;
        writer.counters(family("api_server_restarts", "API servers restarted in a rewind"), [(None, restarts)])?;
        writer.labelled_counters(
            family("verification_failures", "Clusters that were found not to be pristine, by what became of them"),
            &metrics.verification_failures,
        )
    }

    fn provider(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.histograms(
            family("provider_call", "How long calls of the provider took, by call").in_seconds(),
            &self.metrics.provider_calls,
        )?;
        writer.labelled_counters(
            family("provider_errors", "Calls of the provider that failed, by call"),
            &self.metrics.provider_errors,
        )
    }

    fn clusters(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let slots = &self.status.slots;
        let bytes = |read: fn(&SlotStatus) -> u64| {
            let samples = slots.iter().filter_map(move |slot| Some((slot_label(slot.slot), some_bytes(read(slot))?)));
            samples.collect::<Vec<_>>()
        };
        let memory = bytes(|slot| slot.pss_bytes);
        writer.gauges(
            family("cluster_memory", "What a cluster takes of the memory, its etcd included").in_bytes(),
            memory,
        )?;
        let database = bytes(|slot| slot.database_bytes);
        writer.gauges(
            family("cluster_database", "How large a cluster's database was when last measured").in_bytes(),
            database,
        )?;
        let seconds = slots.iter().filter_map(|slot| {
            let seconds = self.processor_seconds.get(&slot.slot)?;
            Some((slot_label(slot.slot), *seconds))
        });
        writer.counters(family("cluster_cpu", "What a cluster has used of the processors").in_seconds(), seconds)?;
        let limit = self.status.high_water.memory_max_bytes;
        writer.gauge(family("memory_limit", "What all clusters together may take of the memory").in_bytes(), limit)
    }

    fn gateways(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let traffic = self.status.traffic;
        let connections = traffic.connections + traffic.unix_connections;
        writer.counters(family("gateway_connections", "Connections to gateways"), [(None, connections)])?;
        let open = traffic.connections_open + traffic.unix_connections_open;
        writer.gauge(family("gateway_connections_open", "Connections to gateways that are open"), open)?;
        let bytes = [("to_cluster", traffic.bytes_to_cluster), ("from_cluster", traffic.bytes_from_cluster)];
        let bytes = bytes.map(|(direction, bytes)| (Some(("direction", direction.to_owned())), bytes));
        writer.counters(
            family("gateway", "What went through gateways as it was on the wire, TLS included").in_bytes(),
            bytes,
        )
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer(encoder);
        self.engine(&mut writer)?;
        self.leases(&mut writer)?;
        self.queue(&mut writer)?;
        self.pool(&mut writer)?;
        self.rewinds(&mut writer)?;
        self.provider(&mut writer)?;
        self.clusters(&mut writer)?;
        self.gateways(&mut writer)
    }
}

fn family(name: &'static str, help: &'static str) -> Family {
    Family { name, unit: None, help }
}

fn slot_label(slot: u64) -> Option<(&'static str, String)> {
    Some(("slot", slot.to_string()))
}

/// Zero stands for an unknown size.
fn some_bytes(bytes: u64) -> Option<u64> {
    (0 < bytes).then_some(bytes)
}

fn known(bytes: u64) -> Option<Sample<u64>> {
    Some((None, some_bytes(bytes)?))
}

impl Family {
    fn in_seconds(self) -> Self {
        Self { unit: Some(Unit::Seconds), ..self }
    }

    fn in_bytes(self) -> Self {
        Self { unit: Some(Unit::Bytes), ..self }
    }

    fn describe<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)
    }
}

impl Writer<'_> {
    fn gauge<Value: EncodeGaugeValue>(&mut self, family: Family, value: Value) -> fmt::Result {
        self.gauges(family, [(None, value)])
    }

    fn gauges<Value: EncodeGaugeValue>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = Sample<Value>>,
    ) -> fmt::Result {
        let mut encoder = family.describe(&mut self.0, MetricType::Gauge)?;
        for (label, value) in samples {
            with_label(&mut encoder, label, |encoder| encoder.encode_gauge(&value))?;
        }
        Ok(())
    }

    fn counters<Value: EncodeCounterValue>(
        &mut self,
        family: Family,
        samples: impl IntoIterator<Item = Sample<Value>>,
    ) -> fmt::Result {
        let mut encoder = family.describe(&mut self.0, MetricType::Counter)?;
        for (label, value) in samples {
            with_label(&mut encoder, label, |encoder| encoder.encode_counter::<NoLabels, _, f64>(&value, None))?;
        }
        Ok(())
    }

    fn labelled_counters<Value: Label>(&mut self, family: Family, counters: &Labelled<Value, Counter>) -> fmt::Result {
        let samples = counters.iter().map(|(text, counter)| (Some((Value::NAME, text.to_owned())), counter.get()));
        self.counters(family, samples)
    }

    fn histogram(&mut self, family: Family, histogram: &Histogram) -> fmt::Result {
        histogram.encode(family.describe(&mut self.0, MetricType::Histogram)?)
    }

    fn histograms<Value: Label>(&mut self, family: Family, histograms: &Labelled<Value, Histogram>) -> fmt::Result {
        let mut encoder = family.describe(&mut self.0, MetricType::Histogram)?;
        for (text, histogram) in histograms.iter() {
            histogram.encode(encoder.encode_family(&[(Value::NAME, text)])?)?;
        }
        Ok(())
    }
}

type NoLabels = [(&'static str, &'static str); 0];

fn with_label(
    encoder: &mut MetricEncoder<'_>,
    label: Option<(&'static str, String)>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    match label {
        Some(label) => write(&mut encoder.encode_family(&[label])?),
        None => write(encoder),
    }
}
