//! Sigstore bundle v0.3 (`sigstore/protobuf-specs`, JSON form) around a DSSE envelope, signed by a key.

use crate::dsse::Envelope;
use crate::keys::PublicKey;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The media type of a bundle, of the layer that holds it, and of the artifact around that layer.
pub const BUNDLE_V0_3: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// How a bundle says by which key it is signed. The two formats do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// OMS: hex of the SHA-256 of the PEM text.
    Oms,
    /// cosign and sigstore-go: base64 of the SHA-256 of the DER SubjectPublicKeyInfo.
    Cosign,
}

impl Hint {
    fn of(self, key: &PublicKey) -> String {
        match self {
            Self::Oms => strongroom_wire::digest::Sha256::of(key.pem().as_bytes()).to_string(),
            Self::Cosign => strongroom_wire::bytes::to_base64(&key.fingerprint().0),
        }
    }
}

/// A bundle that was read. Nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Bundle {
    hint: Option<String>,
    envelope: Envelope,
}

impl Bundle {
    /// Reads a bundle of at most [`limits::BUNDLE`]. Members that do not matter to a key's signature are passed over:
    /// log entries and timestamps neither add to it nor take from it.
    ///
    /// Refuses bundles of certificates with `signer-untrusted`, since keys alone are named in trust files, and
    /// everything else with `malformed`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let bundle: Read = document::parse_json(json, "signature bundle", limits::BUNDLE, Code::Malformed)?;
        if bundle.media_type != BUNDLE_V0_3
            && bundle.media_type != "application/vnd.dev.sigstore.bundle+json;version=0.3"
        {
            let refusal = Refusal::new(Code::VersionUnsupported, "media type of a signature bundle");
            return Err(refusal.got(shown(&bundle.media_type)).want(BUNDLE_V0_3));
        }
        let material = bundle.verification_material;
        if material.certificate.is_some() || material.chain.is_some() {
            return Err(Refusal::new(Code::SignerUntrusted, "signature bundle").got("a certificate").want("a key"));
        }
        let key = material.public_key.ok_or_else(|| Refusal::malformed("signature bundle", "no key is named"))?;
        let envelope =
            bundle.dsse_envelope.ok_or_else(|| Refusal::malformed("signature bundle", "no DSSE envelope"))?;
        Ok(Self { hint: key.hint.filter(|hint| !hint.is_empty()), envelope })
    }

    /// The payload that one of `keys` signed, and that key.
    ///
    /// A bundle that names its key is tried with that key alone: `signer-untrusted` where it is none of them,
    /// `signature-invalid` where it does not verify. One that names none is tried with all: `signer-untrusted`.
    pub(crate) fn verify<'k>(&self, keys: &'k [PublicKey], form: Hint) -> Result<(Vec<u8>, &'k PublicKey)> {
        let untrusted = |got: &str| {
            let known = keys.iter().map(|key| form.of(key)).collect::<Vec<_>>().join(", ");
            Err(Refusal::new(Code::SignerUntrusted, "signer of a bundle").got(got).want(known))
        };
        if let Some(hint) = &self.hint {
            return match keys.iter().find(|key| form.of(key) == *hint) {
                Some(key) => self.envelope.verify(key).map(|payload| (payload, key)),
                None => untrusted(&shown(hint)),
            };
        }
        for key in keys {
            match self.envelope.verify(key) {
                Ok(payload) => return Ok((payload, key)),
                Err(refusal) if refusal.code == Code::SignatureInvalid => {}
                Err(refusal) => return Err(refusal),
            }
        }
        untrusted("no key is named, and none of these made the signature")
    }

    /// Writes a bundle around `envelope`.
    pub(crate) fn render(envelope: &Envelope, key: &PublicKey, form: Hint) -> Result<Vec<u8>> {
        let tlog_entries = match form {
            Hint::Oms => Some([]),
            Hint::Cosign => None,
        };
        let written = Written {
            media_type: BUNDLE_V0_3,
            verification_material: WrittenMaterial { public_key: WrittenKey { hint: form.of(key) }, tlog_entries },
            dsse_envelope: envelope,
        };
        serde_json::to_vec(&written).map_err(|e| Refusal::new(Code::Internal, "signature bundle").because(e))
    }
}

fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read {
    media_type: String,
    verification_material: ReadMaterial,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMaterial {
    public_key: Option<ReadKey>,
    certificate: Option<IgnoredAny>,
    #[serde(rename = "x509CertificateChain")]
    chain: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct ReadKey {
    /// Absent in what OMS' reference client wrote before 1.1.0.
    hint: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    media_type: &'static str,
    verification_material: WrittenMaterial,
    dsse_envelope: &'a Envelope,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMaterial {
    public_key: WrittenKey,
    /// OMS' reference client writes the empty list; JSON of protobuf elsewhere leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    tlog_entries: Option<[(); 0]>,
}

#[derive(Serialize)]
struct WrittenKey {
    hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SigningKey;
    use proptest::prelude::*;

    fn bundle(key: &SigningKey, form: Hint) -> String {
        let envelope = Envelope::sign(b"{}", key).unwrap();
        String::from_utf8(Bundle::render(&envelope, &key.public(), form).unwrap()).unwrap()
    }

    fn verify(json: &str, keys: &[PublicKey], form: Hint) -> Result<PublicKey> {
        Bundle::parse(json.as_bytes())?.verify(keys, form).map(|(_, key)| key.clone())
    }

    #[test]
    fn hint_of_the_signer_accepted_and_other_hints_refused() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let keys = [other.public(), key.public()];
        for (form, wrong) in [(Hint::Oms, Hint::Cosign), (Hint::Cosign, Hint::Oms)] {
            let good = bundle(&key, form);
            assert_eq!(verify(&good, &keys, form).unwrap(), key.public());
            assert_eq!(verify(&good, &keys, wrong).unwrap_err().code, Code::SignerUntrusted);
            let lying = good.replace(&form.of(&key.public()), &form.of(&other.public()));
            assert_eq!(verify(&lying, &keys, form).unwrap_err().code, Code::SignatureInvalid);
            assert_eq!(verify(&good, &[other.public()], form).unwrap_err().code, Code::SignerUntrusted);
        }
    }

    #[test]
    fn bundle_without_hint_accepted_under_its_key_and_refused_under_others() {
        let (key, other) = (SigningKey::generate().unwrap(), SigningKey::generate().unwrap());
        let hint = format!("\"hint\":\"{}\"", Hint::Oms.of(&key.public()));
        let old =
            bundle(&key, Hint::Oms).replace(&hint, "\"rawBytes\":\"AAAA\",\"keyDetails\":\"PKIX_ECDSA_P256_SHA_256\"");
        assert_eq!(verify(&old, &[other.public(), key.public()], Hint::Oms).unwrap(), key.public());
        assert_eq!(verify(&old, &[other.public()], Hint::Oms).unwrap_err().code, Code::SignerUntrusted);
    }

    #[test]
    fn certificates_other_versions_and_missing_parts_refused() {
        let key = SigningKey::generate().unwrap();
        let good = bundle(&key, Hint::Cosign);
        let code = |bad: String| verify(&bad, &[key.public()], Hint::Cosign).unwrap_err().code;
        for form in ["\"certificate\":{\"rawBytes\":\"\"}", "\"x509CertificateChain\":{\"certificates\":[]}"] {
            let with = good.replace("\"publicKey\"", &format!("{form},\"publicKey\""));
            assert_eq!(code(with), Code::SignerUntrusted);
        }
        assert_eq!(code(good.replace("v0.3", "v0.4")), Code::VersionUnsupported);
        assert_eq!(code(good.replace("publicKey", "publicKex")), Code::Malformed);
        assert_eq!(code(good.replace("dsseEnvelope", "messageSignature")), Code::Malformed);
        assert_eq!(code(" ".repeat(limits::BUNDLE + 1)), Code::TooLarge);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Bundle::parse(&bytes);
        }
    }
}
