//! Controllers that were just started have to find everything done.
//!
//! kube-controller-manager notices each node anew at every start, and writes an event about it. Controllers that start
//! on a state which controllers have left write nothing else. So that event shows that they are at work, and it is the
//! last thing to be removed before the next lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::rewinder::{RewindReport, Rewinder};
use super::template::Template;
use super::{PREFIX, RewindError, settle};
use crate::etcd::{EtcdClient, EtcdError};

const NODES: &[u8] = b"minions/";
/// Events about nodes are in this namespace, each named after its node, a dot and a moment.
const EVENTS_OF_NODES: &[u8] = b"events/default/";
/// Usually half a second, several times that on a busy machine.
const NOTICE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Returns when controllers that were just started have noticed every node.
pub(crate) async fn wait_controllers(etcd: &EtcdClient) -> Result<(), RewindError> {
    let what = "kube-controller-manager, which should notice each node,";
    let has_noticed = || async { Ok(have_noticed_nodes(etcd).await?) };
    settle::poll(what, NOTICE_TIMEOUT, POLL_INTERVAL, has_noticed).await
}

async fn have_noticed_nodes(etcd: &EtcdClient) -> Result<bool, EtcdError> {
    let [nodes_prefix, events_prefix] = [NODES, EVENTS_OF_NODES].map(|path| [PREFIX, path].concat());
    let events = etcd.list_heads(&events_prefix).await?;
    let nodes = etcd.list_heads(&nodes_prefix).await?;
    let has_event = |node: &[u8]| {
        let name = node.strip_prefix(nodes_prefix.as_slice()).unwrap_or(node);
        let event = [&events_prefix, name, b"."].concat();
        events.heads().any(|head| head.key.starts_with(&event))
    };
    Ok(nodes.heads().all(|head| has_event(head.key)))
}

impl Rewinder {
    /// Rewinds a cluster whose controllers do not run, starts them, and removes the events that show that they run.
    pub(crate) async fn rewind_controlled(
        &mut self,
        template: Option<Arc<Template>>,
    ) -> Result<RewindReport, RewindError> {
        let start = Instant::now();
        self.baseline.count_root_certificates(false);
        let mut report = self.rewind_to(template).await?;
        self.cluster.start_controllers().await?;
        wait_controllers(&self.etcd).await?;
        self.wait_root_certificates().await?;
        // A lease has not changed the events that show that controllers run.
        report.add(RewindReport { changed_keys: 0, ..self.rewind().await? });
        report.duration = start.elapsed();
        Ok(report)
    }

    /// Waits until controllers have made the objects that a template leaves to them.
    async fn wait_root_certificates(&mut self) -> Result<(), RewindError> {
        let Some(template) = self.baseline.template().cloned() else { return Ok(()) };
        for key in template.root_certificates() {
            let what = format!("{}, which kube-controller-manager makes,", String::from_utf8_lossy(key));
            let etcd = &self.etcd;
            let exists = || async move { Ok(etcd.exists(key).await?) };
            settle::poll(&what, NOTICE_TIMEOUT, POLL_INTERVAL, exists).await?;
        }
        self.baseline.count_root_certificates(true);
        Ok(())
    }
}
