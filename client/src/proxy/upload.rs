//! A request's body on its way out, cut off where it exceeds its limit.

use bytes::Bytes;
use core::pin::Pin;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, ready};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use std::sync::Arc;
use strongroom_transport::BoxError;
use strongroom_wire::{Refusal, limits};

/// Whether a body turned out longer than its limit. The connection's own error need not say so: the peer may have hung up
/// first.
#[derive(Clone, Default)]
pub(super) struct Overrun(Arc<AtomicBool>);

impl Overrun {
    pub(super) fn happened(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// `body`, which fails once more than `limit` bytes came out of it, and the way to learn that it did.
pub(super) fn limited(body: axum::body::Body, limit: usize) -> (strongroom_transport::Body, Overrun) {
    let overrun = Overrun::default();
    (Limited { body, left: limit, overrun: overrun.clone() }.boxed_unsync(), overrun)
}

/// The refusal of a request whose body has `got` bytes.
pub(super) fn too_large(got: impl core::fmt::Display) -> Refusal {
    Refusal::too_large("request body", got, limits::API_BODY)
}

struct Limited {
    body: axum::body::Body,
    left: usize,
    overrun: Overrun,
}

impl Body for Limited {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx)).map(|frame| frame.map_err(BoxError::from));
        let length = match &frame {
            Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
            _ => 0,
        };
        match this.left.checked_sub(length) {
            Some(left) => {
                this.left = left;
                Poll::Ready(frame)
            }
            None => {
                this.overrun.0.store(true, Ordering::Release);
                Poll::Ready(Some(Err(too_large("more").into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body as AxumBody;

    async fn read(length: usize, limit: usize) -> (Option<usize>, bool) {
        let (body, overrun) = limited(AxumBody::from(vec![b'x'; length]), limit);
        let read = body.collect().await.ok().map(|read| read.to_bytes().len());
        (read, overrun.happened())
    }

    #[tokio::test]
    async fn body_at_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(read(8, 8).await, (Some(8), false));
        assert_eq!(read(9, 8).await, (None, true));
    }
}
