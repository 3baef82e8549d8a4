//! The recipe of passports: steps 1, 2, 3 and 5 of `release.rs` for evidence that is made for the purpose, and a token for
//! others in place of a session for keys.

use std::net::IpAddr;

use strongroom_appraisal::UnixTime;
use strongroom_jose::{signing_key, thumbprint};
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{RuntimeData, TeePubKey};
use strongroom_wire::passport::{Challenge, Passport, Request};
use strongroom_wire::{Code, Refusal, Result};

use crate::Verifier;
use crate::attest::{Accepted, Shown};
use crate::audit::Kind;
use crate::sessions::{Challenged, Purpose, random};
use crate::token::{self, About};
use crate::trail::Trail;

impl Verifier {
    /// Answers `POST /v1/challenge`.
    ///
    /// # Errors
    /// As [`Challenged::open`].
    pub(crate) fn challenge(&self) -> Result<Challenge> {
        let opened = Challenged::open(&self.store, Purpose::Passport, self.clock.now())?;
        Ok(Challenge { nonce: Sha256(opened.nonce), expires: opened.expires })
    }

    /// Takes a nonce that [`Self::challenge`] gave, which nobody gets a second time.
    ///
    /// # Errors
    /// As [`crate::sessions::Sessions::take`].
    pub(crate) fn take_challenge(&self, nonce: Sha256, now: UnixTime) -> Result<Challenged> {
        // Whoever knows the id of a session for keys takes its nonce by this, as by `/attest`.
        let session = self.sessions.take(&self.store, &nonce.to_string(), now)?;
        match session.purpose {
            Purpose::Passport => Ok(session),
            Purpose::Keys(_) => Err(Refusal::new(Code::SessionUnknown, "nonce").got("one for keys")),
        }
    }

    /// Judges the evidence of `POST /v1/attest` and answers with a passport for what it accepted.
    ///
    /// # Errors
    /// The reason of the first step that did not hold; the nonce is used up unless the request had no shape at all.
    pub(crate) async fn passport(&self, body: impl AsRef<[u8]>, peer: Option<IpAddr>) -> Result<Passport> {
        let now = self.clock.now();
        let mut trail = Trail::new(Kind::Attestation, "-");
        trail.note("purpose", "passport");
        let parsed = Request::parse(body.as_ref()).and_then(|request| {
            let session = self.take_challenge(request.evidence.nonce, now)?;
            parse(request).map(|parsed| (parsed, session))
        });
        drop(body);
        let ((mut shown, nonce, audience, key), session) = match parsed {
            Ok(parsed) => parsed, // 1
            Err(refusal) => {
                self.refused_unproven(trail, &refusal).await?;
                return Err(refusal);
            }
        };
        trail.note("audience", &audience);
        let runtime = RuntimeData { nonce, tee_pubkey: key };
        trail.note("key", &shown.holder);
        let (authentic, Accepted { policies, .. }, _) =
            self.accept(&mut shown, &session, None, peer, now, trail).await?; // 2, 3, 5

        let id = hex::encode(random::<16>()?);
        let about = About { runtime, thumbprint: &shown.holder, id: &id, audience: &audience };
        let token =
            self.tokens.signer().sign(&token::claims(about, &authentic, shown.bound.document, &policies, now))?;
        Ok(Passport { token })
    }
}

/// What is shown, for which nonce and whom, and the key that the passport is about.
fn parse(request: Request) -> Result<(Shown, String, String, TeePubKey)> {
    let key = signing_key(&request.key()?)?;
    let shown = Shown::of_answer(&request.evidence, request.report_data()?, &thumbprint(&key)?)?;
    Ok((shown, request.evidence.nonce.to_string(), request.audience, key))
}
