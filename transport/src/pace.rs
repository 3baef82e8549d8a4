//! How slow a peer may send a body: neither silent for long, nor a trickle that never ends.

use crate::BoxError;
use bytes::Bytes;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use hyper::body::{Body, Frame, SizeHint};
use strongroom_wire::{Code, Refusal};
use tokio::time::{Instant, Sleep, sleep};

/// The slowest body that is waited for. Only time spent waiting counts: a reader who is busy elsewhere costs its peer
/// nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The longest silence, and the head start before [`Self::bytes_per_second`] counts.
    pub patience: Duration,
    /// What a peer must send on average once the head start is used up. Without it, one byte per `patience` would hold a
    /// connection and its buffers for years.
    pub bytes_per_second: u32,
}

impl Default for Pace {
    /// 30 seconds, then 16 KiB/s: a bad mobile link passes.
    fn default() -> Self {
        Self { patience: Duration::from_secs(30), bytes_per_second: 16 * 1024 }
    }
}

impl Pace {
    /// How long to wait for the next frame after `received` bytes and `waited` of waiting.
    fn allowance(self, received: u64, waited: Duration) -> Duration {
        let rate = u64::from(self.bytes_per_second.max(1));
        let earned = Duration::from_millis(received.saturating_mul(1000) / rate);
        self.patience.saturating_add(earned).saturating_sub(waited).min(self.patience)
    }
}

/// A body that ends in a `timeout` refusal where its peer is slower than a [`Pace`].
#[derive(Debug)]
pub struct Paced<B> {
    body: B,
    pace: Pace,
    received: u64,
    waited: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    until: Pin<Box<Sleep>>,
}

impl<B> Paced<B> {
    /// `body`, held to `pace`.
    pub const fn new(body: B, pace: Pace) -> Self {
        Self { body, pace, received: 0, waited: Duration::ZERO, waiting: None }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            if let Some(waiting) = this.waiting.take() {
                this.waited = this.waited.saturating_add(waiting.since.elapsed());
            }
            if let Some(Ok(frame)) = &frame {
                let length = frame.data_ref().map_or(0, Bytes::len);
                this.received = this.received.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let (pace, received, waited) = (this.pace, this.received, this.waited);
        let waiting = this.waiting.get_or_insert_with(|| Waiting {
            since: Instant::now(),
            until: Box::pin(sleep(pace.allowance(received, waited))),
        });
        ready!(waiting.until.as_mut().poll(cx));
        let refusal = Refusal::new(Code::Timeout, "body").got(format!("{received} bytes, then nothing")).want(format!(
            "silence of at most {:?} and at least {} bytes a second",
            pace.patience, pace.bytes_per_second
        ));
        Poll::Ready(Some(Err(refusal.into())))
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

    const PACE: Pace = Pace { patience: Duration::from_secs(10), bytes_per_second: 100 };

    #[test]
    fn silence_allowed_up_to_patience() {
        assert_eq!(PACE.allowance(0, Duration::ZERO), Duration::from_secs(10));
        assert_eq!(PACE.allowance(1_000_000, Duration::ZERO), Duration::from_secs(10));
    }

    #[test]
    fn trickle_uses_up_the_head_start() {
        assert_eq!(PACE.allowance(1, Duration::from_secs(9)), Duration::from_millis(1010));
        assert_eq!(PACE.allowance(1, Duration::from_secs(11)), Duration::ZERO);
    }

    #[test]
    fn steady_sender_never_runs_out() {
        assert_eq!(PACE.allowance(100 * 3600, Duration::from_secs(3600)), PACE.patience);
    }
}
