//! The extensions of a VCEK or VLEK (publication 57230, "VCEK Certificate Format", OIDs below 1.3.6.1.4.1.3704.1): which
//! chip, which product and which TCB the key was derived for. AMD vouches for them; a report's own words count only where
//! they agree.

use crate::certificate::Certificate;
use der::Decode;
use der::asn1::{Ia5StringRef, ObjectIdentifier, OctetStringRef};
use strongroom_wire::snp::{SigningKey, Tcb};
use strongroom_wire::{Code, Refusal, Result};

const PRODUCT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.2");
const BL_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const UCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HWID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");
const CSP_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.5");

/// What AMD states about an endorsement key.
#[derive(Debug, Clone)]
pub(crate) struct VekExtensions {
    /// `Milan`, `Genoa`, `Turin`: the part of productName before the stepping.
    pub(crate) product: String,
    /// The TCB that the key was derived for.
    pub(crate) tcb: Tcb,
    /// The chip; VCEK only. 64 bytes, on Turin 8.
    pub(crate) hwid: Option<Vec<u8>>,
    /// The cloud provider; VLEK only.
    pub(crate) csp_id: Option<String>,
}

impl VekExtensions {
    /// Reads the extensions of `certificate`, which must be what `kind` needs.
    pub(crate) fn read(certificate: &Certificate, kind: SigningKey) -> Result<Self> {
        let named = certificate.extension(PRODUCT_NAME)?.ok_or_else(|| absent("productName"))?;
        let name = ia5(named, "productName")?;
        let tcb = Tcb {
            fmc: certificate.extension(FMC_SPL)?.map(|value| spl(value, "fmcSPL")).transpose()?,
            bootloader: required(certificate, BL_SPL, "blSPL")?,
            tee: required(certificate, TEE_SPL, "teeSPL")?,
            snp: required(certificate, SNP_SPL, "snpSPL")?,
            microcode: required(certificate, UCODE_SPL, "ucodeSPL")?,
        };
        let hwid = certificate.extension(HWID)?.map(hardware_id).transpose()?;
        let csp_id = certificate.extension(CSP_ID)?.map(|value| ia5(value, "cspID")).transpose()?;
        match (kind, &hwid, &csp_id) {
            (SigningKey::Vcek, None, _) => return Err(absent("hwID")),
            (SigningKey::Vlek, _, None) => return Err(absent("cspID")),
            _ => {}
        }
        let product = name.split('-').next().unwrap_or_default().to_owned();
        Ok(Self { product, tcb, hwid, csp_id })
    }
}

fn absent(name: &str) -> Refusal {
    Refusal::new(Code::CertificateUnsuitable, format!("endorsement certificate without {name}"))
}

fn required(certificate: &Certificate, oid: ObjectIdentifier, name: &str) -> Result<u8> {
    spl(certificate.extension(oid)?.ok_or_else(|| absent(name))?, name)
}

/// A security patch level: DER INTEGER 0–255.
fn spl(value: &[u8], name: &str) -> Result<u8> {
    u8::from_der(value).map_err(|e| Refusal::malformed(format!("endorsement certificate: {name}"), e))
}

fn ia5(value: &[u8], name: &str) -> Result<String> {
    let text = Ia5StringRef::from_der(value);
    text.map(|text| text.as_str().to_owned())
        .map_err(|e| Refusal::malformed(format!("endorsement certificate: {name}"), e))
}

/// AMD writes the id bare; the specification's text would allow an OCTET STRING, and some issuers wrap it.
fn hardware_id(value: &[u8]) -> Result<Vec<u8>> {
    let bare = match value.len() {
        8 | 64 => value,
        _ => OctetStringRef::from_der(value)
            .map_err(|e| Refusal::malformed("endorsement certificate: hwID", e))?
            .as_bytes(),
    };
    match bare.len() {
        8 | 64 => Ok(bare.to_vec()),
        other => Err(Refusal::malformed("endorsement certificate: hwID", format!("{other} bytes"))),
    }
}

/// The product of a CPUID family (base + extended) and model (publication 57230, "Determining the Product Name"), or
/// `None` where it is not one that the built-in roots cover.
pub(crate) const fn product_of_cpuid(family: u8, model: u8) -> Option<&'static str> {
    match (family, model) {
        (0x19, 0x00..=0x0f) => Some("Milan"),
        (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Some("Genoa"),
        (0x1a, 0x00..=0x1f) => Some("Turin"),
        _ => None,
    }
}
