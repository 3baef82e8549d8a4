//! Counts for Prometheus: what was asked and what it came to, how long it took, and how much there is. No name of a guest, a key or a
//! person is in them, and no number of theirs can grow without a bound: routes and codes are closed lists.

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use std::sync::Arc;
use std::time::Instant;
use strongroom_tlog::Checkpoint;
use strongroom_transport::exposition::{self, Counts, Exposition, Histogram, Kind};
use strongroom_wire::{Code, Result};

use crate::Verifier;
use crate::problem::Refused;
use crate::store::KeyState;

/// What is asked of a verifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Route {
    Auth,
    Attest,
    Release,
    Challenge,
    Passport,
    Lease,
    Feed,
    Endorsements,
    Admin,
    Other,
}

impl Route {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Attest => "attest",
            Self::Release => "release",
            Self::Challenge => "challenge",
            Self::Passport => "passport",
            Self::Lease => "lease",
            Self::Feed => "feed",
            Self::Endorsements => "endorsements",
            Self::Admin => "admin",
            Self::Other => "other",
        }
    }

    /// By the path of the route, never by that of the request.
    fn of(path: Option<&MatchedPath>) -> Self {
        use strongroom_wire::{endorsements, feed, lease, passport};
        match path.map(MatchedPath::as_str) {
            Some("/kbs/v0/auth" | "/v1/kbs/auth") => Self::Auth,
            Some("/kbs/v0/attest" | "/v1/kbs/attest") => Self::Attest,
            Some("/kbs/v0/resource/{*path}" | "/v1/kbs/resource/{*path}") => Self::Release,
            Some(passport::CHALLENGE) => Self::Challenge,
            Some(passport::ATTEST) => Self::Passport,
            Some(lease::PATH) => Self::Lease,
            Some(feed::PATH) => Self::Feed,
            Some(endorsements::PATH) => Self::Endorsements,
            _ => Self::Other,
        }
    }
}

/// What was counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// `None`: not refused.
    answers: Counts<(Route, Option<Code>)>,
    attest: Histogram,
    release: Histogram,
    admin: Histogram,
}

impl Metrics {
    fn count(&self, route: Route, code: Option<Code>, began: Instant) {
        self.answers.count((route, code));
        let histogram = match route {
            Route::Attest | Route::Passport | Route::Lease => &self.attest,
            Route::Release => &self.release,
            Route::Admin => &self.admin,
            _ => return,
        };
        histogram.observe(began.elapsed());
    }

    /// A call of the admin API that began then.
    pub(crate) fn count_admin(&self, code: Option<Code>, began: Instant) {
        self.count(Route::Admin, code, began);
    }
}

/// Counts what comes through.
pub(crate) async fn counted(State(verifier): State<Arc<Verifier>>, request: Request, next: Next) -> Response {
    let route = Route::of(request.extensions().get::<MatchedPath>());
    let began = Instant::now();
    let response = next.run(request).await;
    let code = response.extensions().get::<Refused>().map(|refused| refused.0.code);
    verifier.metrics.count(route, code, began);
    response
}

impl Verifier {
    /// All counts.
    ///
    /// # Errors
    /// `store-failed`; `store-tampered`.
    pub(crate) async fn metrics_text(&self) -> Result<String> {
        let mut store = self.store.begin_reading().await?;
        let (keys, waiting) = (store.keys().await?, store.changes(self.clock.now()).await?);
        let sessions = store.count_sessions(self.clock.now()).await?;
        let states = KeyState::ALL.map(|state| {
            let count = keys.iter().filter(|key| key.state == state).count();
            (vec![("state", state.as_str())], u64::try_from(count).unwrap_or(u64::MAX))
        });
        let log = Checkpoint::parse(store.checkpoint().await?.text())?.size;
        drop(store);
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let answers = self.metrics.answers.all();
        let answers = answers.iter().map(|((route, code), count)| {
            (vec![("route", route.as_str()), ("code", code.map_or("ok", Code::as_str))], *count)
        });
        let metrics = &self.metrics;
        let took = [("attest", &metrics.attest), ("release", &metrics.release), ("admin", &metrics.admin)];
        let gauge = Kind::Gauge;
        Ok(Exposition::new("strongroom_verifier")
            .family("answers_total", Kind::Counter, "Requests that were answered, by what it came to.", answers)
            .histograms("answer_seconds", "How long answers took, their entry of the log included.", "route", took)
            .number("sessions", gauge, "Accepted sessions that have not ended.", sessions)
            .family("keys", gauge, "Keys in the store.", states)
            .number("changes_waiting", gauge, "Changes that wait for another person.", number(waiting.len()))
            .number("log_entries", gauge, "Entries of the audit log.", log)
            .text())
    }
}

/// `/metrics`, for a listener of its own.
pub(crate) fn routes(verifier: Arc<Verifier>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(verifier)
}

async fn metrics(State(verifier): State<Arc<Verifier>>) -> Response {
    match verifier.metrics_text().await {
        Ok(text) => ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response(),
        Err(refusal) => {
            tracing::error!(%refusal, "no metrics");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
