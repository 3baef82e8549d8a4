//! Room for the bodies of requests and of answers, of all callers together.

use axum::body::{Body, Bytes, HttpBody as _};
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zeroize::Zeroizing;

/// How many bytes of [`limits::API_BODIES`] are free for requests, and as many for answers; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Room {
    requests: Arc<Semaphore>,
    answers: Arc<Semaphore>,
}

impl Default for Room {
    fn default() -> Self {
        let [requests, answers] = [(); 2].map(|()| Arc::new(Semaphore::new(limits::API_BODIES)));
        Self { requests, answers }
    }
}

/// An answer, which takes its room until its reader has it, however slow that is, and is then overwritten.
struct Held {
    bytes: Zeroizing<Vec<u8>>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
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
        let room =
            Arc::clone(&self.requests).try_acquire_many_owned(announced.map_or(most, |announced| announced.min(most)));
        room.map_err(|_| Refusal::new(Code::Busy, "room for request bodies").got("taken"))
    }

    /// A body of `bytes`, with room for them until it is gone.
    ///
    /// # Errors
    /// `busy` there is not so much.
    pub(super) fn hold(&self, bytes: Zeroizing<Vec<u8>>) -> Result<Body> {
        let many = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.answers).try_acquire_many_owned(many);
        let room = room.map_err(|_| Refusal::new(Code::Busy, "room for answers").got("taken"))?;
        Ok(Body::from(Bytes::from_owner(Held { bytes, _room: room })))
    }
}

/// `document` as JSON.
///
/// # Errors
/// `too-large` it is over [`limits::TENSOR_ANSWER`].
pub(super) fn json(document: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut body = Zeroizing::new(Vec::new());
    let over = |_| Refusal::too_large("bytes of the answer in JSON", "more", limits::TENSOR_ANSWER);
    serde_json::to_writer(Bounded(&mut body), document).map_err(over)?;
    Ok(body)
}

/// Writes no more than [`limits::TENSOR_ANSWER`] bytes.
struct Bounded<'a>(&'a mut Vec<u8>);

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > limits::TENSOR_ANSWER {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn unannounced() -> Body {
        Body::from_stream(stream::iter([Ok::<_, io::Error>("{}")]))
    }

    #[test]
    fn answers_that_fill_the_room_accepted_and_one_more_byte_refused_until_one_is_gone() {
        let room = Room::default();
        let answer = |length: usize| room.hold(Zeroizing::new(vec![0; length])).map_err(|refusal| refusal.code);
        let half = answer(limits::API_BODIES / 2).unwrap();
        let other = answer(limits::API_BODIES / 2).unwrap();
        assert_eq!(answer(1).unwrap_err(), Code::Busy);
        drop(half);
        assert!(answer(1).is_ok());
        drop(other);
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
