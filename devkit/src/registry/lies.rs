//! Acting on a fault: what becomes of the answer that a request would truthfully have had.

use super::blobs::Part;
use super::error::{Answer, ErrorCode, OciError};
use super::faults::{ContentStart, Fault, Gate};
use super::names::Reference;
use super::route::Route;
use super::{Shared, dispatch, listings, manifests};
use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{TryStreamExt as _, stream};
use http::header::{CONTENT_LENGTH, ETAG, HeaderValue, IF_RANGE, RANGE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use std::time::Duration;

/// How long a cut connection's last bytes are given to leave: dropped together with the connection, they may not arrive.
const LAST_BYTES: Duration = Duration::from_millis(50);

/// Serves `request` as `fault` has it.
pub(super) async fn answer(shared: &Shared, route: Route, request: Request, fault: Fault) -> Answer {
    match fault {
        Fault::Status { status, retry_after } => Err(refusal(status, retry_after)),
        Fault::Stall(gate) => {
            gate.passed().await;
            dispatch(shared, route, request).await
        }
        Fault::HideReferrers => match route {
            Route::Manifest(_, reference) => Err(manifests::unknown(&reference)),
            _ => Ok(listings::index(&[])),
        },
        Fault::AnswerWith(digest) => {
            let route = match route {
                Route::Manifest(repository, _) => Route::Manifest(repository, Reference::Digest(digest)),
                other => other,
            };
            dispatch(shared, route, request).await
        }
        Fault::FlipBit { at } => distort(dispatch(shared, route, request).await?, Distortion::Flip { at }),
        Fault::Truncate { after } => distort(dispatch(shared, route, request).await?, Distortion::Cut { after }),
        Fault::StallBody { after, gate } => {
            distort(dispatch(shared, route, request).await?, Distortion::Pause { after, gate })
        }
        Fault::StallAt { at, gate } => {
            let response = dispatch(shared, route, request).await?;
            let start = response.extensions().get::<ContentStart>().map_or(0, |start| start.0);
            distort(response, Distortion::Pause { after: at.saturating_sub(start), gate })
        }
        Fault::IgnoreRange => {
            let mut request = request;
            request.headers_mut().remove(RANGE);
            dispatch(shared, route, request).await
        }
        Fault::Retag(tag) => {
            let mut request = request;
            if request.headers().get(IF_RANGE).is_some_and(|wanted| wanted != tag) {
                request.headers_mut().remove(RANGE);
            }
            request.headers_mut().remove(IF_RANGE);
            let mut response = dispatch(shared, route, request).await?;
            response.headers_mut().insert(ETAG, HeaderValue::from_static(tag));
            Ok(response)
        }
        Fault::TakePart { bytes } => {
            let (parts, body) = request.into_parts();
            let taken = stream::try_unfold((body.into_data_stream(), bytes), take_up_to);
            // What it has to say of content that ends too early is not what it was told to answer.
            let _early = dispatch(shared, route, Request::from_parts(parts, Body::from_stream(taken))).await;
            Err(refusal(StatusCode::SERVICE_UNAVAILABLE, None))
        }
        Fault::ContentLength(claimed) => Ok(claim(dispatch(shared, route, request).await?, claimed)),
        Fault::Serve(bytes) => {
            let (method, headers) = (request.method().clone(), request.headers().clone());
            serve(dispatch(shared, route, request).await?, &method, &headers, &bytes)
        }
    }
}

type Taken = Option<(Bytes, (BodyDataStream, u64))>;

/// The next chunk of what is left of the first bytes of a body; then an error, as where its connection broke.
async fn take_up_to((mut body, left): (BodyDataStream, u64)) -> Result<Taken, axum::BoxError> {
    let Some(mut chunk) = body.try_next().await?.filter(|_| left > 0) else {
        return Err("this registry was told to take no more".into());
    };
    chunk.truncate(room(left, 0));
    let left = left.saturating_sub(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
    Ok(Some((chunk, (body, left))))
}

fn refusal(status: StatusCode, retry_after: Option<Duration>) -> OciError {
    let code = match status {
        StatusCode::UNAUTHORIZED => ErrorCode::Unauthorized,
        StatusCode::TOO_MANY_REQUESTS => ErrorCode::TooManyRequests,
        StatusCode::NOT_FOUND => ErrorCode::ManifestUnknown,
        _ => ErrorCode::Unknown,
    };
    let error = OciError::new(code, "this registry was told to answer so").with_status(status);
    match retry_after {
        Some(after) => error.with_header(RETRY_AFTER, HeaderValue::from(after.as_secs())),
        None => error,
    }
}

/// A body of unknown length behind a stated one: the server sends what the header says, whatever then comes.
fn claim(response: Response, claimed: u64) -> Response {
    let (mut parts, body) = response.into_parts();
    if parts.status.is_success() {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(claimed));
    }
    Response::from_parts(parts, Body::from_stream(body.into_data_stream()))
}

fn serve(mut response: Response, method: &Method, headers: &HeaderMap, bytes: &Bytes) -> Answer {
    if !response.status().is_success() {
        return Ok(response);
    }
    let part = Part::asked_for(method, headers, None, u64::try_from(bytes.len()).unwrap_or(u64::MAX))?;
    part.describe(&mut response);
    let skipped = bytes.iter().skip(usize::try_from(part.start).unwrap_or(usize::MAX));
    let served: Bytes = skipped.take(usize::try_from(part.length).unwrap_or(usize::MAX)).copied().collect();
    *response.body_mut() = if method == Method::HEAD { Body::empty() } else { Body::from(served) };
    Ok(response)
}

/// What is done to a body while it streams.
enum Distortion {
    Flip { at: u64 },
    Cut { after: u64 },
    Pause { after: u64, gate: Gate },
}

fn distort(response: Response, distortion: Distortion) -> Answer {
    let (parts, body) = response.into_parts();
    if !parts.status.is_success() {
        return Ok(Response::from_parts(parts, body));
    }
    let start = parts.extensions.get::<ContentStart>().map_or(0, |start| start.0);
    let distorted = Distorted { body: body.into_data_stream(), held: None, start, sent: 0, distortion };
    Ok(Response::from_parts(parts, Body::from_stream(stream::try_unfold(distorted, Distorted::step))))
}

struct Distorted {
    body: BodyDataStream,
    /// What came after the point where the body pauses.
    held: Option<Bytes>,
    start: u64,
    sent: u64,
    distortion: Distortion,
}

impl Distorted {
    async fn step(mut self) -> Result<Option<(Bytes, Self)>, axum::BoxError> {
        if let Distortion::Cut { after } = self.distortion
            && self.sent >= after
        {
            tokio::time::sleep(LAST_BYTES).await;
            return Err("this registry was told to cut the connection".into());
        }
        let chunk = match self.held.take() {
            Some(held) => Some(held),
            None => self.body.try_next().await?,
        };
        let Some(mut chunk) = chunk else { return Ok(None) };
        match &self.distortion {
            Distortion::Flip { at } => chunk = flip(chunk, at.checked_sub(self.start.saturating_add(self.sent))),
            Distortion::Cut { after } => chunk.truncate(room(*after, self.sent)),
            Distortion::Pause { after, gate } => match room(*after, self.sent) {
                0 => gate.passed().await,
                before if before < chunk.len() => self.held = Some(chunk.split_off(before)),
                _ => {}
            },
        }
        self.sent = self.sent.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        Ok(Some((chunk, self)))
    }
}

fn room(after: u64, sent: u64) -> usize {
    usize::try_from(after.saturating_sub(sent)).unwrap_or(usize::MAX)
}

fn flip(chunk: Bytes, at: Option<u64>) -> Bytes {
    let Some(at) = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < chunk.len()) else { return chunk };
    let mut bytes = chunk.to_vec();
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1;
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flip_changes_one_bit_of_the_byte_named_and_nothing_outside() {
        let chunk = Bytes::from_static(&[0, 0, 0]);
        assert_eq!(flip(chunk.clone(), Some(1)), [0, 1, 0].as_slice());
        assert_eq!(flip(chunk.clone(), Some(3)), chunk);
        assert_eq!(flip(chunk.clone(), None), chunk);
    }
}
