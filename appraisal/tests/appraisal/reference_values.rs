//! Signed reference values: bundles and policies that differ in one thing. Past 400 lines because all of it turns on one bundle.

use super::pair::{Outcome, Pair};
use super::{snp_case, tdx_case};
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_appraisal::{
    Expected, Floor, Hex, Policy, ReferenceValues, ReleasePolicy, Rule, Seen, SeenKind, SignedDocument as _, appraise,
    tdx,
};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::{Check, Code, Result, bytes, limits};

const NOW: u64 = 1_000;

static KEYS: LazyLock<[EcdsaKeyPair; 2]> =
    LazyLock::new(|| [0, 1].map(|_| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()));

fn pem(key: &EcdsaKeyPair) -> String {
    let der = key.public_key().as_der().unwrap();
    let text = bytes::to_base64(der.as_ref());
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\\n{}\\n-----END PUBLIC KEY-----\\n", lines.join("\\n"))
}

pub(crate) fn bundle() -> Value {
    let label = json!({ "image": "guest", "version": "1" });
    let tcb = json!({ "bootloader": 3, "tee": 0, "snp": 8, "microcode": 115 });
    let hex = |digit: &str, n: usize| digit.repeat(2 * n);
    json!({
        "format": 1, "name": "image", "version": 7, "issued": NOW - 10, "expires": NOW + 10,
        "snp": { "product": "Milan", "tcb": tcb, "guests": [
            { "label": label, "measurement": hex("1", 48), "deployment": hex("d", 32), "inputs": { "kernel": hex("9", 32) } },
            { "label": label, "measurement": hex("2", 48), "deployment": hex("d", 32) },
        ] },
        "tdx": { "tcb-evaluation": 18, "guests": [{
            "label": label, "mrtd": hex("3", 48), "rtmr0": hex("4", 48), "rtmr1": hex("5", 48), "rtmr2": hex("6", 48),
            "rtmr3": hex("7", 48), "deployment": hex("d", 32),
        }] },
    })
}

/// A policy that takes all that can be taken, and demands as many of the keys.
fn policy_text(threshold: usize) -> String {
    let take = "{ reference-values = \"image\" }";
    let any = "{ any = { because = \"test\" } }";
    let [one, two] = [&KEYS[0], &KEYS[1]].map(pem);
    format!(
        "version = 1\n[[reference-values]]\nname = \"image\"\nversion = {{ at-least = 7 }}\n\
         signers = {{ keys = [\"{one}\", \"{two}\"], threshold = {threshold} }}\n\
         [snp]\nmeasurement = {take}\ndeployment = {take}\nproduct = {take}\ntcb = {take}\nlaunch-tcb = {take}\nchip = {any}\n\
         [tdx]\nmrtd = {take}\nrtmr0 = {take}\nrtmr1 = {take}\nrtmr2 = {take}\nrtmr3 = {take}\ndeployment = {take}\n\
         tcb-evaluation = {take}\nppid = {any}\n"
    )
}

fn sign(payload: &[u8], payload_type: &str, keys: &[&EcdsaKeyPair]) -> Vec<u8> {
    let mut envelope =
        Envelope { payload_type: payload_type.to_owned(), payload: payload.to_vec(), signatures: Vec::new() };
    let message = envelope.signed_bytes();
    let signatures = keys.iter().map(|key| key.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec());
    envelope.signatures = signatures.collect();
    envelope.to_json().unwrap()
}

fn signed(bundle: &Value) -> Vec<u8> {
    sign(bundle.to_string().as_bytes(), ReferenceValues::PAYLOAD_TYPE, &[&KEYS[0]])
}

fn take(policy: &str, envelopes: &[Vec<u8>], now: u64) -> Result<Policy> {
    let envelopes: Vec<&[u8]> = envelopes.iter().map(Vec::as_slice).collect();
    Policy::parse(policy.as_bytes())?.with_reference_values(&envelopes, &mut Seen::default(), now)
}

fn outcome(result: Result<Policy>) -> Outcome {
    result.err().map(|refusal| ("reference values".to_owned(), refusal.code))
}

/// The bundle as it is, and changed by `change`.
fn changed(what: &str, code: Code, change: impl Fn(&mut Value) + 'static) -> Pair {
    let refused = move || {
        let mut bundle = bundle();
        change(&mut bundle);
        outcome(take(&policy_text(1), &[signed(&bundle)], NOW))
    };
    Pair::new(what, || outcome(take(&policy_text(1), &[signed(&bundle())], NOW)), refused, "reference values", code)
}

/// The last moment at which it is accepted, and the next.
fn moment(what: &str, accepted: u64, refused: u64, code: Code) -> Pair {
    let at = |now| move || outcome(take(&policy_text(1), &[signed(&bundle())], now));
    Pair::new(what, at(accepted), at(refused), "reference values", code)
}

/// The same bundle under the same policy, in two envelopes.
fn envelopes(what: &str, threshold: usize, accepted: Vec<Vec<u8>>, refused: Vec<Vec<u8>>, code: Code) -> Pair {
    let run = move |envelopes: Vec<Vec<u8>>| move || outcome(take(&policy_text(threshold), &envelopes, NOW));
    Pair::new(what, run(accepted), run(refused), "reference values", code)
}

/// Where a value of a bundle stands.
type Field = fn(&mut Value) -> &mut Value;

pub(crate) fn pairs() -> Vec<Pair> {
    let payload = bundle().to_string().into_bytes();
    let by = |keys: &[&EcdsaKeyPair]| vec![sign(&payload, ReferenceValues::PAYLOAD_TYPE, keys)];
    let stranger = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
    let good = || vec![signed(&bundle())];
    let missing = Code::ReferenceValuesMissing;
    let invalid = Code::ReferenceValuesInvalid;
    let mut pairs = vec![
        envelopes("signature", 1, good(), by(&[]), Code::SignatureInvalid),
        envelopes("key", 1, good(), by(&[&stranger]), Code::SignatureInvalid),
        envelopes("threshold", 2, by(&[&KEYS[0], &KEYS[1]]), by(&[&KEYS[0]]), Code::SignatureInvalid),
        envelopes("one key twice", 2, by(&[&KEYS[0], &KEYS[1]]), by(&[&KEYS[0], &KEYS[0]]), Code::SignatureInvalid),
        envelopes("type", 1, good(), vec![sign(&payload, "text/plain", &[&KEYS[0]])], Code::SignatureInvalid),
        envelopes("not given", 1, good(), Vec::new(), missing),
        envelopes("given twice", 1, good(), [good(), good()].concat(), invalid),
        moment("first second", NOW - 10, NOW - 11, Code::ReferenceValuesNotYetValid),
        moment("last second", NOW + 10, NOW + 11, Code::ReferenceValuesExpired),
        changed("name", invalid, |bundle| bundle["name"] = json!("other")),
        changed("empty name", invalid, |bundle| bundle["name"] = json!("")),
        changed("format", invalid, |bundle| bundle["format"] = json!(2)),
        changed("version below the policy's", Code::ReferenceValuesRolledBack, |bundle| bundle["version"] = json!(6)),
        changed("expires before issued", invalid, |bundle| bundle["expires"] = json!(NOW - 11)),
        changed("validity", invalid, |bundle| bundle["expires"] = json!(NOW - 10 + 366 * 86_400 + 1)),
        changed("unknown field", Code::UnknownField, |bundle| bundle["more"] = json!(1)),
        changed("no guests", invalid, |bundle| bundle["snp"]["guests"] = json!([])),
        changed("product of the TCB", invalid, |bundle| bundle["snp"]["product"] = Value::Null),
        changed("product that is none", invalid, |bundle| bundle["snp"]["product"] = json!("Rome")),
        changed("measurement's length", invalid, |bundle| bundle["snp"]["guests"][0]["measurement"] = json!("11")),
    ];
    let fields: [(&str, Field); 8] = [
        ("snp.tcb", |bundle| &mut bundle["snp"]["tcb"]),
        ("snp.deployment of one guest", |bundle| &mut bundle["snp"]["guests"][1]["deployment"]),
        ("tdx.tcb-evaluation", |bundle| &mut bundle["tdx"]["tcb-evaluation"]),
        ("tdx.rtmr0", |bundle| &mut bundle["tdx"]["guests"][0]["rtmr0"]),
        ("tdx.rtmr1", |bundle| &mut bundle["tdx"]["guests"][0]["rtmr1"]),
        ("tdx.rtmr2", |bundle| &mut bundle["tdx"]["guests"][0]["rtmr2"]),
        ("tdx.rtmr3", |bundle| &mut bundle["tdx"]["guests"][0]["rtmr3"]),
        ("tdx.deployment", |bundle| &mut bundle["tdx"]["guests"][0]["deployment"]),
    ];
    pairs.extend(fields.map(|(what, field)| changed(what, missing, move |bundle| *field(bundle) = Value::Null)));
    pairs.extend(
        ["snp", "tdx"].map(|section| {
            changed(section, missing, move |bundle| drop(bundle.as_object_mut().unwrap().remove(section)))
        }),
    );
    pairs
}

#[test]
fn sound_bundle_is_taken_and_each_fault_is_named() {
    Pair::hold(pairs());
}

#[test]
fn refusal_says_which_bundle_is_missing() {
    let refusal = take(&policy_text(1), &[], NOW).unwrap_err();
    assert_eq!(refusal.what, "reference values `image`");
}

#[test]
fn taken_values_are_the_rules_that_somebody_could_have_written() {
    let policy = take(&policy_text(1), &[signed(&bundle())], NOW).unwrap();
    let (snp, tdx) = (policy.snp().unwrap(), policy.tdx().unwrap());
    assert_eq!(snp.measurement, Rule::OneOf(vec![Hex([0x11; 48]), Hex([0x22; 48])]));
    assert_eq!(snp.deployment, Rule::Exactly(Hex([0xdd; 32])));
    assert_eq!(snp.product, Some(Rule::Exactly("Milan".to_owned())));
    let Floor::AtLeast(tcb) = &snp.tcb else { panic!("no floor") };
    assert_eq!((tcb.bootloader, tcb.snp, tcb.microcode), (3, 8, 115));
    assert_eq!(snp.launch_tcb.as_ref(), Some(&snp.tcb));
    assert_eq!(tdx.mrtd, Rule::Exactly(Hex([0x33; 48])));
    assert_eq!(tdx.rtmr0, Rule::Exactly(Hex([0x44; 48])));
    assert_eq!(tdx.rtmr1, Rule::Exactly(Hex([0x55; 48])));
    assert_eq!(tdx.rtmr2, Rule::Exactly(Hex([0x66; 48])));
    assert_eq!(tdx.rtmr3, Rule::Exactly(Hex([0x77; 48])));
    assert_eq!(tdx.deployment, Rule::Exactly(Hex([0xdd; 32])));
    assert_eq!(tdx.tcb_evaluation, Floor::AtLeast(18));
    policy.fixes_software().unwrap();
}

#[test]
fn digest_covers_policy_and_bundle() {
    let digest = |policy: &str, bundle: &Value| take(policy, &[signed(bundle)], NOW).unwrap().digest();
    let (policy, first) = (policy_text(1), bundle());
    let mut second = first.clone();
    second["version"] = json!(8);
    assert_eq!(digest(&policy, &first), digest(&policy, &first));
    assert_ne!(digest(&policy, &first), digest(&policy, &second));
    assert_ne!(digest(&policy, &first), digest(&format!("{policy}\n"), &first));
    assert_ne!(digest(&policy, &first), Policy::parse(policy.as_bytes()).unwrap().digest());
}

#[test]
fn newer_version_accepted_and_older_or_other_one_of_the_same_number_refused() {
    let mut seen = Seen::default();
    let mut take = |version: u64, expires: u64| {
        let mut bundle = bundle();
        bundle["version"] = json!(version);
        bundle["expires"] = json!(expires);
        let policy = Policy::parse(policy_text(1).as_bytes()).unwrap();
        let taken = policy.with_reference_values(&[&signed(&bundle)], &mut seen, NOW);
        let highest = seen.iter().find(|(kind, ..)| *kind == SeenKind::ReferenceValues).map(|(.., number)| number);
        (taken.err().map(|refusal| refusal.code), highest)
    };
    assert_eq!(take(8, NOW + 10), (None, Some(8)));
    assert_eq!(take(8, NOW + 10), (None, Some(8)));
    assert_eq!(take(8, NOW + 11), (Some(Code::ReferenceValuesRolledBack), Some(8)));
    assert_eq!(take(7, NOW + 10), (Some(Code::ReferenceValuesRolledBack), Some(8)));
    assert_eq!(take(9, NOW - 1), (Some(Code::ReferenceValuesExpired), Some(8)));
    assert_eq!(take(9, NOW + 10), (None, Some(9)));
}

#[test]
fn versions_of_one_name_from_other_signers_are_not_compared() {
    let mut seen = Seen::default();
    let mut take = |threshold: usize, version: u64| {
        let mut bundle = bundle();
        bundle["version"] = json!(version);
        let both = sign(bundle.to_string().as_bytes(), ReferenceValues::PAYLOAD_TYPE, &[&KEYS[0], &KEYS[1]]);
        let policy = Policy::parse(policy_text(threshold).as_bytes()).unwrap();
        policy.with_reference_values(&[&both], &mut seen, NOW).err().map(|refusal| refusal.code)
    };
    assert_eq!(take(1, 9_000), None);
    assert_eq!(take(2, 8), None, "who blocks one name for others must be whom they named");
    assert_eq!(take(2, 7), Some(Code::ReferenceValuesRolledBack));
    assert_eq!(take(1, 8_999), Some(Code::ReferenceValuesRolledBack));
}

#[test]
fn policy_that_takes_none_stays_as_it_is() {
    let any = "{ any = { because = \"test\" } }";
    let text = format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n");
    let taken = take(&text, &[], NOW).unwrap();
    assert_eq!(taken.digest(), Policy::parse(text.as_bytes()).unwrap().digest());
    assert_eq!(take(&text, &[signed(&bundle())], NOW).unwrap_err().code, Code::ReferenceValuesInvalid);
}

#[test]
fn values_taken_where_none_can_be_or_from_where_the_policy_does_not_say_refused() {
    let good = policy_text(1);
    assert!(Policy::parse(good.as_bytes()).is_ok());
    let take = "{ reference-values = \"image\" }";
    for (from, to) in [
        ("chip = { any = { because = \"test\" } }".to_owned(), format!("chip = {take}")),
        (format!("mrtd = {take}"), "mrtd = { reference-values = \"other\" }".to_owned()),
        (format!("rtmr3 = {take}"), format!("rtmr3 = {take}\nmrowner = {take}")),
        ("threshold = 1".to_owned(), "threshold = 3".to_owned()),
        ("version = { at-least = 7 }".to_owned(), "version = { reference-values = \"image\" }".to_owned()),
        ("[snp]".to_owned(), "[[reference-values]]\nname = \"image\"\nsigners = { keys = [] }\n[snp]".to_owned()),
    ] {
        assert!(good.contains(&from), "{from}");
        let refusal = Policy::parse(good.replace(&from, &to).as_bytes()).unwrap_err();
        assert_eq!(refusal.code, Code::PolicyInvalid, "{to}: {refusal}");
    }
}

#[test]
fn version_below_two_to_the_63_accepted_and_a_higher_one_refused() {
    let code = |version: u64| {
        let mut bundle = bundle();
        bundle["version"] = json!(version);
        ReferenceValues::parse(bundle.to_string().as_bytes()).err().map(|refusal| refusal.code)
    };
    assert_eq!(code(i64::MAX.unsigned_abs()), None);
    assert_eq!([1 << 63, u64::MAX].map(code), [Some(Code::ReferenceValuesInvalid); 2]);
}

#[test]
fn release_policy_takes_the_same_values() {
    let signer = "[[release.trust.rule]]\nrepository = \"r:1/models/*\"\n\
                  [[release.trust.rule.signer]]\nname = \"a\"\nkey = \"k\"\n";
    let policy = ReleasePolicy::parse(format!("{}{signer}", policy_text(1)).as_bytes()).unwrap();
    let source = &policy.appraisal().reference_sources()[0];
    let verified = source.verify(&signed(&bundle()), NOW).unwrap();
    let taken = policy.with_documents(&[&verified], &[], NOW).unwrap();
    assert_eq!(taken.appraisal().snp().unwrap().deployment, Rule::Exactly(Hex([0xdd; 32])));
    assert_ne!(taken.digest(), policy.digest());

    // What was verified once is judged by the policy and the time that it is taken at.
    let code = |policy: &ReleasePolicy, verified: &[_], at| {
        policy.with_documents(verified, &[], at).err().map(|refusal| refusal.code)
    };
    let ends = verified.document().expires;
    assert_eq!(code(&policy, &[&verified], ends), None);
    assert_eq!(code(&policy, &[&verified], ends + 1), Some(Code::ReferenceValuesExpired));
    assert_eq!(code(&policy, &[], NOW), Some(Code::ReferenceValuesMissing));
    let newer = policy_text(1).replace("at-least = 7", "at-least = 8");
    let newer = ReleasePolicy::parse(format!("{newer}{signer}").as_bytes()).unwrap();
    assert_eq!(code(&newer, &[&verified], NOW), Some(Code::ReferenceValuesRolledBack));
    let others = ReleasePolicy::parse(format!("{}{signer}", policy_text(2)).as_bytes()).unwrap();
    assert_eq!(code(&others, &[&verified], NOW), Some(Code::ReferenceValuesMissing), "of other signers");
}

#[test]
fn values_that_were_not_taken_accept_nobody() {
    let policy = Policy::parse(policy_text(1).as_bytes()).unwrap();
    let (snp, tdx) = (policy.snp().unwrap(), policy.tdx().unwrap());
    assert!(!snp.measurement.allows(&Hex([0x11; 48])));
    assert!(!tdx.mrtd.allows(&Hex([0x33; 48])));
    assert!(snp.measurement.describe(ToString::to_string).contains("not taken"));
}

/// A policy for SNP that takes these lines' values.
fn snp_text(lines: &str) -> String {
    let (sources, _) =
        policy_text(1).split_once("[snp]").map(|(before, after)| (before.to_owned(), after.len())).unwrap();
    let any = "{ any = { because = \"test\" } }";
    format!("{sources}[snp]\nchip = {any}\nrevocation-list = {any}\n{lines}")
}

const TAKE: &str = "{ reference-values = \"image\" }";
const ANY: &str = "{ any = { because = \"test\" } }";

fn guests() -> String {
    format!("measurement = {TAKE}\ndeployment = {TAKE}\ntcb = {ANY}\n")
}

/// The bundle with two guests, each with a document of its own, valid around the time at which reports are judged.
fn two_guests() -> Value {
    let mut bundle = bundle();
    bundle["issued"] = json!(snp_case::NOW - 10);
    bundle["expires"] = json!(snp_case::NOW + 10);
    bundle["snp"]["guests"][0]["deployment"] = json!("a".repeat(64));
    bundle["tdx"]["guests"][0]["deployment"] = json!("a".repeat(64));
    let mut other = bundle["tdx"]["guests"][0].clone();
    other["rtmr1"] = json!("e".repeat(96));
    other["deployment"] = json!("d".repeat(64));
    bundle["tdx"]["guests"].as_array_mut().unwrap().push(other);
    bundle
}

fn failed(checks: &[Check]) -> Vec<(&str, Code)> {
    checks.iter().filter_map(|check| Some((check.name.as_str(), check.code?))).collect()
}

#[test]
fn guest_of_the_bundle_accepted_and_one_of_parts_of_two_refused() {
    let policy = take(&snp_text(&guests()), &[signed(&two_guests())], snp_case::NOW).unwrap();
    for (measurement, document, held) in
        [(0x11, 0xaa, true), (0x22, 0xdd, true), (0x11, 0xdd, false), (0x22, 0xaa, false)]
    {
        let report = ReportSpec { measurement: [measurement; 48], host_data: [document; 32], ..ReportSpec::default() };
        let authentic = snp_case::Case { report, ..snp_case::Case::sound() }.run().unwrap();
        let appraisal = appraise(&authentic, &policy, &Expected::UNBOUND);
        let want = if held { vec![] } else { vec![("reference-guest", Code::MeasurementNotApproved)] };
        assert_eq!(failed(appraisal.checks()), want, "{measurement:x} {document:x}");
    }
}

#[test]
fn trust_domain_of_the_bundle_accepted_and_one_of_parts_of_two_refused() {
    let (sources, _) =
        policy_text(1).split_once("[snp]").map(|(before, after)| (before.to_owned(), after.len())).unwrap();
    // Of two fields, and of more.
    for mrtd in [ANY, TAKE] {
        let text = format!(
            "{sources}[tdx]\nmrtd = {mrtd}\nrtmr0 = {ANY}\nrtmr1 = {TAKE}\nrtmr2 = {ANY}\nrtmr3 = {ANY}\ndeployment = {TAKE}\n\
             ppid = {ANY}\n"
        );
        let policy = take(&text, &[signed(&two_guests())], snp_case::NOW).unwrap();
        for (rtmr1, document, held) in
            [(0x55, 0xaa, true), (0xee, 0xdd, true), (0x55, 0xdd, false), (0xee, 0xaa, false)]
        {
            let mut mrconfigid = [0; 48];
            mrconfigid[..32].fill(document);
            let mut quote = QuoteSpec { mrconfigid, mrtd: [0x33; 48], ..QuoteSpec::default() };
            quote.rtmr[1] = [rtmr1; 48];
            let authentic = tdx_case::with_quote(quote).run().unwrap();
            let appraisal = tdx::appraise(&authentic, &policy, &Expected::UNBOUND);
            let want = if held { vec![] } else { vec![("reference-guest", Code::MeasurementNotApproved)] };
            assert_eq!(failed(appraisal.checks()), want, "{mrtd} {rtmr1:x} {document:x}");
        }
    }
}

#[test]
fn policy_that_is_kept_accepts_nobody_before_its_bundle_is_valid_and_after_it_expired() {
    let now = snp_case::NOW;
    let policy = take(&snp_text(&guests()), &[signed(&two_guests())], now).unwrap();
    let judged = |policy: &Policy, now: u64| {
        let report = ReportSpec { measurement: [0x11; 48], host_data: [0xaa; 32], ..ReportSpec::default() };
        let authentic = snp_case::Case { report, now, ..snp_case::Case::sound() }.run().unwrap();
        appraise(&authentic, policy, &Expected::UNBOUND).refusal().map(|refusal| (refusal.what, refusal.code))
    };
    let validity = "validity of reference values `image`".to_owned();
    assert_eq!([now - 10, now + 10].map(|now| judged(&policy, now)), [None, None]);
    assert_eq!(judged(&policy, now - 11), Some((validity.clone(), Code::ReferenceValuesNotYetValid)));
    assert_eq!(judged(&policy, now + 11), Some((validity, Code::ReferenceValuesExpired)));
}

#[test]
fn floor_of_the_product_of_its_bundle_accepted_and_of_another_or_of_none_refused() {
    let resolved = |lines: &str| {
        let lines = format!("measurement = {ANY}\ndeployment = {ANY}\n{lines}");
        take(&snp_text(&lines), &[signed(&bundle())], NOW).map(drop).map_err(|refusal| refusal.code)
    };
    let product = |product: &str| format!("product = {{ exactly = \"{product}\" }}\n");
    let refused = Err(Code::PolicyInvalid);
    assert_eq!(resolved(&format!("{}tcb = {TAKE}\n", product("Milan"))), Ok(()));
    assert_eq!(resolved(&format!("product = {TAKE}\ntcb = {TAKE}\n")), Ok(()));
    assert_eq!(resolved(&format!("{}tcb = {TAKE}\n", product("Genoa"))), refused);
    for field in ["committed-tcb", "current-tcb", "launch-tcb"] {
        assert_eq!(resolved(&format!("{}tcb = {ANY}\n{field} = {TAKE}\n", product("Milan"))), Ok(()));
        assert_eq!(resolved(&format!("{}tcb = {ANY}\n{field} = {TAKE}\n", product("Genoa"))), refused, "{field}");
    }
    // Without one product it is no policy at all.
    let parsed = |product: &str| {
        let lines = format!("measurement = {ANY}\ndeployment = {ANY}\n{product}tcb = {TAKE}\n");
        Policy::parse(snp_text(&lines).as_bytes()).map(drop).map_err(|refusal| refusal.code)
    };
    assert_eq!(parsed(&product("Genoa")), Ok(()));
    assert_eq!(parsed(""), refused);
    assert_eq!(parsed(&format!("product = {ANY}\n")), refused);
    assert_eq!(parsed("product = { one-of = [\"Milan\", \"Genoa\"] }\n"), refused);
}

#[test]
fn printable_labels_of_as_many_guests_as_the_limit_accepted_and_others_refused() {
    let parse = |bundle: &Value| ReferenceValues::parse(bundle.to_string().as_bytes()).map_err(|refusal| refusal.code);
    let with = |pointer: &str, text: &str| {
        let mut bundle = bundle();
        *bundle.pointer_mut(pointer).unwrap() = json!(text);
        parse(&bundle).map(drop)
    };
    for platform in ["snp", "tdx"] {
        for member in ["image", "version"] {
            let pointer = format!("/{platform}/guests/0/label/{member}");
            assert_eq!(with(&pointer, "any \u{e9}"), Ok(()));
            assert_eq!(with(&pointer, "a\u{1b}[2J"), Err(Code::ReferenceValuesInvalid), "{pointer}");
        }
        let many = |number: usize| {
            let mut bundle = bundle();
            let guest = bundle[platform]["guests"][0].clone();
            bundle[platform]["guests"] = Value::Array(vec![guest; number]);
            parse(&bundle).map(drop)
        };
        assert_eq!(many(limits::GUESTS), Ok(()));
        assert_eq!(many(limits::GUESTS + 1), Err(Code::TooLarge));
    }
    let mut named = bundle();
    named["snp"]["guests"][0]["inputs"] = json!({ "ker\nnel": "9".repeat(64) });
    assert_eq!(parse(&named), Err(Code::ReferenceValuesInvalid));
    let mut long = parse(&bundle()).unwrap();
    assert!(long.to_json().is_ok());
    let mut of_length = |length: usize| {
        long.snp.as_mut().unwrap().guests[0].label.image = "x".repeat(length);
        long.to_json().map(|json| json.len()).map_err(|refusal| refusal.code)
    };
    let rest = of_length(1).unwrap() - 1;
    assert_eq!(of_length(limits::SIGNED_DOCUMENT - rest), Ok(limits::SIGNED_DOCUMENT));
    assert_eq!(of_length(limits::SIGNED_DOCUMENT - rest + 1), Err(Code::TooLarge));
}

#[test]
fn validity_of_the_longest_accepted_and_a_second_more_and_a_platform_without_guests_refused() {
    let with = |change: fn(&mut Value)| {
        let mut bundle = bundle();
        change(&mut bundle);
        ReferenceValues::parse(bundle.to_string().as_bytes()).err().map(|refusal| refusal.code)
    };
    assert_eq!(with(|bundle| bundle["expires"] = json!(NOW - 10 + limits::REFERENCE_VALUES_VALIDITY)), None);
    let invalid = Some(Code::ReferenceValuesInvalid);
    assert_eq!(with(|bundle| bundle["expires"] = json!(NOW - 9 + limits::REFERENCE_VALUES_VALIDITY)), invalid);
    for platform in ["snp", "tdx"] {
        let other = if platform == "snp" { "tdx" } else { "snp" };
        let alone = |guests: bool| {
            let mut bundle = bundle();
            bundle.as_object_mut().unwrap().remove(other);
            if !guests {
                bundle[platform]["guests"] = json!([]);
            }
            ReferenceValues::parse(bundle.to_string().as_bytes()).err().map(|refusal| refusal.code)
        };
        assert_eq!((alone(true), alone(false)), (None, invalid), "{platform}");
    }
    assert_eq!(with(|bundle| bundle["tdx"]["guests"] = json!([])), invalid, "beside the other platform's");
    assert_eq!(with(|bundle| bundle["snp"]["guests"] = json!([])), invalid, "beside the other platform's");
    let none = |bundle: &mut Value| {
        for platform in ["snp", "tdx"] {
            bundle.as_object_mut().unwrap().remove(platform);
        }
    };
    assert_eq!(with(none), invalid);
}

#[test]
fn name_of_printable_bytes_accepted_and_an_empty_long_or_unprintable_one_refused() {
    let named = |name: &str| {
        let mut bundle = bundle();
        bundle["name"] = json!(name);
        ReferenceValues::parse(bundle.to_string().as_bytes()).err().map(|refusal| refusal.code)
    };
    assert_eq!(named(&"n".repeat(limits::REFERENCE_VALUES_NAME)), None);
    for name in ["", "a\u{1b}[2J", &"n".repeat(limits::REFERENCE_VALUES_NAME + 1)] {
        assert_eq!(named(name), Some(Code::ReferenceValuesInvalid), "{name:?}");
    }
}

#[test]
fn long_list_of_values_is_counted_and_a_short_one_listed() {
    let rule = |number: u8| Rule::OneOf((0..number).collect()).describe(u8::to_string);
    assert_eq!(rule(2), "one of 0, 1");
    assert!(rule(16).ends_with(", 15"));
    assert_eq!(rule(17), "one of 17 values");
}
