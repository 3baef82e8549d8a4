use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn runtime() -> Value {
    json!({
        "keys": [
            { "kid": "HCLAkPub", "kty": "RSA", "key_ops": ["sign"], "n": "AQID", "e": "AQAB" },
            { "kid": "HCLEkPub", "kty": "RSA", "key_ops": ["encrypt"], "n": "BAUG", "e": "AQAB" },
        ],
        "vm-configuration": { "secure-boot": true, "console-enabled": false, "vmUniqueId": "id", "more": 1 },
        "user-data": "00",
    })
}

fn report(kind: u32, hash: u32, runtime: &[u8]) -> Vec<u8> {
    let len = u32::try_from(runtime.len()).unwrap();
    let mut bytes = [&b"HCLA"[..], &2_u32.to_le_bytes(), &(len + 1236).to_le_bytes(), &[0; 20], &[5; 1184]].concat();
    for field in [len + 20, 1, kind, hash, len] {
        bytes.extend(field.to_le_bytes());
    }
    bytes.extend(runtime);
    bytes
}

fn sound() -> Vec<u8> {
    report(2, 1, runtime().to_string().as_bytes())
}

fn code(bytes: &[u8]) -> Code {
    HclReport::parse(bytes).expect_err("parsed").code
}

#[test]
fn report_of_each_platform_parses() {
    for (kind, platform) in [(2, Platform::AzureSnpVtpm), (4, Platform::AzureTdxVtpm)] {
        let text = runtime().to_string();
        let report = HclReport::parse(&report(kind, 1, text.as_bytes())).unwrap();
        assert_eq!((report.platform, *report.hardware), (platform, [5; 1184]));
        assert_eq!(platform.to_string(), if kind == 2 { "azure-snp-vtpm" } else { "azure-tdx-vtpm" });
        let key = &report.runtime.attestation_key;
        assert_eq!((&key.modulus[..], &key.exponent[..]), (&[1, 2, 3][..], &[1, 0, 1][..]));
        assert!(report.runtime.secure_boot && !report.runtime.console_enabled);
        assert_eq!(report.report_data()[..32], crate::digest::Sha256::of(text.as_bytes()).0);
        assert_eq!(report.report_data()[32..], [0; 32]);
    }
}

#[test]
fn report_cut_short_refused_and_with_zeros_behind_it_accepted() {
    let mut bytes = sound();
    for end in 0..bytes.len() {
        assert_eq!(code(&bytes[..end]), Code::Malformed, "{end}");
    }
    bytes.extend([0; 9]);
    assert!(HclReport::parse(&bytes).is_ok());
    *bytes.last_mut().unwrap() = 1;
    assert_eq!(code(&bytes), Code::Malformed);
    let mut whole = sound();
    whole.resize(limits::HCL_REPORT, 0);
    assert!(HclReport::parse(&whole).is_ok());
    whole.push(0);
    assert_eq!(code(&whole), Code::TooLarge);
}

#[test]
fn header_with_one_other_field_refused() {
    let text = runtime().to_string();
    assert_eq!(code(&report(3, 1, text.as_bytes())), Code::PlatformUnsupported);
    assert_eq!(code(&report(2, 2, text.as_bytes())), Code::PlatformUnsupported);
    for (at, want) in [
        (0, Code::Malformed),
        (4, Code::VersionUnsupported),
        (8, Code::Malformed),
        (32 + 1184, Code::Malformed),
        (32 + 1184 + 4, Code::VersionUnsupported),
    ] {
        let mut bytes = sound();
        bytes[at] += 3;
        assert_eq!(code(&bytes), want, "{at}");
    }
}

#[test]
fn runtime_data_with_no_or_two_or_another_attestation_key_refused() {
    let with = |edit: fn(&mut Value)| {
        let mut runtime = runtime();
        edit(&mut runtime);
        HclReport::parse(&report(2, 1, runtime.to_string().as_bytes())).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!(with(|_| ()), Ok(()));
    let edits: [fn(&mut Value); 4] = [
        |runtime| runtime["keys"][0]["kid"] = "HCLEkPub".into(),
        |runtime| runtime["keys"][1] = runtime["keys"][0].clone(),
        |runtime| runtime["keys"][0]["kty"] = "EC".into(),
        |runtime| runtime["keys"][0]["key_ops"] = json!(["encrypt"]),
    ];
    for edit in edits {
        assert_eq!(with(edit), Err(Code::SigningKeyUnsupported));
    }
    assert_eq!(with(|runtime| runtime["keys"][0]["n"] = "!".into()), Err(Code::Malformed));
}

#[test]
fn paravisor_that_does_not_speak_of_its_console_counts_as_one_with_a_console() {
    let mut runtime = runtime();
    runtime["vm-configuration"] = json!({});
    let report = HclReport::parse(&report(2, 1, runtime.to_string().as_bytes())).unwrap();
    assert!(report.runtime.console_enabled && !report.runtime.secure_boot);
}

fn document() -> Value {
    json!({
        "version": 2, "hcl_report": "AQ==", "vcek": "Ag==",
        "tpm_quote": { "signature": "03", "message": "04", "pcrs": vec!["05".repeat(32); 24] },
    })
}

#[test]
fn document_parses_and_one_other_member_is_refused() {
    let parsed = Evidence::parse(document().to_string().as_bytes()).unwrap();
    let want = Evidence {
        hcl_report: vec![1],
        message: vec![4],
        signature: vec![3],
        pcrs: [[5; 32]; 24],
        td_quote: None,
        vcek: Some(vec![2]),
    };
    assert_eq!(parsed, want);
    for td_quote in [None, Some(vec![6])] {
        let evidence = Evidence { td_quote, ..want.clone() };
        assert_eq!(Evidence::parse(&evidence.to_json().unwrap()).unwrap(), evidence);
    }
    for (pointer, value, code) in [
        ("/version", json!(3), Code::VersionUnsupported),
        ("/hcl_report", json!("!"), Code::Malformed),
        ("/vcek", json!("!"), Code::Malformed),
        ("/tpm_quote/message", json!("0"), Code::Malformed),
        ("/tpm_quote/pcrs", json!(vec!["05".repeat(32); 23]), Code::Malformed),
        ("/tpm_quote/pcrs/0", json!("05"), Code::Malformed),
        ("/tpm_quote", json!({}), Code::Malformed),
    ] {
        let mut changed = document();
        *changed.pointer_mut(pointer).unwrap() = value;
        assert_eq!(Evidence::parse(changed.to_string().as_bytes()).unwrap_err().code, code, "{pointer}");
    }
    let mut long = document().to_string().into_bytes();
    long.resize(limits::AZURE_EVIDENCE, b' ');
    assert!(Evidence::parse(&long).is_ok());
    long.push(b' ');
    assert_eq!(Evidence::parse(&long).unwrap_err().code, Code::TooLarge);
}

proptest! {
    #[test]
    fn damaged_reports_and_documents_never_panic(at in 0usize..4000, value: u8) {
        let damaged = |mut bytes: Vec<u8>| {
            let at = at % bytes.len();
            bytes[at] = value;
            bytes
        };
        let _ = HclReport::parse(&damaged(sound()));
        let _ = Evidence::parse(&damaged(document().to_string().into_bytes()));
    }
}
