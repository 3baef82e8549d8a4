//! Whom others believe: the authorities of a trust domain, as a SPIFFE bundle ("SPIFFE Trust Domain and Bundle" §4), and what a
//! certificate under one of them says.

use crate::certificate::only_spiffe_id;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use core::time::Duration;
use der::oid::db::rfc5280::ID_CE_SUBJECT_ALT_NAME;
use der::{Decode as _, Encode as _};
use rustls_pki_types::{CertificateDer, UnixTime};
use serde::{Deserialize, Serialize};
use strongroom_wire::spiffe::{SpiffeId, TrustDomain};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage as KeyUsageExtension, KeyUsages};

/// `use` of keys that X.509-SVIDs are verified by (§4.2.2).
const USE: &str = "x509-svid";

/// The authorities of one trust domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    domain: TrustDomain,
    /// DER.
    authorities: Vec<Vec<u8>>,
    sequence: u64,
    refresh: u64,
}

/// What somebody shows a certificate as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that connects.
    Client,
    /// The one that is connected to.
    Server,
}

#[derive(Serialize, Deserialize)]
struct Document {
    #[serde(default, rename = "spiffe_sequence")]
    sequence: u64,
    #[serde(default, rename = "spiffe_refresh_hint")]
    refresh: u64,
    keys: Vec<Jwk>,
}

/// RFC 7517, of elliptic curves (RFC 7518 §6.2).
#[derive(Serialize, Deserialize)]
struct Jwk {
    #[serde(default, rename = "use")]
    used: String,
    #[serde(default)]
    kty: String,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    x5c: Vec<String>,
}

impl Bundle {
    /// The bundle with these certificates of authorities (DER). `sequence` grows when they change; `refresh` is after how many seconds
    /// others are to ask again.
    pub const fn new(domain: TrustDomain, authorities: Vec<Vec<u8>>, sequence: u64, refresh: u64) -> Self {
        Self { domain, authorities, sequence, refresh }
    }

    /// Parses the bundle of `domain`, of at most [`limits::SPIFFE_BUNDLE`] bytes. Keys of other uses are passed over.
    ///
    /// # Errors
    /// `malformed`, `too-large`; `identity-invalid`: no authority in it.
    pub fn parse(domain: TrustDomain, json: &[u8]) -> Result<Self> {
        let what = "SPIFFE bundle";
        let document: Document = document::parse_json(json, what, limits::SPIFFE_BUNDLE, Code::Malformed)?;
        let mut authorities = Vec::new();
        for key in document.keys.iter().filter(|key| key.used == USE) {
            // One certificate and no chain (§4.2.2).
            let [certificate] = key.x5c.as_slice() else {
                return Err(Refusal::malformed(what, format!("{} certificates of one key", key.x5c.len())));
            };
            let der = STANDARD.decode(certificate).map_err(|e| Refusal::malformed(what, e))?;
            Certificate::from_der(&der).map_err(|e| Refusal::malformed(what, e))?;
            authorities.push(der);
        }
        if authorities.is_empty() {
            return Err(Refusal::new(Code::IdentityInvalid, what).got("no key of an authority").want("one at least"));
        }
        Ok(Self { domain, authorities, sequence: document.sequence, refresh: document.refresh })
    }

    /// It as JSON.
    ///
    /// # Errors
    /// `internal`: an authority's certificate is none of a P-256 key.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        let keys = self.authorities.iter().map(|der| jwk(der)).collect::<Result<_>>()?;
        let document = Document { sequence: self.sequence, refresh: self.refresh, keys };
        serde_json::to_vec(&document).map_err(|e| Refusal::new(Code::Internal, "SPIFFE bundle").because(e))
    }

    /// Whose authorities they are.
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// Which edition it is.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Verifies the certificates that somebody shows (DER, its own first) at `now`, in seconds since 1970 ("X509-SVID" §5): who it
    /// is. That it holds the key is what TLS verifies.
    ///
    /// # Errors
    /// `svid-untrusted`: no authority of the bundle vouches for it, now and for that side; `identity-invalid`: it is no leaf, or
    /// names nobody, or somebody of another trust domain; `malformed`; `too-large`: a chain longer than
    /// [`limits::SIGNER_CHAIN`].
    pub fn verify(&self, chain: &[CertificateDer<'_>], side: Side, now: u64) -> Result<SpiffeId> {
        if chain.len() > limits::SIGNER_CHAIN {
            return Err(Refusal::too_large("certificates of a workload", chain.len(), limits::SIGNER_CHAIN));
        }
        let untrusted = |e: webpki::Error| Refusal::new(Code::SvidUntrusted, "certificate of a workload").because(e);
        let [leaf, between @ ..] = chain else {
            return Err(Refusal::new(Code::SvidUntrusted, "certificate of a workload").got("none"));
        };
        let authorities: Vec<_> = self.authorities.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let anchors: Vec<_> = authorities.iter().filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
        let usage = match side {
            Side::Client => KeyUsage::client_auth(),
            Side::Server => KeyUsage::server_auth(),
        };
        let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let end = EndEntityCert::try_from(leaf).map_err(untrusted)?;
        end.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, between, time, usage, None, None).map_err(untrusted)?;
        let id = name_of(leaf)?;
        if id.trust_domain() != self.domain {
            let refusal = Refusal::new(Code::IdentityInvalid, "trust domain").got(id.trust_domain());
            return Err(refusal.want(&self.domain));
        }
        Ok(id)
    }
}

/// Whom a leaf names, and that it may sign no others (§4.1, 4.3).
fn name_of(leaf: &[u8]) -> Result<SpiffeId> {
    let malformed = |e: der::Error| Refusal::malformed("certificate of a workload", e);
    let certificate = Certificate::from_der(leaf).map_err(malformed)?.tbs_certificate;
    let constraints = certificate.get::<BasicConstraints>().map_err(malformed)?;
    let usage = certificate.get::<KeyUsageExtension>().map_err(malformed)?;
    let signs =
        |usage: &KeyUsageExtension| usage.0.contains(KeyUsages::KeyCertSign) || usage.0.contains(KeyUsages::CRLSign);
    let leaf = constraints.is_none_or(|(_, constraints)| !constraints.ca)
        && usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::DigitalSignature) && !signs(&usage));
    if !leaf {
        let refusal = Refusal::new(Code::IdentityInvalid, "certificate of a workload").got("an authority's key usage");
        return Err(refusal.want("digitalSignature, and neither keyCertSign nor cRLSign"));
    }
    let names = certificate.extensions.iter().flatten().filter(|one| one.extn_id == ID_CE_SUBJECT_ALT_NAME);
    only_spiffe_id(&names.map(|extension| extension.extn_value.as_bytes()).collect::<Vec<_>>())
}

fn jwk(der: &[u8]) -> Result<Jwk> {
    let wrong = || Refusal::new(Code::Internal, "certificate of an authority");
    let certificate = Certificate::from_der(der).map_err(|e| wrong().because(e))?;
    let key = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|e| wrong().because(e))?;
    let (x, y) = key.last_chunk::<64>().ok_or_else(wrong)?.split_at(32);
    Ok(Jwk {
        used: USE.to_owned(),
        kty: "EC".to_owned(),
        crv: "P-256".to_owned(),
        x: URL_SAFE_NO_PAD.encode(x),
        y: URL_SAFE_NO_PAD.encode(y),
        x5c: vec![STANDARD.encode(der)],
    })
}
