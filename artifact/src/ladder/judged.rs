//! Signatures held against signers: who of them signed, counted so that nobody counts twice.

use super::ManifestSignature;
use crate::bundle::Bundle;
use crate::cosign;
use crate::signers::{Credential, Known, Signers};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// What signatures prove of each signer of a rule.
pub(super) struct Judged<'s> {
    signers: &'s Signers,
    /// For each of them, what signatures of its prove: a pattern may be of many identities, and one identity of many patterns.
    proven: Vec<(&'s Known, Vec<Credential>)>,
    /// What is wrong with the signature that came closest.
    closest: Option<Refusal>,
}

/// How close a signature came that is refused with this code: 0 is somebody else's. Of two, the closer one says more.
pub(super) const fn closeness(code: Code) -> u8 {
    match code {
        Code::SignerIdentityMismatch => 1,
        Code::SignerIssuerMismatch => 2,
        Code::SignerCertificateInvalid
        | Code::SignerCertificateExpired
        | Code::SctInvalid
        | Code::LogUntrusted
        | Code::LogEntryInvalid
        | Code::LogProofInvalid
        | Code::SigningTimeMissing
        | Code::TimestampInvalid
        | Code::TimestampOutsideValidity => 3,
        Code::SignatureInvalid => 4,
        _ => 0,
    }
}

impl<'s> Judged<'s> {
    pub(super) fn new(signers: &'s Signers) -> Self {
        Self { signers, proven: signers.iter().map(|signer| (signer, Vec::new())).collect(), closest: None }
    }

    /// Takes one more signature over `manifest`. What cannot be read is nobody's.
    pub(super) fn add(&mut self, signature: &ManifestSignature, manifest: &Sha256) {
        match signature {
            ManifestSignature::Simple { payload, signature } => {
                self.add_of_keys(|key| cosign::verify_simple(payload, signature, manifest, key));
            }
            ManifestSignature::Bundle(bytes) => {
                let Ok(bundle) = Bundle::parse(bytes) else { return };
                match bundle.keyless() {
                    None => self.add_of_keys(|key| cosign::verify_parsed(&bundle, manifest, key)),
                    Some(raw) => self.add_keyless(raw, manifest),
                }
            }
        }
    }

    fn add_of_keys(&mut self, verify: impl Fn(&crate::PublicKey) -> Result<()>) {
        for at in 0..self.proven.len() {
            let Some((signer, key)) = self.proven.get(at).and_then(|(signer, _)| Some((signer, signer.key()?))) else {
                continue;
            };
            let outcome = verify(key).map(|()| Credential::Key(key.fingerprint()));
            self.note(at, outcome.map_err(|refusal| refusal.within(&signer.name)));
        }
    }

    fn add_keyless(&mut self, bundle: &[u8], manifest: &Sha256) {
        // Verified once for all identities.
        let vouched = match self.signers.verify_keyless(bundle) {
            Ok(vouched) => vouched,
            Err(refusal) => return self.tell(refusal),
        };
        for at in 0..self.proven.len() {
            let Some((signer, wanted)) = self.proven.get(at).and_then(|(signer, _)| Some((signer, signer.identity()?)))
            else {
                continue;
            };
            let outcome =
                vouched.verify_identity(wanted).and_then(|()| cosign::verify_states(&vouched.payload, manifest));
            let name = signer.name.clone();
            self.note(at, outcome.map(|()| vouched.credential()).map_err(|refusal| refusal.within(name)));
        }
    }

    fn note(&mut self, at: usize, outcome: Result<Credential>) {
        match outcome {
            Ok(credential) => {
                if let Some((_, proven)) = self.proven.get_mut(at).filter(|(_, proven)| !proven.contains(&credential)) {
                    proven.push(credential);
                }
            }
            Err(refusal) => self.tell(refusal),
        }
    }

    fn tell(&mut self, refusal: Refusal) {
        let known = self.closest.as_ref().map_or(0, |closest| closeness(closest.code));
        if closeness(refusal.code) > known {
            self.closest = Some(refusal);
        }
    }

    /// The signers who signed, each with a credential that is no other's: as many as there can be.
    ///
    /// Refuses fewer than `threshold` with what is wrong with the signature that came closest, else `signer-untrusted`.
    pub(super) fn distinct(self, threshold: usize) -> Result<Vec<(String, Credential)>> {
        let proven: Vec<&[Credential]> = self.proven.iter().map(|(_, proven)| proven.as_slice()).collect();
        let matched = match_up(&proven);
        if matched.len() < threshold {
            return Err(self.closest.unwrap_or_else(|| {
                let names = matched.iter().filter_map(|(at, _)| self.proven.get(*at)).map(|(signer, _)| &*signer.name);
                Refusal::new(Code::SignerUntrusted, "distinct trusted signers of the manifest")
                    .got(format!("{} ({})", matched.len(), names.collect::<Vec<_>>().join(", ")))
                    .want(threshold)
            }));
        }
        let named = |(at, credential): (usize, &Credential)| {
            self.proven.get(at).map(|(signer, _)| (signer.name.clone(), credential.clone()))
        };
        Ok(matched.into_iter().filter_map(named).collect())
    }
}

/// A largest choice of one credential for each signer, none twice: augmenting paths, as for any bipartite matching.
pub(crate) fn match_up<'c>(proven: &[&'c [Credential]]) -> Vec<(usize, &'c Credential)> {
    fn place<'c>(
        at: usize,
        proven: &[&'c [Credential]],
        taken: &mut Vec<(usize, &'c Credential)>,
        tried: &mut Vec<&'c Credential>,
    ) -> bool {
        for credential in proven.get(at).copied().unwrap_or_default() {
            if tried.contains(&credential) {
                continue;
            }
            tried.push(credential);
            let holder = taken.iter().find(|(_, held)| *held == credential).map(|(holder, _)| *holder);
            if holder.is_none_or(|holder| place(holder, proven, taken, tried)) {
                taken.retain(|(signer, held)| *signer != at && *held != credential);
                taken.push((at, credential));
                return true;
            }
        }
        false
    }
    let mut taken = Vec::new();
    for at in 0..proven.len() {
        place(at, proven, &mut taken, &mut Vec::new());
    }
    taken.sort();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_matched_who_can_be_and_nobody_twice() {
        let [x, y, z] = [1, 2, 3].map(|fill| Credential::Key(Sha256([fill; 32])));
        let only = |one: &Credential| vec![one.clone()];
        let either = |one: &Credential, other: &Credential| vec![one.clone(), other.clone()];
        let count = |proven: &[Vec<Credential>]| match_up(&proven.iter().map(Vec::as_slice).collect::<Vec<_>>()).len();
        assert_eq!(count(&[only(&x), only(&x)]), 1, "one identity under two patterns");
        // The first could take what the second needs.
        assert_eq!(count(&[either(&x, &y), only(&x)]), 2);
        assert_eq!(count(&[either(&x, &y), either(&y, &z), only(&x), only(&z)]), 3);
        assert_eq!(count(&[vec![], vec![]]), 0);
        let (first, second) = (either(&x, &y), only(&x));
        assert_eq!(match_up(&[&first, &second]), [(0, &y), (1, &x)]);
    }
}
