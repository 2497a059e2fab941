//! The content of a template, from the client that has it to those that make it.

use std::time::Duration;

use super::connection::{CLIENT_TIMEOUT, Client, ConnectionError, Engine};
use super::templates::{Lookup, TemplateRequest};
use crate::error_text::with_causes;
use crate::protocol::{ClientMessage, EngineMessage, Refusal, RefusalKind};
use crate::template_intake::{NotReceived, Reservation, receive};

/// The lowest speed that is expected of a client, in bytes a second: also while all processors are busy.
const SENT_PER_SECOND_MIN: u64 = 1 << 20;

/// A step towards a template; `None` if the client goes first.
type Step<Taken> = Result<Option<Result<Taken, Refusal>>, ConnectionError>;

impl Client {
    /// Asks for the content of an unknown template once there is room for it, and has the template made.
    pub(super) async fn take_template_in(&mut self, engine: &Engine, wanted: TemplateRequest) -> Step<Lookup> {
        let reservation = match self.wait_for_room(engine, &wanted).await? {
            Some(Ok(reservation)) => reservation,
            Some(Err(refusal)) => return Ok(Some(Err(refusal))),
            None => return Ok(None),
        };
        // Another client may have brought it meanwhile.
        if let Some(found) = engine.template_maker.cache.at_hand(&wanted.kind, &wanted.name) {
            return Ok(Some(Ok(found)));
        }
        self.send(&EngineMessage::TemplateWanted).await?;
        let bytes = match self.receive().await? {
            Some(ClientMessage::Template { bytes }) => bytes,
            _ => return Ok(None),
        };
        if bytes != wanted.bytes {
            return Err(NotReceived::Length.into());
        }
        let limit = CLIENT_TIMEOUT + Duration::from_secs(bytes / SENT_PER_SECOND_MIN);
        let received = tokio::time::timeout(limit, receive(&mut self.reader, bytes)).await??;
        let (content, name) = (reservation.admit(received), wanted.name.clone());
        let reading = content.read(&engine.template_maker.reader, move |content| {
            content.try_map(|received| received.into_set().filter(|set| set.hash() == *name.0).ok_or(()))
        });
        Ok(match self.wait_and_tell(reading, "reading the template").await? {
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
    async fn wait_for_room(&mut self, engine: &Engine, wanted: &TemplateRequest) -> Step<Reservation> {
        let refused = |kind, message| Ok(Some(Err(Refusal { kind, message })));
        match engine.template_room.try_reserve(wanted.bytes) {
            Ok(Some(reservation)) => return Ok(Some(Ok(reservation))),
            Ok(None) => {}
            Err(too_large) => return refused(RefusalKind::User, too_large.to_string()),
        }
        let doing = format!(
            "waiting for memory for a template of {} bytes: those of others take what templates may",
            wanted.bytes
        );
        self.tell_step(&doing).await?;
        let limit = Duration::from_millis(wanted.timeout_ms);
        let waiting = tokio::time::timeout(limit, engine.template_room.reserve(wanted.bytes));
        match self.wait_and_tell(waiting, &doing).await? {
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
}
