//! Whether a key came with the proof that its release is in the verifier's log: without one, a verifier whose log nobody sees could
//! release in silence.

use http::HeaderMap;
use strongroom_tlog::{EntryProof, NoteVerifier, Trust};
use strongroom_wire::audit::Entry;
use strongroom_wire::kbs::{LOG_PROOF, ResourcePath};
use strongroom_wire::{Code, Refusal, Result, bytes, limits};

/// What was released, to whom.
pub(super) struct Release<'a> {
    /// The key.
    pub(super) path: &'a ResourcePath,
    /// RFC 7638 thumbprint of the attested key that it is wrapped to.
    pub(super) thumbprint: &'a str,
    /// The digest of the deployment document, as `sha256:…`.
    pub(super) deployment: &'a str,
}

impl Release<'_> {
    /// Verifies that an answer's headers prove this release to be an entry of the log of this key.
    ///
    /// # Errors
    /// `release-not-logged`: there is no proof, or it is of another entry; `log-untrusted`, `signature-invalid`, `log-proof-invalid`:
    /// it does not hold; `malformed`, `too-large`: it is none.
    pub(super) fn verify_logged(&self, headers: &HeaderMap, log: &NoteVerifier) -> Result<()> {
        let missing = || Refusal::new(Code::ReleaseNotLogged, format!("key `{}`", self.path));
        let header = headers.get(LOG_PROOF).ok_or_else(|| missing().got("no proof"))?;
        if header.len() > limits::LOG_PROOF {
            return Err(Refusal::too_large(LOG_PROOF, header.len(), limits::LOG_PROOF));
        }
        let text = header.to_str().map_err(|e| Refusal::malformed(LOG_PROOF, e))?;
        let proof = EntryProof::parse(&bytes::from_base64(text, LOG_PROOF)?)?;
        let leaf = proof.extra.as_deref().ok_or_else(|| missing().got("a proof without its entry"))?;
        let checkpoint = proof.verify(leaf, &Trust::new(log.clone(), Vec::new(), 0)?)?;
        let entry = Entry::parse(leaf)?;
        let detail = |name: &str| entry.detail.get(name).and_then(serde_json::Value::as_str);
        let is =
            [Some(entry.kind.as_str()), Some(&entry.subject), Some(&entry.code), detail("key"), detail("deployment")];
        let want = ["release", self.path.as_str(), "", self.thumbprint, self.deployment].map(Some);
        if is != want || entry.seq != proof.index {
            return Err(missing().got(format!("entry {} {is:?}", proof.index)).want(format!("{want:?}")));
        }
        tracing::info!(entry = entry.seq, size = checkpoint.size(), log = checkpoint.origin(), "release is in the log");
        Ok(())
    }
}
