//! Rules of a template, and of a lease, on the cluster that a rewinder has.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Rewinder;
use crate::provider::Readiness;
use crate::rewind::in_force::InForce;
use crate::rewind::plan::Plan;
use crate::rewind::resource::StorageResource;
use crate::rewind::{Fingerprint, PREFIX, RewindError, settle};
use crate::rule_kind::RuleKind;

/// An API server looks for new kinds of parameters every 30 s, and compiles policies anew every second.
const PARAMS_PERIOD: Duration = Duration::from_secs(32);

impl Rewinder {
    /// Waits until rules of these kinds that a lease has written are in force. Ends early if it is no longer wanted, and
    /// leaves no canary behind either way.
    pub(crate) async fn bring_in_force(
        &self,
        kinds: &BTreeSet<RuleKind>,
        is_wanted: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), RewindError> {
        self.in_force(is_wanted).wait(kinds).await
    }

    /// The same for all rules that the cluster has beyond its bare baseline. If a user's rule stands before the probes,
    /// the API server is restarted: one that has just started refuses requests until it knows the rules.
    pub(in crate::rewind) async fn bring_template_in_force(&mut self) -> Result<(), RewindError> {
        let listing = self.etcd.list_heads(PREFIX).await?;
        let plan = Plan::new(&self.baseline, &listing);
        let kinds = plan.touched.iter().map(StorageResource::as_str).filter_map(RuleKind::of_stored).collect();
        match self.in_force(&|| true).wait(&kinds).await {
            Err(error @ RewindError::NotInForce { .. }) => {
                tracing::info!(%error, "a template's rules cannot be probed: the API server is restarted instead");
            }
            other => return other,
        }
        let discovery_etag = settle::discovery_etag(&self.api).await?;
        let fingerprint = Fingerprint { discovery_etag, openapi_index_hash: String::new() };
        self.start_api_server_anew(Readiness::Full).await?;
        settle::wait_discovery(&self.api, &fingerprint, plan.definitions()).await?;
        self.bring_params_in_force(&kinds).await
    }

    /// The same for an API server that has just started on the baseline's template. It knows all rules, but for those
    /// parameters of policies whose kinds it began to serve after it had compiled the policies.
    pub(in crate::rewind) async fn bring_started_in_force(&self) -> Result<(), RewindError> {
        let Some(template) = self.baseline.template() else { return Ok(()) };
        self.bring_params_in_force(template.rule_kinds()).await
    }

    async fn bring_params_in_force(&self, kinds: &BTreeSet<RuleKind>) -> Result<(), RewindError> {
        if crate::sabotage::is_off(crate::sabotage::Part::InForce) {
            return Ok(());
        }
        let in_force = self.in_force(&|| true);
        for kind in kinds.iter().filter(|kind| kind.is_policy()) {
            match in_force.params_are_followed(*kind).await {
                Err(error @ RewindError::NotInForce { .. }) => {
                    tracing::info!(%error, "parameters of policies cannot be probed: it is waited for as long as they take");
                    tokio::time::sleep(PARAMS_PERIOD).await;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn in_force<'a>(&'a self, is_wanted: &'a (dyn Fn() -> bool + Send + Sync)) -> InForce<'a> {
        InForce {
            etcd: &self.etcd,
            api: &self.api,
            api_paths: &self.api_paths,
            has_controllers: self.cluster.has_controllers(),
            is_wanted,
        }
    }
}
