//! One range of a blob: asked for as often as it takes, from where the last connection broke.

use super::source::Source;
use crate::status;
use bytes::Bytes;
use core::fmt;
use core::time::Duration;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use std::sync::Arc;
use strongroom_transport::pace::Paced;
use strongroom_transport::patience::{is_passing, is_passing_status, refusal_of_body, retry_after};
use strongroom_wire::{Code, Refusal, Result};

/// How far a connection has to get for its end not to count as a failed attempt. Without it a registry that cuts after every
/// byte would be asked forever; with a plain count, a large blob would never come over a bad link.
const PROGRESS: u64 = 1024 * 1024;

/// The bytes from `at` to `end` of a blob.
pub(super) struct Range {
    source: Arc<Source>,
    at: u64,
    end: u64,
    /// Whether an answer with all of the blob is none, and another registry is not asked: others take over what this fails at.
    strict: bool,
    body: Option<Paced<Incoming>>,
    /// Bytes still to be passed over: the registry began anew where it was asked to go on.
    surplus: u64,
    /// Whose failures are counted.
    place: usize,
    failures: u32,
    /// Where the last failure was.
    failed_at: u64,
}

impl Range {
    pub(super) fn new(source: &Arc<Source>, at: u64, end: u64) -> Self {
        let source = Arc::clone(source);
        Self { source, at, end, strict: false, body: None, surplus: 0, place: 0, failures: 0, failed_at: at }
    }

    /// A range that comes as one or not at all.
    pub(super) fn strict(source: &Arc<Source>, at: u64, end: u64) -> Self {
        Self { strict: true, ..Self::new(source, at, end) }
    }

    /// The next chunk; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.at < self.end {
            let mut body = match self.body.take() {
                Some(body) => body,
                None => self.connect().await?,
            };
            match body.frame().await {
                Some(Ok(frame)) => {
                    self.body = Some(body);
                    let Ok(data) = frame.into_data() else { continue };
                    if let Some(chunk) = self.take(data)? {
                        return Ok(Some(chunk));
                    }
                }
                Some(Err(error)) => self.fail(refusal_of_body(error), None).await?,
                // A body that ends in good order has said that there is no more.
                None => return Err(self.size_mismatch(self.at)),
            }
        }
        self.finish().await
    }

    /// Asks for the range, and says whether it will come as such. A registry may answer with all of the blob instead; this
    /// range then ends with it.
    pub(super) async fn open(&mut self) -> Result<bool> {
        let body = self.connect().await?;
        self.body = Some(body);
        Ok(self.end < self.source.size())
    }

    /// Asks for what is left.
    async fn connect(&mut self) -> Result<Paced<Incoming>> {
        let source = Arc::clone(&self.source);
        loop {
            let (number, place) = source.place();
            if number != self.place {
                (self.place, self.failures) = (number, 0);
            }
            let call = match self.header()? {
                Some(range) => place.call.clone().header(header::RANGE, range),
                None => place.call.clone(),
            };
            let call = match place.tag.get() {
                Some(tag) if call.headers.contains_key(header::RANGE) => call.header(header::IF_RANGE, tag.clone()),
                _ => call,
            };
            let response = match place.client.send_once(&call).await {
                Ok(response) => response,
                Err(refusal) if is_passing(&refusal) => {
                    self.fail(refusal, None).await?;
                    continue;
                }
                Err(refusal) => {
                    self.give_up(refusal)?;
                    continue;
                }
            };
            let (passing, asked) = (is_passing_status(response.status()), retry_after(response.headers()));
            let expected = status::expect(response, &[StatusCode::OK, StatusCode::PARTIAL_CONTENT], "answer").await;
            match expected.and_then(|response| self.begin(response)) {
                Ok((body, tag)) => {
                    // Whoever came first has set it; it is the same one, or the ranges will not match.
                    tag.into_iter().for_each(|tag| drop(place.tag.set(tag)));
                    return Ok(body);
                }
                Err(refusal) if passing => self.fail(refusal, asked).await?,
                Err(refusal) => self.give_up(refusal)?,
            }
        }
    }

    /// `Range` (RFC 9110 §14.2), where not all of the blob is asked for.
    fn header(&self) -> Result<Option<HeaderValue>> {
        let text = match (self.at, self.end < self.source.size()) {
            (0, false) => return Ok(None),
            (at, false) => format!("bytes={at}-"),
            (at, true) => format!("bytes={at}-{}", self.end.saturating_sub(1)),
        };
        HeaderValue::from_str(&text).map(Some).map_err(|e| Refusal::new(Code::Internal, "range").because(e))
    }

    /// The body of an answer, and its entity tag. Refuses an answer that is not about the rest of this range.
    fn begin(&mut self, response: Response<Incoming>) -> Result<(Paced<Incoming>, Option<HeaderValue>)> {
        let announced = response.body().size_hint().exact();
        let size = self.source.size();
        if response.status() == StatusCode::PARTIAL_CONTENT {
            self.is_this(response.headers())?;
            self.surplus = 0;
            if let Some(length) = announced.filter(|length| *length != self.end.saturating_sub(self.at)) {
                return Err(self.size_mismatch(length.saturating_add(self.at)));
            }
        } else {
            if self.strict {
                return Err(Refusal::new(Code::RegistryFailed, "range").got("all of the blob").want("206"));
            }
            if let Some(length) = announced.filter(|length| *length != size) {
                return Err(self.size_mismatch(length));
            }
            (self.surplus, self.end) = (self.at, size);
        }
        let tag = response.headers().get(header::ETAG).filter(|tag| tag.as_bytes().starts_with(b"\"")).cloned();
        Ok((Paced::new(response.into_body(), self.source.place().1.client.pace()), tag))
    }

    /// Refuses a `Content-Range` (RFC 9110 §14.4) that is not the range that was asked for.
    fn is_this(&self, headers: &HeaderMap) -> Result<()> {
        let stated = status::demanded(headers, &header::CONTENT_RANGE, "range")?;
        let want = format!("bytes {}-{}", self.at, self.end.saturating_sub(1));
        let (range, total) = stated.split_once('/').unwrap_or((stated, ""));
        if total != "*" && total.parse() != Ok(self.source.size()) {
            return Err(self.size_mismatch(total));
        }
        if range != want {
            return Err(Refusal::new(Code::RegistryFailed, "range").got(stated).want(want));
        }
        Ok(())
    }

    /// What of `data` is new.
    fn take(&mut self, mut data: Bytes) -> Result<Option<Bytes>> {
        let known = usize::try_from(self.surplus).unwrap_or(usize::MAX).min(data.len());
        drop(data.split_to(known));
        self.surplus = self.surplus.saturating_sub(u64::try_from(known).unwrap_or(u64::MAX));
        if data.is_empty() {
            return Ok(None);
        }
        self.at = self.at.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if self.at > self.end {
            return Err(self.size_mismatch(format!("at least {}", self.at)));
        }
        Ok(Some(data))
    }

    /// All bytes have come: there may be no more.
    async fn finish(&mut self) -> Result<Option<Bytes>> {
        if let Some(mut body) = self.body.take() {
            while let Some(Ok(frame)) = body.frame().await {
                if frame.data_ref().is_some_and(|data| !data.is_empty()) {
                    return Err(self.size_mismatch(format!("more than {}", self.end)));
                }
            }
        }
        Ok(None)
    }

    /// Counts a failure that may pass, and waits; or gives up.
    async fn fail(&mut self, refusal: Refusal, asked: Option<Duration>) -> Result<()> {
        if self.at.saturating_sub(self.failed_at) >= PROGRESS {
            self.failures = 0;
        }
        self.failures += 1;
        self.failed_at = self.at;
        let patience = self.source.place().1.client.patience();
        if self.failures >= patience.attempts {
            return self.give_up(refusal);
        }
        patience.wait(self.failures, asked).await;
        Ok(())
    }

    /// Leaves the place that failed for the next one, if there is one to ask.
    fn give_up(&self, refusal: Refusal) -> Result<()> {
        if self.strict { Err(refusal) } else { self.source.pass_over(self.place, refusal) }
    }

    fn size_mismatch(&self, got: impl fmt::Display) -> Refusal {
        Refusal::new(Code::LayerSizeMismatch, self.source.what()).got(got).want(self.source.size())
    }
}
