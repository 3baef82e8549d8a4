//! Telling the registry to lie, stall or cut off: which requests a fault meets, and how often.

use super::names::Reference;
use super::route::Route;
use bytes::Bytes;
use http::{Method, StatusCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use strongroom_wire::digest::Sha256;
use tokio::sync::Semaphore;

/// The requests that a fault meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every request.
    Any,
    /// Requests for the blob of this digest, in any repository.
    Blob(Sha256),
    /// Requests for a manifest by this very reference, a tag or `sha256:<hex>`, in any repository.
    Manifest(String),
    /// What lists the referrers of this digest: the referrers API and the fallback tag `sha256-<hex>`.
    Referrers(Sha256),
    /// Requests that start or continue an upload.
    Uploads,
}

/// How often a fault acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// Until [`Faults::clear`].
    Always,
    /// For so many of the requests that it meets.
    Next(u32),
}

/// What goes wrong with an answer. Those that change content leave every header as it would truthfully be, unless said
/// otherwise, and leave error answers alone.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The lowest bit of the byte at this offset of the content is flipped, also where a range is asked for. `GET` only.
    FlipBit {
        /// The offset in the blob or manifest. Behind its end, nothing is flipped.
        at: u64,
    },
    /// The connection is cut after this many bytes of the answer's body. `GET` only.
    Truncate {
        /// How many bytes still arrive.
        after: u64,
    },
    /// The answer's body pauses after this many bytes, until the gate opens. `GET` only.
    StallBody {
        /// How many bytes arrive before.
        after: u64,
        /// What it waits for.
        gate: Gate,
    },
    /// The answer's body pauses before the byte at this offset of the content, also where a range is asked for, until the gate
    /// opens. `GET` only.
    StallAt {
        /// The offset in the blob or manifest.
        at: u64,
        /// What it waits for.
        gate: Gate,
    },
    /// Not even the answer's head is sent until the gate opens.
    Stall(Gate),
    /// An error answer; the request is not served.
    Status {
        /// The status, such as 401, 404, 429 or 500.
        status: StatusCode,
        /// The `Retry-After` sent with it, in whole seconds.
        retry_after: Option<Duration>,
    },
    /// `Content-Length` says this. The bytes are the true ones, and the connection is cut where they are fewer. `GET` and `HEAD`.
    ContentLength(u64),
    /// These bytes under the content's digest, as if the registry held them: with their own length, and ranges of them.
    /// `GET` and `HEAD`.
    Serve(Bytes),
    /// Ranges are passed over: the answer is 200, with all of the content. `GET` only.
    IgnoreRange,
    /// The entity tag says this, and a range of content with another one is not given. `GET` only.
    Retag(&'static str),
    /// Of the content that is sent so many bytes are taken, and the answer is then 503. `PATCH` and `PUT`; with
    /// [`Target::Uploads`].
    TakePart {
        /// How many bytes become part of the upload.
        bytes: u64,
    },
    /// An empty list of referrers, and no fallback tag. `GET` and `HEAD`; with [`Target::Referrers`].
    HideReferrers,
    /// The manifest of this digest in place of the one asked for, as if the tag pointed to it. `GET` and `HEAD`; with
    /// [`Target::Manifest`].
    AnswerWith(Sha256),
}

impl Fault {
    fn concerns(&self, method: &Method, route: &Route) -> bool {
        let reads = matches!(*method, Method::GET | Method::HEAD);
        match self {
            Self::FlipBit { .. } | Self::Truncate { .. } | Self::StallBody { .. } => method == Method::GET,
            Self::IgnoreRange | Self::Retag(_) | Self::StallAt { .. } => method == Method::GET,
            Self::TakePart { .. } => {
                matches!(*method, Method::PATCH | Method::PUT) && matches!(route, Route::Upload(..))
            }
            Self::ContentLength(_) | Self::Serve(_) => reads,
            Self::HideReferrers => reads && matches!(route, Route::Referrers(..) | Route::Manifest(..)),
            Self::AnswerWith(_) => reads && matches!(route, Route::Manifest(..)),
            Self::Stall(_) | Self::Status { .. } => true,
        }
    }
}

/// Holds answers back until it is opened, once and for all. Clones are the same gate.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }

    /// Lets everything pass that waits, and everything that comes.
    pub fn open(&self) {
        self.0.close();
    }

    /// Returns once the gate is open.
    pub(super) async fn passed(&self) {
        // There are no permits: the one way out is the semaphore's end.
        let _ended = self.0.acquire().await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::closed()
    }
}

/// The faults of one registry, settable while it runs. Clones are the same set.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<Armed>>>);

#[derive(Debug)]
struct Armed {
    target: Target,
    times: Times,
    fault: Fault,
}

impl Faults {
    /// Arms `fault`. Of several that meet a request, the one set first acts.
    pub fn set(&self, target: Target, times: Times, fault: Fault) {
        self.lock().push(Armed { target, times, fault });
    }

    /// Disarms everything. Answers that wait at a gate go on waiting for it.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// How many faults are still armed: a fault of [`Times::Next`] disarms itself after its last time, so a test can tell
    /// that it did act.
    pub fn armed(&self) -> usize {
        self.lock().len()
    }

    /// The fault that this request meets, counted as one of its times.
    pub(super) fn take(&self, method: &Method, route: &Route) -> Option<Fault> {
        let mut armed = self.lock();
        armed.retain(|one| one.times != Times::Next(0));
        let one = armed.iter_mut().find(|one| one.target.meets(route) && one.fault.concerns(method, route))?;
        let fault = one.fault.clone();
        if let Times::Next(left) = &mut one.times {
            *left = left.saturating_sub(1);
        }
        armed.retain(|one| one.times != Times::Next(0));
        Some(fault)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn meets(&self, route: &Route) -> bool {
        match (self, route) {
            (Self::Any, _) | (Self::Uploads, Route::Uploads(_) | Route::Upload(..)) => true,
            (Self::Blob(wanted), Route::Blob(_, digest)) => wanted == digest,
            (Self::Manifest(wanted), Route::Manifest(_, reference)) => *wanted == reference.to_string(),
            (Self::Referrers(wanted), Route::Referrers(_, subject)) => wanted == subject,
            (Self::Referrers(wanted), Route::Manifest(_, Reference::Tag(tag))) => *tag == format!("sha256-{wanted}"),
            _ => false,
        }
    }
}

/// Where in its content an answer's body starts; a response extension, read by the faults that count in content.
#[derive(Debug, Clone, Copy)]
pub(super) struct ContentStart(pub(super) u64);

#[cfg(test)]
mod tests {
    use super::*;

    fn blob() -> Route {
        Route::parse(&format!("/v2/a/blobs/{}", Sha256::of(b"x").oci())).unwrap()
    }

    #[test]
    fn fault_acts_as_often_as_set_and_is_then_disarmed() {
        let faults = Faults::default();
        faults.set(Target::Any, Times::Next(2), Fault::Truncate { after: 1 });
        faults.set(Target::Any, Times::Next(0), Fault::Truncate { after: 2 });
        assert!(faults.take(&Method::HEAD, &blob()).is_none(), "a HEAD has no body to cut");
        for left in [1, 0] {
            assert!(matches!(faults.take(&Method::GET, &blob()), Some(Fault::Truncate { after: 1 })));
            assert_eq!(faults.armed(), left);
        }
        assert!(faults.take(&Method::GET, &blob()).is_none());
    }

    #[test]
    fn fault_on_a_blob_spares_other_blobs() {
        let faults = Faults::default();
        faults.set(Target::Blob(Sha256::of(b"x")), Times::Always, Fault::FlipBit { at: 0 });
        let other = Route::parse(&format!("/v2/a/blobs/{}", Sha256::of(b"y").oci())).unwrap();
        assert!(faults.take(&Method::GET, &other).is_none());
        assert!(faults.take(&Method::GET, &blob()).is_some());
        faults.clear();
        assert!(faults.take(&Method::GET, &blob()).is_none());
    }

    #[test]
    fn referrers_are_met_by_api_and_by_fallback_tag() {
        let subject = Sha256::of(b"x");
        let target = Target::Referrers(subject);
        assert!(target.meets(&Route::parse(&format!("/v2/a/referrers/{}", subject.oci())).unwrap()));
        assert!(target.meets(&Route::parse(&format!("/v2/a/manifests/sha256-{subject}")).unwrap()));
        assert!(!target.meets(&Route::parse(&format!("/v2/a/manifests/sha256-{subject}.sig")).unwrap()));
        assert!(!target.meets(&Route::parse(&format!("/v2/a/manifests/{}", subject.oci())).unwrap()));
    }
}
