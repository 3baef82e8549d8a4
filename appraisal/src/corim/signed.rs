//! A CoRIM with its publisher's signature: COSE_Sign1 (`#6.18`, RFC 9052 §4.2), its protected header as
//! draft-ietf-rats-corim-11 §4.2 has it.
//!
//! The signature is over the header's bytes as they came, so that nothing is read differently than it was signed.

use super::cbor::Item;
use super::read::refused;
use super::{CORIM, COSE_SIGN1, CorimImport, CorimPlatform, EPOCH};
use crate::window::Window;
use crate::{DocumentKey, ReferenceValues, UnixTime};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};

/// Who signed a CoRIM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorimSigner {
    /// SHA-256 of the key's SubjectPublicKeyInfo.
    pub key: Sha256,
    /// What that key's holder calls itself.
    pub name: String,
}

const CONTENT_TYPE: &str = "application/rim+cbor";
/// RFC 9052 §3.1.
const ALG: i128 = 1;
const CRIT: i128 = 2;
const CONTENT: i128 = 3;
const KID: i128 = 4;
/// draft-ietf-rats-corim-11 §4.2.2.
const CORIM_META: i128 = 8;
/// RFC 9597 §2.
const CWT_CLAIMS: i128 = 15;

impl ReferenceValues {
    /// The guests of a CoRIM that one of `keys` signed, and by which of them.
    ///
    /// 1. Take header, content and signature apart, and read the algorithm.
    /// 2. Verify the signature over header and content, by a key whose algorithm it is.
    /// 3. Read the rest of the header: what is signed is a CoRIM, who signed, and that the signature is valid at `now`.
    /// 4. Read the content, as [`Self::from_corim`] does. It must be valid at `now` too, and what is made of it is valid within
    ///    both: where the caller states no validity, as long as both.
    ///
    /// # Errors
    /// `malformed`, `too-large`; `signature-invalid`; `reference-values-invalid`: the header is of something else, names no
    /// signer or demands what is not known here; `reference-values-not-yet-valid`, `reference-values-expired`; and those of
    /// [`Self::from_corim`].
    pub fn from_signed_corim(
        corim: &[u8],
        keys: &[DocumentKey],
        import: &CorimImport<'_>,
        now: UnixTime,
    ) -> Result<(Self, CorimSigner)> {
        // 1
        let signed = Item::parse(corim, "signed CoRIM")?;
        let shape =
            || Refusal::malformed("signed CoRIM", "tag 18 of header, unprotected header, content and signature");
        let Some([Item::Bytes(protected), unprotected @ Item::Map(_), Item::Bytes(content), Item::Bytes(signature)]) =
            signed.untagged(COSE_SIGN1).and_then(Item::array)
        else {
            return Err(shape());
        };
        let header = Item::parse(protected, "header of a signed CoRIM")?;
        // RFC 9052 §3: else two readers may read two values of one label.
        let labels = header.entries().ok_or_else(shape)?.iter().map(|(label, _)| label);
        if labels.clone().any(|label| unprotected.entries().is_some_and(|own| own.iter().any(|(own, _)| own == label)))
        {
            return Err(Refusal::malformed("header of a signed CoRIM", "a label that is in the unprotected one too"));
        }
        // 2
        let algorithm = header.at(ALG).and_then(Item::integer);
        let message = signature_structure(protected, content);
        let held = |key: &&DocumentKey| algorithm.is_some_and(|alg| key.verifies_cose(alg, &message, signature));
        let Some(key) = keys.iter().find(held) else {
            let algorithm = algorithm.map_or_else(|| "no number".to_owned(), |number| number.to_string());
            return Err(Refusal::new(Code::SignatureInvalid, "signature of a CoRIM")
                .got(format!("by none of {} keys under COSE algorithm {algorithm}", keys.len()))
                .want("by one of them"));
        };
        // 3
        let (signer, window) = read_signer(&header, key, now)?;
        // 4
        let window =
            window.and(read_validity(Item::parse(content, "CoRIM")?.untagged(CORIM).and_then(|corim| corim.at(4)))?);
        verify_window(window, "CoRIM", now)?;
        let (begins, ends) = window.bounds();
        let (issued, expires) = import.validity.unwrap_or((begins, ends));
        if issued < begins || expires > ends {
            return Err(refused(
                "validity of what is imported",
                &format!("within {begins} to {ends}, which was signed"),
            )
            .got(format!("{issued} to {expires}")));
        }
        let import = CorimImport { validity: Some((issued, expires)), ..import.clone() };
        Ok((Self::from_corim(content, &import)?, signer))
    }

    /// [`Self::to_corim`], signed by `key`, whose holder goes by the name of `signer`, and valid for as long as the values.
    ///
    /// `sign` gives the signature over what it is given by `key`'s private half, of an ECDSA key in ASN.1 DER.
    ///
    /// # Errors
    /// Those of [`Self::to_corim`] and of `sign`; `key-invalid`: it signed with another key; `reference-values-invalid`: no
    /// printable name.
    pub fn to_signed_corim(
        &self,
        platform: CorimPlatform,
        key: &DocumentKey,
        signer: &str,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>>,
    ) -> Result<Vec<u8>> {
        verify_name(signer)?;
        let content = self.to_corim(platform)?;
        let [issued, expires] =
            [self.issued, self.expires].map(|moment| Item::tagged(EPOCH, Item::Integer(moment.into())));
        let validity = Item::map([(0, issued), (1, expires)]);
        let meta = Item::map([(0, Item::map([(0, Item::text(signer))])), (1, validity)]);
        let algorithm = key.cose_algorithm();
        let protected = Item::map([
            (ALG, Item::Integer(algorithm)),
            (CONTENT, Item::text(CONTENT_TYPE)),
            (KID, Item::bytes(&key.fingerprint().0)),
            (CORIM_META, Item::Bytes(meta.encode())),
        ])
        .encode();
        let message = signature_structure(&protected, &content);
        let signature = key.cose_signature(&sign(&message)?)?;
        if !key.verifies_cose(algorithm, &message, &signature) {
            return Err(Refusal::new(Code::KeyInvalid, "signature of a CoRIM")
                .got("another key's")
                .want(key.fingerprint()));
        }
        let [protected, content, signature] = [protected, content, signature].map(Item::Bytes);
        Ok(Item::tagged(COSE_SIGN1, Item::Array(vec![protected, Item::map([]), content, signature])).encode())
    }

    /// Whether `corim` claims to be signed, by which nothing is said of the signature.
    pub fn is_signed_corim(corim: &[u8]) -> bool {
        // Tag 18 in one byte; no unsigned CoRIM begins so.
        corim.first() == Some(&0xd2)
    }
}

/// RFC 9052 §4.4, `Sig_structure` of a COSE_Sign1 without anything outside of it.
fn signature_structure(protected: &[u8], content: &[u8]) -> Vec<u8> {
    let parts = vec![Item::text("Signature1"), Item::bytes(protected), Item::bytes(b""), Item::bytes(content)];
    Item::Array(parts).encode()
}

/// Who signed, from a header whose signature held.
fn read_signer(header: &Item, key: &DocumentKey, now: UnixTime) -> Result<(CorimSigner, Window)> {
    if header.at(CRIT).is_some() {
        return Err(refused("header of a signed CoRIM", "nothing critical that is not known here").got("crit"));
    }
    if header.at(CONTENT).and_then(Item::string) != Some(CONTENT_TYPE) {
        return Err(refused("content type of a signed CoRIM", CONTENT_TYPE));
    }
    let meta = match header.at(CORIM_META) {
        None => None,
        Some(meta) => {
            let bytes = meta.byte_string().ok_or_else(|| refused("corim-meta", "CBOR in a byte string"))?;
            Some(Item::parse(bytes, "corim-meta")?)
        }
    };
    let claims = header.at(CWT_CLAIMS);
    // Where both are given both count: the draft wants them to agree.
    let window = Window::ALWAYS.and(read_validity(meta.as_ref().and_then(|meta| meta.at(1)))?);
    let window = window.and(claims_validity(claims)?);
    verify_window(window, "signature of a CoRIM", now)?;
    let name = meta.as_ref().map_or_else(|| claims.and_then(|claims| claims.at(1)), |meta| meta.at(0)?.at(0));
    let name = name.and_then(Item::string).ok_or_else(|| refused("signer of a CoRIM", "a name"))?;
    verify_name(name)?;
    if claims.is_some_and(|claims| claims.at(1).and_then(Item::string) != Some(name)) {
        return Err(refused("issuer of a CoRIM's claims", name));
    }
    Ok((CorimSigner { key: key.fingerprint(), name: name.to_owned() }, window))
}

/// `validity-map` (§7.3): not-before where it begins somewhere, and not-after, the last second.
fn read_validity(validity: Option<&Item>) -> Result<(UnixTime, UnixTime)> {
    let Some(validity) = validity else { return Ok((0, UnixTime::MAX)) };
    let moment = |item: &Item| item.untagged(EPOCH).and_then(Item::unsigned);
    let begins = validity.at(0).map_or(Some(0), moment);
    begins
        .zip(validity.at(1).and_then(moment))
        .ok_or_else(|| refused("validity of a signed CoRIM", "moments as epoch times"))
}

fn verify_window(window: Window, what: &str, now: UnixTime) -> Result<()> {
    window.verify(what, now, Code::ReferenceValuesNotYetValid, Code::ReferenceValuesExpired)
}

/// `nbf` and `exp` (RFC 8392 §3.1), which is the first second that is too late.
fn claims_validity(claims: Option<&Item>) -> Result<(UnixTime, UnixTime)> {
    let moment = |key, absent| claims.and_then(|claims| claims.at(key)).map_or(Some(absent), Item::unsigned);
    let ends = moment(4, UnixTime::MAX).and_then(|ends| ends.checked_sub(1));
    moment(5, 0).zip(ends).ok_or_else(|| refused("CWT claims of a CoRIM", "nbf and exp as whole seconds"))
}

/// It is shown to people.
fn verify_name(name: &str) -> Result<()> {
    match name.is_empty() || name.contains(char::is_control) {
        true => Err(refused("signer of a CoRIM", "a printable name")),
        false => Ok(()),
    }
}
