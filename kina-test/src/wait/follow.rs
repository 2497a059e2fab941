use std::ops::ControlFlow;
use std::time::Duration;

use futures::{Stream, StreamExt, pin_mut};
use kina_engine::{NoAnswer, RawClient};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::error::WaitError;
use super::goal::Ready;
use super::history::History;
use super::object_ref::Object;
use super::target::Target;
use crate::ApiError;
use crate::api_request::ApiRequest;

/// Pause between the end of a watch and the next one, so that a server that ends them at once is not flooded.
const RESTART_PAUSE: Duration = Duration::from_millis(50);
/// Time in which a refusal may still turn into an answer: a kind whose CRD is being installed, a right just granted.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(5);
/// Limit of one request, so that a dead connection does not take all of the time. A server that answers at all is
/// faster.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The server ends a watch after this time, and the next one begins.
const WATCH_SECONDS: u64 = 290;

/// An event of a watch.
#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum Event {
    Added(Value),
    Modified(Value),
    Deleted(Value),
    Bookmark(Value),
    /// A `Status`.
    Error(Value),
}

/// The reasons that a watch ends before the goal.
enum Ended {
    /// The server ends each watch after a while.
    InOrder,
    /// The server has forgotten the version from which the watch was to start.
    Expired,
    Broken(ApiError),
}

/// The place in the object's history.
struct Place {
    /// The path of the list that contains the object.
    collection: String,
    /// The version to continue from.
    version: String,
}

/// Follows the object until the goal is reached, without a time limit. Returns the object that reached it; `None` if
/// the goal is that the object is gone.
pub(super) async fn follow<K: Object>(
    client: &RawClient,
    target: &Target,
    timeout: Duration,
    history: &mut History,
    goal: &mut Ready<'_, '_, K>,
) -> Result<Option<K>, WaitError> {
    let patience_ends = Instant::now() + REFUSAL_PATIENCE.min(timeout / 2);
    let mut place: Option<Place> = None;
    // Each round waits for the server or pauses, and the caller sets a deadline.
    loop {
        let ended = match place.take() {
            None => match list(client, target).await {
                Ok((listed, object)) => {
                    place = Some(listed);
                    if let ControlFlow::Break(reached) = look(object, target, history, goal)? {
                        return Ok(reached);
                    }
                    continue;
                }
                Err(error) => Ended::Broken(error),
            },
            Some(mut from) => {
                let ended = watch(client, target, &mut from, history, goal).await?;
                place = Some(from);
                match ended {
                    ControlFlow::Break(reached) => return Ok(reached),
                    ControlFlow::Continue(ended) => ended,
                }
            }
        };
        match ended {
            Ended::InOrder => {}
            Ended::Expired => place = None,
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

async fn list(client: &RawClient, target: &Target) -> Result<(Place, Option<Value>), ApiError> {
    let collection = target.collection(client).await?;
    let path = format!("{collection}?fieldSelector={}", target.selector());
    let mut list = ApiRequest::get(&path).within(REQUEST_TIMEOUT).send(client).await?;
    let version = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
    let object = list["items"].as_array_mut().and_then(|items| (!items.is_empty()).then(|| items.swap_remove(0)));
    Ok((Place { collection, version }, object.map(|object| target.with_kind(object))))
}

async fn watch<K: Object>(
    client: &RawClient,
    target: &Target,
    place: &mut Place,
    history: &mut History,
    goal: &mut Ready<'_, '_, K>,
) -> Result<ControlFlow<Option<K>, Ended>, WaitError> {
    let events = match events(client, target, place).await {
        Ok(events) => events,
        Err(error) => return Ok(ControlFlow::Continue(Ended::of(error))),
    };
    pin_mut!(events);
    loop {
        let (object, is_there) = match events.next().await {
            Some(Ok(Event::Added(object) | Event::Modified(object))) => (object, true),
            Some(Ok(Event::Deleted(object))) => (object, false),
            Some(Ok(Event::Bookmark(bookmark))) => {
                place.reached(&bookmark);
                continue;
            }
            Some(Ok(Event::Error(status))) => {
                return Ok(ControlFlow::Continue(Ended::of(ApiError::of_status(&status, 500))));
            }
            None => return Ok(ControlFlow::Continue(Ended::InOrder)),
            Some(Err(error)) => return Ok(ControlFlow::Continue(Ended::of(error))),
        };
        place.reached(&object);
        if let ControlFlow::Break(reached) = look(is_there.then_some(object), target, history, goal)? {
            return Ok(ControlFlow::Break(reached));
        }
    }
}

async fn events(
    client: &RawClient,
    target: &Target,
    place: &Place,
) -> Result<impl Stream<Item = Result<Event, ApiError>> + use<>, ApiError> {
    let Place { collection, version } = place;
    let selector = target.selector();
    let path = format!(
        "{collection}?watch=true&resourceVersion={version}&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}\
         &fieldSelector={selector}"
    );
    let (status, lines) =
        match tokio::time::timeout(REQUEST_TIMEOUT, client.lines(&path, &[(http::header::ACCEPT, "application/json")]))
            .await
        {
            Ok(answer) => answer.map_err(no_answer)?,
            Err(elapsed) => return Err(ApiError::NoAnswer(Box::new(elapsed))),
        };
    if !status.is_success() {
        // The line is the refusal.
        pin_mut!(lines);
        let line = tokio::time::timeout(REQUEST_TIMEOUT, lines.next()).await.ok().flatten().and_then(Result::ok);
        let refusal = serde_json::from_slice(&line.unwrap_or_default()).unwrap_or(Value::Null);
        return Err(ApiError::of_status(&refusal, status.as_u16()));
    }
    let request = format!("GET {path}");
    Ok(lines.map(move |line| {
        serde_json::from_slice(&line.map_err(no_answer)?)
            .map_err(|source| ApiError::Unreadable { request: request.clone(), source })
    }))
}

fn no_answer(error: NoAnswer) -> ApiError {
    ApiError::NoAnswer(Box::new(error))
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

impl Place {
    fn reached(&mut self, object: &Value) {
        if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
            self.version = version.to_owned();
        }
    }
}

impl Ended {
    fn of(error: ApiError) -> Self {
        if error.code() == Some(410) { Self::Expired } else { Self::Broken(error) }
    }
}

/// Returns true if a retry makes no sense.
fn is_final(error: &ApiError, is_patient: bool) -> bool {
    match error.code() {
        Some(403 | 404) => !is_patient,
        Some(408 | 410 | 429) => false,
        Some(code) => code < 500,
        // No answer: the connection to the server failed.
        None => false,
    }
}
