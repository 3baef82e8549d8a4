//! The admin API: keys, release policies, Cedar policies, promotions, routes, revocations and the audit log, for people who show who they are
//! (`admin_gate.rs`) and whose role it is. There is no mode without that. What each call does stands in `admin/effects.rs`.
//!
//! Every call that would change something is one entry of the audit log with its outcome and who it was, which is durable together with
//! its effect or not at all. Reads, and calls that are none of the caller's, are counted (`unproven.rs`). Administrators are operators,
//! so refusals are shown whole. A key's value goes in and never out.

mod answer;
mod approval;
mod call;
mod effects;
mod revocations;

pub use call::Change;
pub(crate) use call::ChangeId;

use answer::{Answer, refused};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use call::{Access, Call};
use http::{Method, StatusCode, Uri};
use serde_json::json;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use strongroom_appraisal::UnixTime;
use strongroom_jose::TokenSigner;
use strongroom_transport::{PeerAddr, PeerCertificates, exposition, read_body, trace};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, limits};

use crate::Verifier;
use crate::admin_gate::{Caller, Permitted, Role};
use crate::audit::Kind;
use crate::budget::Rate;
use crate::erased::Erased;
use crate::key_values::Rewrapped;
use crate::routes::to_the_end;
use crate::store::{NewKey, Transaction};
use crate::trail::Trail;

/// The longest body of any call: a signed document is longer than a release policy, and that than a key.
const LONGEST: usize = limits::STORED_DOCUMENT;

/// Changes of one person: a script that puts hundreds of keys is one, and what goes on for hours is none.
pub(crate) const CHANGES: Rate = Rate { burst: 1000, interval: 1 };

/// The routes of the admin API, and health.
pub(crate) fn admin(verifier: Arc<Verifier>) -> Router {
    trace::routed(Router::new().route("/healthz", get(|| async { "ok\n" }))).fallback(handle).with_state(verifier)
}

/// What a call takes of a custody, had before its transaction begins.
enum Prepared {
    Nothing,
    New(NewKey),
    Rewrapped(Rewrapped),
}

/// A call that was executed in a transaction, and what is left to do once that is committed.
struct Done {
    answer: Answer,
    /// What signs tokens from then on.
    signer: Option<TokenSigner>,
    /// Whether it took a value out of the store that must not be left in its files.
    erases: bool,
}

async fn handle(State(verifier): State<Arc<Verifier>>, request: Request) -> Response {
    let began = Instant::now();
    let outcome = to_the_end(answer(Arc::clone(&verifier), request)).await;
    verifier.metrics.count_admin(outcome.as_ref().err().map(|refusal| refusal.code), began);
    outcome.map_or_else(|refusal| refused(&refusal), IntoResponse::into_response)
}

/// What was asked, as it was asked.
#[derive(Clone, Copy)]
struct Asked<'a> {
    method: &'a Method,
    uri: &'a Uri,
    body: &'a [u8],
}

/// 1. Who asks; nobody who is nobody here gets any further.
/// 2. What, and whether it is theirs to ask.
/// 3. Execute, or keep it for another person's approval.
async fn answer(verifier: Arc<Verifier>, request: Request) -> Result<Answer> {
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<PeerAddr>().map(|peer| peer.0.ip());
    // First the body: an answer to a peer that is still sending is lost with the connection. What nobody sent whole is no
    // call, and is not written down: who is not let in must not be able to fill the log.
    let body = Erased::of(read_body(body, LONGEST, "body").await?);
    let mut trail = Trail::new(Kind::Admin, format!("{} {}", parts.method, parts.uri.path()));
    trail.note("peer", peer.map(|peer| peer.to_string()));

    // 1.
    let caller = Caller { headers: &parts.headers, shown: parts.extensions.get::<PeerCertificates>(), peer };
    let administrator = match verifier.gate.authorize(caller, verifier.clock.now()).await {
        Ok(administrator) => administrator,
        Err(refusal) => {
            verifier.refused_unproven(trail, &refusal).await?;
            return Err(refusal);
        }
    };
    trail.note("administrator", administrator.person());
    // 2.
    let asked = Asked { method: &parts.method, uri: &parts.uri, body: body.expose() };
    let permitted = administrator.permit(Role::Viewer).and_then(|_| {
        let call = Call::parse(asked.method, asked.uri)?;
        let permitted = administrator.permit(call.access().role())?;
        if call.access() != Access::Read {
            verifier.spend_change(permitted)?;
        }
        Ok((permitted, call.fits(asked.body)?))
    });
    // 3.
    let outcome = match permitted {
        Ok((permitted, call)) => match call.access() {
            Access::Read => return verifier.read(permitted, call, trail).await,
            Access::Change(change) if verifier.approval.contains(&change) => {
                verifier.ask_for_approval(permitted, asked, call, &mut trail).await
            }
            _ => verifier.execute(permitted, asked, call, &mut trail).await,
        },
        // Who has no such role, asks without end, or for what there is not, must not be able to fill the log either.
        Err(refusal) => {
            verifier.refused_unproven(trail, &refusal).await?;
            return Err(refusal);
        }
    };
    match outcome {
        Ok(ready) => verifier.commit(ready, trail).await,
        Err(refusal) => {
            verifier.store.record(&verifier.clock, &trail.event(Some(&refusal))).await?;
            Err(refusal)
        }
    }
}

impl Asked<'_> {
    fn call(&self) -> Result<Call> {
        Call::parse(self.method, self.uri).and_then(|call| call.fits(self.body))
    }
}

/// What was done in a transaction that is to be committed.
struct Ready<'a> {
    store: Transaction<'a>,
    done: Done,
    now: UnixTime,
}

impl Verifier {
    /// What a call takes of a custody: no transaction waits for one.
    ///
    /// # Errors
    /// Those of [`Verifier::new_key`] and [`Verifier::rewrapped`].
    async fn prepare(&self, call: &Call, body: &[u8]) -> Result<Prepared> {
        match call {
            Call::PutKey(id, _) => self.new_key(id, body).await.map(Prepared::New),
            Call::RotateKey(id) => self.rewrapped(id).await.map(Prepared::Rewrapped),
            _ => Ok(Prepared::Nothing),
        }
    }

    /// # Errors
    /// `busy`: they changed as much as one person may for now.
    fn spend_change(&self, permitted: Permitted<'_>) -> Result<()> {
        let name = &permitted.person().name;
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if changes.take(name.clone(), self.clock.now()) {
            return Ok(());
        }
        Err(Refusal::new(Code::Busy, format!("changes by `{name}`")).want(format!("at most {} at once", CHANGES.burst)))
    }

    /// Answers a call that changes nothing: it waits for no transaction and holds up none, and that it was made is counted, as what it is
    /// refused for is.
    async fn read(&self, permitted: Permitted<'_>, call: Call, trail: Trail) -> Result<Answer> {
        let answered = async {
            match call {
                Call::ReadLog(read) => self.read_log(permitted, read).await.map(Answer::Log),
                Call::ReadMetrics => {
                    let text = self.metrics_text().await?;
                    Ok(Answer::Text(exposition::CONTENT_TYPE, text.into_bytes()))
                }
                call => {
                    let mut store = self.store.begin_reading().await?;
                    let asked = (call, Prepared::Nothing);
                    self.called(permitted, &mut store, asked, &[], self.clock.now()).await.map(|done| done.answer)
                }
            }
        };
        match answered.await {
            Ok(answer) => self.read_is_counted(trail).await.map(|()| answer),
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                Err(refusal)
            }
        }
    }

    /// Executes a call in a transaction of its own. Whatever it did before it was refused is undone.
    async fn execute(
        &self,
        permitted: Permitted<'_>,
        asked: Asked<'_>,
        call: Call,
        trail: &mut Trail,
    ) -> Result<Ready<'_>> {
        let prepared = match &call {
            Call::ApproveChange(id, _) => self.prepare_change(id).await?,
            call => self.prepare(call, asked.body).await?,
        };
        let mut store = self.store.begin().await?;
        let now = self.clock.now();
        let done = match call {
            Call::ApproveChange(id, digest) => {
                let pending = store.approve_change(&id, digest, permitted.person(), now).await?;
                trail.note("change", &pending.change);
                self.approved(permitted, &mut store, &pending, prepared, trail, now).await?
            }
            Call::RejectChange(id) => {
                let asker = &store.change(&id, now).await?.change.asked_by;
                if asker != permitted.person() {
                    permitted.permit(Role::Approver)?;
                }
                let change = store.reject_change(&id, now).await?;
                trail.note("change", &change);
                Done { erases: true, ..Answer::Json(StatusCode::OK, json!(change)).into() }
            }
            call => self.administer(permitted, &mut store, asked, (call, prepared), trail, now).await?,
        };
        Ok(Ready { store, done, now })
    }

    /// Commits with the entry of the log, and does what is left to do: no token is signed by a key that is on no record.
    async fn commit(&self, ready: Ready<'_>, trail: Trail) -> Result<Answer> {
        let Ready { store, done, now } = ready;
        store.commit(now, &trail.event(None)).await?;
        match done.signer {
            Some(_) if self.store.is_shared() => self.refresh_tokens().await?,
            Some(signer) => self.tokens.change_to(signer, self.clock.now())?,
            None => {}
        }
        if done.erases {
            self.store.forget_erased().await;
        }
        Ok(done.answer)
    }

    /// Executes a call that needs nobody else, and notes what it came to.
    async fn administer(
        &self,
        permitted: Permitted<'_>,
        store: &mut Transaction<'_>,
        asked: Asked<'_>,
        (call, prepared): (Call, Prepared),
        trail: &mut Trail,
        now: UnixTime,
    ) -> Result<Done> {
        trail.note("call", if call.is_public() { json!({ "digest": Sha256::of(asked.body) }) } else { json!({}) });
        let noted = call.noted();
        let done = self.called(permitted, store, (call, prepared), asked.body, now).await?;
        if let (Some(name), Answer::Json(_, kept)) = (noted, &done.answer) {
            trail.note(name, kept);
        }
        if let Some(signer) = &done.signer {
            trail.note("kid", signer.kid());
        }
        Ok(done)
    }
}
