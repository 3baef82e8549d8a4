//! What AMD's certificates hold beside what all do: its name, its signature algorithm and its extensions.

use super::{VekSpec, sign};
use crate::x509::{Signer, asn1, extension, oid};
use aws_lc_rs::signature::RsaKeyPair;
use der::asn1::{Any, Ia5String};
use der::{Decode, Encode};
use strongroom_wire::Result;
use x509_cert::ext::Extension;
use x509_cert::spki::AlgorithmIdentifierOwned;

const EXTENSIONS: &str = "1.3.6.1.4.1.3704.1";

impl Signer for RsaKeyPair {
    fn algorithm(&self) -> Result<AlgorithmIdentifierOwned> {
        pss()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        sign(self, message)
    }

    fn organisation(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("2.5.4.11", "Engineering"),
            ("2.5.4.6", "US"),
            ("2.5.4.7", "Santa Clara"),
            ("2.5.4.8", "CA"),
            ("2.5.4.10", "Advanced Micro Devices"),
        ]
    }
}

/// The extensions of a VCEK or VLEK (publication 57230).
pub(super) fn endorsement_key(spec: &VekSpec) -> Result<Vec<Extension>> {
    let own = |suffix: &str, value: Vec<u8>| extension(&format!("{EXTENSIONS}.{suffix}"), false, value);
    let ia5 = |text: &str| Ia5String::new(text).and_then(|text| text.to_der()).map_err(asn1);
    let spl = |level: u8| level.to_der().map_err(asn1);
    let mut extensions = vec![
        own("1", spl(1)?)?,
        own("2", ia5(&spec.product_name)?)?,
        own("3.1", spl(spec.tcb.bootloader)?)?,
        own("3.2", spl(spec.tcb.tee)?)?,
        own("3.3", spl(spec.tcb.snp)?)?,
        own("3.8", spl(spec.tcb.microcode)?)?,
    ];
    if let Some(fmc) = spec.tcb.fmc {
        extensions.push(own("3.9", spl(fmc)?)?);
    }
    if let Some(hwid) = &spec.hwid {
        extensions.push(own("4", hwid.clone())?);
    }
    if let Some(csp_id) = &spec.csp_id {
        extensions.push(own("5", ia5(csp_id)?)?);
    }
    Ok(extensions)
}

/// RSASSA-PSS with SHA-384, MGF1 over SHA-384 and a salt of 48 bytes (RFC 4055 §3.1).
fn pss() -> Result<AlgorithmIdentifierOwned> {
    const PARAMETERS: &[u8] = &[
        0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05,
        0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d,
        0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
    ];
    let parameters = Any::from_der(PARAMETERS).map_err(asn1)?;
    Ok(AlgorithmIdentifierOwned { oid: oid("1.2.840.113549.1.1.10")?, parameters: Some(parameters) })
}
