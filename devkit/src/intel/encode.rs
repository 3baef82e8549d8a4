//! The SGX extensions of a PCK certificate, OID 1.2.840.113741.1.13.1.

use super::PckSpec;
use crate::x509::{asn1, oid};
use der::asn1::{Any, ObjectIdentifier, OctetStringRef};
use der::{Encode, Sequence};
use strongroom_wire::Result;

pub(super) const SGX_EXTENSIONS: &str = "1.2.840.113741.1.13.1";

#[derive(Sequence)]
struct Entry {
    oid: ObjectIdentifier,
    value: Any,
}

pub(super) fn sgx_extensions(spec: &PckSpec) -> Result<Vec<u8>> {
    let mut tcb = Vec::new();
    for (svn, number) in spec.sgx_components.iter().zip(1..) {
        tcb.push(entry(&format!("2.{number}"), integer(u16::from(*svn))?)?);
    }
    tcb.push(entry("2.17", integer(spec.pce_svn)?)?);
    tcb.push(entry("2.18", octets(&spec.sgx_components)?)?);
    let mut entries = vec![
        entry("1", octets(&spec.ppid)?)?,
        entry("2", Any::encode_from(&tcb).map_err(asn1)?)?,
        entry("3", octets(&spec.pce_id)?)?,
        entry("4", octets(&spec.fmspc)?)?,
        entry("5", Any::new(der::Tag::Enumerated, [1]).map_err(asn1)?)?,
    ];
    if let Some(instance) = &spec.platform_instance {
        entries.push(entry("6", octets(instance)?)?);
    }
    if let Some(configuration) = &spec.configuration {
        let switch = |(on, number): (&bool, u32)| entry(&format!("7.{number}"), Any::encode_from(on).map_err(asn1)?);
        let switches = configuration.iter().zip(1..).map(switch).collect::<Result<Vec<_>>>()?;
        entries.push(entry("7", Any::encode_from(&switches).map_err(asn1)?)?);
    }
    entries.to_der().map_err(asn1)
}

fn entry(suffix: &str, value: Any) -> Result<Entry> {
    Ok(Entry { oid: oid(&format!("{SGX_EXTENSIONS}.{suffix}"))?, value })
}

fn integer(number: u16) -> Result<Any> {
    Any::encode_from(&number).map_err(asn1)
}

fn octets(bytes: &[u8]) -> Result<Any> {
    OctetStringRef::new(bytes).and_then(|octets| Any::encode_from(&octets)).map_err(asn1)
}
