//! Making a signature by an identity: what is asked of Fulcio, Rekor and a timestamp authority, and the bundle that their answers
//! become. Whoever has sockets carries the messages; what comes back is believed only as [`super::TrustedRoot`] verifies it.

mod log;
mod timestamp;

use crate::bundle::BUNDLE_V0_3;
use crate::dsse::Envelope;
use crate::keys::SigningKey;
use serde::Deserialize;
use serde_json::{Value, json};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// A fresh key for which a certificate is asked. It signs once.
#[derive(Debug)]
pub struct CertificateRequest {
    key: SigningKey,
    body: Vec<u8>,
}

impl CertificateRequest {
    /// Draws the key and asks for whom the OpenID Connect `token` is. The token is a secret: whoever has it can sign in that name
    /// for as long as it holds.
    ///
    /// # Errors
    /// `token-invalid` it is no JWT with a subject.
    pub fn new(token: &str) -> Result<Self> {
        let key = SigningKey::generate()?;
        // Proof of possession: Fulcio wants the subject signed, by which it knows the token's owner.
        let proof = key.sign(subject_of(token)?.as_bytes())?;
        let body = json!({
            "credentials": { "oidcIdentityToken": token },
            "publicKeyRequest": {
                "publicKey": { "algorithm": "ECDSA", "content": key.public().pem() },
                "proofOfPossession": to_base64(&proof),
            },
        });
        Ok(Self { key, body: to_json(&body)? })
    }

    /// The body of `POST /api/v2/signingCert`. It holds the token.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Signs `payload`, an in-toto statement, with the key that Fulcio's `answer` certifies.
    ///
    /// # Errors
    /// `malformed`, `too-large` the answer.
    pub fn sign(self, answer: &[u8], payload: &[u8]) -> Result<Unlogged> {
        let issued: Issued = document::parse_json(answer, "answer of Fulcio", limits::SIGNATURE, Code::Malformed)?;
        let chain = issued.embedded.or(issued.detached).map(|signed| signed.chain.certificates).unwrap_or_default();
        let first = chain.first().ok_or_else(|| Refusal::malformed("answer of Fulcio", "no certificate"))?;
        let certificate = read_certificate(first)?;
        let envelope = Envelope::sign(payload, &self.key)?;
        Ok(Unlogged { envelope, certificate })
    }
}

/// A signature under a certificate that nobody else knows of yet. It becomes worthless when the certificate ends.
#[derive(Debug)]
pub struct Unlogged {
    envelope: Envelope,
    certificate: Vec<u8>,
}

impl Unlogged {
    /// The body of Rekor's `POST /api/v1/log/entries`: an entry of kind `dsse`, version 0.0.1.
    pub fn log_request(&self) -> Result<Vec<u8>> {
        let envelope = serde_json::to_string(&self.envelope).map_err(|e| internal("envelope").because(e))?;
        let pem = der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &self.certificate)
            .map_err(|e| internal("certificate").because(e))?;
        to_json(&json!({
            "apiVersion": "0.0.1", "kind": "dsse",
            "spec": { "proposedContent": { "envelope": envelope, "verifiers": [to_base64(pem.as_bytes())] } },
        }))
    }

    /// The query for a timestamp over the signature (RFC 3161 §2.4.1), as `application/timestamp-query`.
    pub fn timestamp_query(&self) -> Result<Vec<u8>> {
        timestamp::query(&self.envelope.signature()?)
    }

    /// The bundle, of Rekor's answer and those of timestamp authorities (`application/timestamp-reply`).
    ///
    /// # Errors
    /// `malformed`, `too-large` an answer.
    pub fn bundle(&self, log_answer: &[u8], timestamps: &[Vec<u8>]) -> Result<Vec<u8>> {
        let entry = log::entry(log_answer)?;
        let timestamps: Vec<Value> =
            timestamps.iter().map(|reply| json!({ "signedTimestamp": to_base64(reply) })).collect();
        let mut material =
            json!({ "certificate": { "rawBytes": to_base64(&self.certificate) }, "tlogEntries": [entry] });
        if let Some(object) = material.as_object_mut().filter(|_| !timestamps.is_empty()) {
            object.insert("timestampVerificationData".into(), json!({ "rfc3161Timestamps": timestamps }));
        }
        to_json(&json!({
            "mediaType": BUNDLE_V0_3, "verificationMaterial": material, "dsseEnvelope": self.envelope,
        }))
    }
}

#[derive(Deserialize)]
struct Issued {
    #[serde(rename = "signedCertificateEmbeddedSct")]
    embedded: Option<Signed>,
    #[serde(rename = "signedCertificateDetachedSct")]
    detached: Option<Signed>,
}

#[derive(Deserialize)]
struct Signed {
    chain: Chain,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<String>,
}

/// A certificate in PEM, with lines of any length: not every service breaks them where RFC 7468 does.
fn read_certificate(pem: &str) -> Result<Vec<u8>> {
    let lines = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----");
    let lines = lines.and_then(|lines| lines.strip_suffix("-----END CERTIFICATE-----"));
    let lines = lines.ok_or_else(|| Refusal::malformed("certificate of Fulcio", "no PEM"))?;
    from_base64(&lines.split_whitespace().collect::<String>(), "certificate of Fulcio")
}

/// The claim of a token that Fulcio knows its owner by: the mail address where the issuer vouches for one, as the public instance's
/// issuers do.
fn subject_of(token: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: Option<String>,
        email: Option<String>,
    }
    let invalid =
        |what: &str| Refusal::new(Code::TokenInvalid, "identity token").got(what).want("a JWT with a subject");
    let [_, claims, _] = token.trim().split('.').collect::<Vec<_>>()[..] else {
        return Err(invalid("not three parts"));
    };
    let padded =
        claims.replace('-', "+").replace('_', "/") + "==".get(..(4 - claims.len() % 4) % 4).unwrap_or_default();
    let claims = from_base64(&padded, "claims").map_err(|_| invalid("claims that are not base64url"))?;
    let claims: Claims = document::parse_json(&claims, "claims", limits::TOKEN, Code::TokenInvalid)?;
    claims.email.or(claims.sub).ok_or_else(|| invalid("no subject"))
}

fn internal(what: &str) -> Refusal {
    Refusal::new(Code::Internal, what)
}

fn to_json(value: &Value) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| internal("request").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token whose claims are these.
    fn token(claims: &Value) -> String {
        let part = to_base64(claims.to_string().as_bytes()).replace('+', "-").replace('/', "_");
        format!("e30.{}.c2ln", part.trim_end_matches('='))
    }

    fn answer(pem: &str) -> Vec<u8> {
        json!({"signedCertificateEmbeddedSct": {"chain": {"certificates": [pem]}}}).to_string().into_bytes()
    }

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";

    #[test]
    fn proof_of_possession_is_over_the_subject_that_fulcio_knows() {
        for (claims, want) in [
            (json!({"sub": "a", "email": "a@b.example"}), "a@b.example"),
            (json!({"sub": "https://ci.example/x"}), "https://ci.example/x"),
        ] {
            let request = CertificateRequest::new(&token(&claims)).unwrap();
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            let proof = from_base64(body["publicKeyRequest"]["proofOfPossession"].as_str().unwrap(), "").unwrap();
            assert!(request.key.public().verify(want.as_bytes(), &proof).is_ok());
        }
    }

    #[test]
    fn token_without_subject_and_text_that_is_none_refused() {
        assert!(CertificateRequest::new(&token(&json!({"sub": "a"}))).is_ok());
        for bad in [token(&json!({})), "a.b".into(), "a.!.c".into(), String::new()] {
            assert_eq!(CertificateRequest::new(&bad).unwrap_err().code, Code::TokenInvalid, "{bad}");
        }
    }

    #[test]
    fn answer_without_certificate_refused() {
        let sign = |answer: &[u8]| {
            let request = CertificateRequest::new(&token(&json!({"sub": "a"}))).unwrap();
            request.sign(answer, b"{}").map(|_| ()).map_err(|refusal| refusal.code)
        };
        assert_eq!(sign(&answer(CERTIFICATE)), Ok(()));
        assert_eq!(sign(&answer(&CERTIFICATE.replace("YWJj", "YW\nJj"))), Ok(()));
        assert_eq!(sign(&answer(&CERTIFICATE.replace("YWJj", "YW!j"))), Err(Code::Malformed));
        assert_eq!(sign(&answer(&CERTIFICATE.replace("CERTIFICATE", "PUBLIC KEY"))), Err(Code::Malformed));
        assert_eq!(sign(b"{}"), Err(Code::Malformed));
        assert_eq!(sign(b"<html>"), Err(Code::Malformed));
    }

    #[test]
    fn log_is_shown_the_envelope_that_is_in_the_bundle() {
        let request = CertificateRequest::new(&token(&json!({"sub": "a"}))).unwrap();
        let signed = request.sign(&answer(CERTIFICATE), b"{}").unwrap();
        let proposal: Value = serde_json::from_slice(&signed.log_request().unwrap()).unwrap();
        let proposed = &proposal["spec"]["proposedContent"];
        let shown: Value = serde_json::from_str(proposed["envelope"].as_str().unwrap()).unwrap();
        let bundle: Value = serde_json::from_slice(&signed.bundle(&log::tests::answer(), &[]).unwrap()).unwrap();
        assert_eq!(bundle["dsseEnvelope"], shown);
        let verifier = from_base64(proposed["verifiers"][0].as_str().unwrap(), "").unwrap();
        assert_eq!(verifier, CERTIFICATE.as_bytes());
        assert_eq!(bundle["verificationMaterial"]["certificate"]["rawBytes"], to_base64(b"abc"));
        assert_eq!(bundle["verificationMaterial"].get("timestampVerificationData"), None);
        let stamped: Value =
            serde_json::from_slice(&signed.bundle(&log::tests::answer(), &[b"t".to_vec()]).unwrap()).unwrap();
        let timestamps = &stamped["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        assert_eq!(timestamps, &json!([{"signedTimestamp": to_base64(b"t")}]));
    }
}
