//! Step 5: what came of a request, in one line of the log and in the counts.
//!
//! It is written when the last is gone that belongs to the request: a stream's end is in it, and a caller who hung up or a handler that
//! panicked leaves one too. In it are identities, names and digests of models that are served, numbers and times; nothing that a
//! caller wrote.

use super::{Identity, Metrics};
use axum::http::{HeaderValue, Method, header};
use axum::response::Response;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use strongroom_policy::CallAction;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal};
use tracing::Span;
use tracing::field;

/// The refusal that an answer is: an extension of every answer that is one, in whichever shape its API has it.
#[derive(Debug, Clone)]
pub(in crate::api) struct Refused(pub(in crate::api) Refusal);

/// What is known of one request so far.
#[derive(Debug)]
pub(in crate::api) struct Record {
    method: Method,
    /// As the route table has it.
    route: &'static str,
    began: Instant,
    /// The request's place in its trace.
    span: Span,
    metrics: Arc<Metrics>,
    facts: Mutex<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    identity: Option<Identity>,
    action: Option<CallAction>,
    model: Option<(String, Sha256)>,
    policies: Vec<String>,
    tokens: Option<(u64, u64)>,
    /// Seconds until the identity may use more.
    wait: Option<u64>,
    status: Option<u16>,
    refusal: Option<Refusal>,
}

impl Record {
    /// Of a request with `method` on `route` that begins now.
    pub(in crate::api) fn begin(method: Method, route: &'static str, metrics: Arc<Metrics>) -> Arc<Self> {
        let (began, span) = (Instant::now(), Span::current());
        Arc::new(Self { method, route, began, span, metrics, facts: Mutex::default() })
    }

    /// The answer's beginning is made.
    pub(in crate::api) fn answered(&self, answer: &mut Response) {
        let mut facts = self.facts();
        facts.status = Some(answer.status().as_u16());
        if let Some(Refused(refusal)) = answer.extensions_mut().remove() {
            facts.refusal = Some(refusal);
        }
        let (Some(wait), Some(refusal)) = (facts.wait, &facts.refusal) else { return };
        if matches!(refusal.code, Code::LimitExceeded | Code::Busy) {
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
    }

    pub(super) fn identified(&self, identity: &Identity) {
        self.facts().identity = Some(identity.clone());
    }

    pub(super) fn comes_back_in(&self, seconds: u64) {
        self.facts().wait = Some(seconds);
    }

    pub(super) fn asked(&self, action: CallAction, model: &str, manifest: Sha256) {
        let mut facts = self.facts();
        facts.action = Some(action);
        facts.model = Some((model.to_owned(), manifest));
    }

    pub(super) fn permitted_by(&self, policies: &[String]) {
        self.facts().policies = policies.to_vec();
    }

    /// An answer that had begun ended so.
    pub(super) fn failed(&self, refusal: &Refusal) {
        self.facts().refusal = Some(refusal.clone());
    }

    pub(super) fn spent(&self, input: u64, output: u64) {
        let mut facts = self.facts();
        let (before, after) = facts.tokens.unwrap_or_default();
        facts.tokens = Some((before.saturating_add(input), after.saturating_add(output)));
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Facts {
    /// What it came to: `ok`, the code of a refusal, or `unanswered` where no answer was begun.
    fn outcome(&self) -> &'static str {
        match (&self.refusal, self.status) {
            (Some(refusal), _) => refusal.code.as_str(),
            (None, Some(status)) if status < 400 => "ok",
            (None, Some(_)) => "failed",
            (None, None) => "unanswered",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        let facts = core::mem::take(self.facts.get_mut().unwrap_or_else(PoisonError::into_inner));
        let (outcome, action) = (facts.outcome(), facts.action.map(CallAction::as_str));
        self.metrics.count(self.route, outcome, took);
        let (input, output) = facts.tokens.unzip();
        if let Some(action) = action {
            self.metrics.spent(action, input.unwrap_or_default(), output.unwrap_or_default());
        }
        let (model, manifest) = facts.model.as_ref().map(|(name, manifest)| (name.as_str(), manifest)).unzip();
        tracing::info!(
            parent: &self.span,
            method = self.method.as_str(),
            route = self.route,
            outcome,
            status = facts.status,
            kind = facts.identity.as_ref().map(|identity| identity.kind().as_str()),
            identity = facts.identity.as_ref().map(Identity::name),
            action,
            model,
            manifest = manifest.map(|manifest| field::display(manifest.oci())),
            policies = (!facts.policies.is_empty()).then(|| field::display(facts.policies.join(", "))),
            input_tokens = input,
            output_tokens = output,
            microseconds = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            refusal = facts.refusal.as_ref().map(field::display),
            "request"
        );
    }
}
