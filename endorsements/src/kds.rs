//! AMD's Key Distribution Service (publication 57230, "VCEK Certificate and KDS Interface Specification"): its URLs, and
//! whether an answer is that to the question.

use crate::UnixTime;
use crate::certificate::{self, expires, extension};
use core::fmt;
use der::Decode as _;
use der::asn1::{ObjectIdentifier, OctetStringRef};
use std::path::PathBuf;
use strongroom_wire::snp::{Report, SigningKey, Tcb};
use strongroom_wire::{Code, Refusal, Result};

/// AMD's own service.
pub const KDS: &str = "https://kdsintf.amd.com";

const BL_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.1");
const TEE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.2");
const SNP_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.3");
const UCODE_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.8");
const FMC_SPL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.3.9");
const HWID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.3704.1.4");

/// A product line, as the service names it. Bergamo and Siena are Genoas there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Product {
    /// EPYC 7003.
    Milan,
    /// EPYC 9004, 8004.
    Genoa,
    /// EPYC 9005.
    Turin,
}

/// Which endorsement key's chain and revocation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Of the chip.
    Vcek,
    /// Of the cloud provider, who alone gets it from AMD.
    Vlek,
}

/// The VCEK of one chip at one TCB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Vcek {
    pub(crate) product: Product,
    hwid: Vec<u8>,
    tcb: Tcb,
    /// TCB_VERSION, raw: the bytes of `tcb`, reserved ones zero.
    raw: [u8; 8],
}

impl Product {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The product as URLs and certificates name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// What the report may come from: `given`, if that agrees with the report; else what the report's CPUID says; else,
    /// before version 3, one of the two products that there were.
    ///
    /// # Errors
    /// `platform-unsupported`: a CPU of no known product; `product-mismatch`: `given` is not the report's.
    pub fn candidates(report: &Report, given: Option<Self>) -> Result<Vec<Self>> {
        let named = match (report.version, report.cpuid) {
            (..=2, _) => vec![Self::Milan, Self::Genoa],
            (_, [0x19, 0x00..=0x0f, _]) => vec![Self::Milan],
            (_, [0x19, 0x10..=0x1f | 0xa0..=0xaf, _]) => vec![Self::Genoa],
            (_, [0x1a, 0x00..=0x1f, _]) => vec![Self::Turin],
            (_, [family, model, _]) => {
                return Err(Refusal::new(Code::PlatformUnsupported, "CPUID of the report")
                    .got(format!("family {family:#x} model {model:#x}"))
                    .want("Milan, Genoa or Turin"));
            }
        };
        match given {
            None => Ok(named),
            Some(given) if named.contains(&given) => Ok(vec![given]),
            Some(given) => {
                let want = named.iter().map(|product| product.as_str()).collect::<Vec<_>>().join(" or ");
                Err(Refusal::new(Code::ProductMismatch, "product of the report").got(given).want(want))
            }
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Kind {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// Which key signed `report`.
    ///
    /// # Errors
    /// `signing-key-unsupported`: none, or an unknown one.
    pub fn of(report: &Report) -> Result<Self> {
        match report.key_info.signing_key() {
            SigningKey::Vcek => Ok(Self::Vcek),
            SigningKey::Vlek => Ok(Self::Vlek),
            SigningKey::None | SigningKey::Other(_) => {
                Err(Refusal::new(Code::SigningKeyUnsupported, "SIGNING_KEY of the report").want("VCEK or VLEK"))
            }
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// Where the ASK or ASVK and the ARK are, in PEM.
    pub(crate) fn chain_url(self, base: &str, product: Product) -> String {
        format!("{base}/{}/v1/{product}/cert_chain", self.as_str())
    }

    /// Where the ARK's revocation list is, in DER.
    pub(crate) fn crl_url(self, base: &str, product: Product) -> String {
        format!("{base}/{}/v1/{product}/crl", self.as_str())
    }

    pub(crate) fn chain_file(self, product: Product) -> PathBuf {
        format!("amd/{product}/{}-chain.pem", self.as_str()).into()
    }

    pub(crate) fn crl_file(self, product: Product) -> PathBuf {
        format!("amd/{product}/{}-crl.der", self.as_str()).into()
    }
}

impl Vcek {
    /// The key that signed `report`, of a chip of `product`: for its REPORTED_TCB.
    ///
    /// # Errors
    /// `endorsement-unknown`: the report does not say which chip it comes from; `tcb-mismatch`, `chip-id-mismatch`: bytes of
    /// REPORTED_TCB or CHIP_ID that no key is derived from are not zero, which would make many names of one key.
    pub(crate) fn of(report: &Report, product: Product) -> Result<Self> {
        if report.chip_id == [0; 64] {
            return Err(Refusal::new(Code::EndorsementUnknown, "CHIP_ID of the report")
                .got("zeros: the host masks it")
                .want("an id, for which AMD's service could be asked"));
        }
        let hwid = match product {
            Product::Milan | Product::Genoa => report.chip_id.as_slice(),
            Product::Turin => report.chip_id.first_chunk::<8>().map_or(&[][..], <[u8; 8]>::as_slice),
        };
        if report.chip_id.get(hwid.len()..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
            return Err(Refusal::new(Code::ChipIdMismatch, "CHIP_ID of the report")
                .got(hex::encode(report.chip_id))
                .want(format!("{} and zeros", hex::encode(hwid))));
        }
        let (raw, layout) = (report.reported_tcb, report.tcb_layout());
        let tcb = layout.read(raw);
        if layout.write(&tcb) != raw {
            return Err(Refusal::new(Code::TcbMismatch, "REPORTED_TCB").got(hex::encode(raw)).want(tcb));
        }
        Ok(Self { product, hwid: hwid.to_vec(), tcb, raw })
    }

    /// Where the certificate is, in DER. Patch levels are decimal.
    pub(crate) fn url(&self, base: &str) -> String {
        let Tcb { fmc, bootloader, tee, snp, microcode } = self.tcb;
        let fmc = fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
        let levels = format!("blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
        format!("{base}/vcek/v1/{}/{}?{fmc}{levels}", self.product, hex::encode(&self.hwid))
    }

    pub(crate) fn file(&self) -> PathBuf {
        format!("amd/{}/{}-{}.der", self.product, hex::encode(&self.hwid), hex::encode(self.raw)).into()
    }

    /// notAfter of `der`, if that is a certificate of this chip at this TCB.
    ///
    /// # Errors
    /// `malformed`; `endorsement-mismatch`.
    pub(crate) fn expires(&self, der: &[u8]) -> Result<UnixTime> {
        const WHAT: &str = "VCEK certificate";
        let certificate = certificate::parse(der, WHAT)?;
        let hwid = extension(&certificate, HWID).unwrap_or_default();
        // AMD writes the id bare; the specification's text would allow an OCTET STRING, and some issuers wrap it.
        let bare = OctetStringRef::from_der(hwid).map_or(hwid, |wrapped| wrapped.as_bytes());
        if hwid != self.hwid && bare != self.hwid {
            return Err(Refusal::new(Code::EndorsementMismatch, "hwID of the VCEK certificate")
                .got(hex::encode(hwid))
                .want(hex::encode(&self.hwid)));
        }
        let level = |oid| {
            let value = extension(&certificate, oid).map(u8::from_der).transpose();
            value.map_err(|e| Refusal::malformed(WHAT, e))
        };
        let stated = [level(FMC_SPL)?, level(BL_SPL)?, level(TEE_SPL)?, level(SNP_SPL)?, level(UCODE_SPL)?];
        let Tcb { fmc, bootloader, tee, snp, microcode } = self.tcb;
        if stated != [fmc, Some(bootloader), Some(tee), Some(snp), Some(microcode)] {
            return Err(Refusal::new(Code::EndorsementMismatch, "TCB of the VCEK certificate")
                .got(format!("{stated:?}"))
                .want(self.tcb));
        }
        Ok(expires(&certificate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_devkit::amd::{Hierarchy, VekSpec};
    use strongroom_devkit::report::ReportSpec;
    use strongroom_devkit::vectors::{entries, folder};

    fn report(spec: &ReportSpec, vek: VekSpec) -> Report {
        spec.report(&Hierarchy::shared().unwrap().issue(vek).unwrap()).unwrap()
    }

    #[test]
    fn urls_are_those_of_the_specification() {
        let milan = Vcek::of(&report(&ReportSpec::default(), VekSpec::default()), Product::Milan).unwrap();
        let id = hex::encode((0..64).collect::<Vec<u8>>());
        let url = format!("{KDS}/vcek/v1/Milan/{id}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219");
        assert_eq!(milan.url(KDS), url);
        let spec = ReportSpec { version: 5, cpuid: [0x1a, 2, 1], ..ReportSpec::default() };
        let turin = Vcek::of(&report(&spec, VekSpec::turin()), Product::Turin).unwrap();
        let levels = "fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=81";
        assert_eq!(turin.url(KDS), format!("https://kdsintf.amd.com/vcek/v1/Turin/0102030405060708?{levels}"));
        assert_eq!(Kind::Vcek.chain_url(KDS, Product::Genoa), "https://kdsintf.amd.com/vcek/v1/Genoa/cert_chain");
        assert_eq!(Kind::Vlek.crl_url(KDS, Product::Milan), "https://kdsintf.amd.com/vlek/v1/Milan/crl");
    }

    #[test]
    fn product_is_the_cpus_and_before_version_3_one_of_two() {
        let of = |version, cpuid, given| {
            let spec = ReportSpec { version, cpuid, ..ReportSpec::default() };
            Product::candidates(&report(&spec, VekSpec::default()), given).map_err(|refusal| refusal.code)
        };
        assert_eq!(of(3, [0x19, 1, 1], None), Ok(vec![Product::Milan]));
        assert_eq!(of(3, [0x19, 0x11, 1], None), Ok(vec![Product::Genoa]));
        assert_eq!(of(3, [0x19, 0xa0, 1], None), Ok(vec![Product::Genoa]));
        assert_eq!(of(5, [0x1a, 2, 1], None), Ok(vec![Product::Turin]));
        assert_eq!(of(5, [0x1b, 2, 1], None), Err(Code::PlatformUnsupported));
        assert_eq!(of(2, [0; 3], None), Ok(vec![Product::Milan, Product::Genoa]));
        assert_eq!(of(2, [0; 3], Some(Product::Genoa)), Ok(vec![Product::Genoa]));
        assert_eq!(of(2, [0; 3], Some(Product::Turin)), Err(Code::ProductMismatch));
        assert_eq!(of(3, [0x19, 1, 1], Some(Product::Genoa)), Err(Code::ProductMismatch));
    }

    #[test]
    fn certificate_of_another_chip_or_tcb_is_no_answer() {
        let hierarchy = Hierarchy::shared().unwrap();
        let wanted = Vcek::of(&report(&ReportSpec::default(), VekSpec::default()), Product::Milan).unwrap();
        let answer =
            |spec: VekSpec| wanted.expires(&hierarchy.issue(spec).unwrap().certificate).map_err(|refusal| refusal.code);
        assert_eq!(answer(VekSpec::default()), Ok(2_524_608_000));
        let other_chip = VekSpec { hwid: Some(vec![7; 64]), ..VekSpec::default() };
        assert_eq!(answer(other_chip), Err(Code::EndorsementMismatch));
        assert_eq!(answer(VekSpec { hwid: None, ..VekSpec::default() }), Err(Code::EndorsementMismatch));
        let base = VekSpec::default().tcb;
        for tcb in [
            Tcb { fmc: Some(0), ..base },
            Tcb { bootloader: 3, ..base },
            Tcb { tee: 1, ..base },
            Tcb { snp: 23, ..base },
            Tcb { microcode: 218, ..base },
        ] {
            assert_eq!(answer(VekSpec { tcb, ..VekSpec::default() }), Err(Code::EndorsementMismatch), "{tcb}");
        }
        assert_eq!(wanted.expires(b"not a certificate").unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn masked_chip_has_no_vcek_to_ask_for() {
        let spec = ReportSpec { chip_id: Some([0; 64]), ..ReportSpec::default() };
        let masked = Vcek::of(&report(&spec, VekSpec::default()), Product::Milan);
        assert_eq!(masked.unwrap_err().code, Code::EndorsementUnknown);
    }

    #[test]
    fn one_key_has_one_name_whatever_stands_in_reserved_bytes() {
        let milan = report(&ReportSpec::default(), VekSpec::default());
        let spec = ReportSpec { version: 5, cpuid: [0x1a, 2, 1], ..ReportSpec::default() };
        let turin = report(&spec, VekSpec::turin());
        for (sound, product, reserved) in [(milan, Product::Milan, 2..6), (turin, Product::Turin, 4..7)] {
            assert!(Vcek::of(&sound, product).is_ok());
            for at in reserved {
                let mut report = sound.clone();
                report.reported_tcb[at] = 1;
                assert_eq!(Vcek::of(&report, product).unwrap_err().code, Code::TcbMismatch, "{product} {at}");
            }
            let mut report = sound.clone();
            report.chip_id[63] ^= 1;
            let code = Vcek::of(&report, product).err().map(|refusal| refusal.code);
            assert_eq!(code, (product == Product::Turin).then_some(Code::ChipIdMismatch));
        }
    }

    #[test]
    fn captured_reports_are_answered_by_the_certificates_that_amd_gave_for_them() {
        let Some(folder) = folder() else { return };
        let mut products = Vec::new();
        for entry in entries(&folder, "snp-report").unwrap() {
            let (Some(vek), "VALID") = (entry["vek"].as_str(), entry["verdict"].as_str().unwrap()) else { continue };
            let report = Report::parse(&std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap()).unwrap();
            if Kind::of(&report).unwrap() == Kind::Vlek {
                continue;
            }
            let der = std::fs::read(folder.join(vek)).unwrap();
            let candidates = Product::candidates(&report, None).unwrap();
            let product = candidates.into_iter().find(|product| entry["product"] == product.as_str()).unwrap();
            assert!(Vcek::of(&report, product).unwrap().expires(&der).unwrap() > 1_700_000_000, "{}", entry["file"]);
            products.push(product);
        }
        for product in [Product::Milan, Product::Genoa, Product::Turin] {
            assert!(products.contains(&product), "{product}");
        }
    }
}
