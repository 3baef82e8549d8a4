//! Asking a vendor's service: bounded in time, size and repetition, and never against `Retry-After`.

use bytes::Bytes;
use core::time::Duration;
use http::{HeaderMap, Request, StatusCode, Uri};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strongroom_transport::patience::{is_passing, is_passing_status, retry_after};
use strongroom_transport::{HttpClient, Patience, http as transport, read_body};
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::time::{Instant, sleep, timeout};

/// How long and how often a vendor's service is asked: it counts requests, and answers within seconds or not at all.
pub const PATIENCE: Patience = Patience {
    attempts: 4,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(30),
    answer: Duration::from_secs(30),
};

/// An answer of status 200.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    /// At most [`limits::ENDORSEMENT`] bytes.
    pub(crate) body: Bytes,
}

/// Asks services.
#[derive(Debug)]
pub(crate) struct Asker {
    http: HttpClient,
    patience: Patience,
    /// Until when a service asked to be left alone, by host and port: all of our questions to it wait for that.
    closed: Mutex<HashMap<String, Instant>>,
}

/// Why there is no answer.
struct Failure {
    refusal: Refusal,
    /// Whether the same request may succeed a little later.
    passing: bool,
}

impl Asker {
    pub(crate) fn new(http: HttpClient, patience: Patience) -> Self {
        Self { http, patience, closed: Mutex::default() }
    }

    /// What the service answers at `url`.
    ///
    /// # Errors
    /// `endorsement-unknown`: 404, or 400, with which AMD's service answers for what it cannot derive;
    /// `endorsement-unavailable`: any other status but 200, or the service asks for a longer wait than we have patience for;
    /// `too-large`; `network`, `timeout`, `tls-failed`, `pin-mismatch`, `plaintext-refused`; `configuration-invalid`: not
    /// a URL.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer> {
        let uri: Uri =
            url.parse().map_err(|e| Refusal::new(Code::ConfigurationInvalid, format!("url `{url}`")).because(e))?;
        let mut attempt = 1;
        loop {
            self.wait_until_open(&uri).await?;
            let failure = match self.get_once(&uri).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !failure.passing || attempt >= self.patience.attempts {
                return Err(failure.refusal);
            }
            tracing::debug!(refusal = %failure.refusal, "will ask again");
            // What the service asked for is waited for above, by all questions to it.
            self.patience.wait(attempt, None).await;
            attempt = attempt.saturating_add(1);
        }
    }

    async fn get_once(&self, uri: &Uri) -> core::result::Result<Answer, Failure> {
        let what = format!("GET `{}{}`", uri.authority().map_or("", |authority| authority.as_str()), uri.path());
        let late = || {
            let want = format!("all of it within {:?}", self.patience.answer);
            Refusal::new(Code::Timeout, &what).got("no whole answer").want(want)
        };
        timeout(self.patience.answer, self.exchange(uri, &what))
            .await
            .unwrap_or_else(|_| Err(Failure { refusal: late(), passing: true }))
    }

    async fn exchange(&self, uri: &Uri, what: &str) -> core::result::Result<Answer, Failure> {
        let request = Request::get(uri).body(transport::empty());
        let request = request.map_err(|e| Failure::lasting(Refusal::new(Code::Internal, what).because(e)))?;
        let (head, body) = self.http.send(request, self.patience.answer).await.map_err(Failure::of)?.into_parts();
        let refused = |code| Refusal::new(code, what).got(head.status).want(StatusCode::OK);
        match head.status.as_u16() {
            200 => {
                let body = read_body(body, limits::ENDORSEMENT, what).await.map_err(Failure::of)?;
                Ok(Answer { headers: head.headers, body })
            }
            400 | 404 => Err(Failure::lasting(refused(Code::EndorsementUnknown))),
            _ if is_passing_status(head.status) => {
                if let Some(wait) = retry_after(&head.headers) {
                    self.close(uri, wait);
                }
                Err(Failure { refusal: refused(Code::EndorsementUnavailable), passing: true })
            }
            // Redirects too: no vendor sends one, and whom to ask is our configuration's to say.
            _ => Err(Failure::lasting(refused(Code::EndorsementUnavailable))),
        }
    }

    fn close(&self, uri: &Uri, wait: Duration) {
        let until = Instant::now() + wait;
        let mut closed = self.closed();
        let known = closed.entry(host(uri)).or_insert(until);
        *known = until.max(*known);
    }

    async fn wait_until_open(&self, uri: &Uri) -> Result<()> {
        let until = self.closed().get(&host(uri)).copied();
        let wait = until.map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()));
        if wait > self.patience.longest_wait {
            return Err(Refusal::new(Code::EndorsementUnavailable, format!("`{}` asks to be left alone", host(uri)))
                .got(format!("for {} s", wait.as_secs()))
                .want(format!("at most {} s", self.patience.longest_wait.as_secs())));
        }
        sleep(wait).await;
        Ok(())
    }

    /// A panic between two map operations leaves the map whole.
    fn closed(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn lasting(refusal: Refusal) -> Self {
        Self { refusal, passing: false }
    }

    fn of(refusal: Refusal) -> Self {
        Self { passing: is_passing(&refusal), refusal }
    }
}

fn host(uri: &Uri) -> String {
    uri.authority().map(ToString::to_string).unwrap_or_default()
}
