//! Messages of the KBS attestation protocol ("RCAR") 0.4.0, wire-compatible with Confidential Containers.
//!
//! Members that are not known are passed over, as that protocol's own parties do; nothing is decided by them.

mod snp_json;
mod tdx_json;
mod tee;

use crate::{Code, Refusal, Result, document, limits};
use serde::{Deserialize, Serialize};
pub use snp_json::{CertificateEntry, SnpEvidence};
pub use tdx_json::TdxEvidence;
pub use tee::Tee;

/// The protocol version spoken, exactly.
pub const VERSION: &str = "0.4.0";
/// The cookie that carries the session.
pub const COOKIE: &str = "kbs-session-id";

/// The header of an answer with a resource that says where its release stands in the verifier's log: base64 of a proof
/// (c2sp.org/tlog-proof) with the entry as its extra data, of at most [`crate::limits::LOG_PROOF`] bytes. It is ours, and clients of
/// other services pass it over.
pub const LOG_PROOF: &str = "strongroom-log-proof";

/// `POST /kbs/v0/auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// Must be [`VERSION`].
    pub version: String,
    /// The kind of TEE: one of [`Tee`]'s names.
    pub tee: String,
    /// Required by the protocol, of any form.
    pub extra_params: serde_json::Value,
}

/// Answer to [`Request`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Challenge {
    /// Base64 of 32 random bytes; compared as text.
    pub nonce: String,
    /// Empty string for the TEEs spoken here.
    pub extra_params: serde_json::Value,
}

/// `POST /kbs/v0/attest`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attestation {
    /// The deployment document; without it nothing is released here.
    #[serde(default)]
    pub init_data: Option<InitData>,
    /// What the evidence is bound to.
    pub runtime_data: RuntimeData,
    /// The evidence.
    pub tee_evidence: TeeEvidence,
}

/// The deployment document as delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InitData {
    /// `toml`.
    pub format: String,
    /// The raw text whose digest the hardware names.
    pub body: String,
}

/// What the evidence is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeData {
    /// The nonce's text as received.
    pub nonce: String,
    /// The key that resources are wrapped to.
    pub tee_pubkey: TeePubKey,
}

/// The evidence of a TEE. The inner members are snake_case, unlike the outer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TeeEvidence {
    /// TEE-specific: for `snp` an [`SnpEvidence`], for `tdx` a [`TdxEvidence`], for the others a document of
    /// [`crate::azure::Evidence`].
    pub primary_evidence: serde_json::Value,
    /// Evidence of devices, as JSON text; empty where there are none.
    pub additional_evidence: String,
}

/// Answer to [`Attestation`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestResponse {
    /// An EAR as JWT.
    pub token: String,
}

/// A guest's public key as JWK (RFC 7517), with exactly the members that report data is computed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum TeePubKey {
    /// An elliptic-curve key.
    #[serde(rename = "EC")]
    Ec {
        /// `P-256` or `P-521`.
        crv: String,
        /// `ECDH-ES+A256KW`.
        alg: String,
        /// Base64url of the x coordinate, of the curve's full length.
        x: String,
        /// Base64url of the y coordinate, of the curve's full length.
        y: String,
    },
    /// An RSA key.
    #[serde(rename = "RSA")]
    Rsa {
        /// `RSA-OAEP-256`.
        alg: String,
        /// Base64url of the modulus.
        n: String,
        /// Base64url of the public exponent.
        e: String,
    },
}

/// JWE in flattened JSON form (RFC 7516 §7.2.2), as resources are delivered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jwe {
    /// Base64url of the header's JSON text; the AAD is these characters.
    pub protected: String,
    /// Base64url of the wrapped content key.
    pub encrypted_key: String,
    /// Base64url of the 12-byte IV.
    pub iv: String,
    /// Base64url.
    pub ciphertext: String,
    /// Base64url of the 16-byte tag.
    pub tag: String,
}

/// An error answer (RFC 7807 as that protocol shapes it), with our own `code`, `got` and `want` beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInformation {
    /// `https://github.com/confidential-containers/kbs/errors/<Kind>`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub detail: String,
    /// The stable refusal code; peers other than Strongroom's leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
}

/// `<repo>/<type>/<tag>`, the name of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct ResourcePath(String);

impl ResourcePath {
    /// Parses exactly three parts, each `[a-zA-Z0-9_-]+[a-zA-Z0-9_.-]*`, so without a leading dot.
    pub fn parse(text: &str) -> Result<Self> {
        let part = |part: &str| {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
            part.bytes().next().is_some_and(plain) && part.bytes().all(|b| plain(b) || b == b'.')
        };
        if text.len() <= 256 && text.split('/').count() == 3 && text.split('/').all(part) {
            return Ok(Self(text.to_owned()));
        }
        Err(Refusal::new(Code::Malformed, "key id").got(text).want("<repo>/<type>/<tag> of letters, digits, _ - ."))
    }

    /// Parses `kbs:///<repo>/<type>/<tag>`; a host between the slashes is passed over, since the deployment document alone
    /// says which verifier is asked.
    pub fn from_uri(uri: &str) -> Result<Self> {
        let rest = uri.strip_prefix("kbs://").and_then(|rest| rest.split_once('/')).map(|(_host, path)| path);
        match rest {
            Some(path) => Self::parse(path),
            None => Err(Refusal::new(Code::Malformed, "key uri").got(uri).want("kbs:///<repo>/<type>/<tag>")),
        }
    }

    /// `kbs:///<repo>/<type>/<tag>`.
    pub fn uri(&self) -> String {
        format!("kbs:///{}", self.0)
    }

    /// `<repo>/<type>/<tag>`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Display for ResourcePath {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ResourcePath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Request {
    /// Parses `POST /auth`: the version must be [`VERSION`] and `extra-params` present.
    pub fn parse(json: &[u8]) -> Result<Self> {
        let request: Self = document::parse_json(json, "auth request", limits::KBS_BODY, Code::Malformed)?;
        if request.version != VERSION {
            return Err(Refusal::new(Code::VersionUnsupported, "protocol version").got(request.version).want(VERSION));
        }
        Ok(request)
    }
}

impl Attestation {
    /// Parses `POST /attest`.
    pub fn parse(json: &[u8]) -> Result<Self> {
        document::parse_json(json, "attestation", limits::KBS_BODY, Code::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resource_path_of_three_plain_parts_accepted() {
        for good in ["a/b/c", "models/mini-lm/v1.0", "_/-/0"] {
            assert_eq!(ResourcePath::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(ResourcePath::from_uri("kbs:///a/b/c").unwrap().as_str(), "a/b/c");
        assert_eq!(ResourcePath::from_uri("kbs://host:1/a/b/c").unwrap().uri(), "kbs:///a/b/c");
    }

    #[test]
    fn resource_path_is_shown_and_written_as_its_parts() {
        let path = ResourcePath::parse("a/b/c").unwrap();
        assert_eq!((path.to_string(), serde_json::to_string(&path).unwrap()), ("a/b/c".into(), r#""a/b/c""#.into()));
        assert_eq!(serde_json::from_str::<ResourcePath>(r#""a/b/c""#).unwrap(), path);
        assert!(serde_json::from_str::<ResourcePath>(r#""a/b""#).is_err());
    }

    #[test]
    fn resource_path_of_256_bytes_accepted_and_of_257_refused() {
        let path = |length: usize| ResourcePath::parse(&format!("a/b/{}", "c".repeat(length - 4)));
        assert!(path(256).is_ok());
        assert_eq!(path(257).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn resource_path_that_climbs_or_has_other_parts_refused() {
        for bad in ["a/b", "a/b/c/d", "../b/c", "a/../c", "a/b/.c", "a//c", "a/b/c%2f", "a/b/", "/a/b", "a/b/ä"] {
            assert_eq!(ResourcePath::parse(bad).unwrap_err().code, Code::Malformed, "{bad}");
        }
    }

    #[test]
    fn request_of_0_4_0_accepted_and_of_others_refused() {
        let request =
            |v: &str| Request::parse(format!(r#"{{"version":"{v}","tee":"snp","extra-params":""}}"#).as_bytes());
        assert_eq!(request("0.4.0").unwrap().tee, "snp");
        for other in ["0.2.0", "0.4.1", "0.4"] {
            assert_eq!(request(other).unwrap_err().code, Code::VersionUnsupported);
        }
        let without = br#"{"version":"0.4.0","tee":"snp"}"#;
        assert_eq!(Request::parse(without).unwrap_err().code, Code::Malformed);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, text: String) {
            let _ = Request::parse(&bytes);
            let _ = Attestation::parse(&bytes);
            let _ = ResourcePath::parse(&text);
            let _ = ResourcePath::from_uri(&text);
        }
    }
}
