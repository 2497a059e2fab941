//! The template that a client wants. If it is not known, its content comes from the client to those that make it.

use std::sync::Arc;
use std::time::Duration;

use super::client_stream::{CLIENT_TIMEOUT, ClientStream, ConnectionError};
use super::engine::Engine;
use super::message::Ending;
use super::metrics::TemplateFrom;
use super::templates::{Lookup, Making, TemplateRequest};
use crate::error_text::with_causes;
use crate::protocol::{ClientMessage, EngineMessage, Refusal, RefusalKind};
use crate::rewind::Template;
use crate::template_intake::{NotReceived, Reservation, receive};

/// The lowest speed that is expected of a client, in bytes a second: also while all processors are busy.
const SENT_PER_SECOND_MIN: u64 = 1 << 20;

/// A step towards a template; `None` if the client goes first.
type Step<Taken> = Result<Option<Result<Taken, Refusal>>, ConnectionError>;

/// The template that the client wants; if it is not known yet, it is made from its content, for which the client is
/// asked. `None` if the client goes first.
pub(super) async fn find(client: &mut ClientStream, engine: &Engine, wanted: TemplateRequest) -> Step<Arc<Template>> {
    let lookup = engine.template_maker.cache.look_up(&wanted.kind, &wanted.name).await;
    engine.metrics_source.metrics.looked_for_template(match &lookup {
        Lookup::Found { is_from_disk: false, .. } => TemplateFrom::Memory,
        Lookup::Found { is_from_disk: true, .. } => TemplateFrom::Disk,
        Lookup::Making(_) => TemplateFrom::Making,
        Lookup::Unknown => TemplateFrom::Nowhere,
    });
    let lookup = match lookup {
        Lookup::Unknown => match take_in(client, engine, wanted).await? {
            Some(Ok(lookup)) => lookup,
            Some(Err(refusal)) => return Ok(Some(Err(refusal))),
            None => return Ok(None),
        },
        lookup => lookup,
    };
    match lookup {
        Lookup::Found { template, .. } => Ok(Some(Ok(template))),
        Lookup::Making(making) => wait(client, making).await,
        Lookup::Unknown => Err(Ending.into()),
    }
}

async fn wait(client: &mut ClientStream, mut making: Making) -> Step<Arc<Template>> {
    match client.wait_and_tell(made(&mut making), "making the template").await? {
        Some(made) => Ok(Some(made.ok_or(Ending)?)),
        None => Ok(None),
    }
}

/// Asks for the content of an unknown template once there is room for it, and has the template made.
async fn take_in(client: &mut ClientStream, engine: &Engine, wanted: TemplateRequest) -> Step<Lookup> {
    let reservation = match wait_for_room(client, engine, &wanted).await? {
        Some(Ok(reservation)) => reservation,
        Some(Err(refusal)) => return Ok(Some(Err(refusal))),
        None => return Ok(None),
    };
    // Another client may have brought it meanwhile.
    if let Some(found) = engine.template_maker.cache.at_hand(&wanted.kind, &wanted.name) {
        return Ok(Some(Ok(found)));
    }
    client.send(&EngineMessage::TemplateWanted).await?;
    let bytes = match client.receive().await? {
        Some(ClientMessage::Template { bytes }) => bytes,
        _ => return Ok(None),
    };
    if bytes != wanted.bytes {
        return Err(NotReceived::Length.into());
    }
    let limit = CLIENT_TIMEOUT + Duration::from_secs(bytes / SENT_PER_SECOND_MIN);
    let received = tokio::time::timeout(limit, receive(&mut client.reader, bytes)).await??;
    let (content, name) = (reservation.admit(received), wanted.name.clone());
    let reading = content.read(&engine.template_maker.reader, move |content| {
        content.try_map(|received| received.into_set().filter(|set| set.hash() == *name.0).ok_or(()))
    });
    Ok(match client.wait_and_tell(reading, "reading the template").await? {
        None => None,
        Some(Ok(Ok(content))) => Some(Ok(engine.template_maker.make(wanted, content))),
        Some(Ok(Err(()))) => {
            let message = "the content of the template is not what its name says".to_owned();
            Some(Err(Refusal { kind: RefusalKind::User, message }))
        }
        Some(Err(error)) => {
            let message = format!("the template could not be made: {}", with_causes(&error));
            Some(Err(Refusal { kind: RefusalKind::Engine, message }))
        }
    })
}

/// Waits for as long as the client would wait for a cluster.
async fn wait_for_room(client: &mut ClientStream, engine: &Engine, wanted: &TemplateRequest) -> Step<Reservation> {
    let refused = |kind, message| Ok(Some(Err(Refusal { kind, message })));
    match engine.template_room.try_reserve(wanted.bytes) {
        Ok(Some(reservation)) => return Ok(Some(Ok(reservation))),
        Ok(None) => {}
        Err(too_large) => return refused(RefusalKind::User, too_large.to_string()),
    }
    let doing =
        format!("waiting for memory for a template of {} bytes: those of others take what templates may", wanted.bytes);
    client.tell_step(&doing).await?;
    let limit = Duration::from_millis(wanted.timeout_ms);
    let waiting = tokio::time::timeout(limit, engine.template_room.reserve(wanted.bytes));
    match client.wait_and_tell(waiting, &doing).await? {
        None => Ok(None),
        Some(Ok(Ok(reservation))) => Ok(Some(Ok(reservation))),
        Some(Ok(Err(too_large))) => refused(RefusalKind::User, too_large.to_string()),
        Some(Err(_)) => refused(
            RefusalKind::Timeout,
            format!(
                "no memory for a template of {} bytes became free within {} s, because templates of others that \
                 are being made took what templates may: raise `acquire_timeout_seconds`, or run fewer tests with \
                 large templates at the same time",
                wanted.bytes,
                limit.as_secs_f64()
            ),
        ),
    }
}

/// The result of making a template; `None` if the engine ends.
async fn made(making: &mut Making) -> Option<Result<Arc<Template>, Refusal>> {
    making.wait_for(Option::is_some).await.ok()?.clone()
}
