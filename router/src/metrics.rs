//! Counts for Prometheus (its text format 0.0.4), and whether the router is ready. Names of clients are in none of them.

use crate::service::Shared;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use core::sync::atomic::Ordering;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;
use strongroom_transport::exposition::{self, Counts, Exposition, Kind};
use strongroom_wire::Code;

/// How connections ended.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// `None`: passed through to its end.
    ended: Counts<Option<Code>>,
    /// Feeds that were not taken.
    feeds: Counts<Code>,
}

impl Metrics {
    pub(crate) fn count_end(&self, code: Option<Code>) {
        self.ended.count(code);
    }

    pub(crate) fn count_feed(&self, code: Code) {
        self.feeds.count(code);
    }

    fn text(&self, shared: &Shared) -> String {
        let label = |code: Option<Code>| vec![("code", code.map_or("ok", Code::as_str))];
        let ended = self.ended.all().into_iter().map(|(code, count)| (label(code), count));
        let feeds = self.feeds.all().into_iter().map(|(code, count)| (label(Some(code)), count));
        let (reachable, all, open) = shared.backends.count();
        let fresh = shared.feeds.read(|feed, _| feed.seq).unwrap_or(0);
        let gauge = Kind::Gauge;
        Exposition::new("strongroom_router")
            .family("connections_total", Kind::Counter, "Connections that ended, by refusal.", ended)
            .family("feeds_refused_total", Kind::Counter, "Feeds of leases that were not taken, by refusal.", feeds)
            .number("connections", gauge, "Connections that are open.", shared.open.load(Ordering::Relaxed))
            .number("connections_of_guests", gauge, "Connections that guests have.", open)
            .number("backends", gauge, "Guests that are known.", all)
            .number("backends_reachable", gauge, "Guests that took the last connection that was tried.", reachable)
            .number("feed_sequence", gauge, "Sequence of the feed that is gone by; 0 while it is stale.", fresh)
            .text()
    }
}

/// `/healthz`, `/readyz`, `/metrics`.
pub(crate) fn routes(shared: Arc<Shared>) -> Router {
    let ready = async |State(shared): State<Arc<Shared>>| match shared.feeds.read(|_, _| ()) {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", refusal.code)),
    };
    let metrics = async |State(shared): State<Arc<Shared>>| {
        ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], shared.metrics.text(&shared))
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(shared)
}
