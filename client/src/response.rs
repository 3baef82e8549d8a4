//! The body of an answer, which keeps its connection until it was read to the end.

use crate::Lease;
use bytes::Bytes;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use strongroom_transport::BoxError;

/// The streamed body of an answer. Read to its end it gives the connection back; dropped before, it closes it.
pub struct ResponseBody {
    body: Incoming,
    lease: Option<Lease>,
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}

impl ResponseBody {
    pub(crate) fn new(body: Incoming, lease: Lease) -> Self {
        let mut this = Self { body, lease: Some(lease) };
        this.give_back_at_end();
        this
    }

    /// A reader need not poll past the last frame, so the end is looked for after each.
    fn give_back_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.lease.take().into_iter().for_each(Lease::give_back);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match frame {
            None => this.lease.take().into_iter().for_each(Lease::give_back),
            Some(Err(_)) => this.lease = None,
            Some(Ok(_)) => this.give_back_at_end(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
