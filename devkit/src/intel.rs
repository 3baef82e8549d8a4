//! A fake Intel hierarchy: root → PCK platform and processor authorities → PCK certificates, root → TCB signing key → TCB
//! info and QE identity, with Intel's names, key types and extensions (PCK certificate and CRL profile specification).

mod collateral;
mod encode;
mod key;

use crate::x509::{self, Subject};
use std::ops::Range;
use strongroom_wire::{Code, Refusal, Result};

pub use collateral::{CollateralSpec, qe_identity, tcb_info};
pub(crate) use key::Key;

/// Seconds since 1970: 2020-01-01 to 2050-01-01, the validity of everything that does not say otherwise.
pub const ALWAYS: Range<u64> = 1_577_836_800..2_524_608_000;

/// Common name of Intel's root.
pub const ROOT: &str = "Intel SGX Root CA";
/// Common name of the authority of multi-package platforms.
pub const PLATFORM_CA: &str = "Intel SGX PCK Platform CA";
/// Common name of the authority of single packages.
pub const PROCESSOR_CA: &str = "Intel SGX PCK Processor CA";
/// Common name of the key that signs TCB info and QE identity.
pub const TCB_SIGNING: &str = "Intel SGX TCB Signing";

/// A key of the hierarchy with its certificate.
pub struct Authority {
    key: Key,
    name: String,
    certificate: Vec<u8>,
}

/// A whole fake hierarchy.
pub struct Hierarchy {
    /// The root.
    pub root: Authority,
    /// Signs the PCKs of multi-package platforms.
    pub platform_ca: Authority,
    /// Signs the PCKs of single packages.
    pub processor_ca: Authority,
    /// Signs TCB info and QE identity.
    pub tcb_signing: Authority,
}

/// Which platform is wanted. Each field can be changed alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PckSpec {
    /// Common name of the subject.
    pub subject: String,
    /// Serial number.
    pub serial: u32,
    /// PPID.
    pub ppid: [u8; 16],
    /// SGX TCB components.
    pub sgx_components: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// PCEID.
    pub pce_id: [u8; 2],
    /// FMSPC.
    pub fmspc: [u8; 6],
    /// Platform Instance ID; `None` leaves it out.
    pub platform_instance: Option<[u8; 16]>,
    /// Dynamic Platform, Cached Keys, SMT Enabled; `None` leaves them out.
    pub configuration: Option<[bool; 3]>,
    /// Whether the SGX extensions are there at all.
    pub sgx_extensions: bool,
    /// The SGX extensions as DER, whatever the fields above say; `None` writes those.
    pub raw_extensions: Option<Vec<u8>>,
    /// Validity, seconds since 1970.
    pub validity: Range<u64>,
}

/// A platform's key with its certificate.
pub struct Pck {
    pub(crate) key: Key,
    /// What it was issued for.
    pub spec: PckSpec,
    /// DER.
    pub certificate: Vec<u8>,
    /// PEM: the certificate, its authority's, and the root's, as a quote carries them.
    pub chain: Vec<u8>,
}

impl Default for PckSpec {
    /// A platform that the collateral of [`CollateralSpec::default`] finds up to date.
    fn default() -> Self {
        Self {
            subject: "Intel SGX PCK Certificate".into(),
            serial: 0x0f_00_01,
            ppid: [0x99; 16],
            sgx_components: [4, 4, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
            pce_svn: 13,
            pce_id: [0, 0],
            fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0],
            platform_instance: Some([0x1d; 16]),
            configuration: Some([true, false, true]),
            sgx_extensions: true,
            raw_extensions: None,
            validity: ALWAYS,
        }
    }
}

impl PckSpec {
    /// The SGX extensions that say what the fields say, as DER.
    pub fn extensions(&self) -> Result<Vec<u8>> {
        encode::sgx_extensions(self)
    }
}

impl Hierarchy {
    /// A fresh hierarchy; P-256 keys are made in no time.
    pub fn generate() -> Result<Self> {
        let root = Authority::root(ROOT, ALWAYS)?;
        Ok(Self {
            platform_ca: root.intermediate(PLATFORM_CA, 2, ALWAYS)?,
            processor_ca: root.intermediate(PROCESSOR_CA, 3, ALWAYS)?,
            tcb_signing: root.signer(TCB_SIGNING, 4, ALWAYS)?,
            root,
        })
    }

    /// Issues a platform's key by the platform authority.
    pub fn issue(&self, spec: PckSpec) -> Result<Pck> {
        self.platform_ca.issue(spec, &self.root)
    }

    /// Collateral as `QuoteCollateralV3` JSON, signed by this hierarchy.
    pub fn collateral(&self, spec: &CollateralSpec) -> Result<Vec<u8>> {
        collateral::encode(self, spec)
    }
}

impl Authority {
    /// A self-signed root.
    pub fn root(name: &str, validity: Range<u64>) -> Result<Self> {
        let key = Key::generate()?;
        let subject = Subject { name, serial: 1, spki: key.spki()?, extensions: x509::authority()? };
        let certificate = x509::certificate(&subject, name, validity, &key)?;
        Ok(Self { key, name: name.to_owned(), certificate })
    }

    /// An authority below this one.
    pub fn intermediate(&self, name: &str, serial: u32, validity: Range<u64>) -> Result<Self> {
        self.below(name, serial, validity, x509::authority()?)
    }

    /// A key below this one that signs, but is no authority.
    pub fn signer(&self, name: &str, serial: u32, validity: Range<u64>) -> Result<Self> {
        self.below(name, serial, validity, x509::end_entity()?)
    }

    fn below(
        &self,
        name: &str,
        serial: u32,
        validity: Range<u64>,
        extensions: Vec<x509_cert::ext::Extension>,
    ) -> Result<Self> {
        let key = Key::generate()?;
        let subject = Subject { name, serial, spki: key.spki()?, extensions };
        let certificate = x509::certificate(&subject, &self.name, validity, &self.key)?;
        Ok(Self { key, name: name.to_owned(), certificate })
    }

    /// This authority under another certificate of its name and key, issued by `issuer`.
    pub fn reissued(self, issuer: &Self, serial: u32, validity: Range<u64>) -> Result<Self> {
        let subject = Subject { name: &self.name, serial, spki: self.key.spki()?, extensions: x509::authority()? };
        let certificate = x509::certificate(&subject, &issuer.name, validity, &issuer.key)?;
        Ok(Self { certificate, ..self })
    }

    /// Issues a platform's key whatever its subject is; the chain ends with `root`'s certificate.
    pub fn issue(&self, spec: PckSpec, root: &Self) -> Result<Pck> {
        let key = Key::generate()?;
        let mut extensions = x509::end_entity()?;
        if spec.sgx_extensions {
            let value = spec.raw_extensions.clone().map_or_else(|| spec.extensions(), Ok)?;
            extensions.push(x509::extension(encode::SGX_EXTENSIONS, false, value)?);
        }
        let subject = Subject { name: &spec.subject, serial: spec.serial, spki: key.spki()?, extensions };
        let certificate = x509::certificate(&subject, &self.name, spec.validity.clone(), &self.key)?;
        let chain = pem_chain(&[&certificate, &self.certificate, &root.certificate])?;
        Ok(Pck { key, spec, certificate, chain: chain.into_bytes() })
    }

    /// A revocation list signed by this authority, valid in `window`, that names `serials`. DER.
    pub fn crl(&self, serials: &[u32], window: Range<u64>) -> Result<Vec<u8>> {
        self.numbered_crl(serials, window, Some(1))
    }

    /// [`Self::crl`] with another cRLNumber, or without one.
    pub fn numbered_crl(&self, serials: &[u32], window: Range<u64>, number: Option<u64>) -> Result<Vec<u8>> {
        x509::crl(&self.name, serials, window, number, &self.key)
    }

    /// Signs a text as TCB info and QE identity are signed: R and S, 32 bytes each.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>> {
        self.key.sign_fixed(text)
    }

    /// DER certificate.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: what a test realm is named by.
    pub fn key_digest(&self) -> Result<strongroom_wire::digest::Sha256> {
        Ok(strongroom_wire::digest::Sha256::of(&self.key.spki()?))
    }
}

/// Certificates, one after another.
pub fn pem_chain(certificates: &[&[u8]]) -> Result<String> {
    let pem = |der: &&[u8]| {
        der::pem::encode_string("CERTIFICATE", der::pem::LineEnding::LF, der)
            .map_err(|e| Refusal::new(Code::Internal, "PEM").because(e))
    };
    certificates.iter().map(pem).collect()
}
