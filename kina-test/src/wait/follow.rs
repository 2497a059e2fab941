use std::ops::ControlFlow;
use std::time::Duration;

use futures::{StreamExt, pin_mut};
use kube::api::{ListParams, WatchEvent, WatchParams};
use kube::core::Request;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::error::WaitError;
use super::goal::Ready;
use super::history::History;
use super::object_ref::Object;
use super::target::Target;

/// Pause between the end of a watch and the next one, so that a server that ends them at once is not flooded.
const RESTART_PAUSE: Duration = Duration::from_millis(50);
/// Time in which a refusal may still turn into an answer: a kind whose CRD is being installed, a right just granted.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Limit of one request, so that a dead connection does not take all of the time. A server that answers at all is
/// faster.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct List {
    metadata: ListMetadata,
    #[serde(default)]
    items: Vec<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMetadata {
    #[serde(default)]
    resource_version: String,
}

/// The reasons that a watch ends before the goal.
enum Ended {
    /// The server ends each watch after a while.
    InOrder,
    /// The server has forgotten the version from which the watch was to start.
    Expired,
    Broken(kube::Error),
}

/// Follows the object until the goal is reached, without a time limit. Returns the object that reached it; `None` if
/// the goal is that the object is gone.
pub(super) async fn follow<K: Object>(
    client: &kube::Client,
    target: &Target,
    timeout: Duration,
    history: &mut History,
    goal: &mut Ready<'_, '_, K>,
) -> Result<Option<K>, WaitError> {
    let patience_ends = Instant::now() + REFUSAL_PATIENCE.min(timeout / 2);
    let mut version: Option<String> = None;
    // Each round waits for the server or pauses, and the caller sets a deadline.
    loop {
        let ended = match version.take() {
            None => match list(client, target).await {
                Ok(list) => {
                    version = Some(list.metadata.resource_version);
                    let object = list.items.into_iter().next().map(|object| target.with_kind(object));
                    if let ControlFlow::Break(reached) = look(object, target, history, goal)? {
                        return Ok(reached);
                    }
                    continue;
                }
                Err(error) => Ended::Broken(error),
            },
            Some(mut from) => {
                let ended = watch(client, target, &mut from, history, goal).await?;
                version = Some(from);
                match ended {
                    ControlFlow::Break(reached) => return Ok(reached),
                    ControlFlow::Continue(ended) => ended,
                }
            }
        };
        match ended {
            Ended::InOrder => {}
            Ended::Expired => version = None,
            Ended::Broken(error) => {
                history.interrupted(&error);
                if is_final(&error, Instant::now() < patience_ends) {
                    return Err(WaitError::Refused { object: target.object.clone(), source: Box::new(error) });
                }
            }
        }
        tokio::time::sleep(RESTART_PAUSE).await;
    }
}

async fn list(client: &kube::Client, target: &Target) -> Result<List, kube::Error> {
    let parameters = ListParams::default().fields(&target.selector());
    let request = Request::new(target.collection.as_str()).list(&parameters).map_err(kube::Error::BuildRequest)?;
    within_request_timeout(client.request(request)).await
}

async fn watch<K: Object>(
    client: &kube::Client,
    target: &Target,
    version: &mut String,
    history: &mut History,
    goal: &mut Ready<'_, '_, K>,
) -> Result<ControlFlow<Option<K>, Ended>, WaitError> {
    let parameters = WatchParams::default().fields(&target.selector());
    let request = Request::new(target.collection.as_str()).watch(&parameters, version);
    let request = match request.map_err(kube::Error::BuildRequest) {
        Ok(request) => request,
        Err(error) => return Ok(ControlFlow::Continue(Ended::Broken(error))),
    };
    let events = match within_request_timeout(client.request_events::<Value>(request)).await {
        Ok(events) => events,
        Err(error) => return Ok(ControlFlow::Continue(Ended::of(error))),
    };
    pin_mut!(events);
    loop {
        let (object, is_there) = match events.next().await {
            Some(Ok(WatchEvent::Added(object) | WatchEvent::Modified(object))) => (object, true),
            Some(Ok(WatchEvent::Deleted(object))) => (object, false),
            Some(Ok(WatchEvent::Bookmark(bookmark))) => {
                *version = bookmark.metadata.resource_version;
                continue;
            }
            Some(Ok(WatchEvent::Error(status))) => {
                return Ok(ControlFlow::Continue(Ended::of(kube::Error::Api(status))));
            }
            None => return Ok(ControlFlow::Continue(Ended::InOrder)),
            Some(Err(error)) => return Ok(ControlFlow::Continue(Ended::of(error))),
        };
        if let Some(seen) = object["metadata"]["resourceVersion"].as_str() {
            *version = seen.to_owned();
        }
        if let ControlFlow::Break(reached) = look(is_there.then_some(object), target, history, goal)? {
            return Ok(ControlFlow::Break(reached));
        }
    }
}

fn look<K: Object>(
    object: Option<Value>,
    target: &Target,
    history: &mut History,
    goal: &mut Ready<'_, '_, K>,
) -> Result<ControlFlow<Option<K>>, WaitError> {
    history.saw(object);
    goal.look(target, history.present())
}

async fn within_request_timeout<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, kube::Error> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer,
        Err(_) => {
            let seconds = REQUEST_TIMEOUT.as_secs();
            Err(kube::Error::Service(format!("the server has not answered for {seconds} s").into()))
        }
    }
}

impl Ended {
    fn of(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 410 => Self::Expired,
            error => Self::Broken(error),
        }
    }
}

/// Returns true if a retry makes no sense.
fn is_final(error: &kube::Error, is_patient: bool) -> bool {
    match error {
        kube::Error::Api(status) => match status.code {
            403 | 404 => !is_patient,
            408 | 410 | 429 => false,
            code => code < 500,
        },
        kube::Error::BuildRequest(_) => true,
        // No answer: the connection to the server failed.
        _ => false,
    }
}
