//! A fake AMD hierarchy: ARK → ASK → VCEK and ARK → ASVK → VLEK, with AMD's names, key types, signature algorithm and
//! extensions (publication 57230), and revocation lists.

mod encode;
mod store;

use crate::x509::{self, Subject};
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, KeyPair, RSA_PSS_SHA384, RsaKeyPair};
use std::ops::Range;
use strongroom_wire::snp::{CertificateKind, CertificateTable, TableEntry, Tcb};
use strongroom_wire::{Code, Refusal, Result};

/// Seconds since 1970: 2020-01-01 to 2050-01-01, the validity of everything that does not say otherwise.
pub const ALWAYS: Range<u64> = 1_577_836_800..2_524_608_000;

/// A certificate authority of the hierarchy.
pub struct Authority {
    key: RsaKeyPair,
    name: String,
    certificate: Vec<u8>,
}

/// A whole fake hierarchy of one product.
pub struct Hierarchy {
    /// The root.
    pub ark: Authority,
    /// Signs VCEKs.
    pub ask: Authority,
    /// Signs VLEKs.
    pub asvk: Authority,
}

/// Which endorsement key is wanted. Each field can be changed alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VekSpec {
    /// `SEV-VCEK` or `SEV-VLEK`.
    pub subject: String,
    /// The productName extension.
    pub product_name: String,
    /// The TCB that the key is derived for.
    pub tcb: Tcb,
    /// The hwID extension; `None` leaves it out.
    pub hwid: Option<Vec<u8>>,
    /// The cspID extension; `None` leaves it out.
    pub csp_id: Option<String>,
    /// Validity, seconds since 1970.
    pub validity: Range<u64>,
}

/// An endorsement key with its certificate.
pub struct Vek {
    pub(crate) key: EcdsaKeyPair,
    /// What it was issued for.
    pub spec: VekSpec,
    /// DER.
    pub certificate: Vec<u8>,
}

impl Default for VekSpec {
    /// The VCEK of a Milan chip.
    fn default() -> Self {
        Self {
            subject: "SEV-VCEK".into(),
            product_name: "Milan-B0".into(),
            tcb: Tcb { fmc: None, bootloader: 4, tee: 0, snp: 24, microcode: 219 },
            hwid: Some((0..64).collect()),
            csp_id: None,
            validity: ALWAYS,
        }
    }
}

impl VekSpec {
    /// The VLEK of a provider on Milan.
    pub fn vlek() -> Self {
        Self { subject: "SEV-VLEK".into(), hwid: None, csp_id: Some("devkit cloud".into()), ..Self::default() }
    }

    /// The VCEK of a Turin chip: a TCB with FMC and an id of eight bytes.
    pub fn turin() -> Self {
        Self {
            product_name: "Turin-B1".into(),
            tcb: Tcb { fmc: Some(1), bootloader: 1, tee: 1, snp: 4, microcode: 81 },
            hwid: Some((1..9).collect()),
            ..Self::default()
        }
    }
}

impl Hierarchy {
    /// A fresh hierarchy with new RSA-4096 keys; takes seconds.
    pub fn generate(product: &str) -> Result<Self> {
        let ark = Authority::root(&format!("ARK-{product}"), ALWAYS)?;
        let ask = ark.intermediate(&format!("SEV-{product}"), 0x01_00_01, ALWAYS)?;
        let asvk = ark.intermediate(&format!("SEV-VLEK-{product}"), 0x01_01_01, ALWAYS)?;
        Ok(Self { ark, ask, asvk })
    }

    /// A hierarchy for Milan made once per build folder and read again by every later test process: making RSA-4096 keys
    /// in each would take most of a test run. It is as fake as any other, and never leaves the build folder.
    pub fn shared() -> Result<Self> {
        store::load_or_generate("Milan")
    }

    /// Issues an endorsement key: by the ASVK for a `SEV-VLEK`, else by the ASK.
    pub fn issue(&self, spec: VekSpec) -> Result<Vek> {
        let issuer = if spec.subject == "SEV-VLEK" { &self.asvk } else { &self.ask };
        issuer.issue(spec)
    }

    /// The GHCB certificate table that a host would hand its guest for `vek`, with a revocation list that names nobody.
    pub fn certificate_table(&self, vek: &Vek) -> Result<CertificateTable> {
        let vlek = vek.spec.subject == "SEV-VLEK";
        let (kind, issuer) =
            if vlek { (CertificateKind::Vlek, &self.asvk) } else { (CertificateKind::Vcek, &self.ask) };
        let entry = |kind, data: &[u8]| TableEntry { kind, data: data.to_vec() };
        let crl = self.ark.crl(&[], ALWAYS)?;
        Ok(CertificateTable {
            entries: vec![
                entry(kind, &vek.certificate),
                entry(CertificateKind::Ask, &issuer.certificate),
                entry(CertificateKind::Ark, &self.ark.certificate),
                entry(CertificateKind::Crl, &crl),
            ],
        })
    }
}

impl Authority {
    /// A self-signed root.
    pub fn root(name: &str, validity: Range<u64>) -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa4096).map_err(crypto)?;
        let subject = Subject { name, serial: 0x01_00_00, spki: spki(&key)?, extensions: x509::authority()? };
        let certificate = x509::certificate(&subject, name, validity, &key)?;
        Ok(Self { key, name: name.to_owned(), certificate })
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str, serial: u32, validity: Range<u64>) -> Result<Self> {
        let key = RsaKeyPair::generate(KeySize::Rsa4096).map_err(crypto)?;
        let subject = Subject { name, serial, spki: spki(&key)?, extensions: x509::authority()? };
        let certificate = x509::certificate(&subject, &self.name, validity, &self.key)?;
        Ok(Self { key, name: name.to_owned(), certificate })
    }

    /// This authority's key and name under another certificate of it: other serial, other validity, or other issuer.
    pub fn reissue(&self, issuer: &Self, serial: u32, validity: Range<u64>) -> Result<Vec<u8>> {
        let subject = Subject { name: &self.name, serial, spki: spki(&self.key)?, extensions: x509::authority()? };
        x509::certificate(&subject, &issuer.name, validity, &issuer.key)
    }

    /// Issues an endorsement key whatever its subject is.
    pub fn issue(&self, spec: VekSpec) -> Result<Vek> {
        let key = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_ASN1_SIGNING).map_err(crypto)?;
        let spki = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).map_err(crypto)?;
        let subject = Subject {
            name: &spec.subject,
            serial: 0,
            spki: spki.as_ref().to_vec(),
            extensions: encode::endorsement_key(&spec)?,
        };
        let certificate = x509::certificate(&subject, &self.name, spec.validity.clone(), &self.key)?;
        Ok(Vek { key, spec, certificate })
    }

    /// A revocation list signed by this authority, valid in `window`, that names `serials`; its number is 1.
    pub fn crl(&self, serials: &[u32], window: Range<u64>) -> Result<Vec<u8>> {
        self.numbered_crl(serials, window, Some(1))
    }

    /// [`Self::crl`] with another cRLNumber, or without one.
    pub fn numbered_crl(&self, serials: &[u32], window: Range<u64>, number: Option<u64>) -> Result<Vec<u8>> {
        x509::crl(&self.name, serials, window, number, &self.key)
    }

    /// DER certificate.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// PEM certificate.
    pub fn certificate_pem(&self) -> Result<String> {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, &self.certificate)
            .map_err(|e| Refusal::new(Code::Internal, "PEM").because(e))
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: what a test realm is named by.
    pub fn key_digest(&self) -> Result<strongroom_wire::digest::Sha256> {
        Ok(strongroom_wire::digest::Sha256::of(&spki(&self.key)?))
    }
}

fn spki(key: &RsaKeyPair) -> Result<Vec<u8>> {
    let der = AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).map_err(crypto)?;
    Ok(der.as_ref().to_vec())
}

/// RSASSA-PSS with SHA-384, as AMD signs.
fn sign(key: &RsaKeyPair, message: &[u8]) -> Result<Vec<u8>> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PSS_SHA384, &SystemRandom::new(), message, &mut signature).map_err(crypto)?;
    Ok(signature)
}

pub(crate) fn crypto(error: impl core::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "devkit crypto").because(error)
}
