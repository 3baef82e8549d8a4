//! Which request belongs to which (W3C Trace Context, level 1): what a caller names is taken on, in every line of the log about its
//! request, and passed on with the requests that are made for it. Where it was told to a [collector](crate::spans), that has its times.
//!
//! It is a name and nothing else: nobody is believed, and nothing decided, by it.

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use core::fmt;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::sync::{Arc, OnceLock};
use strongroom_wire::bytes::hex_array;
use tokio::task::JoinHandle;
use tokio::task_local;
use tracing::{Instrument as _, Span};

/// The header of §3.2.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

task_local! {
    static CURRENT: Trace;
    static ROUTE: Arc<OnceLock<MatchedPath>>;
}

/// Which of a router's routes a request took, for [`routed`] to write down.
pub(crate) type Route = Arc<OnceLock<MatchedPath>>;

/// Has each request of `router` say which route it took, by its pattern and not by what the caller made of that, to a
/// [collector](crate::spans), if there is one.
pub fn routed<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.route_layer(from_fn(async |request: Request, next: Next| {
        if let Some(path) = request.extensions().get::<MatchedPath>() {
            // A router in a router: the first that knows has all of it.
            let _ = ROUTE.try_with(|route| drop(route.set(path.clone())));
        }
        next.run(request).await
    }))
}

/// A trace, and the part of it that is done here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub(crate) trace: [u8; 16],
    /// The caller's part; zero: there is none.
    pub(crate) parent: [u8; 8],
    pub(crate) span: [u8; 8],
    flags: u8,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.header())
    }
}

impl Trace {
    /// The part of a request with these headers: of its caller's trace, where it names one as §3.2.2 has it, and else of a new one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let first = values.next().filter(|_| values.next().is_none());
        let parent = first.and_then(|value| value.to_str().ok()).and_then(Self::parse);
        let parent = parent.unwrap_or_else(|| Self { trace: random(), parent: [0; 8], span: [0; 8], flags: 0 });
        Self { parent: parent.span, span: random(), ..parent }
    }

    /// `VERSION-TRACE-SPAN-FLAGS`; a version that is not known may have more behind it (§4.2).
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let [version] = hex(parts.next()?)?;
        let (trace, span, [flags]) = (hex(parts.next()?)?, hex(parts.next()?)?, hex(parts.next()?)?);
        let whole = version != 0 || parts.next().is_none();
        // Of the flags, version 0 knows one (§3.2.2.5).
        let flags = flags & 1;
        (version != 0xff && whole && trace != [0; 16] && span != [0; 8]).then_some(Self {
            trace,
            parent: [0; 8],
            span,
            flags,
        })
    }

    fn header(&self) -> String {
        format!("00-{}-{}-{:02x}", text(&self.trace), text(&self.span), self.flags)
    }

    /// What the log has about it.
    pub(crate) fn span(&self) -> Span {
        tracing::info_span!("request", trace_id = text(&self.trace), span_id = text(&self.span))
    }

    /// Does `work` as this part of the trace, and writes its route down.
    pub(crate) async fn scope<T>(self, route: Route, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, ROUTE.scope(route, work.instrument(self.span()))).await
    }
}

/// [`tokio::spawn`] of work that belongs to the request that is being answered, and is done even where its caller goes away.
pub fn spawn<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    let work = work.instrument(Span::current());
    match CURRENT.try_with(|trace| *trace) {
        Ok(trace) => tokio::spawn(CURRENT.scope(trace, work)),
        Err(_) => tokio::spawn(work),
    }
}

/// The header of a request that is made for the one that is being answered, if any is.
pub(crate) fn passed_on() -> Option<HeaderValue> {
    CURRENT.try_with(Trace::header).ok().and_then(|header| HeaderValue::from_str(&header).ok())
}

/// Lower case alone (§3.2.2).
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    hex_array(text, "traceparent").ok()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A name, which need not be a secret: where there is no randomness, it is the same for all.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [1; N];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (TRACEPARENT, HeaderValue::from_str(value).unwrap())).collect()
    }

    fn continued(values: &[&str]) -> bool {
        let trace = Trace::of(&headers(values));
        assert_ne!(text(&trace.span), "00f067aa0ba902b7", "a part of its own");
        text(&trace.trace) == TRACE
    }

    #[test]
    fn trace_of_the_caller_is_continued_and_what_is_none_begins_a_new_one() {
        let of = |version: &str, trace: &str, span: &str, rest: &str| format!("{version}-{trace}-{span}-{rest}");
        let span = "00f067aa0ba902b7";
        assert!(continued(&[&of("00", TRACE, span, "01")]));
        assert!(continued(&[&of("cc", TRACE, span, "01-what-comes-later")]));
        let upper = TRACE.to_uppercase();
        for wrong in [
            of("ff", TRACE, span, "01"),
            of("00", TRACE, span, "01-more"),
            of("00", TRACE, "0000000000000000", "01"),
            of("00", TRACE, span, "1"),
            of("00", TRACE, span, ""),
            of("0", TRACE, span, "01"),
            of("00", &upper, span, "01"),
            of("00", TRACE.split_at(1).1, span, "01"),
            String::new(),
        ] {
            assert!(!continued(&[&wrong]), "{wrong}");
        }
        let (one, zero) = (of("00", TRACE, span, "01"), of("00", &"0".repeat(32), span, "01"));
        assert!(!continued(&[&one, &one]) && !continued(&[]));
        assert_ne!(Trace::of(&headers(&[&zero])).trace, [0; 16]);
    }

    #[tokio::test]
    async fn requests_that_are_made_for_a_request_carry_its_trace_out_of_spawned_work_too() {
        assert_eq!(passed_on(), None);
        let trace = Trace::of(&headers(&[&format!("00-{TRACE}-00f067aa0ba902b7-01")]));
        let inside =
            trace.scope(Route::default(), async { (passed_on(), spawn(async { passed_on() }).await.unwrap()) }).await;
        let want = HeaderValue::from_str(&format!("00-{TRACE}-{}-01", text(&trace.span))).unwrap();
        assert_eq!(inside, (Some(want.clone()), Some(want)));
        assert_eq!(spawn(async { passed_on() }).await.unwrap(), None);
    }
}
