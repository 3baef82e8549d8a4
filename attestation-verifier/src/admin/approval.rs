//! What takes two people: a change waits until somebody other than who asked for it approves it, and is then judged as if it were
//! asked for at that moment.

use std::borrow::Cow;

use http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use strongroom_appraisal::UnixTime;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::{Code, Refusal, Result};

use super::{Answer, Asked, Call, ChangeId, Done, Prepared, Ready};
use crate::Verifier;
use crate::admin_gate::Permitted;
use crate::custody::Wrapped;
use crate::store::{NewKey, PendingChange, Transaction};
use crate::trail::Trail;

impl Verifier {
    /// Keeps what was asked for another person to approve. What would be refused now is refused now.
    ///
    /// # Errors
    /// Those of the call; `busy`: too many wait already; `role-insufficient`: the break-glass token's bearer, who may be anybody.
    pub(super) async fn ask_for_approval(
        &self,
        permitted: Permitted<'_>,
        asked: Asked<'_>,
        call: Call,
        trail: &mut Trail,
    ) -> Result<Ready<'_>> {
        if permitted.person().is_break_glass() {
            let refusal = Refusal::new(Code::RoleInsufficient, "break-glass token").got("anybody's");
            return Err(refusal.want("two people who are known, for a change that takes two"));
        }
        let now = self.clock.now();
        let urgent = matches!(call, Call::DisableKey(_) | Call::Revoke);
        let is_key = matches!(call, Call::PutKey(..));
        let prepared = self.prepare(&call, asked.body).await?;
        let waits = waiting_body(&prepared, asked.body);
        let mut tried = self.store.begin().await?;
        let done = self.called(permitted, &mut tried, (call, prepared), asked.body, now).await?;
        // Given up: nothing of it was done.
        drop(tried);
        // The very same key is there already, and stays: there is nothing to approve.
        if is_key && matches!(done.answer, Answer::Json(status, _) if status == StatusCode::OK) {
            return self.execute(permitted, asked, asked.call()?, trail).await;
        }
        let mut store = self.store.begin().await?;
        let path = asked.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let change = store.put_change(asked.method.as_str(), &path, &waits, permitted.person(), urgent, now).await?;
        trail.note("waits", &change);
        Ok(Ready { store, done: Answer::Json(StatusCode::ACCEPTED, json!(change)).into(), now })
    }

    /// What a change that waits takes of a custody.
    ///
    /// # Errors
    /// `change-unknown`; those of [`Verifier::prepare`].
    pub(super) async fn prepare_change(&self, id: &ChangeId) -> Result<Prepared> {
        let pending = self.store.begin_reading().await?.change(id, self.clock.now()).await?;
        let call = call(&pending)?;
        match &call {
            Call::PutKey(id, _) => {
                let value = self.custodies.unwrap(id.as_str(), &wrapped(&pending.body)?).await?;
                self.prepare(&call, value.expose()).await
            }
            call => self.prepare(call, &pending.body).await,
        }
    }

    /// Executes what was kept, in the transaction that takes it out of what waits.
    ///
    /// # Errors
    /// Those of the call.
    pub(super) async fn approved(
        &self,
        permitted: Permitted<'_>,
        store: &mut Transaction<'_>,
        pending: &PendingChange,
        prepared: Prepared,
        trail: &mut Trail,
        now: UnixTime,
    ) -> Result<Done> {
        let (method, uri) = request(pending)?;
        let asked = Asked { method: &method, uri: &uri, body: &pending.body };
        let call = Call::parse(&method, &uri)?;
        let erases = !call.is_public();
        let done = self.administer(permitted, store, asked, (call, prepared), trail, now).await?;
        Ok(Done { erases: done.erases || erases, ..done })
    }
}

/// What is kept of a body until somebody approves it. Of a key that is what a custody made of its value, behind the custody's name
/// and a line feed, so that waiting takes nothing past it; whether that custody still opens it is seen when it is approved.
fn waiting_body<'a>(prepared: &Prepared, body: &'a [u8]) -> Cow<'a, [u8]> {
    match prepared {
        Prepared::New(NewKey::Wrapped(Wrapped { by, bytes })) => [by.as_bytes(), b"\n", bytes].concat().into(),
        // It is there, so that it does not wait.
        Prepared::New(NewKey::Same) => Cow::Borrowed(&[]),
        Prepared::Nothing | Prepared::Rewrapped(_) => Cow::Borrowed(body),
    }
}

fn wrapped(body: &[u8]) -> Result<Wrapped> {
    let unable = || Refusal::new(Code::Internal, "a key that waits");
    let at = body.iter().position(|byte| *byte == b'\n').ok_or_else(unable)?;
    let (by, bytes) = body.split_at_checked(at).ok_or_else(unable)?;
    let by = str::from_utf8(by).map_err(|e| unable().because(e))?;
    Ok(Wrapped::by(by, bytes.get(1..).unwrap_or_default().to_vec()))
}

/// What was asked. That it fits its limits was seen when it was.
fn call(pending: &PendingChange) -> Result<Call> {
    let (method, uri) = request(pending)?;
    Call::parse(&method, &uri)
}

/// What an approver is shown: with the body, but where it is a secret.
pub(super) fn shown(pending: &PendingChange) -> Value {
    let mut shown = json!(pending.change);
    if call(pending).is_ok_and(|call| call.is_public())
        && let Value::Object(members) = &mut shown
    {
        members.insert("body".to_owned(), json!(to_base64(&pending.body)));
    }
    shown
}

fn request(pending: &PendingChange) -> Result<(Method, Uri)> {
    let unable = |e: &dyn core::fmt::Display| Refusal::new(Code::Internal, "a change that was kept").because(e);
    let method = pending.change.method.parse::<Method>().map_err(|e| unable(&e))?;
    Ok((method, pending.change.path.parse::<Uri>().map_err(|e| unable(&e))?))
}
