//! What each call does in the transaction that it is given, one beside the other.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_appraisal::UnixTime;
use strongroom_jose::TokenSigner;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::{Code, Refusal, Result, document};

use super::{Answer, Call, Done, LONGEST, Prepared, approval, revocations};
use crate::Verifier;
use crate::admin_gate::Permitted;
use crate::admin_log;
use crate::key_values::Rewrapped;
use crate::promotions;
use crate::store::{Put, Transaction};

/// The body of [`Call::PutAuthorization`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutAuthorization {
    cedar: String,
    #[serde(default)]
    comment: String,
}

impl Verifier {
    /// Does what a call asks for that needs nobody else; what it takes of a custody was had before.
    ///
    /// # Errors
    /// Those of the call. Whatever it did before is the caller's to undo.
    pub(super) async fn called(
        &self,
        _: Permitted<'_>,
        store: &mut Transaction<'_>,
        (call, prepared): (Call, Prepared),
        body: &[u8],
        now: UnixTime,
    ) -> Result<Done> {
        let json = |body: Value| Ok(Answer::Json(StatusCode::OK, body).into());
        match call {
            Call::PutKey(id, tags) => {
                let Prepared::New(new) = prepared else { return Err(Refusal::new(Code::Internal, "a key to store")) };
                match store.store_key(&id, new, tags, now).await? {
                    Put::Created(metadata) => Ok(Answer::Json(StatusCode::CREATED, json!(metadata)).into()),
                    Put::Unchanged(metadata) => json(json!(metadata)),
                }
            }
            Call::ListKeys => json(json!(store.keys().await?)),
            Call::ShowKey(id) => json(json!(store.key(&id).await?.metadata)),
            Call::EnableKey(id) => json(json!(store.enable_key(&id).await?)),
            Call::DisableKey(id) => json(json!(store.disable_key(&id).await?)),
            Call::DestroyKey(id) => {
                let answer = Answer::Json(StatusCode::OK, json!(store.destroy_key(&id).await?));
                Ok(Done { erases: true, ..answer.into() })
            }
            Call::RotateKey(id) => {
                let Prepared::Rewrapped(Rewrapped { before, after }) = prepared else {
                    return Err(Refusal::new(Code::Internal, "a key to wrap anew"));
                };
                let answer = Answer::Json(StatusCode::OK, json!(store.rotate_key(&id, &before, after).await?));
                Ok(Done { erases: true, ..answer.into() })
            }
            Call::LabelKey(id, tags) => json(json!(store.label_key(&id, tags).await?)),
            Call::PutAuthorization => {
                let put: PutAuthorization = document::parse_json(body, "body", LONGEST, Code::RequestInvalid)?;
                json(json!(store.put_policy_set(put.cedar.as_bytes(), &put.comment, now).await?))
            }
            Call::ListAuthorization => json(json!(store.policy_sets().await?)),
            Call::ShowAuthorization(version) => {
                Ok(Answer::Text("text/plain; charset=utf-8", store.policy_set(version).await?).into())
            }
            Call::PutPolicy(id) => {
                let policy = store.put_policy(&id, body, now).await?;
                promotions::learn_under(store, &id, now).await?;
                json(json!(policy))
            }
            Call::ListPolicies => json(store.policies().await?.iter().map(|stored| json!(stored.metadata)).collect()),
            Call::ShowPolicy(id) => Ok(Answer::Text("application/toml", store.policy(&id).await?.toml.clone()).into()),
            Call::PutDocument => json(json!(store.put_document(body, now).await?)),
            Call::ListDocuments => json(json!(store.documents().await?)),
            Call::PutPromotion => {
                let (promotion, new) = promotions::put(store, body, now).await?;
                Ok(Answer::Json(if new { StatusCode::CREATED } else { StatusCode::OK }, promotion).into())
            }
            Call::ListPromotions { repository, environment } => {
                json(Value::Array(promotions::list(store, &repository, environment.as_ref()).await?))
            }
            Call::PutCosignatures => {
                let kept = store.put_cosignatures(body, &self.witnesses).await?;
                Ok(Answer::Log(admin_log::Answer::Text(kept.to_string())).into())
            }
            Call::ChangeTokenKey => {
                let signer = TokenSigner::generate()?;
                if self.store.is_shared() {
                    self.share_token_key(store, &signer, now).await?;
                } else {
                    self.tokens.verify_may_change(now)?;
                }
                let key = json!({ "kid": signer.kid(), "token_key": to_base64(signer.spki_der()) });
                Ok(Done { signer: Some(signer), ..Answer::Json(StatusCode::CREATED, key).into() })
            }
            Call::PutRoutes => json(json!(store.put_routes(body, now).await?)),
            Call::ShowRoutes => Ok(Answer::Text("application/toml", store.routes_text().await?).into()),
            Call::Revoke => json(revocations::put(store, body, now).await?),
            Call::ListRevocations => json(json!(store.revocations().await?)),
            Call::ReleaseQuarantine => json(revocations::release(store, body).await?),
            Call::ListChanges => json(json!(store.changes(now).await?)),
            Call::ShowChange(id) => json(approval::shown(&store.change(&id, now).await?)),
            // They are dealt with before.
            Call::ReadLog(_) | Call::ReadMetrics | Call::ApproveChange(..) | Call::RejectChange(_) => {
                Err(Refusal::new(Code::Internal, "a call that is no other's part"))
            }
        }
    }
}
