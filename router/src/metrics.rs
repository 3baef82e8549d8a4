//! Counts for Prometheus (its text format 0.0.4), and whether the router is ready. Names of clients are in none of them.

use crate::service::Shared;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use core::fmt::Write as _;
use core::sync::atomic::Ordering;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::Code;

/// How connections ended.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// `None`: passed through to its end.
    ended: Mutex<BTreeMap<Option<&'static str>, u64>>,
    /// Feeds that were not taken.
    feeds: Mutex<BTreeMap<&'static str, u64>>,
}

impl Metrics {
    pub(crate) fn count_end(&self, code: Option<Code>) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let count = ended.entry(code.map(Code::as_str)).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) fn count_feed(&self, code: Code) {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let count = feeds.entry(code.as_str()).or_default();
        *count = count.saturating_add(1);
    }

    fn text(&self, shared: &Shared) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP strongroom_router_{name} {help}\n# TYPE strongroom_router_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "strongroom_router_{name}{labels} {value}");
            }
        };
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = ended.iter().map(|(code, count)| (format!("{{code=\"{}\"}}", code.unwrap_or("ok")), *count));
        family("connections_total", "counter", "Connections that ended, by refusal.", ended.collect());
        let feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        let feeds = feeds.iter().map(|(code, count)| (format!("{{code=\"{code}\"}}"), *count));
        family("feeds_refused_total", "counter", "Feeds of leases that were not taken, by refusal.", feeds.collect());
        let (reachable, all, open) = shared.backends.count();
        let plain = |value| vec![(String::new(), value)];
        family("connections", "gauge", "Connections that are open.", plain(shared.open.load(Ordering::Relaxed)));
        family("connections_of_guests", "gauge", "Connections that guests have.", plain(open));
        family("backends", "gauge", "Guests that are known.", plain(all));
        family("backends_reachable", "gauge", "Guests that took the last connection that was tried.", plain(reachable));
        let fresh = shared.feeds.read(|feed, _| feed.seq).unwrap_or(0);
        family("feed_sequence", "gauge", "Sequence of the feed that is gone by; 0 while it is stale.", plain(fresh));
        text
    }
}

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let ready = async |State(shared): State<Arc<Shared>>| match shared.feeds.read(|_, _| ()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", refusal.code)),
    };
    let metrics = async |State(shared): State<Arc<Shared>>| {
        ([(CONTENT_TYPE, "text/plain; version=0.0.4")], shared.metrics.text(&shared))
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared)
}
