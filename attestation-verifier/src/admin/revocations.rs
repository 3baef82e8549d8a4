//! Revocation and quarantine over the admin API.

use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_appraisal::UnixTime;
use strongroom_wire::{Code, Refusal, Result, document, limits};

use crate::revocation::{Mark, Revocation, State, What};
use crate::store::Transaction;

/// The body of either call.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    kind: What,
    value: String,
    #[serde(default)]
    state: Option<State>,
    because: String,
    by: String,
}

impl Said {
    fn parse(body: &[u8]) -> Result<(Mark, Self)> {
        let said: Self = document::parse_json(body, "body", limits::POLICY, Code::RequestInvalid)?;
        let most = limits::REVOCATION_REASON;
        for (name, text) in [("because", &said.because), ("by", &said.by)] {
            let length = text.trim().chars().count();
            if length == 0 || length > most || text.contains(char::is_control) {
                let want = format!("1 to {most} printable characters");
                return Err(Refusal::new(Code::RequestInvalid, name).got(format!("{length} characters")).want(want));
            }
        }
        Ok((Mark::new(said.kind, said.value.clone())?, said))
    }
}

/// Revokes or quarantines.
///
/// # Errors
/// `request-invalid`; those of [`Transaction::put_revocation`].
pub(super) async fn put(store: &mut Transaction<'_>, body: &[u8], now: UnixTime) -> Result<Value> {
    let (mark, Said { state, because, by, .. }) = Said::parse(body)?;
    let missing = || Refusal::new(Code::RequestInvalid, "state").got("none").want("`revoked` or `quarantined`");
    let revocation = Revocation { mark, state: state.ok_or_else(missing)?, because, by, created: now };
    store.put_revocation(&revocation).await?;
    Ok(json!(revocation))
}

/// Ends a quarantine; the answer, which stands in the audit log, says by whom and why.
///
/// # Errors
/// `request-invalid`; those of [`Transaction::release_quarantine`].
pub(super) async fn release(store: &mut Transaction<'_>, body: &[u8]) -> Result<Value> {
    let (mark, Said { state, because, by, .. }) = Said::parse(body)?;
    if state.is_some() {
        return Err(Refusal::new(Code::RequestInvalid, "state").want("none, of what is to be released"));
    }
    let was = store.release_quarantine(&mark).await?;
    Ok(json!({ "was": was, "released": { "because": because, "by": by } }))
}
