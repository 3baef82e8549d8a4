//! Who issues: a key, its own certificate, and what it signs for workloads.

use crate::request::Request;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use core::fmt;
use core::ops::Range;
use core::time::Duration;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyUsagePurpose, SanType, SerialNumber,
};
use std::time::SystemTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::spiffe::{SpiffeId, TrustDomain};
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// The longest that a certificate of a workload is valid, in seconds.
pub const LIFETIME: u64 = 3600;
/// How long before it was made a certificate is valid, in seconds: clocks of others are behind by that.
pub const SKEW: u64 = 10;

/// A signing authority of one trust domain. Its key is the crypto backend's, which clears it when it is freed.
pub struct Authority {
    key: Key,
    domain: TrustDomain,
    valid: Range<u64>,
    certificate: Vec<u8>,
}

struct Key(EcdsaKeyPair);

/// A certificate of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// Whose it is.
    pub id: SpiffeId,
    /// The certificate in DER. Its issuer is in the bundle; nothing is between.
    pub certificate: Vec<u8>,
    /// Its serial number, in hex.
    pub serial: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

impl Authority {
    /// A new one of `domain`, whose certificate it signs itself.
    ///
    /// # Errors
    /// `internal`: the crypto backend failed, or the time is none of a certificate's.
    pub fn generate(domain: TrustDomain, valid: Range<u64>) -> Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING);
        let key = Key(pair.map_err(|e| internal("making a key").because(e))?);
        let params = params(&key, &domain, &valid)?;
        let certificate = params.self_signed(&key).map_err(|e| internal("certificate of an authority").because(e))?;
        Ok(Self { certificate: certificate.der().to_vec(), key, domain, valid })
    }

    /// The one that was made for `domain` and that time, with its certificate and what [`Self::secret`] was.
    ///
    /// # Errors
    /// `key-invalid`.
    pub fn load(domain: TrustDomain, valid: Range<u64>, certificate: Vec<u8>, secret: &[u8]) -> Result<Self> {
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, secret);
        let key = Key(pair.map_err(|e| Refusal::new(Code::KeyInvalid, "key of an authority").because(e))?);
        Ok(Self { key, domain, valid, certificate })
    }

    /// Its certificate in DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// From when to when it is valid, in seconds since 1970.
    pub const fn valid(&self) -> &Range<u64> {
        &self.valid
    }

    /// Its private key in PKCS #8, to be kept where nobody else reads it.
    ///
    /// # Errors
    /// `internal`.
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>> {
        let der = self.key.0.to_pkcs8v1().map_err(|e| internal("encoding a key").because(e))?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// Issues what was asked for, from `now` until `until` at the latest, and for no longer than [`LIFETIME`] or than it is valid itself.
    ///
    /// # Errors
    /// `identity-invalid`: of another trust domain; `certificate-expired`, `certificate-not-yet-valid`: the authority is; `internal`.
    pub fn issue(&self, request: &Request, now: u64, until: u64) -> Result<Svid> {
        let domain = request.id().trust_domain();
        if domain != self.domain {
            return Err(Refusal::new(Code::IdentityInvalid, "trust domain").got(domain).want(&self.domain));
        }
        let expires = now.saturating_add(LIFETIME).min(until).min(self.valid.end);
        if now < self.valid.start {
            let refusal = Refusal::new(Code::CertificateNotYetValid, "authority").got(now);
            return Err(refusal.want(format!("from {}", self.valid.start)));
        }
        if expires <= now {
            let refusal = Refusal::new(Code::CertificateExpired, "authority, or what the identity rests on").got(now);
            return Err(refusal.want(format!("before {}", until.min(self.valid.end))));
        }
        let issuer = Issuer::new(params(&self.key, &self.domain, &self.valid)?, &self.key);
        let mut serial = [0; 16];
        rand::fill(&mut serial).map_err(|e| internal("random serial number").because(e))?;
        // Positive, and of a fixed length (RFC 5280 §4.1.2.2).
        serial[0] = serial[0] & 0x7f | 0x40;
        let mut leaf = CertificateParams::default();
        leaf.not_before = time(now.saturating_sub(SKEW).max(self.valid.start)).into();
        leaf.not_after = time(expires).into();
        leaf.serial_number = Some(SerialNumber::from_slice(&serial));
        leaf.subject_alt_names = vec![uri(request.id().as_str())?];
        // Without a subject: the one name is that of the extension, which is critical then (RFC 5280 §4.2.1.6).
        leaf.distinguished_name = DistinguishedName::new();
        leaf.is_ca = IsCa::ExplicitNoCa;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        leaf.use_authority_key_identifier_extension = true;
        let certificate = leaf.signed_by(request, &issuer).map_err(|e| internal("issuing").because(e))?;
        let (id, certificate) = (request.id().clone(), certificate.der().to_vec());
        Ok(Svid { id, certificate, serial: hex::encode(serial), expires })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("domain", &self.domain).field("valid", &self.valid).finish_non_exhaustive()
    }
}

/// What an authority's certificate says, and what names it in those that it issues.
fn params(key: &Key, domain: &TrustDomain, valid: &Range<u64>) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.not_before = time(valid.start).into();
    params.not_after = time(valid.end).into();
    // A name of its own, so that nobody takes one authority for another before the signature says so.
    let mut subject = DistinguishedName::new();
    let id = Sha256::of(key.0.public_key().as_ref()).to_string();
    subject.push(DnType::OrganizationName, domain.as_str());
    subject.push(DnType::CommonName, id.get(..16).unwrap_or_default());
    params.distinguished_name = subject;
    params.subject_alt_names = vec![uri(&format!("spiffe://{domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.key_identifier_method = KeyIdMethod::Sha256;
    Ok(params)
}

fn uri(text: &str) -> Result<SanType> {
    Ia5String::try_from(text).map(SanType::URI).map_err(|e| internal("name in a certificate").because(e))
}

fn time(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn internal(what: &str) -> Refusal {
    Refusal::new(Code::Internal, what)
}

impl rcgen::PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> core::result::Result<Vec<u8>, rcgen::Error> {
        let signature = self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}
