//! The guest's side: an ephemeral key that resources are wrapped to, and their opening.

use crate::jwe::{A256GCM, ECDH_ES_A256KW, Header, key_encryption_key, public_point};
use crate::jwk::Curve;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ParsedPublicKey, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use strongroom_wire::bytes::from_base64url;
use strongroom_wire::kbs::{Jwe, TeePubKey};
use strongroom_wire::{Code, Refusal, Result, limits};
use zeroize::Zeroizing;

/// A private key that is born in the guest's memory and never leaves it: neither cloned, serialised nor shown, erased on
/// drop by the crypto backend.
pub struct TeeKey {
    private: PrivateKey,
    curve: Curve,
    public: TeePubKey,
}

impl core::fmt::Debug for TeeKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("TeeKey").finish()
    }
}

impl TeeKey {
    /// A fresh key on P-256, for `ECDH-ES+A256KW`.
    pub fn generate_p256() -> Result<Self> {
        Self::generate(Curve::P256)
    }

    /// A fresh key on P-521, for `ECDH-ES+A256KW`.
    pub fn generate_p521() -> Result<Self> {
        Self::generate(Curve::P521)
    }

    fn generate(curve: Curve) -> Result<Self> {
        let private = PrivateKey::generate(curve.agreement())
            .map_err(|_| Refusal::new(Code::Internal, "random key for resources"))?;
        let (x, y) = curve.coordinates(&public_point(&private)?)?;
        let public = TeePubKey::Ec { crv: curve.name().into(), alg: ECDH_ES_A256KW.into(), x, y };
        Ok(Self { private, curve, public })
    }

    /// The public key, with exactly the members that report data is computed over.
    pub const fn public(&self) -> &TeePubKey {
        &self.public
    }

    /// Opens a resource that was encrypted to this key.
    ///
    /// The header is authenticated as received, character by character.
    ///
    /// # Errors
    /// `wrapped-key-invalid`: another algorithm, another key, or a single bit that is not as it was sent; `too-large`:
    /// longer than [`limits::KBS_ANSWER`].
    pub fn decrypt(&self, jwe: &Jwe) -> Result<Zeroizing<Vec<u8>>> {
        let length = [&jwe.protected, &jwe.encrypted_key, &jwe.iv, &jwe.ciphertext, &jwe.tag];
        let length = length.iter().fold(0usize, |sum, part| sum.saturating_add(part.len()));
        if length > limits::KBS_ANSWER {
            return Err(Refusal::too_large("jwe", length, limits::KBS_ANSWER));
        }
        let content_key = self.unwrap(&jwe.protected, &part(&jwe.encrypted_key, "encrypted_key")?)?;
        let iv: [u8; 12] = part(&jwe.iv, "iv")?.try_into().map_err(|_| invalid("iv").want("12 bytes"))?;
        let (ciphertext, tag) = (part(&jwe.ciphertext, "ciphertext")?, part(&jwe.tag, "tag")?);
        let key = UnboundKey::new(&AES_256_GCM, content_key.as_ref()).map_err(|_| invalid("content key"))?;
        let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
        LessSafeKey::new(key)
            .open_separate_gather(
                Nonce::assume_unique_for_key(iv),
                Aad::from(jwe.protected.as_bytes()),
                &ciphertext,
                &tag,
                plaintext.as_mut_slice(),
            )
            .map_err(|_| invalid("ciphertext, tag and header do not belong together"))?;
        Ok(plaintext)
    }

    fn unwrap(&self, protected: &str, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>> {
        let header: Header =
            serde_json::from_slice(&part(protected, "protected")?).map_err(|e| invalid("header").because(e))?;
        let algorithms = (header.alg.as_str(), header.enc.as_str());
        if algorithms != (ECDH_ES_A256KW, A256GCM) {
            return Err(invalid("header")
                .got(format!("{} {}", header.alg, header.enc))
                .want(format!("{ECDH_ES_A256KW} {A256GCM}")));
        }
        let epk = header.epk.filter(|epk| epk.kty == "EC" && epk.crv == self.curve.name());
        let epk = epk.ok_or_else(|| invalid("epk").want(format!("a key on {}", self.curve.name())))?;
        let point = self.curve.point(&epk.x, &epk.y).map_err(|r| Refusal { code: Code::WrappedKeyInvalid, ..r })?;
        // A point beside the curve would leak this private key bit by bit (invalid curve attack).
        let point = ParsedPublicKey::try_from(UnparsedPublicKey::new(self.curve.agreement(), point))
            .map_err(|_| invalid("epk is not a point on its curve"))?;
        let kek = key_encryption_key(&self.private, &point)?;
        if wrapped.len() != 40 {
            return Err(invalid("encrypted_key").got(format!("{} bytes", wrapped.len())).want("40 bytes"));
        }
        let kek = AesKek::new(&AES_256, kek.as_ref()).map_err(|_| invalid("key encryption key"))?;
        // The key's 32 bytes; the other 8 are the integrity check (RFC 3394 §2.2.1).
        let mut content_key = Zeroizing::new([0; 32]);
        kek.unwrap(wrapped, content_key.as_mut()).map_err(|_| invalid("content key was wrapped to another key"))?;
        Ok(content_key)
    }
}

fn part(text: &str, name: &str) -> Result<Vec<u8>> {
    from_base64url(text, name).map_err(|r| Refusal { code: Code::WrappedKeyInvalid, ..r })
}

fn invalid(what: &str) -> Refusal {
    Refusal::new(Code::WrappedKeyInvalid, what).within("jwe")
}
