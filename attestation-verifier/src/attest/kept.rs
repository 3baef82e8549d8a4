//! What a guest showed, in the bytes in which it is kept with its session, so that another verifier can verify all of it again.

use super::{Claim, Shown};
use crate::platform::{Evidence, Given, Lacks};
use crate::sessions::{Challenged, Purpose};
use serde::{Deserialize, Serialize};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::kbs::RuntimeData;
use strongroom_wire::{Code, Refusal, Result};

/// Bytes are in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    evidence: String,
    event_log: Option<String>,
    endorsements: Vec<String>,
    document: String,
    runtime: RuntimeData,
}

impl Shown {
    /// What [`Claim::of_kept`] takes, for a guest that showed `runtime` beside it.
    ///
    /// # Errors
    /// `internal`.
    pub(crate) fn kept(&self, runtime: &RuntimeData) -> Result<Vec<u8>> {
        let (evidence, event_log) = self.evidence.raw()?;
        let kept = Kept {
            evidence: to_base64(&evidence),
            event_log: event_log.map(to_base64),
            endorsements: self.endorsements.raw().iter().map(|one| to_base64(one)).collect(),
            document: to_base64(&self.document),
            runtime: runtime.clone(),
        };
        serde_json::to_vec(&kept).map_err(|e| Refusal::new(Code::Internal, "session").because(e))
    }
}

impl Claim {
    /// What was kept of a session for keys. It was believed then; it is to be verified again.
    ///
    /// # Errors
    /// `session-unknown`: one for a passport; `store-failed`: no such bytes; those of [`Evidence::of_raw`].
    pub(crate) fn of_kept(kept: &[u8], session: Challenged) -> Result<Self> {
        let Purpose::Keys(tee) = session.purpose else {
            return Err(Refusal::new(Code::SessionUnknown, "session").got("one for a passport"));
        };
        let kept: Kept =
            serde_json::from_slice(kept).map_err(|e| Refusal::new(Code::StoreFailed, "stored session").because(e))?;
        let bytes = |text: &String| from_base64(text, "stored session");
        let event_log = kept.event_log.as_ref().map(bytes).transpose()?;
        let evidence = Evidence::of_raw(tee, &bytes(&kept.evidence)?, event_log)?;
        let mut endorsements = Given::default();
        for one in &kept.endorsements {
            endorsements.add(&bytes(one)?)?;
        }
        Self::of(evidence, endorsements, Lacks::default(), bytes(&kept.document)?, kept.runtime, session)
    }
}
