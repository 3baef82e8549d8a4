//! Room for the bodies of requests, of all callers together.

use axum::body::{Body, HttpBody as _};
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many bytes of [`limits::API_BODIES`] are free; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(limits::API_BODIES)))
    }
}

impl Room {
    /// Room for `body`, before it is read: as much as it announces, or as much as is allowed where it announces nothing. It
    /// lasts until it is dropped.
    ///
    /// # Errors
    /// `busy` there is not so much.
    pub(super) fn reserve(&self, body: &Body) -> Result<OwnedSemaphorePermit> {
        // A body that announces more than is allowed is refused by who reads it.
        let most = u32::try_from(limits::API_BODY).unwrap_or(u32::MAX);
        let announced = body.size_hint().upper().and_then(|upper| u32::try_from(upper).ok());
        let room = Arc::clone(&self.0).try_acquire_many_owned(announced.map_or(most, |announced| announced.min(most)));
        room.map_err(|_| Refusal::new(Code::Busy, "room for request bodies").got("taken"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn unannounced() -> Body {
        Body::from_stream(stream::iter([Ok::<_, std::io::Error>("{}")]))
    }

    #[test]
    fn bodies_that_fill_the_room_accepted_and_one_more_byte_refused_until_one_is_gone() {
        let room = Room::default();
        let mut taken: Vec<_> =
            (0..limits::API_BODIES / limits::API_BODY).map(|_| room.reserve(&unannounced()).unwrap()).collect();
        assert_eq!(room.reserve(&Body::from("a")).unwrap_err().code, Code::Busy);
        taken.pop();
        let body = room.reserve(&Body::from("a")).unwrap();
        assert_eq!(room.reserve(&unannounced()).unwrap_err().code, Code::Busy);
        drop(body);
        assert!(room.reserve(&unannounced()).is_ok());
    }
}
