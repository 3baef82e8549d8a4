//! Counts for Prometheus: what was asked, what it came to, how long it took, and how many tokens it took. No name of a caller or a model is
//! in them, and no label is anybody's word: routes, codes and actions are closed lists.

use core::time::Duration;
use std::collections::BTreeMap;
use strongroom_transport::exposition::{Counts, Exposition, Histogram, Kind};

/// What was counted since the start.
#[derive(Debug)]
pub(in crate::api) struct Metrics {
    /// By route and outcome.
    answers: Counts<(&'static str, &'static str)>,
    /// By action, and whether they went in or came out.
    tokens: Counts<(&'static str, &'static str)>,
    /// By route.
    took: BTreeMap<&'static str, Histogram>,
}

/// What there is at one moment.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Gauges {
    /// Whether it serves.
    pub(in crate::api) ready: bool,
    /// Requests that wait for a model or are with one.
    pub(in crate::api) queued: usize,
    /// Identities whose use is counted.
    pub(in crate::api) identities: usize,
}

impl Metrics {
    /// Counts of requests on these routes.
    pub(in crate::api) fn of(routes: impl IntoIterator<Item = &'static str>) -> Self {
        let took = routes.into_iter().map(|route| (route, Histogram::default())).collect();
        Self { answers: Counts::default(), tokens: Counts::default(), took }
    }

    pub(super) fn count(&self, route: &'static str, outcome: &'static str, took: Duration) {
        self.answers.count((route, outcome));
        if let Some(histogram) = self.took.get(route) {
            histogram.observe(took);
        }
    }

    pub(super) fn spent(&self, action: &'static str, input: u64, output: u64) {
        self.tokens.add((action, "input"), input);
        self.tokens.add((action, "output"), output);
    }

    /// All of it, as Prometheus reads it.
    pub(in crate::api) fn text(&self, gauges: Gauges) -> String {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (answers, tokens) = (self.answers.all(), self.tokens.all());
        let answers = answers.iter().map(|((route, code), count)| (vec![("route", *route), ("code", *code)], *count));
        let tokens = tokens.iter().map(|((action, way), count)| (vec![("action", *action), ("way", *way)], *count));
        let took = self.took.iter().map(|(route, histogram)| (*route, histogram));
        let gauge = Kind::Gauge;
        Exposition::new("strongroom_enclave")
            .family("requests_total", Kind::Counter, "Requests, by what they came to.", answers)
            .histograms("request_seconds", "How long requests took, up to the end of their answers.", "route", took)
            .family("tokens_total", Kind::Counter, "Tokens that went into models and came out of them.", tokens)
            .number("queued_requests", gauge, "Requests that wait for a model or are with one.", number(gauges.queued))
            .number("identities", gauge, "Identities whose use is counted.", number(gauges.identities))
            .number("ready", gauge, "Whether it serves.", gauges.ready.into())
            .text()
    }
}
