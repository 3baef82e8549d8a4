//! JWE (RFC 7516) to a guest's key, as the KBS protocol delivers resources: a fresh content key, wrapped by
//! `ECDH-ES+A256KW` (RFC 7518 §4.6) or `RSA-OAEP-256` (§4.3), and `A256GCM` (§5.3).

use crate::jwk::Curve;
use crate::kdf::concat_kdf;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ParsedPublicKey, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use aws_lc_rs::rand;
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKeyComponents};
use serde::{Deserialize, Serialize};
use strongroom_wire::bytes::{from_base64url, to_base64url};
use strongroom_wire::kbs::{Jwe, TeePubKey};
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

pub(crate) const ECDH_ES_A256KW: &str = "ECDH-ES+A256KW";
const RSA_OAEP_256: &str = "RSA-OAEP-256";
pub(crate) const A256GCM: &str = "A256GCM";

/// A protected header. Confidential Containers' client authenticates its own serialisation of the header that it parsed
/// and not the characters it received, so the order of members is part of the protocol: `alg`, `enc`, `epk`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) enc: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epk: Option<EphemeralKey>,
}

/// The sender's ephemeral key (RFC 7518 §4.6.1.1), members sorted for the reason above.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EphemeralKey {
    pub(crate) crv: String,
    pub(crate) kty: String,
    pub(crate) x: String,
    pub(crate) y: String,
}

/// A guest's public key that a resource can be encrypted to: an algorithm spoken here, a point on its curve or an RSA key
/// of 2048 to 8192 bits.
pub struct RecipientKey(Inner);

enum Inner {
    Ec { curve: Curve, point: ParsedPublicKey },
    Rsa(OaepPublicEncryptingKey),
}

impl core::fmt::Debug for RecipientKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("RecipientKey").finish()
    }
}

/// Encrypts `plaintext`, of at most [`limits::RESOURCE`] bytes, to a guest's key.
///
/// # Errors
/// `key-invalid` as [`RecipientKey::parse`], `too-large`.
pub fn encrypt(plaintext: &[u8], to: &TeePubKey) -> Result<Jwe> {
    RecipientKey::parse(to)?.encrypt(plaintext)
}

impl RecipientKey {
    /// Parses a guest's key.
    ///
    /// # Errors
    /// `key-invalid`: an algorithm or curve that is not spoken (among them `RSA1_5`), a coordinate that has not the
    /// curve's full length, a point beside the curve, an RSA key that is too short or not one.
    pub fn parse(key: &TeePubKey) -> Result<Self> {
        let algorithm = |alg: &str, want: &str| {
            if alg == want { Ok(()) } else { Err(invalid("alg of the guest's key").got(alg).want(want)) }
        };
        match key {
            TeePubKey::Ec { crv, alg, x, y } => {
                algorithm(alg, ECDH_ES_A256KW)?;
                let curve = Curve::parse(crv)?;
                let point = curve.point(x, y)?;
                let point = ParsedPublicKey::try_from(UnparsedPublicKey::new(curve.agreement(), point))
                    .map_err(|_| invalid("point of the guest's key").want(format!("a point on {}", curve.name())))?;
                Ok(Self(Inner::Ec { curve, point }))
            }
            TeePubKey::Rsa { alg, n, e } => {
                algorithm(alg, RSA_OAEP_256)?;
                let number = |text: &str, name: &str| {
                    from_base64url(text, name).map_err(|r| Refusal { code: Code::KeyInvalid, ..r })
                };
                let components = PublicKeyComponents { n: number(n, "modulus")?, e: number(e, "exponent")? };
                // The backend takes an exponent of 1, under which encryption changes nothing. FIPS 186-5 A.1.1: odd and above
                // 2^16. The standard's upper end is far above what the backend computes with, which it says too late.
                if !(3..=4).contains(&components.e.len()) || components.e.last().is_none_or(|last| last % 2 == 0) {
                    return Err(invalid("RSA exponent").want("odd, above 65536, of at most 32 bits"));
                }
                // Nor does it look at the modulus before it computes with it. It is the product of two odd primes.
                if components.n.last().is_none_or(|last| last % 2 == 0) {
                    return Err(invalid("RSA modulus").want("odd"));
                }
                let key: PublicEncryptingKey =
                    components.try_into().map_err(|_| invalid("RSA key").want("2048 to 8192 bits"))?;
                let key = OaepPublicEncryptingKey::new(key).map_err(|_| invalid("RSA key"))?;
                Ok(Self(Inner::Rsa(key)))
            }
        }
    }

    /// Encrypts `plaintext`, of at most [`limits::RESOURCE`] bytes. Content key, ephemeral key and IV are fresh each time.
    ///
    /// # Errors
    /// `too-large`, and `internal` where the crypto backend fails.
    pub fn encrypt(&self, plaintext: &[u8]) -> Result<Jwe> {
        if plaintext.len() > limits::RESOURCE {
            return Err(Refusal::too_large("resource", plaintext.len(), limits::RESOURCE));
        }
        let mut content_key = Zeroizing::new([0; 32]);
        rand::fill(content_key.as_mut()).map_err(|_| failed("random content key"))?;
        let (header, encrypted_key) = self.wrap(content_key.as_ref())?;
        let header = serde_json::to_vec(&header).map_err(|e| failed("header").because(e))?;
        let protected = to_base64url(&header);

        let mut iv = [0; 12];
        rand::fill(&mut iv).map_err(|_| failed("random IV"))?;
        let key = UnboundKey::new(&AES_256_GCM, content_key.as_ref()).map_err(|_| failed("content key"))?;
        let mut text = Zeroizing::new(plaintext.to_vec());
        let tag = LessSafeKey::new(key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(iv),
                Aad::from(protected.as_bytes()),
                text.as_mut_slice(),
            )
            .map_err(|_| failed("encryption"))?;
        Ok(Jwe {
            encrypted_key: to_base64url(&encrypted_key),
            iv: to_base64url(&iv),
            ciphertext: to_base64url(&text),
            tag: to_base64url(tag.as_ref()),
            protected,
        })
    }

    fn wrap(&self, content_key: &[u8]) -> Result<(Header, Vec<u8>)> {
        match &self.0 {
            Inner::Ec { curve, point } => {
                let ephemeral = PrivateKey::generate(curve.agreement()).map_err(|_| failed("ephemeral key"))?;
                let kek = key_encryption_key(&ephemeral, point)?;
                let kek = AesKek::new(&AES_256, kek.as_ref()).map_err(|_| failed("key encryption key"))?;
                let mut wrapped = vec![0; content_key.len().saturating_add(8)];
                kek.wrap(content_key, &mut wrapped).map_err(|_| failed("key wrap"))?;
                Ok((header(ECDH_ES_A256KW, Some(EphemeralKey::of(&ephemeral, *curve)?)), wrapped))
            }
            Inner::Rsa(key) => {
                let mut wrapped = vec![0; key.ciphertext_size()];
                key.encrypt(&OAEP_SHA256_MGF1SHA256, content_key, &mut wrapped, None)
                    .map_err(|_| failed("RSA-OAEP"))?;
                Ok((header(RSA_OAEP_256, None), wrapped))
            }
        }
    }
}

impl EphemeralKey {
    fn of(key: &PrivateKey, curve: Curve) -> Result<Self> {
        let (x, y) = curve.coordinates(&public_point(key)?)?;
        Ok(Self { crv: curve.name().to_owned(), kty: "EC".to_owned(), x, y })
    }
}

/// The uncompressed public point of a private key.
pub(crate) fn public_point(key: &PrivateKey) -> Result<Vec<u8>> {
    let public = key.compute_public_key().map_err(|_| failed("public key"))?;
    let point: EcPublicKeyUncompressedBin<'_> = public.as_be_bytes().map_err(|_| failed("public key"))?;
    Ok(point.as_ref().to_vec())
}

/// The key encryption key of `ECDH-ES+A256KW`, without party names. The shared secret is the x coordinate at full length.
pub(crate) fn key_encryption_key(private: &PrivateKey, public: &ParsedPublicKey) -> Result<Zeroizing<[u8; 32]>> {
    let unable = || invalid("key agreement");
    agree(private, public.clone(), unable(), |z| concat_kdf(z, ECDH_ES_A256KW, b"", b""))
}

fn header(alg: &str, epk: Option<EphemeralKey>) -> Header {
    Header { alg: alg.to_owned(), enc: A256GCM.to_owned(), epk }
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::KeyInvalid, what)
}

fn failed(what: &str) -> Refusal {
    Refusal::new(Code::Internal, format!("jwe: {what}"))
}
