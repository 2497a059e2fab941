//! Waiting until an object of the cluster meets a condition.
//!
//! A wait does not poll: it reads the object once and then watches it from that version on. A broken watch is resumed
//! at its last version, or from a new read if the server has forgotten that version. One deadline covers all of it.
//!
//! - `object_ref`: the reference to the object. `target`: its place on the server.
//! - `goal`: the goal of the wait.
//! - `follow`: the object's versions, one after the other. `history`: those seen so far.
//! - `error`, `unmet`: the errors of a failed wait.
//! - `events`, `yaml`: the parts of their messages.

mod error;
mod events;
mod follow;
mod goal;
mod history;
mod object_ref;
mod target;
mod unmet;
mod yaml;

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

pub use error::WaitError;
pub use object_ref::{AsObjectRef, Object, ObjectRef, object_of_kind};
#[cfg(any(feature = "kube3", feature = "kube4", feature = "kube5"))]
pub(crate) use object_ref::{ObjectKind, ObjectScope, Resource};
pub use unmet::Unmet;

use crate::Cluster;
use goal::Goal;
use history::History;
use target::Target;

/// The default time limit of a wait: longer than anything should take that a test waits for, and shorter than the
/// timeouts of test runners.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A wait that returns the object. It starts when awaited.
#[must_use = "a wait does nothing unless awaited"]
pub struct Wait<'a, K: Object> {
    cluster: Cluster,
    reference: ObjectRef<K>,
    goal: Goal<'a, K>,
    timeout: Duration,
}

/// A wait for the deletion of an object. It starts when awaited.
#[must_use = "a wait does nothing unless awaited"]
pub struct WaitDeleted<K: Object> {
    cluster: Cluster,
    reference: ObjectRef<K>,
    timeout: Duration,
}

impl Cluster {
    /// Waits until an object meets a condition, written in CEL, and returns it.
    ///
    /// The object need not exist yet, and it may be deleted and created again meanwhile: only its name counts. The
    /// object's fields are variables of the condition; `object` is the whole object. A condition that depends on a
    /// missing field is false, so `status.readyReplicas == spec.replicas` waits until both exist and are equal, while
    /// `!has(metadata.deletionTimestamp)` requires that a field is missing. Conditions are compiled first, so that
    /// mistakes are reported at once, not at the deadline.
    ///
    /// The time limit is [`TIMEOUT_DEFAULT`], or the one set with [`Wait::timeout`].
    ///
    /// # Errors
    /// At the deadline; the message contains the last seen version of the object, the parts of the condition that were
    /// false, with their values, and the object's events. If the condition is invalid or can never fit the object. If
    /// the server refuses.
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::core::v1::ConfigMap;
    /// use kube::api::{Api, Patch, PatchParams, PostParams};
    ///
    /// #[kina::test]
    /// async fn settings_are_filled_in(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ///     let mut settings = ConfigMap::default();
    ///     settings.metadata.name = Some("settings".to_owned());
    ///     let settings = config_maps.create(&PostParams::default(), &settings).await?;
    ///
    ///     // In a real test, a controller does this.
    ///     let filled_in = Patch::Merge(serde_json::json!({"data": {"colour": "green"}}));
    ///     config_maps.patch("settings", &PatchParams::default(), &filled_in).await?;
    ///
    ///     let settings = cluster.wait_for(&settings, "data.colour in ['green', 'blue']").await?;
    ///     assert_eq!(settings.data.unwrap_or_default()["colour"], "green");
    ///     Ok(())
    /// }
    /// ```
    #[cfg(feature = "cel")]
    pub fn wait_for<'a, Major, K: AsObjectRef<Major>>(&self, object: &K, condition: &str) -> Wait<'a, K::Object> {
        self.wait(object, Goal::Expression(condition.to_owned()))
    }

    /// Waits until the named condition of an object's status is true, and returns the object.
    ///
    /// `Available=False` waits for another status, as `kubectl wait --for condition=…` does. A condition that its
    /// controller set for an earlier generation of the object does not count.
    ///
    /// # Errors
    /// As for [`Self::wait_until`].
    ///
    /// ```rust,no_run
    /// # use k8s_openapi::api::apps::v1::Deployment;
    /// # async fn example(cluster: kina::Cluster) -> Result<(), kina::WaitError> {
    /// cluster.wait_condition(&kina::object::<Deployment>("web").within("shop"), "Available").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_condition<'a, Major, K: AsObjectRef<Major>>(&self, object: &K, condition: &str) -> Wait<'a, K::Object> {
        self.wait(object, Goal::condition(condition))
    }

    /// Waits until a predicate is true for an object, and returns the object. The predicate sees each version of the
    /// object that the server sends, and is not called while the object does not exist.
    ///
    /// # Errors
    /// At the deadline; the message contains the last seen version of the object and its events. If the server refuses.
    ///
    /// ```rust,no_run
    /// # use k8s_openapi::api::core::v1::Pod;
    /// # async fn example(cluster: kina::Cluster) -> Result<(), kina::WaitError> {
    /// use std::time::Duration;
    ///
    /// let pod = kina::object::<Pod>("worker-0");
    /// let is_placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
    /// cluster.wait_until(&pod, is_placed).timeout(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn wait_until<'a, Major, K: AsObjectRef<Major>>(
        &self,
        object: &K,
        predicate: impl FnMut(&K::Object) -> bool + Send + 'a,
    ) -> Wait<'a, K::Object> {
        self.wait(object, Goal::Predicate(Box::new(predicate)))
    }

    /// Waits until an object is gone. A later object of the same name does not count.
    ///
    /// An object that the server has returned is identified by its UID; a name stands for the object that exists when
    /// the wait starts. If there is none, the wait ends at once.
    ///
    /// # Errors
    /// As for [`Self::wait_until`].
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::core::v1::ConfigMap;
    /// use kube::api::{Api, DeleteParams, PostParams};
    ///
    /// #[kina::test]
    /// async fn a_deleted_object_goes(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ///     let mut settings = ConfigMap::default();
    ///     settings.metadata.name = Some("settings".to_owned());
    ///     let settings = config_maps.create(&PostParams::default(), &settings).await?;
    ///     config_maps.delete("settings", &DeleteParams::default()).await?;
    ///     cluster.wait_deleted(&settings).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn wait_deleted<Major, K: AsObjectRef<Major>>(&self, object: &K) -> WaitDeleted<K::Object> {
        WaitDeleted { cluster: self.clone(), reference: object.as_object_ref(), timeout: TIMEOUT_DEFAULT }
    }

    fn wait<'a, Major, K: AsObjectRef<Major>>(&self, object: &K, goal: Goal<'a, K::Object>) -> Wait<'a, K::Object> {
        Wait { cluster: self.clone(), reference: object.as_object_ref(), goal, timeout: TIMEOUT_DEFAULT }
    }
}

impl<K: Object> Wait<'_, K> {
    /// Sets the time limit.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<K: Object> WaitDeleted<K> {
    /// Sets the time limit.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<'a, K: Object> IntoFuture for Wait<'a, K> {
    type Output = Result<K, WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { cluster, reference, mut goal, timeout } = self;
            let object = run(&cluster, &reference, &mut goal, timeout).await?;
            Ok(object.expect("only the wait for a deletion ends without an object"))
        })
    }
}

impl<K: Object> IntoFuture for WaitDeleted<K> {
    type Output = Result<(), WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { cluster, reference, timeout } = self;
            let mut goal = Goal::Deletion { uid: reference.uid().map(str::to_owned) };
            run(&cluster, &reference, &mut goal, timeout).await.map(drop)
        })
    }
}

/// Follows the object until the goal is reached; returns the object that reached it.
async fn run<K: Object>(
    cluster: &Cluster,
    reference: &ObjectRef<K>,
    goal: &mut Goal<'_, K>,
    timeout: Duration,
) -> Result<Option<K>, WaitError> {
    let target = Target::new(reference, cluster.default_namespace())?;
    let client = cluster.raw_client();
    let mut ready = goal.prepare(&target)?;
    let mut history = History::default();
    let deadline = tokio::time::Instant::now() + timeout;
    let followed = follow::follow(client, &target, timeout, &mut history, &mut ready);
    match tokio::time::timeout_at(deadline, followed).await {
        Ok(reached) => reached,
        Err(_) => {
            let events = match history.last() {
                Some(object) => events::of(client, object).await,
                None => Ok(Vec::new()),
            };
            let problems = history.present().map(|object| ready.problems(object)).unwrap_or_default();
            let unmet = Unmet::new(&target.object, ready.describe(), problems, timeout, &history, events);
            Err(WaitError::Unmet(Box::new(unmet)))
        }
    }
}
