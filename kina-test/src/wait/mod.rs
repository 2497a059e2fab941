//! Waiting until an object of the cluster is as a test wants it.
//!
//! Nothing is polled: a wait reads the object once, and then watches it from that version on. A watch that breaks off is
//! taken up again where it was, or from a fresh reading where the server has forgotten that version. One deadline counts for
//! all of it.
//!
//! - `object_ref`: which object is meant.
//! - `goal`: what is waited for.
//! - `follow`: the object's versions, one after the other.
//! - `error`, `unmet`: what is said where nothing came of it.
//! - `events`, `yaml`: what that is made of.

mod error;
mod events;
mod follow;
mod goal;
mod object_ref;
mod unmet;
mod yaml;

use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

pub use error::WaitError;
pub use object_ref::{AsObjectRef, Object, ObjectRef, Scope, object};
pub use unmet::Unmet;

use crate::Cluster;
use follow::{History, Target};
use goal::Goal;

/// How long a wait takes at most, unless it says otherwise: longer than anything should that a test waits for, and shorter
/// than the patience of test runners.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);

/// A wait that ends with the object. It begins when it is awaited.
#[must_use = "it waits when it is awaited"]
pub struct Wait<'a, K: Object> {
    client: kube::Client,
    reference: ObjectRef<K>,
    goal: Goal<'a, K>,
    timeout: Duration,
}

/// A wait for the end of an object. It begins when it is awaited.
#[must_use = "it waits when it is awaited"]
pub struct WaitDeleted<K: Object> {
    client: kube::Client,
    reference: ObjectRef<K>,
    timeout: Duration,
}

impl Cluster {
    /// Waits until an object meets a condition, written in CEL, and returns it.
    ///
    /// The object need not be there yet, and it may be deleted and made again meanwhile: what counts is its name. Fields
    /// of the object are names in the condition; `object` is the whole of it. A condition that depends on a field that is
    /// missing is false, so `status.readyReplicas == spec.replicas` waits until both are there and equal, and
    /// `!has(metadata.deletionTimestamp)` says that one is missing. Conditions are compiled first, so that mistakes are
    /// errors at once, and not at the deadline.
    ///
    /// The deadline is after [`TIMEOUT_DEFAULT`], or what [`Wait::timeout`] says.
    ///
    /// # Errors
    /// At the deadline; the message has the object as it was last seen, the parts of the condition that were false, with
    /// their values, and the object's events. If the condition is none, or cannot fit the object. If the server refuses.
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
    pub fn wait_for<'a, K: AsObjectRef>(&self, object: &K, condition: &str) -> Wait<'a, K::Object> {
        self.wait(object, Goal::Expression(condition.to_owned()))
    }

    /// Waits until a condition of an object's status is true, by its name, and returns the object.
    ///
    /// `Available=False` waits for another status, as `kubectl wait --for condition=…` does. A condition that its
    /// controller said of an earlier generation of the object does not count.
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
    pub fn wait_condition<'a, K: AsObjectRef>(&self, object: &K, condition: &str) -> Wait<'a, K::Object> {
        self.wait(object, Goal::condition(condition))
    }

    /// Waits until a predicate says yes to an object, and returns the object. The predicate sees each version of the
    /// object that the server tells of, and is not asked while there is no object.
    ///
    /// # Errors
    /// At the deadline; the message has the object as it was last seen, and its events. If the server refuses.
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
    pub fn wait_until<'a, K: AsObjectRef>(
        &self,
        object: &K,
        predicate: impl FnMut(&K::Object) -> bool + Send + 'a,
    ) -> Wait<'a, K::Object> {
        self.wait(object, Goal::Predicate(Box::new(predicate)))
    }

    /// Waits until an object is gone. Another one of the same name is not it.
    ///
    /// Given an object that the server has returned, that very one is meant, by its UID; given a name, the one that is
    /// there when the wait begins. Where there is none, it is gone already.
    ///
    /// # Errors
    /// As for [`Self::wait_until`].
    ///
    /// ```rust,test_harness
    /// use k8s_openapi::api::core::v1::ConfigMap;
    /// use kube::api::{Api, DeleteParams, PostParams};
    ///
    /// #[kina::test]
    /// async fn what_is_deleted_goes(cluster: kina::Cluster) -> Result<(), Box<dyn std::error::Error>> {
    ///     let config_maps: Api<ConfigMap> = Api::default_namespaced(cluster.client());
    ///     let mut settings = ConfigMap::default();
    ///     settings.metadata.name = Some("settings".to_owned());
    ///     let settings = config_maps.create(&PostParams::default(), &settings).await?;
    ///     config_maps.delete("settings", &DeleteParams::default()).await?;
    ///     cluster.wait_deleted(&settings).await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn wait_deleted<K: AsObjectRef>(&self, object: &K) -> WaitDeleted<K::Object> {
        WaitDeleted { client: self.client(), reference: object.as_object_ref(), timeout: TIMEOUT_DEFAULT }
    }

    fn wait<'a, K: AsObjectRef>(&self, object: &K, goal: Goal<'a, K::Object>) -> Wait<'a, K::Object> {
        Wait { client: self.client(), reference: object.as_object_ref(), goal, timeout: TIMEOUT_DEFAULT }
    }
}

impl<K: Object> Wait<'_, K> {
    /// Waits no longer than this.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<K: Object> WaitDeleted<K> {
    /// Waits no longer than this.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

impl<'a, K: Object> IntoFuture for Wait<'a, K> {
    type Output = Result<K, WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, reference, mut goal, timeout } = self;
            let object = run(client, &reference, &mut goal, timeout).await?;
            Ok(object.expect("only the wait for a deletion ends without an object"))
        })
    }
}

impl<K: Object> IntoFuture for WaitDeleted<K> {
    type Output = Result<(), WaitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Self { client, reference, timeout } = self;
            let mut goal = Goal::Deletion { uid: reference.uid().map(str::to_owned) };
            run(client, &reference, &mut goal, timeout).await.map(drop)
        })
    }
}

/// Follows the object until the goal is reached; returns the object that reached it.
async fn run<K: Object>(
    client: kube::Client,
    reference: &ObjectRef<K>,
    goal: &mut Goal<'_, K>,
    timeout: Duration,
) -> Result<Option<K>, WaitError> {
    let target = Target::new(reference, client.default_namespace())?;
    let mut ready = goal.prepare(&target)?;
    let mut history = History::default();
    let deadline = tokio::time::Instant::now() + timeout;
    let followed = follow::follow(&client, &target, timeout, &mut history, &mut ready);
    match tokio::time::timeout_at(deadline, followed).await {
        Ok(reached) => reached,
        Err(_) => {
            let events = match history.last() {
                Some(object) => events::of(&client, object).await,
                None => Ok(Vec::new()),
            };
            Err(WaitError::Unmet(Box::new(Unmet::new(&target, timeout, &ready, &history, events))))
        }
    }
}
