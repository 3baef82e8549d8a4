//! cosign's encrypted key files: PKCS#8 in NaCl's secretbox (XSalsa20-Poly1305), under a key from scrypt (RFC 7914).
//!
//! Both primitives are the format's, not ours; the backend has neither.

use super::invalid;
use crypto_secretbox::aead::{Aead as _, KeyInit as _};
use crypto_secretbox::{Nonce, XSalsa20Poly1305};
use serde::Deserialize;
use strongroom_wire::{Code, Result, bytes, document, limits};
use zeroize::Zeroizing;

#[derive(Deserialize)]
struct EncryptedKey {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u64,
    r: u32,
    p: u32,
}

#[derive(Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

/// Opens the JSON document inside the PEM; gives PKCS#8 DER.
///
/// The costs are bounded before anything is allocated: a key file is not always one's own.
pub(super) fn decrypt(json: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let file: EncryptedKey = document::parse_json(json, "encrypted key", limits::KEY_FILE, Code::KeyInvalid)?;
    if (file.kdf.name.as_str(), file.cipher.name.as_str()) != ("scrypt", "nacl/secretbox") {
        return Err(invalid("encrypted key")
            .got(format!("{}, {}", file.kdf.name, file.cipher.name))
            .want("scrypt, nacl/secretbox"));
    }
    let Params { n, r, p } = file.kdf.params;
    if !n.is_power_of_two() || n > limits::SCRYPT_N || r > limits::SCRYPT_R || p > limits::SCRYPT_P {
        let limit = format!(
            "N a power of two up to {}, r up to {}, p up to {}",
            limits::SCRYPT_N,
            limits::SCRYPT_R,
            limits::SCRYPT_P
        );
        return Err(invalid("scrypt parameters").got(format!("N {n}, r {r}, p {p}")).want(limit));
    }
    let log_n = u8::try_from(n.trailing_zeros()).unwrap_or(u8::MAX);
    let params = scrypt::Params::new(log_n, r, p, 32).map_err(|e| invalid("scrypt parameters").because(e))?;
    let decode = |text: &str, what: &str| bytes::from_base64(text, what).map_err(|e| invalid(&e.what));
    let salt = decode(&file.kdf.salt, "salt")?;
    let nonce: [u8; 24] = decode(&file.cipher.nonce, "nonce")?
        .try_into()
        .map_err(|other: Vec<u8>| invalid("nonce").got(format!("{} bytes", other.len())).want(24))?;
    let ciphertext = decode(&file.ciphertext, "ciphertext")?;

    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password, &salt, &params, &mut *key).map_err(|e| invalid("scrypt").because(e))?;
    let cipher = XSalsa20Poly1305::new((&*key).into());
    let opened = cipher.decrypt(&Nonce::from(nonce), ciphertext.as_slice());
    opened.map(Zeroizing::new).map_err(|_| invalid("encrypted key").got("wrong password, or a changed file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PublicKey, SigningKey};

    /// Made with Python's hashlib.scrypt and PyNaCl's SecretBox from `p256.pkcs8.pem`, password `correct horse`.
    const ENCRYPTED: &str = include_str!("../../tests/keys/p256.cosign.pem");
    const PUBLIC: &[u8] = include_bytes!("../../tests/keys/p256.pub.pem");

    fn open(pem: &str, password: &[u8]) -> Result<SigningKey> {
        SigningKey::from_pem(pem.as_bytes(), Some(password))
    }

    /// The same file with its JSON changed.
    fn with(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let (label, json) = der::pem::decode_vec(ENCRYPTED.as_bytes()).unwrap();
        let mut json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        change(&mut json);
        der::pem::encode_string(label, der::pem::LineEnding::LF, json.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn right_password_accepted_and_wrong_or_missing_one_refused() {
        assert_eq!(open(ENCRYPTED, b"correct horse").unwrap().public(), PublicKey::from_pem(PUBLIC).unwrap());
        assert_eq!(open(ENCRYPTED, b"correct horsf").unwrap_err().code, Code::KeyInvalid);
        assert_eq!(SigningKey::from_pem(ENCRYPTED.as_bytes(), None).unwrap_err().code, Code::KeyInvalid);
    }

    #[test]
    fn old_label_accepted() {
        assert!(open(&ENCRYPTED.replace("SIGSTORE", "COSIGN"), b"correct horse").is_ok());
    }

    #[test]
    fn costs_over_the_limits_refused_before_they_are_paid() {
        for (name, value) in [("N", 1_u64 << 18), ("N", 65_535), ("N", 0), ("r", 9), ("r", 0), ("p", 5), ("p", 0)] {
            let file = with(|json| json["kdf"]["params"][name] = value.into());
            assert_eq!(open(&file, b"correct horse").unwrap_err().code, Code::KeyInvalid, "{name} {value}");
        }
    }

    #[test]
    fn changed_ciphertext_salt_nonce_and_names_refused() {
        let changes: [fn(&mut serde_json::Value); 5] = [
            |json| json["ciphertext"] = "AAAA".into(),
            |json| json["kdf"]["salt"] = "AAAA".into(),
            |json| json["cipher"]["nonce"] = "AAAA".into(),
            |json| json["cipher"]["name"] = "aes".into(),
            |json| json["kdf"]["name"] = "pbkdf2".into(),
        ];
        for change in changes {
            assert_eq!(open(&with(change), b"correct horse").unwrap_err().code, Code::KeyInvalid);
        }
        assert!(open(&with(|_| ()), b"correct horse").is_ok());
    }
}
