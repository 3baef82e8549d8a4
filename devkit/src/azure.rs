//! A paravisor's virtual TPM as Azure's confidential guests have one: its attestation key, the report that names the key,
//! and quotes by it.

use crate::amd::crypto;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use der::asn1::UintRef;
use der::{Decode as _, Reader as _, SliceReader};
use serde_json::{Value, json};
use strongroom_wire::Result;
use strongroom_wire::azure::Evidence;
use strongroom_wire::bytes::to_base64url;
use strongroom_wire::digest::Sha256;
use strongroom_wire::snp::REPORT_LEN;
use strongroom_wire::tpm::PCRS;

/// Report type of SEV-SNP.
pub const SNP: u32 = 2;
/// Report type of TDX.
pub const TDX: u32 = 4;

/// A virtual TPM with an RSA-2048 attestation key.
#[derive(Debug)]
pub struct Vtpm {
    key: RsaKeyPair,
}

impl Vtpm {
    /// One with a fresh key.
    pub fn generate() -> Result<Self> {
        Ok(Self { key: RsaKeyPair::generate(KeySize::Rsa2048).map_err(crypto)? })
    }

    /// The runtime data that name its key, of a guest with secure boot and without a console.
    pub fn runtime_data(&self) -> Result<String> {
        self.runtime_data_of(&json!({ "secure-boot": true, "tpm-enabled": true, "console-enabled": false }))
    }

    /// The runtime data that name its key, with that `vm-configuration`.
    pub fn runtime_data_of(&self, configuration: &Value) -> Result<String> {
        let spki = self.key.public_key().as_ref();
        let mut reader = SliceReader::new(spki).map_err(crypto)?;
        let (n, e) = reader
            .sequence(|reader| Ok((UintRef::decode(reader)?.as_bytes(), UintRef::decode(reader)?.as_bytes())))
            .map_err(crypto)?;
        let key = json!({
            "kid": "HCLAkPub", "key_ops": ["sign"], "kty": "RSA", "n": to_base64url(n), "e": to_base64url(e),
        });
        Ok(json!({ "keys": [key], "vm-configuration": configuration }).to_string())
    }

    /// A quote over `pcrs` with `extra_data`: the structure and its signature.
    pub fn quote(&self, extra_data: &[u8], pcrs: &[[u8; 32]; PCRS]) -> Result<(Vec<u8>, Vec<u8>)> {
        let mut message = [&[0xff][..], b"TCG", &[0x80, 0x18, 0, 2, 0, 11]].concat();
        message.extend(u16::try_from(extra_data.len()).map_err(crypto)?.to_be_bytes());
        message.extend(extra_data);
        message.extend([0; 25]); // clockInfo, firmwareVersion
        message.extend([0, 0, 0, 1, 0, 11, 3, 0xff, 0xff, 0xff, 0, 32]);
        message.extend(Sha256::of(pcrs.as_flattened()).0);
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &message, &mut signature).map_err(crypto)?;
        Ok((message, signature))
    }
}

/// What the hardware's report data say of that runtime data.
pub fn report_data(runtime: &str) -> [u8; 64] {
    let mut data = [0; 64];
    data.iter_mut().zip(Sha256::of(runtime.as_bytes()).0).for_each(|(to, from)| *to = from);
    data
}

/// A paravisor's report of that type: the hardware's report, filled up with zeros, and runtime data.
pub fn hcl_report(kind: u32, hardware: &[u8], runtime: &str) -> Result<Vec<u8>> {
    let own = u32::try_from(runtime.len()).map_err(crypto)?;
    let mut report = b"HCLA".to_vec();
    for field in [2, own.saturating_add(1236), 2, 0, 0, 0, 0] {
        report.extend(u32::to_le_bytes(field));
    }
    report.extend(hardware);
    report.resize(32 + REPORT_LEN, 0);
    for field in [own.saturating_add(20), 1, kind, 1, own] {
        report.extend(field.to_le_bytes());
    }
    report.extend(runtime.as_bytes());
    report.resize(report.len().max(2600), 0);
    Ok(report)
}

/// The JSON document of that evidence, as Confidential Containers' attesters write version 1.
pub fn document(evidence: &Evidence) -> Value {
    let padded = |bytes: &[u8]| {
        let mut text = to_base64url(bytes);
        while !text.len().is_multiple_of(4) {
            text.push('=');
        }
        text
    };
    let mut document = json!({
        "version": 1,
        "hcl_report": padded(&evidence.hcl_report),
        "tpm_quote": {
            "message": hex::encode(&evidence.message),
            "signature": hex::encode(&evidence.signature),
            "pcrs": evidence.pcrs.map(hex::encode),
        },
    });
    for (name, bytes) in [("td_quote", &evidence.td_quote), ("vcek", &evidence.vcek)] {
        if let (Some(bytes), Some(document)) = (bytes, document.as_object_mut()) {
            document.insert(name.to_owned(), padded(bytes).into());
        }
    }
    document
}
