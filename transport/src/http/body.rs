//! Bodies: made from bytes or a stream, read up to a limit.

use crate::failure;
use crate::pace::{Pace, Paced};
use bytes::{Bytes, BytesMut};
use core::pin::pin;
use futures_util::{Stream, TryStreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use std::error::Error;
use strongroom_wire::{Refusal, Result};

/// Any error of a body. One that is a [`Refusal`] comes out of [`crate::HttpClient::send`] as it went in.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// A request's body: [`empty`], [`full`], a [`stream`], or any other body, boxed.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// No body.
pub fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

/// `bytes`, sent with their length.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The chunks of `chunks`, sent chunked unless the request has a `content-length`. An error aborts the request.
pub fn stream<S, E>(chunks: S) -> Body
where
    S: Stream<Item = core::result::Result<Bytes, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    StreamBody::new(chunks.map_ok(Frame::data).map_err(Into::into)).boxed_unsync()
}

/// All of `body`, which a refusal calls `what`. At most `limit` bytes (and one frame) are ever held; a body that announces
/// more is refused unread. The peer must keep the default [`Pace`].
///
/// # Errors
/// `too-large`; `timeout` the peer was slower; `network` the connection broke.
pub async fn read_body<B>(body: B, limit: usize, what: &str) -> Result<Bytes>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    read_paced(body, limit, what, Pace::default()).await
}

async fn read_paced<B>(body: B, limit: usize, what: &str, pace: Pace) -> Result<Bytes>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Refusal::too_large(what, announced, limit));
    }
    let body = pin!(body);
    let mut body = Paced::new(body, pace);
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| failure::refusal(what, &*error))?;
        // Trailers say nothing that Strongroom looks at.
        let Ok(data) = frame.into_data() else { continue };
        let length = read.len().saturating_add(data.len());
        if length > limit {
            return Err(Refusal::too_large(what, format!("more than {limit}"), limit));
        }
        read.extend_from_slice(&data);
    }
    Ok(read.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;
    use futures_util::{StreamExt as _, stream as streams};
    use strongroom_wire::Code;

    fn chunks(count: usize) -> Body {
        stream(streams::iter(vec![Ok::<_, Refusal>(Bytes::from_static(b"four")); count]))
    }

    #[tokio::test]
    async fn body_at_limit_read() {
        assert_eq!(read_body(chunks(2), 8, "answer").await.unwrap(), Bytes::from_static(b"fourfour"));
        assert_eq!(read_body(full("fourfour"), 8, "answer").await.unwrap(), Bytes::from_static(b"fourfour"));
        assert_eq!(read_body(empty(), 0, "answer").await.unwrap(), Bytes::new());
    }

    #[tokio::test]
    async fn body_over_limit_refused_announced_or_not() {
        assert_eq!(read_body(chunks(2), 7, "answer").await.unwrap_err().code, Code::TooLarge);
        assert_eq!(read_body(full("fourfour"), 7, "answer").await.unwrap_err().code, Code::TooLarge);
    }

    #[tokio::test]
    async fn body_that_falls_silent_refused() {
        let pace = Pace { patience: Duration::from_millis(20), bytes_per_second: 1 };
        let silent = stream(streams::iter([Ok::<_, Refusal>(Bytes::from_static(b"four"))]).chain(streams::pending()));
        assert_eq!(read_paced(silent, 8, "answer", pace).await.unwrap_err().code, Code::Timeout);
    }

    #[tokio::test]
    async fn body_that_trickles_refused_though_never_silent() {
        let pace = Pace { patience: Duration::from_millis(100), bytes_per_second: 1_000_000 };
        let trickle = streams::repeat(()).then(|()| async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            Ok::<_, Refusal>(Bytes::from_static(b"x"))
        });
        assert_eq!(read_paced(stream(trickle), 1_000_000, "answer", pace).await.unwrap_err().code, Code::Timeout);
    }

    #[tokio::test]
    async fn refusal_of_a_source_kept() {
        let source = streams::iter([Err(Refusal::new(Code::LayerDigestMismatch, "layer"))]);
        assert_eq!(read_body(stream(source), 8, "blob").await.unwrap_err().code, Code::LayerDigestMismatch);
    }
}
