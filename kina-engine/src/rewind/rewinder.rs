mod rules;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::canaries::{Canaries, Followed};
use super::history::History;
use super::identity_lease::IdentityLeases;
use super::plan::{Change, Plan};
use super::resource::{ApiPaths, StorageResource};
use super::take;
use super::template::Template;
use super::{Baseline, ExpectedKeys, PREFIX, RewindError, allocators, settle, transactions};
use crate::api_client::ApiClient;
use crate::etcd::{EtcdClient, KeyListing, REQUEST_BYTES_MAX, StoredKey, TRANSACTION_KEYS_MAX, WriteOperation};
use crate::lingering::{self, End, LeftBehind};
use crate::provider::{ProvidedCluster, Readiness};
use crate::sabotage::{self, Part};

/// The largest number of rewinds in a row if something wrote after each. Late writers are done after one or two.
const PASSES_MAX: usize = 6;

/// The time without a write after which a lease's template is complete.
const QUIET: Duration = Duration::from_millis(40);
/// The same with controllers, which do one thing after the other.
const QUIET_OF_CONTROLLERS: Duration = Duration::from_secs(2);
const QUIET_TIMEOUT: Duration = Duration::from_secs(60);

/// Rewinds one running cluster.
pub(crate) struct Rewinder {
    pub(super) cluster: Arc<dyn ProvidedCluster>,
    pub(super) etcd: EtcdClient,
    pub(super) api: ApiClient,
    pub(super) api_paths: ApiPaths,
    /// The paths of the kinds that the template brings.
    template_paths: Vec<String>,
    pub(super) baseline: Baseline,
    /// The state that was last proven to be the baseline.
    proven: ProvenState,
    rewind_count: u64,
    history: History,
    /// That of the last rewind that wrote anything.
    last_write_revision: i64,
    identity_leases: IdentityLeases,
    /// Set if the API server has to be restarted, no matter what a lease has written.
    restart_is_due: bool,
    /// Set while OpenAPI may still show removed kinds.
    openapi_lags: bool,
    /// Requests that have to end before a comparison proves anything.
    left_behind: LeftBehind,
}

/// The outcome of a rewind.
#[derive(Clone, Debug, Default)]
pub(crate) struct RewindReport {
    /// The number of keys that were put back or removed, over all passes.
    pub(crate) changed_keys: usize,
    /// The number of times that storage was compared and written.
    pub(crate) passes: usize,
    /// Set if the API server had to be restarted, because the lease touched resources that are only compiled or cached.
    pub(crate) restarted: bool,
    /// Set if OpenAPI has yet to follow.
    pub(crate) openapi_lags: bool,
    /// The time that all of it took.
    pub(crate) duration: Duration,
}

impl RewindReport {
    /// Adds the work that was done afterwards, and its duration.
    pub(crate) fn add(&mut self, after: Self) {
        self.changed_keys += after.changed_keys;
        self.passes += after.passes;
        self.restarted |= after.restarted;
        self.openapi_lags = after.openapi_lags;
        self.duration += after.duration;
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct ProvenState {
    revision: i64,
    key_count: i64,
}

impl Rewinder {
    /// Takes over a cluster whose state is `baseline`, proves it, and removes stored keys that are part of no baseline,
    /// such as the events of its boot.
    pub(crate) async fn take_over(
        cluster: Arc<dyn ProvidedCluster>,
        etcd: EtcdClient,
        api: ApiClient,
        baseline: Baseline,
    ) -> Result<Self, RewindError> {
        // Groups appear in discovery one after the other while the API server starts.
        settle::wait_discovery(&api, &baseline.fingerprint(), 0).await?;
        let api_paths = settle::read_api_paths(&api).await?;
        let proven = ProvenState::default();
        let mut rewinder = Self {
            cluster,
            etcd,
            api,
            api_paths,
            template_paths: Vec::new(),
            baseline,
            proven,
            rewind_count: 0,
            history: History::default(),
            last_write_revision: 0,
            identity_leases: IdentityLeases::default(),
            restart_is_due: false,
            openapi_lags: false,
            left_behind: LeftBehind::default(),
        };
        rewinder.resume().await?;
        Ok(rewinder)
    }

    /// Proves a cluster whose API server was just started.
    pub(crate) async fn resume(&mut self) -> Result<(), RewindError> {
        self.identity_leases.forget();
        settle::wait_discovery(&self.api, &self.baseline.fingerprint(), self.template_definitions()).await?;
        self.openapi_lags = true;
        self.rewind().await?;
        self.wait_template_served(self.proven.revision).await?;
        self.bring_started_in_force().await
    }

    /// Notes the requests whose end the next rewind has to see.
    pub(crate) fn leave(&mut self, left_behind: LeftBehind) {
        self.left_behind.add(left_behind);
    }

    /// Restores storage to the baseline with this template, which may be another than before.
    pub(crate) async fn rewind_to(&mut self, template: Option<Arc<Template>>) -> Result<RewindReport, RewindError> {
        self.rewind_by_way_of(template, StorageResource::shapes_discovery).await
    }

    /// Undoes writes since the last proof, when no lease could write. Most come from the API server itself: when busy,
    /// it removes an APIService along with the kind that a rewind removed before it brought both back. Another rewind
    /// in that way would make it do so again.
    pub(crate) async fn rewind_late(&mut self) -> Result<RewindReport, RewindError> {
        self.rewind_by_way_of(self.baseline.template().cloned(), StorageResource::defines_kinds).await
    }

    /// Goes through the bare baseline if one of the template's objects that `is_shape` has changed.
    async fn rewind_by_way_of(
        &mut self,
        template: Option<Arc<Template>>,
        is_shape: fn(&StorageResource) -> bool,
    ) -> Result<RewindReport, RewindError> {
        let start = Instant::now();
        let name = |template: Option<&Arc<Template>>| template.map(|template| template.name().to_owned());
        let is_other = name(template.as_ref()) != name(self.baseline.template());
        let mut listing = self.etcd.list_heads(PREFIX).await?;
        let mut report = RewindReport::default();
        // Kinds that are redefined in place keep their old definition for a moment, and nothing tells when that has
        // passed. A kind that discovery has forgotten is defined anew. So the way leads through a cluster without any.
        let is_redefined =
            self.baseline.template().is_some() && (is_other || self.shapes_were_changed(&listing, is_shape));
        if is_redefined {
            self.baseline.set_template(None);
            self.template_paths.clear();
            report = self.rewind_from(listing).await?;
            listing = self.etcd.list_heads(PREFIX).await?;
        }
        if is_redefined || is_other {
            self.baseline.set_template(template);
        }
        report.add(self.rewind_from(listing).await?);
        if (is_redefined || is_other) && self.baseline.template().is_some() {
            self.follow_template().await?;
        }
        report.duration = start.elapsed();
        Ok(report)
    }

    /// Records the lease's changes to the bare cluster, which are the slot's baseline from now on.
    pub(crate) async fn take_template(
        &mut self,
        name: &str,
        expected: &ExpectedKeys,
        directory: &Path,
    ) -> Result<Arc<Template>, RewindError> {
        self.bring_template_in_force().await?;
        let start = Instant::now();
        loop {
            let discovery_etag = settle::discovery_etag(&self.api).await?;
            let taken = take::read(&self.etcd, &self.baseline, directory).await?;
            tokio::time::sleep(if self.cluster.has_controllers() { QUIET_OF_CONTROLLERS } else { QUIET }).await;
            let changed = self.etcd.list_changed_heads(PREFIX, taken.revision + 1).await?;
            let is_quiet = changed.key_count == taken.key_count
                && changed.heads().all(|head| self.baseline.server_owned.contains(head.key))
                && settle::discovery_etag(&self.api).await? == discovery_etag;
            // Controllers make objects of their own.
            let is_checked = !self.cluster.has_controllers() && !sabotage::is_off(Part::TemplateKeys);
            if is_checked && let Some(key) = taken.intruder(expected, &self.baseline.server_owned) {
                return Err(RewindError::Intruder { key });
            }
            if is_quiet {
                let (template, revisions) = taken.finish(name.to_owned(), discovery_etag)?;
                let template = Arc::new(template);
                self.baseline.adopt(Arc::clone(&template), revisions);
                self.openapi_lags = true;
                self.follow_template().await?;
                return Ok(template);
            }
            if QUIET_TIMEOUT < start.elapsed() {
                return Err(RewindError::NotQuiet { waited_ms: start.elapsed().as_millis() });
            }
        }
    }

    /// The cluster's additions to its bare baseline.
    pub(crate) fn template(&self) -> Option<&Arc<Template>> {
        self.baseline.template()
    }

    /// Waits until the kinds of the template are served, and remembers their paths.
    async fn follow_template(&mut self) -> Result<(), RewindError> {
        let all = settle::read_api_paths(&self.api).await?;
        self.template_paths = all.beyond(&self.api_paths).map(str::to_owned).collect();
        self.wait_template_served(self.proven.revision).await
    }

    /// The number of CRDs and APIServices that the template brings.
    fn template_definitions(&self) -> usize {
        self.baseline.template().map_or(0, |template| template.definitions())
    }

    /// An API server that has just started refuses for a moment, because it is not ready.
    async fn wait_template_served(&self, revision: i64) -> Result<(), RewindError> {
        settle::wait_served(&self.api, self.template_paths.iter().map(String::as_str), revision).await
    }

    /// Returns true if one of the template's objects that `is_shape` has changed.
    fn shapes_were_changed(&self, listing: &KeyListing, is_shape: fn(&StorageResource) -> bool) -> bool {
        if self.template_definitions() == 0 {
            return false;
        }
        let mut found = listing.heads().peekable();
        let shapes = |key: &[u8]| StorageResource::of_key(key).is_some_and(|resource| is_shape(&resource));
        // Both sides are sorted.
        let is_unchanged = self.baseline.iter().filter(|(key, _)| shapes(key)).all(|(key, mod_revision)| {
            while found.next_if(|head| head.key < key.as_slice()).is_some() {}
            found.peek().is_some_and(|head| head.key == key && head.mod_revision == mod_revision)
        });
        !is_unchanged
    }

    /// Puts storage back to the baseline and waits until the API server has followed.
    pub(crate) async fn rewind(&mut self) -> Result<RewindReport, RewindError> {
        let listing = self.etcd.list_heads(PREFIX).await?;
        self.rewind_from(listing).await
    }

    /// The same, from the present state of storage.
    async fn rewind_from(&mut self, mut listing: KeyListing) -> Result<RewindReport, RewindError> {
        let start = Instant::now();
        let mut report = RewindReport::default();
        self.rewind_count += 1;
        if sabotage::is_off(Part::Rewind) {
            self.proven = ProvenState { revision: listing.revision, key_count: listing.key_count };
            return Ok(report);
        }
        self.restart_is_due |= self.tokens_were_made()? || self.may_have_missed_tokens();
        loop {
            let plan = Plan::new(&self.baseline, &listing);
            if plan.is_empty() {
                let may_have_written = self.left_behind.may_have_written();
                let end = self.end_left_behind(0, &mut report).await?;
                if may_have_written || end == End::NeedsRestart {
                    listing = self.etcd.list_heads(PREFIX).await?;
                    continue;
                }
            }
            if plan.is_empty() {
                if self.restart_is_due {
                    self.restart_api_server(0, listing.revision, &mut report).await?;
                    listing = self.etcd.list_heads(PREFIX).await?;
                    continue;
                }
                if report.passes < PASSES_MAX && self.put_back_identity_leases(&listing).await? {
                    report.passes += 1;
                    listing = self.etcd.list_heads(PREFIX).await?;
                    continue;
                }
                self.proven = ProvenState { revision: listing.revision, key_count: listing.key_count };
                self.history.over(if report.passes == 0 { listing.revision } else { self.last_write_revision });
                report.openapi_lags = self.openapi_lags;
                report.duration = start.elapsed();
                return Ok(report);
            }
            if report.passes == PASSES_MAX {
                let keys = plan.key_count();
                return Err(RewindError::Unsettled { passes: PASSES_MAX, keys, example: plan.example() });
            }
            report.passes += 1;
            tracing::debug!(pass = report.passes, keys = plan.key_count(), example = plan.example(), "rewinding");
            report.changed_keys += plan.key_count();
            listing = self.apply(&plan, &mut report).await?;
        }
    }

    /// Returns true if only keys that the servers own were written since the last proof. Usually one read; called at
    /// each hand-out.
    pub(crate) async fn prove_pristine(&mut self) -> Result<bool, RewindError> {
        if sabotage::is_off(Part::Verify) {
            return Ok(true);
        }
        // The revision alone tells that nothing was written, and takes half as long to read as a listing.
        if self.etcd.revision().await? == self.proven.revision {
            return Ok(!self.tokens_were_made_late()?);
        }
        let changed = self.etcd.list_changed_heads(PREFIX, self.proven.revision + 1).await?;
        let only_server_owned = changed.heads().all(|head| self.baseline.server_owned.contains(head.key));
        if self.identity_leases_were_written(&changed) && self.put_back_identity_leases(&changed).await? {
            tracing::info!("the API server's own Lease was written to late");
            return Ok(false);
        }
        if self.tokens_were_made_late()? {
            return Ok(false);
        }
        if only_server_owned && changed.key_count == self.proven.key_count {
            return Ok(true);
        }
        // The servers may also have made or removed a key of theirs: only a comparison tells.
        let listing = self.etcd.list_heads(PREFIX).await?;
        let plan = Plan::new(&self.baseline, &listing);
        if plan.is_empty() {
            self.proven = ProvenState { revision: listing.revision, key_count: listing.key_count };
            return Ok(true);
        }
        tracing::info!(keys = plan.key_count(), example = plan.example(), "a late write was found");
        Ok(false)
    }

    /// Returns true if a listing of late writes has one of the API server's own Leases.
    fn identity_leases_were_written(&self, changed: &KeyListing) -> bool {
        self.baseline.server_owned.identity_leases().any(|key| changed.contains(key))
    }

    async fn put_back_identity_leases(&mut self, listing: &KeyListing) -> Result<bool, RewindError> {
        self.identity_leases.put_back(listing, &self.baseline.server_owned, &self.etcd, &self.api).await
    }

    /// Makes storage forget everything written before the last rewind.
    pub(crate) async fn forget_history(&mut self) -> Result<(), RewindError> {
        Ok(self.history.forget(&self.etcd).await?)
    }

    /// The size of the database file.
    pub(crate) async fn database_bytes(&self) -> Result<u64, RewindError> {
        Ok(self.etcd.database_bytes().await?)
    }

    /// Waits until OpenAPI has followed the last rewind.
    pub(crate) fn follow_openapi(&self) -> impl Future<Output = Result<(), RewindError>> + Send + use<> {
        let (api, fingerprint) = (self.api.clone(), self.baseline.fingerprint());
        let template = self.baseline.template().cloned();
        async move {
            let Some(template) = template else { return settle::wait_openapi(&api, &fingerprint).await };
            let index_hash = settle::wait_openapi_quiet(&api, &fingerprint.openapi_index_hash).await?;
            template.learn_openapi(index_hash);
            Ok(())
        }
    }

    /// Notes that it has.
    pub(crate) fn openapi_has_followed(&mut self) {
        self.openapi_lags = false;
    }

    /// One pass: write, let the API server follow, read again.
    async fn apply(&mut self, plan: &Plan, report: &mut RewindReport) -> Result<KeyListing, RewindError> {
        let shapes_discovery = plan.touched.iter().any(StorageResource::shapes_discovery);
        let restarts = self.restart_is_due || self.needs_restart(plan);
        let waits = !sabotage::is_off(Part::Verify);
        let canaries = match restarts || !waits {
            true => Canaries::none(),
            false => Canaries::of_touched(&plan.touched, self.rewind_count.to_string()),
        };
        for changes in transactions(&plan.changes, Change::key) {
            self.write_changes(changes, Vec::new()).await?;
        }
        let revision = self.write_changes(&plan.last_changes, canaries.puts()).await?;
        self.last_write_revision = revision;
        self.openapi_lags |= shapes_discovery;
        if !waits {
            return Ok(self.etcd.list_heads(PREFIX).await?);
        }
        if restarts {
            self.restart_api_server(plan.definitions(), revision, report).await?;
        } else {
            // One after the other, on the connection that is open: each further connection costs more than it saves.
            let cluster = Followed { etcd: &self.etcd, api: &self.api, api_paths: &self.api_paths };
            canaries.follow_caches(&cluster, &plan.touched, revision).await?;
            let node_ports = self.refresh_allocators(plan).await?;
            if shapes_discovery {
                settle::wait_discovery(&self.api, &self.baseline.fingerprint(), plan.definitions()).await?;
            }
            // Of a large operator's hundred kinds a lease usually touches a few.
            let is_touched = |path: &str| plan.touched.iter().any(|resource| resource.is_served_at(path));
            let paths = self.template_paths.iter().map(String::as_str);
            settle::wait_served(&self.api, paths.filter(|path| shapes_discovery || is_touched(path)), revision).await?;
            if let Some(stored) = node_ports
                && self.value(allocators::NODE_PORTS)? == stored.value
            {
                self.baseline.set_revision(allocators::NODE_PORTS, stored.mod_revision);
            }
            // Not beside the requests above, which a look would take for those of a lease.
            self.end_left_behind(plan.definitions(), report).await?;
        }
        Ok(self.etcd.list_heads(PREFIX).await?)
    }

    /// Ends all requests that were left behind. After the writes: a deletion of instances that has not begun by then
    /// finds their CRD gone. Before the last comparison: a request that came to its end has written before.
    async fn end_left_behind(&mut self, definitions: usize, report: &mut RewindReport) -> Result<End, RewindError> {
        if self.left_behind.is_nothing() {
            return Ok(End::Come);
        }
        let end = lingering::wait_ended(&self.left_behind, &*self.cluster, &self.api).await?;
        if end == End::NeedsRestart {
            let revision = self.etcd.list_heads(PREFIX).await?.revision;
            self.restart_api_server(definitions, revision, report).await?;
        }
        self.left_behind = LeftBehind::default();
        Ok(end)
    }

    /// Restarts the API server, which ends all requests in it, and waits until it serves the stored objects. Discovery
    /// has this many definitions to learn or to forget, beside the template's.
    async fn restart_api_server(
        &mut self,
        definitions: usize,
        revision: i64,
        report: &mut RewindReport,
    ) -> Result<(), RewindError> {
        report.restarted = true;
        self.openapi_lags = true;
        self.start_api_server_anew(Readiness::Early).await?;
        let definitions = self.template_definitions() + definitions;
        settle::wait_discovery(&self.api, &self.baseline.fingerprint(), definitions).await?;
        self.wait_template_served(revision).await?;
        self.bring_started_in_force().await
    }

    /// Restarts the API server and waits for this degree of readiness.
    pub(super) async fn start_api_server_anew(&mut self, readiness: Readiness) -> Result<(), RewindError> {
        self.restart_is_due = false;
        self.identity_leases.forget();
        self.cluster.restart_api_server().await?;
        self.left_behind = LeftBehind::default();
        Ok(self.cluster.wait_ready(readiness).await?)
    }

    /// Returns true if a lease may have asked for tokens without being noticed.
    fn may_have_missed_tokens(&self) -> bool {
        !sabotage::is_off(Part::Tokens) && !self.cluster.notices_tokens()
    }

    /// Returns true if the API server accepts tokens that a lease asked for.
    fn tokens_were_made(&self) -> Result<bool, RewindError> {
        Ok(!sabotage::is_off(Part::Tokens) && self.cluster.tokens_were_made()?)
    }

    fn tokens_were_made_late(&self) -> Result<bool, RewindError> {
        let were_made = self.tokens_were_made()?;
        if were_made {
            tracing::info!("a token was asked for late");
        }
        Ok(were_made)
    }

    /// Writes the plan's changes, and `others` in the last transaction. Remembers the new revisions of restored keys;
    /// without that, every later rewind would restore them again. Returns the revision of the last write.
    async fn write_changes(&mut self, changes: &[Change], others: Vec<WriteOperation>) -> Result<i64, RewindError> {
        let mut last_revision = 0;
        let mut others = Some(others);
        let mut rest = changes;
        // Values are read from disk for one transaction at a time, or a little more.
        while !rest.is_empty() || others.is_some() {
            let (mut operations, mut bytes) = (Vec::new(), 0);
            for change in rest.iter().take(TRANSACTION_KEYS_MAX) {
                let operation = self.operation(change)?;
                bytes += operation.size_bytes();
                operations.push(operation);
                if REQUEST_BYTES_MAX / 2 < bytes {
                    break;
                }
            }
            let batch;
            (batch, rest) = rest.split_at(operations.len());
            operations.extend(if rest.is_empty() { others.take() } else { None }.unwrap_or_default());
            let transactions = self.etcd.write(&operations).await?;
            let mut written = batch;
            for (length, revision) in &transactions {
                let changes_of_transaction;
                (changes_of_transaction, written) = written.split_at(written.len().min(*length));
                for change in changes_of_transaction {
                    if let Change::PutBack { key } = change {
                        self.baseline.set_revision(key, *revision);
                    }
                }
                last_revision = *revision;
            }
        }
        Ok(last_revision)
    }

    fn operation(&self, change: &Change) -> Result<WriteOperation, RewindError> {
        Ok(match change.clone() {
            Change::PutBack { key } => WriteOperation::Put { value: self.value(&key)?, key },
            Change::Delete { key } => WriteOperation::Delete { key },
            Change::DeleteRange { key, last_key, key_count } => {
                WriteOperation::DeleteRange { key, last_key, key_count }
            }
        })
    }

    /// The baseline's value of a key. Usually from the page cache, in microseconds.
    fn value(&self, key: &[u8]) -> Result<Vec<u8>, RewindError> {
        let value_error = |source| RewindError::Value { key: String::from_utf8_lossy(key).into_owned(), source };
        self.baseline.value(key).map_err(value_error)
    }

    /// Policies are compiled in a loop of one second, quota look-ups are cached for 30 s by namespace name, an informer
    /// of rarely changed objects gives no sign of its progress, and objects that no list shows cannot be asked for:
    /// after a lease that touched those, or whose end puts back addresses, a fresh API server is the only proof.
    fn needs_restart(&self, plan: &Plan) -> bool {
        let watches_over_informers = !sabotage::is_off(Part::Informers);
        let is_hidden = |resource: &StorageResource| {
            resource.is_admission()
                || (watches_over_informers && resource.configures_requests())
                || (!resource.is_custom() && self.api_paths.list_path(resource).is_none())
        };
        plan.puts_back_addresses() || plan.touched.iter().any(is_hidden)
    }

    /// The allocator of NodePorts keeps a copy of the free ports. It looks at storage only when it allocates or frees a
    /// port, so a dry run would still be refused the ports of the old lease. Makes it look, and returns the stored
    /// value after that: the same, at another revision.
    async fn refresh_allocators(&self, plan: &Plan) -> Result<Option<StoredKey>, RewindError> {
        if !plan.changes(allocators::NODE_PORTS) {
            return Ok(None);
        }
        allocators::look_at_storage(&self.api).await?;
        Ok(self.etcd.read_all(allocators::NODE_PORTS).await?.0.pop())
    }
}
