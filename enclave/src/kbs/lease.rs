//! Leases, by the verifier's own API: evidence of what is served, for a nonce of its own, answered with a signed time.

use super::{Verifier, exchange, post, unsendable};
use crate::attester::{Attester, OwnEvidence};
use crate::evidence::Bound;
use core::net::SocketAddr;
use http::Request;
use std::sync::Arc;
use strongroom_jose::{signing_key, thumbprint};
use strongroom_transport::http::empty;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer};
use strongroom_wire::lease::{self, Answer, Holder, Lease};
use strongroom_wire::passport::{CHALLENGE, Challenge};
use strongroom_wire::{Code, Refusal, Result, bytes};

impl Verifier<'_> {
    /// A lease for the enclave whose key and workload are `bound`, which routers reach at `addr`. It raises the floor of the clock.
    ///
    /// # Errors
    /// `pin-mismatch`, `network` or `timeout` the verifier is another or not there; the code it refuses with, or
    /// `verifier-refused`; `nonce-mismatch` or `token-invalid` the lease is not the answer to this question; `clock-behind`; as
    /// [`OwnEvidence::fetch`].
    pub async fn lease(&self, attester: Arc<dyn Attester>, bound: &Bound, addr: Option<SocketAddr>) -> Result<Lease> {
        let tokens = self.tokens.as_ref();
        let tokens = tokens.ok_or_else(|| Refusal::new(Code::TokenInvalid, "token key of the verifier").got("none"))?;
        let url = self.url();
        let challenge = Request::post(format!("{url}{CHALLENGE}")).body(empty()).map_err(|e| unsendable(&e))?;
        let (_, Challenge { nonce, .. }) = exchange(&self.http, challenge).await?;
        let evidence = EvidenceAnswer {
            v: 1,
            platform: attester.tee().platform().to_owned(),
            evidence: String::new(),
            endorsements: Vec::new(),
            channel_key: bytes::to_base64(&bound.channel_key),
            workload: bound.workload.clone(),
            nonce,
            path: Vec::new(),
        };
        let mut request = lease::Request { addr, evidence };
        let own = OwnEvidence::fetch(attester, request.report_data()?).await?;
        request.evidence.evidence = bytes::to_base64(&own.quote().evidence);
        request.evidence.endorsements = Endorsement::of_host(&own.quote().certificates).into_iter().collect();
        let (_, Answer { token }) =
            exchange(&self.http, post(&format!("{url}{}", lease::PATH), None, &request)?).await?;

        let given: Lease = tokens.verify(&token, self.clock.now()?, lease::AUDIENCE)?;
        let holder = Holder {
            document: self.deployment.digest(),
            root: self.deployment.settings().root,
            thumbprint: thumbprint(&signing_key(&bound.channel_key)?)?,
            workload: bound.workload.digest()?,
        };
        given.verify_about(&nonce, &holder)?;
        self.clock.raise(given.iat);
        Ok(given)
    }
}
