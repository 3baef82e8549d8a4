//! Sigstore bundle v0.3 (`sigstore/protobuf-specs`, JSON form) around a DSSE envelope: signed by a key, by an identity (one
//! certificate of Fulcio's), or by whom an authority of one's own certified (a chain, which OMS alone writes).

use crate::dsse::Envelope;
use crate::keys::PublicKey;
use serde::{Deserialize, Serialize};
use strongroom_wire::{Code, Refusal, Result, bytes, document, limits};

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
            Self::Cosign => bytes::to_base64(&key.fingerprint().0),
        }
    }
}

/// A bundle that was read. Nothing in it is verified.
#[derive(Debug)]
pub(crate) struct Bundle {
    material: Material,
    envelope: Envelope,
}

/// What a bundle says that its signature verifies with.
#[derive(Debug)]
enum Material {
    /// A key, by its hint.
    Key(Option<String>),
    /// One certificate. All of the bundle is kept, as others verify it.
    Certificate(Vec<u8>),
    /// Certificates in DER, the signer's first.
    Chain(Vec<Vec<u8>>),
}

impl Bundle {
    /// Reads a bundle of at most [`limits::BUNDLE`]. Members that do not matter to a key's signature are passed over:
    /// log entries and timestamps neither add to it nor take from it.
    ///
    /// Refuses everything else with `malformed` or `version-unsupported`.
    pub(crate) fn parse(json: &[u8]) -> Result<Self> {
        let bundle: Read = document::parse_json(json, "signature bundle", limits::BUNDLE, Code::Malformed)?;
        if bundle.media_type != BUNDLE_V0_3
            && bundle.media_type != "application/vnd.dev.sigstore.bundle+json;version=0.3"
        {
            let refusal = Refusal::new(Code::VersionUnsupported, "media type of a signature bundle");
            return Err(refusal.got(shown(&bundle.media_type)).want(BUNDLE_V0_3));
        }
        let material = bundle.verification_material;
        let material = match (material.public_key, material.certificate, material.chain) {
            (Some(key), None, None) => Material::Key(key.hint.filter(|hint| !hint.is_empty())),
            (None, Some(_), None) => Material::Certificate(json.to_vec()),
            (None, None, Some(chain)) => Material::Chain(chain.read()?),
            _ => return Err(Refusal::malformed("signature bundle", "not one key, certificate or chain")),
        };
        let envelope =
            bundle.dsse_envelope.ok_or_else(|| Refusal::malformed("signature bundle", "no DSSE envelope"))?;
        Ok(Self { material, envelope })
    }

    /// What was signed, if it was: whoever wants to know that verifies.
    pub(crate) fn unverified_payload(&self) -> Result<Vec<u8>> {
        self.envelope.unverified_payload()
    }

    /// The bundle as it was read, where it is of one certificate.
    pub(crate) fn keyless(&self) -> Option<&[u8]> {
        match &self.material {
            Material::Certificate(raw) => Some(raw),
            _ => None,
        }
    }

    /// The certificates in DER, the signer's first, where it is of a chain; and what they are for.
    pub(crate) fn chain(&self) -> Option<(&[Vec<u8>], &Envelope)> {
        match &self.material {
            Material::Chain(chain) => Some((chain, &self.envelope)),
            _ => None,
        }
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
        let Material::Key(hint) = &self.material else { return untrusted("a certificate") };
        if let Some(hint) = hint {
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

    /// Writes a bundle of a chain of certificates in DER, the signer's first, as OMS has it.
    pub(crate) fn render_chain<'c>(envelope: &Envelope, chain: impl Iterator<Item = &'c [u8]>) -> Result<Vec<u8>> {
        let certificates: Vec<_> = chain.map(|one| serde_json::json!({ "rawBytes": bytes::to_base64(one) })).collect();
        let bundle = serde_json::json!({
            "mediaType": BUNDLE_V0_3,
            "verificationMaterial": {
                "x509CertificateChain": { "certificates": certificates }, "tlogEntries": [],
            },
            "dsseEnvelope": envelope,
        });
        serde_json::to_vec(&bundle).map_err(|e| Refusal::new(Code::Internal, "signature bundle").because(e))
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
    certificate: Option<ReadCertificate>,
    #[serde(rename = "x509CertificateChain")]
    chain: Option<ReadChain>,
}

#[derive(Deserialize)]
struct ReadChain {
    certificates: Vec<ReadCertificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadCertificate {
    raw_bytes: String,
}

impl ReadChain {
    fn read(&self) -> Result<Vec<Vec<u8>>> {
        if self.certificates.is_empty() || self.certificates.len() > limits::SIGNER_CHAIN {
            return Err(Refusal::new(Code::Malformed, "certificates of a bundle")
                .got(self.certificates.len())
                .want(format!("1 to {}", limits::SIGNER_CHAIN)));
        }
        self.certificates.iter().map(|one| bytes::from_base64(&one.raw_bytes, "certificate")).collect()
    }
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
    fn certificates_in_place_of_keys_other_versions_and_missing_parts_refused() {
        let key = SigningKey::generate().unwrap();
        let good = bundle(&key, Hint::Cosign);
        let code = |bad: String| verify(&bad, &[key.public()], Hint::Cosign).unwrap_err().code;
        let hint = format!("\"publicKey\":{{\"hint\":\"{}\"}}", Hint::Cosign.of(&key.public()));
        for form in
            ["\"certificate\":{\"rawBytes\":\"\"}", "\"x509CertificateChain\":{\"certificates\":[{\"rawBytes\":\"\"}]}"]
        {
            assert_eq!(code(good.replace(&hint, form)), Code::SignerUntrusted);
            assert_eq!(code(good.replace(&hint, &format!("{form},{hint}"))), Code::Malformed);
        }
        assert_eq!(code(good.replace(&hint, "\"x509CertificateChain\":{\"certificates\":[]}")), Code::Malformed);
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
