//! Tokens: JWT (RFC 7519) in compact JWS (RFC 7515 §7.1). Ours are signed by ES256 (RFC 7518 §3.4) and nothing else; those of others
//! by what their keys are for (`verifying_key.rs`).

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::kbs::TeePubKey;
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

use crate::jwk::{Curve, thumbprint};
use crate::verifying_key::{Algorithm, VerifyingKey};

/// How far in the future `iat` may be, in seconds: two hosts' clocks.
pub const SKEW: u64 = 60;

/// The DER of every P-256 SubjectPublicKeyInfo up to its point (RFC 5480 §2): id-ecPublicKey, prime256v1, a bit string.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The key that signs tokens.
pub struct TokenSigner {
    pair: EcdsaKeyPair,
    spki: Vec<u8>,
    jwk: TeePubKey,
    kid: String,
}

impl core::fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("TokenSigner").field("kid", &self.kid).finish_non_exhaustive()
    }
}

impl TokenSigner {
    /// A fresh P-256 key.
    pub fn generate() -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .map_err(|_| Refusal::new(Code::Internal, "random token key"))?;
        Self::of(pair)
    }

    /// The key in a DER PKCS#8 document (RFC 5208).
    ///
    /// # Errors
    /// `key-invalid`: not PKCS#8, or not a P-256 key.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der)
            .map_err(|e| Refusal::new(Code::KeyInvalid, "token key").because(e).want("a P-256 key in PKCS#8"))?;
        Self::of(pair)
    }

    fn of(pair: EcdsaKeyPair) -> Result<Self> {
        let unable = |_| Refusal::new(Code::Internal, "public half of the token key");
        let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(unable)?;
        let spki = spki.as_ref().to_vec();
        let jwk = signing_key(&spki)?;
        let kid = thumbprint(&jwk)?;
        Ok(Self { pair, spki, jwk, kid })
    }

    /// The key as DER PKCS#8, to be kept in a file that only its owner reads.
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>> {
        let document = self.pair.to_pkcs8v1().map_err(|_| Refusal::new(Code::Internal, "token key as PKCS#8"))?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// The public key as DER SubjectPublicKeyInfo: what a deployment document names.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The public key as a JWK (RFC 7517 §4); `kid` is its RFC 7638 thumbprint, as in the tokens' headers.
    pub fn jwk(&self) -> Value {
        let TeePubKey::Ec { crv, alg, x, y } = &self.jwk else { return Value::Null };
        json!({ "kty": "EC", "crv": crv, "alg": alg, "use": "sig", "kid": self.kid, "x": x, "y": y })
    }

    /// Its RFC 7638 thumbprint.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// Signs `claims`, which serialise to a JSON object.
    pub fn sign<T: Serialize>(&self, claims: &T) -> Result<String> {
        let unable = |e: serde_json::Error| Refusal::new(Code::Internal, "token claims").because(e);
        // No `jwk`: a token that brings the key it is verified with invites somebody to do so.
        let header = json!({ "alg": "ES256", "kid": self.kid, "typ": "JWT" }).to_string();
        let payload = serde_json::to_vec(claims).map_err(unable)?;
        let input = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(&payload));
        let signature = self
            .pair
            .sign(&SystemRandom::new(), input.as_bytes())
            .map_err(|_| Refusal::new(Code::Internal, "signing a token"))?;
        Ok(format!("{input}.{}", to_base64url(signature.as_ref())))
    }
}

/// A key that signs with ES256 as a JWK, from its DER SubjectPublicKeyInfo.
///
/// # Errors
/// `key-invalid`: not a point on P-256 in uncompressed form.
pub fn signing_key(spki_der: &[u8]) -> Result<TeePubKey> {
    let (x, y) = Curve::P256.coordinates(&point(spki_der)?)?;
    Ok(TeePubKey::Ec { crv: Curve::P256.name().into(), alg: "ES256".into(), x, y })
}

/// The uncompressed point in a P-256 SubjectPublicKeyInfo, which is on the curve.
fn point(spki_der: &[u8]) -> Result<Vec<u8>> {
    let invalid = || Refusal::new(Code::KeyInvalid, "signing key").want("a P-256 SubjectPublicKeyInfo in DER");
    let point = spki_der.strip_prefix(&P256_SPKI).filter(|point| point.len() == 65).ok_or_else(invalid)?;
    VerifyingKey::of_point(point)?;
    Ok(point.to_vec())
}

/// Verifies tokens of one issuer, known beforehand by its public key, or keys where it changes them.
#[derive(Debug, Clone)]
pub struct TokenVerifier {
    keys: Vec<Key>,
}

#[derive(Debug, Clone)]
struct Key {
    /// Which tokens it is for; `None`: all.
    kid: Option<String>,
    key: VerifyingKey,
}

/// A JWK set (RFC 7517 §5). Members that are not known are passed over, as §4 and §5 have it.
#[derive(Deserialize)]
struct Jwks {
    keys: Vec<Value>,
}

/// Keys of one set; an issuer has one, and another while it changes them.
const KEYS: usize = 16;

/// What of a header is looked at. A key in it (`jwk`, `jku`, `x5c`, `x5u`) is not.
#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// What tokens may say that they are (`typ`, RFC 7515 §4.1.9): one that is made for something else may have all the claims that
/// are asked for (RFC 8725 §3.11).
#[derive(Debug, Clone, Copy)]
pub enum Types<'a> {
    /// Anything or nothing: the issuer signs by this key no tokens for anything else, or what it signs says by its claims what for.
    Any,
    /// One of these, compared without case, and without `application/` before it. A token that says nothing is a `JWT`
    /// (RFC 7519 §5.1).
    OneOf(&'a [String]),
}

impl Types<'_> {
    fn verify(self, typ: Option<&str>) -> Result<()> {
        let Self::OneOf(types) = self else { return Ok(()) };
        let bare = |name: &str| {
            let name = name.to_ascii_lowercase();
            name.strip_prefix("application/").map_or_else(|| name.clone(), ToOwned::to_owned)
        };
        let typ = bare(typ.unwrap_or("JWT"));
        if types.iter().any(|one| bare(one) == typ) {
            return Ok(());
        }
        Err(invalid("typ").got(typ).want(types.join(", ")))
    }
}

/// The registered claims that every token must carry here (RFC 7519 §4.1).
#[derive(Deserialize)]
struct Registered {
    aud: Audience,
    iat: u64,
    exp: u64,
    /// RFC 7519 §4.1.5; the one that need not be there.
    #[serde(default)]
    nbf: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Audience {
    fn names(&self, audience: &str) -> bool {
        match self {
            Self::One(one) => one == audience,
            Self::Many(many) => many.iter().any(|one| one == audience),
        }
    }
}

impl TokenVerifier {
    /// A verifier for tokens by the P-256 key in this DER SubjectPublicKeyInfo, whatever `kid` they name.
    ///
    /// # Errors
    /// `key-invalid`: anything else.
    pub fn new(spki_der: &[u8]) -> Result<Self> {
        Ok(Self { keys: vec![Key { kid: None, key: VerifyingKey::Es256(point(spki_der)?) }] })
    }

    /// A verifier for tokens by the keys of a JWK set that are on P-256 and have a `kid`; each token names one of them. The set
    /// comes from the issuer itself, or from whoever else is trusted to say which keys are its.
    ///
    /// # Errors
    /// `malformed`; `too-large`: longer than [`limits::JWKS`], or more than 16 keys; `key-invalid`: no such key, or one that
    /// is not on its curve.
    pub fn of_jwks(json: &[u8]) -> Result<Self> {
        Self::of_issuer(json, &[Algorithm::Es256])
    }

    /// [`Self::of_jwks`] of an issuer that may sign by any of `algorithms`. Each key is for one of them, by its type; those for others,
    /// for encryption, or without a `kid` are passed over.
    ///
    /// # Errors
    /// As there; `key-invalid`: also an RSA key of fewer than 2048 or more than 8192 bits, or of another exponent than 65537.
    pub fn of_issuer(json: &[u8], algorithms: &[Algorithm]) -> Result<Self> {
        const WHAT: &str = "JWK set";
        if json.len() > limits::JWKS {
            return Err(Refusal::too_large(WHAT, json.len(), limits::JWKS));
        }
        let set: Jwks = serde_json::from_slice(json).map_err(|e| Refusal::malformed(WHAT, e))?;
        if set.keys.len() > KEYS {
            return Err(Refusal::too_large(WHAT, set.keys.len(), KEYS));
        }
        let mut keys = Vec::new();
        for jwk in set.keys {
            let known = VerifyingKey::of_jwk(jwk, algorithms)?;
            keys.extend(known.map(|(kid, key)| Key { kid: Some(kid), key }));
        }
        if keys.is_empty() {
            let names = algorithms.iter().map(|algorithm| algorithm.name()).collect::<Vec<_>>().join(", ");
            return Err(Refusal::new(Code::KeyInvalid, WHAT).got(format!("no key for {names} with a kid")));
        }
        Ok(Self { keys })
    }

    /// Whether the key that a token names is one of these. A token without a readable header names none that could be asked for.
    pub fn knows_key_of(&self, token: &str) -> bool {
        let Some((header, _)) = token.split_once('.').filter(|_| token.len() <= limits::TOKEN) else { return true };
        let header = part(header).ok().and_then(|header| serde_json::from_slice::<Header>(&header).ok());
        header.is_none_or(|header| self.key(&header).is_some())
    }

    fn key(&self, header: &Header) -> Option<&VerifyingKey> {
        let named = self.keys.iter().find(|key| key.kid.is_none() || key.kid == header.kid);
        named.map(|named| &named.key)
    }

    /// The claims of a token that this issuer signed for `audience` and that is valid at `now` (seconds since 1970).
    ///
    /// # Errors
    /// `token-invalid`: another `alg` than the key's, a `crit` header, a signature that does not verify, another `aud`, `iat`
    /// or `nbf` more than [`SKEW`] ahead, `exp` reached, or claims that are not of type `T`. `too-large`: over [`limits::TOKEN`].
    pub fn verify<T: DeserializeOwned>(&self, token: &str, now: u64, audience: &str) -> Result<T> {
        self.verify_typed(token, now, audience, Types::Any)
    }

    /// [`Self::verify`] of a token that says that it is of one of `types`.
    ///
    /// # Errors
    /// As there; `token-invalid`: also another `typ`.
    pub fn verify_typed<T: DeserializeOwned>(
        &self,
        token: &str,
        now: u64,
        audience: &str,
        types: Types<'_>,
    ) -> Result<T> {
        if token.len() > limits::TOKEN {
            return Err(Refusal::too_large("token", token.len(), limits::TOKEN));
        }
        let (input, signature) = token.rsplit_once('.').ok_or_else(|| invalid("not three parts"))?;
        let (header, payload) = input.split_once('.').ok_or_else(|| invalid("not three parts"))?;

        let header: Header = serde_json::from_slice(&part(header)?).map_err(|e| invalid("header").because(e))?;
        if header.crit.is_some() {
            return Err(invalid("crit").want("none"));
        }
        let key = self.key(&header).ok_or_else(|| invalid("kid").got(format!("{:?}", header.kid)))?;
        // The key says how it signs; a header that could choose would choose the key's public half as an HMAC secret.
        let algorithm = key.algorithm().name();
        if header.alg != algorithm {
            return Err(invalid("alg").got(header.alg).want(algorithm));
        }
        if !key.has_signed(input.as_bytes(), &part(signature)?) {
            return Err(invalid("signature does not verify"));
        }

        types.verify(header.typ.as_deref())?;

        let payload = part(payload)?;
        let registered: Registered =
            serde_json::from_slice(&payload).map_err(|e| invalid("registered claims").because(e))?;
        if !registered.aud.names(audience) {
            return Err(invalid("aud").want(audience));
        }
        if registered.iat > now.saturating_add(SKEW) {
            return Err(invalid("iat is in the future").got(registered.iat).want(format!("at most {now} + {SKEW}")));
        }
        if registered.nbf > now.saturating_add(SKEW) {
            return Err(invalid("not valid yet").got(registered.nbf).want(format!("at most {now} + {SKEW}")));
        }
        if now >= registered.exp {
            return Err(invalid("expired").got(registered.exp).want(format!("more than {now}")));
        }
        serde_json::from_slice(&payload).map_err(|e| invalid("claims").because(e))
    }
}

fn part(text: &str) -> Result<Vec<u8>> {
    from_base64url(text, "part").map_err(|r| Refusal { code: Code::TokenInvalid, ..r }.within("token"))
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::TokenInvalid, what).within("token")
}
