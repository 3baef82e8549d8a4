//! Keys that tokens of others are verified with. Which algorithm one is for is decided when it is read, by its own type: a token's
//! header may only say the same.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;
use strongroom_wire::bytes::from_base64url;
use strongroom_wire::{Code, Refusal, Result};

use crate::jwk::Curve;

/// The one public exponent that is taken: 65537, which is everybody's.
const EXPONENT: [u8; 3] = [1, 0, 1];

/// How tokens may be signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256, of keys of 2048 to 8192 bits.
    Rs256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// As headers and keys name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A public key and the one algorithm that it is for.
#[derive(Debug, Clone)]
pub(crate) enum VerifyingKey {
    /// An uncompressed point on P-256.
    Es256(Vec<u8>),
    /// A modulus, big-endian.
    Rs256 {
        modulus: Vec<u8>,
    },
    EdDsa(Vec<u8>),
}

/// A JWK (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2). Members that are not known are passed over.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl VerifyingKey {
    /// A point on P-256 in uncompressed form (SEC 1 §2.3.3).
    ///
    /// # Errors
    /// `key-invalid`: not on the curve.
    pub(crate) fn of_point(point: &[u8]) -> Result<Self> {
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| Refusal::new(Code::KeyInvalid, "signing key: not a point on the curve"))?;
        Ok(Self::Es256(point.to_vec()))
    }

    /// A key of a set with its `kid`; `None` where it has none, is not for signatures, or not for one of `algorithms`.
    ///
    /// # Errors
    /// `key-invalid`: it says that it is one, and is none.
    pub(crate) fn of_jwk(jwk: Value, algorithms: &[Algorithm]) -> Result<Option<(String, Self)>> {
        let Ok(jwk) = serde_json::from_value::<Jwk>(jwk) else { return Ok(None) };
        let algorithm = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("EC", Some("P-256")) => Algorithm::Es256,
            ("RSA", None) => Algorithm::Rs256,
            ("OKP", Some("Ed25519")) => Algorithm::EdDsa,
            _ => return Ok(None),
        };
        let for_signatures = jwk.r#use.as_deref().is_none_or(|name| name == "sig");
        let for_it = jwk.alg.as_deref().is_none_or(|name| name == algorithm.name());
        let Some(kid) = jwk.kid.filter(|_| for_signatures && for_it && algorithms.contains(&algorithm)) else {
            return Ok(None);
        };
        let key = match algorithm {
            Algorithm::Es256 => Self::of_point(&Curve::P256.point(&jwk.x, &jwk.y)?)?,
            Algorithm::Rs256 => Self::of_modulus(member(&jwk.n, "n")?, &member(&jwk.e, "e")?)?,
            Algorithm::EdDsa => {
                let key = member(&jwk.x, "x")?;
                ParsedPublicKey::new(&ED25519, &key)
                    .map_err(|_| Refusal::new(Code::KeyInvalid, "x").want("an Ed25519 public key"))?;
                Self::EdDsa(key)
            }
        };
        Ok(Some((kid, key)))
    }

    fn of_modulus(modulus: Vec<u8>, exponent: &[u8]) -> Result<Self> {
        let invalid = |name: &str| Refusal::new(Code::KeyInvalid, format!("RSA key: {name}"));
        if exponent != EXPONENT {
            return Err(invalid("e").got(hex(exponent)).want("65537"));
        }
        if !(256..=1024).contains(&modulus.len()) || modulus.first().is_none_or(|first| first.leading_zeros() > 0) {
            return Err(invalid("n")
                .got(format!("{} bytes", modulus.len()))
                .want("2048 to 8192 bits, whole bytes of them"));
        }
        Ok(Self::Rs256 { modulus })
    }

    pub(crate) const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Rs256 { .. } => Algorithm::Rs256,
            Self::EdDsa(_) => Algorithm::EdDsa,
        }
    }

    /// Whether `signature` is this key's over `input`.
    pub(crate) fn has_signed(&self, input: &[u8], signature: &[u8]) -> bool {
        let outcome =
            match self {
                Self::Es256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(input, signature),
                Self::Rs256 { modulus } => RsaPublicKeyComponents { n: modulus.as_slice(), e: EXPONENT.as_slice() }
                    .verify(&RSA_PKCS1_2048_8192_SHA256, input, signature),
                Self::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(input, signature),
            };
        outcome.is_ok()
    }
}

fn member(text: &str, name: &str) -> Result<Vec<u8>> {
    from_base64url(text, name).map_err(|r| Refusal { code: Code::KeyInvalid, ..r })
}

/// For messages: exponents are a few bytes, and no more are shown.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
