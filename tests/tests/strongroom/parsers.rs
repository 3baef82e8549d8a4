//! Arbitrary bytes, and valid input with a few bytes changed, before the parsers that outsiders reach: none panics, and what
//! was signed is never accepted changed. Parsers with property tests beside them are not repeated here.

use proptest::prelude::*;
use proptest::sample::Index;
use std::sync::LazyLock;
use strongroom_appraisal::{Endorsements, Policy, ReleasePolicy, Roots, authenticate, tdx};
use strongroom_artifact::{DataKey, PublicKey, SigningKey, cosign};
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::intel;
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_registry_client::{Credentials, Reference};
use strongroom_wire::digest::Sha256;
use strongroom_wire::trust::TrustFile;
use strongroom_wire::{Code, Root};

const NOW: u64 = 1_800_000_000;

const POLICY: &str = "version = 1\n[snp]\nmeasurement = { any = { because = 'x' } }\ndeployment = { any = { because = 'x' } }\n\
    tcb = { any = { because = 'x' } }\nchip = { any = { because = 'x' } }\n";

struct Snp {
    report: Vec<u8>,
    table: Vec<u8>,
    roots: Roots,
}

static SNP: LazyLock<Snp> = LazyLock::new(|| {
    let hierarchy = Hierarchy::shared().unwrap();
    let vek = hierarchy.issue(VekSpec::default()).unwrap();
    let report = ReportSpec::default().sign(&vek).unwrap();
    let table = hierarchy.certificate_table(&vek).unwrap().encode().unwrap();
    Snp { report, table, roots: Roots::test(hierarchy.ark.certificate()).unwrap() }
});

struct Tdx {
    quote: Vec<u8>,
    collateral: Vec<u8>,
    roots: Roots,
}

static TDX: LazyLock<Tdx> = LazyLock::new(|| {
    let hierarchy = intel::Hierarchy::generate().unwrap();
    let pck = hierarchy.issue(intel::PckSpec::default()).unwrap();
    let quote = QuoteSpec::default().sign(&pck).unwrap();
    let collateral = hierarchy.collateral(&intel::CollateralSpec::default()).unwrap();
    Tdx { quote, collateral, roots: Roots::test(hierarchy.root.certificate()).unwrap() }
});

static SIGNER: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::generate().unwrap());

/// Where to change a byte and what to XOR it with; at least one bit.
fn changes() -> impl Strategy<Value = Vec<(Index, u8)>> {
    proptest::collection::vec((any::<Index>(), 1_u8..), 1..4)
}

fn changed(valid: &[u8], changes: &[(Index, u8)]) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    for (at, with) in changes {
        let at = at.index(bytes.len());
        bytes[at] ^= with;
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn arbitrary_text_and_bytes_never_panic(text: String, bytes: Vec<u8>) {
        let _ = (TrustFile::parse(text.as_bytes()), Root::parse(&text), Sha256::from_oci(&text), Code::parse(&text));
        let _ = (Policy::parse(text.as_bytes()), ReleasePolicy::parse(text.as_bytes()), Reference::parse(&text));
        let _ = (SigningKey::from_pem(&bytes, Some(b"password")), PublicKey::from_pem(text.as_bytes()));
        let _ = (DataKey::from_file_bytes(&bytes), Credentials::from_config_json(&bytes, "registry.example"));
        let _ = Endorsements::new().add(&bytes);
        let _ = Endorsements::new().add(format!("-----BEGIN {text}").as_bytes());
    }

    #[test]
    fn changed_policies_and_trust_files_never_panic(changes in changes()) {
        let _ = Policy::parse(&changed(POLICY.as_bytes(), &changes));
        let trust = "[[rule]]\nrepository = 'r/m/*'\n[[rule.signer]]\nname = 'a'\nkey = 'k'\n";
        let _ = TrustFile::parse(&changed(trust.as_bytes(), &changes));
        let release = format!("{POLICY}[release.trust]\n{}", trust.replace("[rule", "[release.trust.rule"));
        let _ = ReleasePolicy::parse(&changed(release.as_bytes(), &changes));
    }

    #[test]
    fn changed_snp_evidence_is_never_accepted_as_something_else(report in changes(), table in changes()) {
        let sound = &SNP.report;
        let judge = |report: &[u8], table: &[u8]| {
            let mut endorsements = Endorsements::new();
            endorsements.add(table)?;
            authenticate(report, &endorsements, &SNP.roots, NOW)
        };
        if let Ok(authentic) = judge(&changed(sound, &report), &SNP.table) {
            // Only the bytes behind the signature are covered by nothing.
            prop_assert_eq!(authentic.report().signed(), &sound[..0x2a0]);
        }
        if let Ok(authentic) = judge(sound, &changed(&SNP.table, &table)) {
            prop_assert_eq!(authentic.report().raw().as_slice(), sound.as_slice());
        }
    }

    #[test]
    fn changed_tdx_evidence_and_collateral_never_panic(quote in changes(), collateral in changes()) {
        let judge = |quote: &[u8], collateral: &[u8]| {
            let mut endorsements = Endorsements::new();
            endorsements.add(collateral)?;
            tdx::authenticate(quote, &endorsements, &TDX.roots, NOW)
        };
        prop_assert!(judge(&TDX.quote, &TDX.collateral).is_ok());
        if let Ok(authentic) = judge(&changed(&TDX.quote, &quote), &TDX.collateral) {
            prop_assert_eq!(authentic.quote().signed(), &TDX.quote[..authentic.quote().signed().len()]);
        }
        let _ = judge(&TDX.quote, &changed(&TDX.collateral, &collateral));
    }

    #[test]
    fn changed_signatures_and_keys_never_panic_and_never_verify_something_else(changes in changes(), bytes: Vec<u8>) {
        let (manifest, other) = (Sha256([1; 32]), Sha256([2; 32]));
        let key = SIGNER.public();
        let bundle = cosign::sign_manifest(&manifest, &*SIGNER, &[].into()).unwrap();
        prop_assert!(cosign::verify_bundle(&bundle, &manifest, &key).is_ok());
        prop_assert!(cosign::verify_bundle(&changed(&bundle, &changes), &other, &key).is_err());
        prop_assert!(cosign::verify_simple(&bytes, &bytes, &manifest, &key).is_err());
        let signed = SIGNER.sign(&bytes).unwrap();
        prop_assert!(cosign::verify_simple(&bytes, &signed, &manifest, &key).is_err());
        let pem = SIGNER.to_pkcs8_pem().unwrap();
        let _ = SigningKey::from_pem(&changed(pem.expose().as_bytes(), &changes), None);
    }
}
