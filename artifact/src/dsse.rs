//! Dead Simple Signing Envelope, protocol version 1.0.2, of one signature, as a member of Sigstore's bundles. Documents that are
//! an envelope by themselves, of several signatures, are [`strongroom_wire::dsse`].

use crate::keys::{PublicKey, Sign};
use serde::{Deserialize, Serialize};
use strongroom_wire::dsse::pre_authentication_encoding;
use strongroom_wire::{Code, Refusal, Result, bytes};

/// The payload type of in-toto statements.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope as JSON has it. Nothing in it is verified; [`Self::verify`] gives the payload that is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Envelope {
    payload: String,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Signature {
    sig: String,
    /// A hint that decides nothing; OMS' reference client writes it empty and Sigstore's leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
}

impl Envelope {
    /// Signs `payload` as an in-toto statement.
    pub(crate) fn sign(payload: &[u8], key: &dyn Sign) -> Result<Self> {
        let signature = key.sign(&pre_authentication_encoding(IN_TOTO, payload))?;
        Ok(Self {
            payload: bytes::to_base64(payload),
            payload_type: IN_TOTO.to_owned(),
            signatures: vec![Signature { sig: bytes::to_base64(&signature), keyid: None }],
        })
    }

    /// The same envelope with an empty `keyid`, which OMS' reference client always writes.
    #[must_use]
    pub(crate) fn with_empty_key_id(mut self) -> Self {
        self.signatures.iter_mut().for_each(|signature| signature.keyid = Some(String::new()));
        self
    }

    /// The bytes of the one signature. Refuses any other number with `malformed`.
    pub(crate) fn signature(&self) -> Result<Vec<u8>> {
        match self.signatures.as_slice() {
            [signature] => bytes::from_base64(&signature.sig, "signature"),
            other => Err(Refusal::new(Code::Malformed, "signatures of an envelope").got(other.len()).want(1)),
        }
    }

    /// The payload, whoever signed it.
    pub(crate) fn unverified_payload(&self) -> Result<Vec<u8>> {
        bytes::from_base64(&self.payload, "payload")
    }

    /// Verifies the one signature under `key` and gives the payload, which is then the in-toto statement that was signed.
    ///
    /// Refuses any other number of signatures (Sigstore bundle v0.3) with `malformed`, another payload type or a wrong
    /// signature with `signature-invalid`.
    pub(crate) fn verify(&self, key: &PublicKey) -> Result<Vec<u8>> {
        let signature = self.signature()?;
        let payload = self.unverified_payload()?;
        key.verify(&pre_authentication_encoding(&self.payload_type, &payload), &signature)?;
        if self.payload_type != IN_TOTO {
            return Err(Refusal::new(Code::SignatureInvalid, "payload type").got(&self.payload_type).want(IN_TOTO));
        }
        Ok(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;

    #[test]
    fn signed_payload_accepted_and_changed_payload_type_signature_or_key_refused() {
        let key = SigningKey::generate().unwrap();
        let good = Envelope::sign(b"{}", &key).unwrap();
        assert_eq!(good.verify(&key.public()).unwrap(), b"{}");
        let stranger = SigningKey::generate().unwrap().public();
        assert_eq!(good.verify(&stranger).unwrap_err().code, Code::SignatureInvalid);
        let mut payload = good.clone();
        payload.payload = bytes::to_base64(b"[]");
        let mut kind = good.clone();
        kind.payload_type = "text/plain".into();
        let mut signature = good.clone();
        signature.signatures[0].sig = bytes::to_base64(b"no signature");
        for bad in [payload, kind, signature] {
            assert_eq!(bad.verify(&key.public()).unwrap_err().code, Code::SignatureInvalid);
        }
    }

    #[test]
    fn properly_signed_payload_of_another_type_refused() {
        let key = SigningKey::generate().unwrap();
        let signature = key.sign(&pre_authentication_encoding("text/plain", b"{}")).unwrap();
        let mut envelope = Envelope::sign(b"{}", &key).unwrap();
        envelope.payload_type = "text/plain".into();
        envelope.signatures[0].sig = bytes::to_base64(&signature);
        assert_eq!(envelope.verify(&key.public()).unwrap_err().code, Code::SignatureInvalid);
    }

    #[test]
    fn envelope_of_no_or_two_signatures_refused() {
        let key = SigningKey::generate().unwrap();
        let mut envelope = Envelope::sign(b"{}", &key).unwrap();
        envelope.signatures.push(envelope.signatures[0].clone());
        assert_eq!(envelope.verify(&key.public()).unwrap_err().code, Code::Malformed);
        envelope.signatures.clear();
        assert_eq!(envelope.verify(&key.public()).unwrap_err().code, Code::Malformed);
    }
}
