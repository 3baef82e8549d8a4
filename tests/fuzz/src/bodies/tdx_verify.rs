//! Changed evidence of a trust domain, quote and collateral, before the whole verification: accepted is what its hardware and
//! its vendor signed, or nothing.

use super::super::fixtures::{DEPLOYMENT, NOW, REPORT_DATA, TDX, file};
use super::super::mutation::Script;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use strongroom_appraisal::tdx::{AuthenticQuote, appraise, authenticate};
use strongroom_appraisal::{Endorsements, Expected, Policy, Roots, Verdict};
use strongroom_devkit::intel::{ALWAYS, pem_chain};
use strongroom_wire::digest::Sha256;
use strongroom_wire::tdx::Quote;

/// Parts of a quote.
const SIGNED: usize = 0;
const SIGNATURE: usize = 1;
const KEY: usize = 2;
const QE_REPORT: usize = 3;
const QE_SIGNATURE: usize = 4;
const QE_AUTH_DATA: usize = 5;
const CHAIN: usize = 6;
/// Parts of its collateral begin here, as [`MEMBERS`] lists them.
const COLLATERAL: usize = 9;
/// What the members of collateral are made of.
const MEMBERS: [&str; 9] = [
    "pck_crl_issuer_chain",
    "root_ca_crl",
    "pck_crl",
    "tcb_info_issuer_chain",
    "tcb_info",
    "tcb_info_signature",
    "qe_identity_issuer_chain",
    "qe_identity",
    "qe_identity_signature",
];

/// Window of collateral, and moments at which it is judged.
const WINDOW: std::ops::RangeInclusive<u64> = 1_796_083_200..=1_803_859_200;
const MOMENTS: [u64; 6] = [NOW, NOW, *WINDOW.start() - 1, *WINDOW.end() + 1, ALWAYS.start - 1, ALWAYS.end + 1];

pub static ROOTS: LazyLock<Roots> = LazyLock::new(|| Roots::test(file("intel-root")).unwrap());

pub static POLICY: LazyLock<Policy> = LazyLock::new(|| {
    let fixed = [("mrtd", "4d", 48), ("rtmr0", "70", 48), ("rtmr1", "71", 48), ("rtmr2", "72", 48)];
    let more = [("deployment", "d0", 32), ("ppid", "99", 16)];
    let line = |(name, byte, n): (&str, &str, usize)| format!("{name} = {{ exactly = '{}' }}\n", byte.repeat(n));
    let lines: String = fixed.into_iter().chain(more).map(line).collect();
    Policy::parse(format!("version = 1\n[tdx]\n{lines}").as_bytes()).unwrap()
});

type Members = BTreeMap<String, String>;

static SOUND: LazyLock<Members> = LazyLock::new(|| serde_json::from_slice(file("collateral")).unwrap());

static OTHERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let names = ["pck", "platform-ca", "tcb-signing", "intel-root", "ark"];
    let quotes = TDX.iter().flat_map(|name| parts(name).into_iter().take(CHAIN));
    quotes.chain(names.map(|name| file(name).to_vec())).chain(parts(TDX[0]).into_iter().skip(COLLATERAL)).collect()
});

/// A quote and its collateral, in parts: chains as DER, lists and signatures as bytes.
pub fn parts(name: &str) -> Vec<Vec<u8>> {
    let quote = Quote::parse(file(&format!("{name}-quote"))).unwrap();
    let by = &quote.authentication;
    let mut parts = vec![quote.signed().to_vec(), by.signature.to_vec(), by.attestation_key.to_vec()];
    parts.extend([by.qe_report.raw().to_vec(), by.qe_report_signature.to_vec(), by.qe_auth_data.clone()]);
    parts.extend(["pck", "platform-ca", "intel-root"].map(|name| file(name).to_vec()));
    parts.extend(MEMBERS.map(|member| match kind(member) {
        Kind::Chain => file(if member == MEMBERS[0] { "platform-ca" } else { "tcb-signing" }).to_vec(),
        Kind::Hex => hex::decode(&SOUND[member]).unwrap(),
        Kind::Text => SOUND[member].clone().into_bytes(),
    }));
    parts
}

enum Kind {
    Chain,
    Hex,
    Text,
}

fn kind(member: &str) -> Kind {
    match member {
        chain if chain.ends_with("chain") => Kind::Chain,
        "tcb_info" | "qe_identity" => Kind::Text,
        _ => Kind::Hex,
    }
}

pub fn run(input: &[u8]) {
    let _ = is_authentic(input);
}

/// Which quote, when it is judged, changes of its and its collateral's parts, of the quote as a whole, of the collateral.
pub fn is_authentic(input: &[u8]) -> bool {
    let mut script = Script::new(input);
    let name = TDX[usize::from(script.byte()) % TDX.len()];
    let now = MOMENTS[usize::from(script.byte()) % MOMENTS.len()];
    let mut parts = parts(name);
    let others: Vec<&[u8]> = OTHERS.iter().map(Vec::as_slice).collect();
    script.change(&mut parts, &others);
    let (Some(quote), Some(collateral)) = (quote(&parts), collateral(&parts)) else { return false };
    let (mut quote, mut collateral) = ([quote], [collateral]);
    script.change(&mut quote, &others);
    script.change(&mut collateral, &others);
    let ([quote], [collateral]) = (quote, collateral);
    let mut endorsements = Endorsements::new();
    if endorsements.add(&collateral).is_err() {
        return false;
    }
    let Ok(authentic) = authenticate(&quote, &endorsements, &ROOTS, now) else { return false };
    assert_genuine(&authentic, now);
    let again = authentic.platform().authenticate(&quote, now).expect("authentic again");
    assert_eq!(again.quote(), authentic.quote());
    judge(&authentic);
    true
}

/// The quote of these parts, its lengths as they are.
fn quote(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let chain = pem_chain(&[&parts[CHAIN], &parts[CHAIN + 1], &parts[CHAIN + 2]]).ok()?;
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).map(u32::to_le_bytes).ok();
    let auth_data = &parts[QE_AUTH_DATA];
    let certification = [
        &parts[QE_REPORT][..],
        &parts[QE_SIGNATURE],
        &u16::try_from(auth_data.len()).ok()?.to_le_bytes(),
        auth_data,
        &5_u16.to_le_bytes(),
        &length(chain.as_bytes())?,
        chain.as_bytes(),
    ]
    .concat();
    let (kind, len) = (6_u16.to_le_bytes(), length(&certification)?);
    let authentication = [&parts[SIGNATURE][..], &parts[KEY], &kind, &len, &certification].concat();
    Some([&parts[SIGNED][..], &length(&authentication)?, &authentication].concat())
}

/// The collateral's document of these parts.
fn collateral(parts: &[Vec<u8>]) -> Option<Vec<u8>> {
    let text = |(member, part): (&str, &Vec<u8>)| {
        let text = match kind(member) {
            Kind::Chain => pem_chain(&[part, &parts[CHAIN + 2]]).ok()?,
            Kind::Hex => hex::encode(part),
            Kind::Text => String::from_utf8_lossy(part).into_owned(),
        };
        Some((member.to_owned(), Value::String(text)))
    };
    let members = MEMBERS.into_iter().zip(&parts[COLLATERAL..]).map(text).collect::<Option<Map<String, Value>>>()?;
    serde_json::to_vec(&members).ok()
}

/// What was signed is what it was when it was signed. Free are only: zero bytes behind the quote; how JSON, PEM and hex write
/// what they carry; members of the collateral's document that are not read; certificates that no chain needs; and the
/// values of signatures, as an ECDSA signature has a twin.
fn assert_genuine(authentic: &AuthenticQuote, now: u64) {
    let got = authentic.quote();
    let mut genuine = TDX.iter().map(|name| Quote::parse(file(&format!("{name}-quote"))).unwrap());
    let genuine = genuine.find(|genuine| genuine.signed() == got.signed()).expect("a quote that was signed");
    assert_eq!(got.body, genuine.body);
    assert_eq!(got.authentication.attestation_key, genuine.authentication.attestation_key);
    assert_eq!(got.authentication.qe_report, genuine.authentication.qe_report);
    assert_eq!(got.authentication.qe_auth_data, genuine.authentication.qe_auth_data);
    let (platform, status) = (authentic.platform(), authentic.tcb_status());
    let facts = platform.facts();
    assert_eq!((facts.ppid, facts.fmspc), ([0x99; 16], [0xb0, 0xc0, 0x6f, 0, 0, 0]));
    assert_eq!((facts.sgx_components[..8].to_vec(), facts.pce_svn), (vec![4, 4, 2, 2, 4, 1, 0, 5], 13));
    assert_eq!((platform.collateral().fmspc(), platform.collateral().evaluation()), (facts.fmspc, 20));
    assert_eq!((platform.valid(), WINDOW.contains(&now)), (WINDOW, true));
    assert_eq!((status.as_str(), authentic.advisories().count()), ("UpToDate", 0));
    assert!(authentic.checks().iter().all(|check| check.ok));
    assert_eq!(authentic.root().realm(), ROOTS.realm());
}

fn judge(authentic: &AuthenticQuote) {
    let expected = Expected { report_data: Some(REPORT_DATA), deployment: Some(Sha256(DEPLOYMENT)) };
    let appraisal = appraise(authentic, &POLICY, &expected);
    let of_version_4 = authentic.quote().header.version == 4;
    let accepted = appraisal.verdict() == Verdict::Accepted;
    assert!(accepted || !of_version_4, "{:?}", appraisal.refusal());
    assert_eq!(appraisal.into_verified().is_ok(), accepted);
}
