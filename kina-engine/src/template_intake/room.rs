use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::SMALL_BYTES_MAX;
use super::give_back::give_back_soon;

/// Room for templates that are small.
const SMALL_ROOM_BYTES: u64 = 16 << 20;
/// Room for all others. Together 512 MiB.
const LARGE_ROOM_BYTES: u64 = (512 << 20) - SMALL_ROOM_BYTES;
/// The bytes that a permit stands for. A semaphore gives no more than 2^32 permits at once.
const UNIT_BYTES: u64 = 1 << 10;

/// The memory that the contents of templates may take.
#[derive(Debug)]
pub(crate) struct TemplateRoom {
    small: Room,
    large: Room,
}

#[derive(Debug)]
struct Room {
    bytes: u64,
    free: Arc<Semaphore>,
}

/// A part of the room, which is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    bytes: u64,
    _permit: OwnedSemaphorePermit,
}

/// Content that takes part of the room.
#[derive(Debug)]
pub(crate) struct Admitted<Content> {
    // Dropped before its part of the room is given to another.
    pub(crate) content: Content,
    pub(crate) reservation: Reservation,
}

/// A template that would never find room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the template has {bytes} bytes, and the contents of templates may take {bytes_max} bytes of the engine's memory: \
     split it, or leave out objects that the tests do not need"
)]
pub(crate) struct TooLarge {
    bytes: u64,
    bytes_max: u64,
}

impl TemplateRoom {
    pub(crate) fn new() -> Self {
        Self { small: Room::new(SMALL_ROOM_BYTES), large: Room::new(LARGE_ROOM_BYTES) }
    }

    /// Reserves room for a template of so many bytes, if there is any at the moment.
    ///
    /// # Errors
    /// If there never will be.
    pub(crate) fn try_reserve(&self, bytes: u64) -> Result<Option<Reservation>, TooLarge> {
        let room = self.room_for(bytes)?;
        let permit = Arc::clone(&room.free).try_acquire_many_owned(units(bytes)).ok();
        Ok(permit.map(|permit| Reservation { bytes, _permit: permit }))
    }

    /// Waits for room, in the order in which it was asked for; gives the place in the queue up when it is dropped.
    ///
    /// # Errors
    /// If there never will be any.
    pub(crate) async fn reserve(&self, bytes: u64) -> Result<Reservation, TooLarge> {
        let room = self.room_for(bytes)?;
        let permit = Arc::clone(&room.free).acquire_many_owned(units(bytes)).await;
        // The semaphore is never closed.
        let permit = permit.map_err(|_| TooLarge { bytes, bytes_max: room.bytes })?;
        Ok(Reservation { bytes, _permit: permit })
    }

    fn room_for(&self, bytes: u64) -> Result<&Room, TooLarge> {
        let room = if bytes <= SMALL_BYTES_MAX { &self.small } else { &self.large };
        if room.bytes < bytes {
            return Err(TooLarge { bytes, bytes_max: room.bytes });
        }
        Ok(room)
    }
}

impl Room {
    fn new(bytes: u64) -> Self {
        Self { bytes, free: Arc::new(Semaphore::new(units(bytes) as usize)) }
    }
}

impl Reservation {
    /// Returns true unless the template is small.
    pub(super) fn is_large(&self) -> bool {
        SMALL_BYTES_MAX < self.bytes
    }

    /// The content that it was made for.
    pub(crate) fn admit<Content>(self, content: Content) -> Admitted<Content> {
        Admitted { content, reservation: self }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.is_large() {
            give_back_soon();
        }
    }
}

impl<Content> Admitted<Content> {
    /// The same room with what was made of the content.
    ///
    /// # Errors
    /// Those of `make`.
    pub(crate) fn try_map<Made, Error>(
        self,
        make: impl FnOnce(Content) -> Result<Made, Error>,
    ) -> Result<Admitted<Made>, Error> {
        Ok(Admitted { content: make(self.content)?, reservation: self.reservation })
    }
}

/// Returns the units that hold so many bytes, rounded up: nothing takes room without a permit.
fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const MEBIBYTE: u64 = 1 << 20;

    #[tokio::test]
    async fn a_template_waits_until_others_have_left_room_for_it() {
        let room = TemplateRoom::new();
        let first = room.reserve(256 * MEBIBYTE).now_or_never().expect("room").expect("not too large");
        let second = room.try_reserve(200 * MEBIBYTE).expect("not too large").expect("room");
        assert!(room.try_reserve(100 * MEBIBYTE).expect("not too large").is_none());
        let mut waiting = Box::pin(room.reserve(100 * MEBIBYTE));
        assert!((&mut waiting).now_or_never().is_none(), "512 MiB are taken");
        drop(second);
        let third = waiting.await.expect("not too large");
        assert!(room.try_reserve(256 * MEBIBYTE).expect("not too large").is_none());
        drop((first, third));
        assert!(room.try_reserve(256 * MEBIBYTE).expect("not too large").is_some());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_gives_its_place_and_its_room_back() {
        let room = TemplateRoom::new();
        let all = room.reserve(LARGE_ROOM_BYTES).await.expect("not too large");
        let mut gone = Box::pin(room.reserve(LARGE_ROOM_BYTES));
        let mut next = Box::pin(room.reserve(2 * MEBIBYTE));
        assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        drop(gone);
        drop(all.admit(vec![0; 3]));
        drop(next.now_or_never().expect("room").expect("not too large"));
        assert!(room.try_reserve(LARGE_ROOM_BYTES).expect("not too large").is_some());
    }

    #[tokio::test]
    async fn a_template_that_would_never_find_room_is_refused_with_the_bound() {
        let room = TemplateRoom::new();
        let refused = room.reserve(600 * MEBIBYTE).await.expect_err("too large").to_string();
        assert!(refused.contains("has 629145600 bytes") && refused.contains("520093696 bytes"), "{refused}");
        assert!(room.try_reserve(u64::MAX).is_err());
        assert!(room.try_reserve(LARGE_ROOM_BYTES).expect("not too large").is_some());
    }

    #[test]
    fn a_small_template_never_waits_for_large_ones() {
        let room = TemplateRoom::new();
        let large = room.try_reserve(LARGE_ROOM_BYTES).expect("not too large").expect("room");
        let small = room.try_reserve(SMALL_BYTES_MAX).expect("not too large").expect("room");
        assert!(large.is_large() && !small.is_large());
        assert!(room.try_reserve(SMALL_BYTES_MAX + 1).expect("not too large").is_none());
        let most = (SMALL_ROOM_BYTES / SMALL_BYTES_MAX) as usize;
        let mut held = vec![small];
        held.extend((0..most * 2).map_while(|_| room.try_reserve(SMALL_BYTES_MAX).expect("not too large")));
        assert_eq!(held.len(), most, "these have a bound too");
    }

    #[test]
    fn what_is_made_of_content_keeps_its_room_and_an_error_gives_it_back() {
        let room = TemplateRoom::new();
        let reserved = || room.try_reserve(LARGE_ROOM_BYTES).expect("not too large");
        let text = reserved().expect("room").admit("7");
        let number = text.try_map(str::parse::<u32>).expect("a number");
        assert!(reserved().is_none() && number.content == 7);
        drop(number);
        assert!(reserved().expect("room").admit("x").try_map(str::parse::<u32>).is_err());
        assert!(reserved().is_some());
    }
}
