//! The platform's certificate (Intel SGX PCK certificate and CRL profile specification): its chain, and what Intel states
//! in its extension 1.2.840.113741.1.13.1.

use crate::certificate::Certificate;
use crate::window::Window;
use crate::{Roots, UnixTime};
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Encode, Tag, Tagged};
use strongroom_wire::{Code, Refusal, Result, Root};

const SGX_EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const PCK: &str = "Intel SGX PCK Certificate";
const AUTHORITIES: [&str; 2] = ["Intel SGX PCK Platform CA", "Intel SGX PCK Processor CA"];

/// What Intel states of a platform. A quote's own words are never asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformFacts {
    /// PPID: which processor package.
    pub ppid: [u8; 16],
    /// The sixteen SGX TCB component SVNs.
    pub sgx_components: [u8; 16],
    /// PCESVN.
    pub pce_svn: u16,
    /// CPUSVN, raw.
    pub cpu_svn: [u8; 16],
    /// PCEID.
    pub pce_id: [u8; 2],
    /// FMSPC: family, model, stepping, platform type and custom SKU.
    pub fmspc: [u8; 6],
    /// Platform Instance ID: which machine; of multi-package platforms only.
    pub platform_instance: Option<[u8; 16]>,
    /// Configuration; of multi-package platforms only.
    pub configuration: Option<Configuration>,
}

/// How a multi-package platform is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Configuration {
    /// Dynamic Platform: packages may be added without the platform becoming another one.
    pub dynamic_platform: bool,
    /// Cached Keys: Intel's registration service keeps the platform's root keys.
    pub cached_keys: bool,
    /// SMT Enabled: simultaneous multithreading is on.
    pub smt: bool,
}

/// A chain from a platform's certificate to a trusted root.
#[derive(Debug, Clone)]
pub(super) struct PckChain {
    /// The text that it was read from, which tells the same platform again.
    pub(super) text: Vec<u8>,
    pub(super) pck: Certificate,
    pub(super) authority: Certificate,
    pub(super) root: Certificate,
    pub(super) label: Root,
    pub(super) facts: PlatformFacts,
    pub(super) window: Window,
}

impl PckChain {
    /// Verifies a PEM chain, leaf first, at `now`.
    pub(super) fn verify(text: &[u8], roots: &Roots, now: UnixTime) -> Result<Self> {
        let pem = core::str::from_utf8(text).map_err(|e| Refusal::malformed("PCK certificate chain", e))?;
        let chain = super::collateral::chain(pem, "PCK certificate chain")?;
        let (pck, issuers) = chain.split_first().ok_or_else(|| Refusal::malformed("PCK certificate chain", "empty"))?;
        if pck.subject != PCK {
            return Err(Refusal::new(Code::CertificateUnsuitable, "PCK certificate").got(&pck.subject).want(PCK));
        }
        let (authority, root) = verify_pck_authority(issuers, roots, now)?;
        if pck.issuer != authority.subject || !pck.is_signed_by(authority) {
            return Err(Refusal::new(Code::CertificateSignatureInvalid, &pck.subject)
                .got(format!("issuer {}", pck.issuer))
                .want(format!("a signature by {} sha256:{}", authority.subject, authority.key_id())));
        }
        pck.verify_validity(now)?;
        pck.verify_leaf()?;
        pck.p256_key()?;
        let window = [pck, authority, root].into_iter().map(Certificate::validity).fold(Window::ALWAYS, Window::and);
        Ok(Self {
            text: text.to_vec(),
            facts: PlatformFacts::read(pck)?,
            pck: pck.clone(),
            authority: authority.clone(),
            label: roots.label(root),
            root: root.clone(),
            window,
        })
    }
}

/// The first of `chain`, which must be one of Intel's two PCK authorities, and the trusted root that signed it; both are
/// valid at `now` and may sign certificates.
pub(super) fn verify_pck_authority<'a>(
    chain: &'a [Certificate],
    roots: &'a Roots,
    now: UnixTime,
) -> Result<(&'a Certificate, &'a Certificate)> {
    let missing =
        || Refusal::new(Code::IntermediateMissing, "PCK authority").got("none").want(AUTHORITIES.join(" or "));
    let (authority, given) = chain.split_first().ok_or_else(missing)?;
    if !AUTHORITIES.contains(&authority.subject.as_str()) {
        return Err(Refusal::new(Code::CertificateUnsuitable, "PCK authority")
            .got(&authority.subject)
            .want(AUTHORITIES.join(" or ")));
    }
    let root = roots.issuer_of(authority, Root::Intel, given)?;
    for certificate in [authority, root] {
        certificate.verify_validity(now)?;
        certificate.verify_authority()?;
    }
    Ok((authority, root))
}

impl PlatformFacts {
    fn read(pck: &Certificate) -> Result<Self> {
        let absent = |name: &str| Refusal::new(Code::CertificateUnsuitable, format!("PCK certificate without {name}"));
        let value = pck.extension(SGX_EXTENSIONS)?.ok_or_else(|| absent("SGX extensions"))?;
        let extensions = Entries::read(value, SGX_EXTENSIONS)?;
        let tcb = extensions.get(2).ok_or_else(|| absent("TCB"))?;
        let tcb = Entries::read(&tcb.to_der().map_err(malformed)?, arc(SGX_EXTENSIONS, 2)?)?;
        let mut sgx_components = [0; 16];
        for (component, number) in sgx_components.iter_mut().zip(1..) {
            *component = tcb.get(number).ok_or_else(|| absent("a TCB component"))?.decode_as().map_err(malformed)?;
        }
        Ok(Self {
            ppid: octets(extensions.get(1).ok_or_else(|| absent("PPID"))?)?,
            sgx_components,
            pce_svn: tcb.get(17).ok_or_else(|| absent("PCESVN"))?.decode_as().map_err(malformed)?,
            cpu_svn: octets(tcb.get(18).ok_or_else(|| absent("CPUSVN"))?)?,
            pce_id: octets(extensions.get(3).ok_or_else(|| absent("PCEID"))?)?,
            fmspc: octets(extensions.get(4).ok_or_else(|| absent("FMSPC"))?)?,
            platform_instance: extensions.get(6).map(octets).transpose()?,
            configuration: extensions.get(7).map(Configuration::read).transpose()?,
        })
    }
}

impl Configuration {
    /// A switch that is not stated is off (PCK certificate profile, "Configuration").
    fn read(value: &Any) -> Result<Self> {
        let entries = Entries::read(&value.to_der().map_err(malformed)?, arc(SGX_EXTENSIONS, 7)?)?;
        let switch = |number| entries.get(number).map_or(Ok(false), |value| value.decode_as().map_err(malformed));
        Ok(Self { dynamic_platform: switch(1)?, cached_keys: switch(2)?, smt: switch(3)? })
    }
}

/// `SEQUENCE OF SEQUENCE { OID below base, value }`.
struct Entries {
    base: ObjectIdentifier,
    entries: Vec<(ObjectIdentifier, Any)>,
}

#[derive(der::Sequence)]
struct Entry {
    oid: ObjectIdentifier,
    value: Any,
}

impl Entries {
    fn read(der: &[u8], base: ObjectIdentifier) -> Result<Self> {
        let entries = Vec::<Entry>::from_der(der).map_err(malformed)?;
        let entries: Vec<_> = entries.into_iter().map(|entry| (entry.oid, entry.value)).collect();
        let twice =
            entries.iter().enumerate().any(|(at, (oid, _))| entries.iter().take(at).any(|(other, _)| other == oid));
        if twice {
            return Err(Refusal::malformed("PCK certificate: SGX extensions", "an entry stands twice"));
        }
        Ok(Self { base, entries })
    }

    fn get(&self, number: u32) -> Option<&Any> {
        let wanted = arc(self.base, number).ok()?;
        self.entries.iter().find(|(oid, _)| *oid == wanted).map(|(_, value)| value)
    }
}

fn arc(base: ObjectIdentifier, number: u32) -> Result<ObjectIdentifier> {
    base.push_arc(number).map_err(|e| Refusal::malformed("object identifier", e))
}

fn octets<const N: usize>(value: &Any) -> Result<[u8; N]> {
    match value.tag() {
        Tag::OctetString => value.value().try_into().map_err(|_| {
            Refusal::malformed("PCK certificate: SGX extensions", format!("{} bytes for {N}", value.value().len()))
        }),
        tag => Err(Refusal::malformed("PCK certificate: SGX extensions", format!("{tag} for an OCTET STRING"))),
    }
}

fn malformed(error: der::Error) -> Refusal {
    Refusal::malformed("PCK certificate: SGX extensions", error)
}
