//! Which platform made a TDX quote, as its PCK certificate says (Intel SGX PCK certificate and CRL profile specification):
//! what collateral has to be asked for.

use crate::certificate::{extension, issuer, parse_chain};
use core::fmt;
use der::Decode as _;
use der::asn1::{Any, ObjectIdentifier};
use std::path::PathBuf;
use strongroom_wire::tdx::{Certification, Quote};
use strongroom_wire::{Code, Refusal, Result};

const SGX_EXTENSIONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");
const FMSPC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1.4");

/// Which of Intel's authorities issued a PCK.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Authority {
    /// Of single packages.
    Processor,
    /// Of multi-package platforms.
    Platform,
}

/// The kind of platform that a set of collateral is for: its FMSPC, and who issues its certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    pub(crate) fmspc: [u8; 6],
    pub(crate) authority: Authority,
}

#[derive(der::Sequence)]
struct Entry {
    oid: ObjectIdentifier,
    value: Any,
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Processor => "processor",
            Self::Platform => "platform",
        })
    }
}

impl fmt::Display for Platform {
    /// `<FMSPC in hex>-<authority>`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", hex::encode(self.fmspc), self.authority)
    }
}

impl Platform {
    /// What the certificate that `quote` carries says. Nobody has vouched for it yet: a lie costs the liar the answer.
    ///
    /// # Errors
    /// `endorsement-unknown`: the quote has no PCK chain, or not one of Intel's; `malformed`.
    pub fn of(quote: &Quote) -> Result<Self> {
        const WHAT: &str = "PCK certificate";
        let unknown = |got: &str| Refusal::new(Code::EndorsementUnknown, "platform of the quote").got(got);
        let pem = match &quote.authentication.certification {
            Certification::PckChain(pem) => pem,
            Certification::Other(kind) => {
                return Err(unknown(&format!("certification data of type {kind}")).want("a PCK certificate chain"));
            }
        };
        let chain = parse_chain(pem, WHAT)?;
        let pck = chain.first().ok_or_else(|| Refusal::malformed(WHAT, "none"))?;
        let authority = match issuer(pck).as_str() {
            "Intel SGX PCK Processor CA" => Authority::Processor,
            "Intel SGX PCK Platform CA" => Authority::Platform,
            other => return Err(unknown(&format!("issued by {other}")).want("one of Intel's PCK authorities")),
        };
        let value = extension(pck, SGX_EXTENSIONS).ok_or_else(|| Refusal::malformed(WHAT, "no SGX extensions"))?;
        let entries = Vec::<Entry>::from_der(value).map_err(|e| Refusal::malformed(WHAT, e))?;
        let fmspc = entries.iter().find(|entry| entry.oid == FMSPC).map(|entry| entry.value.value());
        let fmspc = fmspc.and_then(|fmspc| fmspc.try_into().ok());
        Ok(Self { fmspc: fmspc.ok_or_else(|| Refusal::malformed(WHAT, "no FMSPC of six bytes"))?, authority })
    }

    pub(crate) fn file(&self) -> PathBuf {
        format!("intel/{self}.json").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_devkit::intel::{Hierarchy, PckSpec};
    use strongroom_devkit::quote::QuoteSpec;
    use strongroom_devkit::vectors::{entries, folder};

    #[test]
    fn platform_is_read_from_the_certificate_that_the_quote_carries() {
        let hierarchy = Hierarchy::generate().unwrap();
        let of = |quote: &QuoteSpec, pck: &strongroom_devkit::intel::Pck| Platform::of(&quote.quote(pck).unwrap());
        let fmspc = [0xb0, 0xc0, 0x6f, 0, 0, 0];
        let multi = hierarchy.issue(PckSpec::default()).unwrap();
        let platform = Platform { fmspc, authority: Authority::Platform };
        assert_eq!(of(&QuoteSpec::default(), &multi).unwrap(), platform);
        assert_eq!(platform.file(), PathBuf::from("intel/b0c06f000000-platform.json"));
        let single = hierarchy.processor_ca.issue(PckSpec::default(), &hierarchy.root).unwrap();
        let processor = Platform { fmspc, authority: Authority::Processor };
        assert_eq!(of(&QuoteSpec::default(), &single).unwrap(), processor);

        let other = hierarchy.root.issue(PckSpec::default(), &hierarchy.root).unwrap();
        assert_eq!(of(&QuoteSpec::default(), &other).unwrap_err().code, Code::EndorsementUnknown);
        let by_id = QuoteSpec { certification: 3, ..QuoteSpec::default() };
        assert_eq!(of(&by_id, &multi).unwrap_err().code, Code::EndorsementUnknown);
        let bare = hierarchy.issue(PckSpec { sgx_extensions: false, ..PckSpec::default() }).unwrap();
        assert_eq!(of(&QuoteSpec::default(), &bare).unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn captured_quotes_and_collateral_are_of_the_platforms_that_are_stated() {
        let Some(folder) = folder() else { return };
        let mut seen = 0;
        for entry in entries(&folder, "tdx-quote").unwrap().iter().filter(|entry| entry["verdict"] == "VALID") {
            let quote = std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap();
            let platform = Platform::of(&Quote::parse(&quote).unwrap()).unwrap();
            assert_eq!(entry["fmspc"], hex::encode(platform.fmspc), "{}", entry["file"]);
            for peer in entry["peer_results"].as_array().unwrap() {
                let collateral = std::fs::read(folder.join(peer["collateral"].as_str().unwrap())).unwrap();
                let expires = crate::pcs::expires(&collateral, &platform).unwrap();
                assert!(expires >= peer["unix"].as_u64().unwrap(), "{}", peer["collateral"]);
                seen += 1;
            }
        }
        assert!(seen >= 30, "{seen}");
    }
}
