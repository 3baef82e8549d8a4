//! Policies that take machines from signed inventories, one changed thing at a time.

use super::azure_policy;
use super::pair::{Outcome, Pair};
use super::snp_case::{self, NOW};
use super::tdx_case;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_appraisal::{Expected, Hex, Policy, ReleasePolicy, Seen, SnpPolicy, appraise, tdx};
use strongroom_wire::dsse::Envelope;
use strongroom_wire::inventory::Inventory;
use strongroom_wire::{Code, Result};

static KEEPER: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());
static STRANGER: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());

const ANY: &str = "{ any = { because = \"test\" } }";

/// The chip of a default report.
fn chip() -> String {
    (0..64).map(|byte| format!("{byte:02x}")).collect()
}

/// An inventory with the machines of the default report and quote.
fn inventory() -> Value {
    json!({ "v": 1, "name": "fleet", "version": 7, "issued": NOW - 10, "expires": NOW + 10, "machines": [
        { "label": "SNP", "chip": chip(), "from": NOW - 5, "until": NOW + 5 },
        { "label": "TDX", "ppid": "99".repeat(16), "platform-instance": "1d".repeat(16) },
    ] })
}

fn changed(pointer: &str, value: Value) -> Value {
    let mut inventory = inventory();
    *inventory.pointer_mut(pointer).unwrap() = value;
    inventory
}

fn signed_as(kind: &str, inventory: &Value, by: &EcdsaKeyPair) -> Vec<u8> {
    let (payload_type, payload) = (kind.to_owned(), inventory.to_string().into_bytes());
    let mut envelope = Envelope { payload_type, payload, signatures: Vec::new() };
    let signature = by.sign(&SystemRandom::new(), &envelope.signed_bytes()).unwrap();
    envelope.signatures.push(signature.as_ref().to_vec());
    envelope.to_json().unwrap()
}

fn signed(inventory: &Value) -> Vec<u8> {
    signed_as(Inventory::PAYLOAD_TYPE, inventory, &KEEPER)
}

/// A policy for both kinds of hardware that names machines by the inventory alone.
fn text(line: &str) -> String {
    let der = KEEPER.public_key().as_der().unwrap();
    let base64 = STANDARD.encode(der.as_ref());
    let (first, second) = base64.split_at(64);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{first}\n{second}\n-----END PUBLIC KEY-----\n");
    format!(
        "version = 1\n[[inventory]]\nname = \"fleet\"\nsigners = {{ keys = [\"\"\"\n{pem}\"\"\"] }}\n{line}\n\
         [snp]\nmeasurement = {ANY}\ndeployment = {ANY}\ntcb = {ANY}\nrevocation-list = {ANY}\n\
         chip = {{ inventory = \"fleet\" }}\n\
         [tdx]\nmrtd = {ANY}\nrtmr0 = {ANY}\nrtmr1 = {ANY}\nrtmr2 = {ANY}\ndeployment = {ANY}\n\
         ppid = {{ inventory = \"fleet\" }}\nplatform-instance = {{ inventory = \"fleet\" }}\n"
    )
}

fn policy(line: &str) -> Policy {
    Policy::parse(text(line).as_bytes()).unwrap()
}

fn taken(envelopes: &[Vec<u8>]) -> Result<Policy> {
    let envelopes: Vec<&[u8]> = envelopes.iter().map(Vec::as_slice).collect();
    policy("").with_inventories(&envelopes, &mut Seen::default(), NOW)
}

fn code<T>(outcome: Result<T>) -> Option<Code> {
    outcome.err().map(|refusal| refusal.code)
}

fn judge_snp(policy: &Policy) -> Outcome {
    let authentic = snp_case::Case::sound().run().unwrap();
    let appraisal = appraise(&authentic, policy, &Expected::UNBOUND);
    appraisal.checks().iter().find_map(|check| Some((check.name.clone(), check.code?)))
}

fn judge_tdx(policy: &Policy) -> Outcome {
    let authentic = tdx_case::Case::sound().run().unwrap();
    let appraisal = tdx::appraise(&authentic, policy, &Expected::UNBOUND);
    appraisal.checks().iter().find_map(|check| Some((check.name.clone(), check.code?)))
}

/// The same evidence under the policy with an inventory that names its machine, and with one that differs in one thing.
pub(crate) fn pairs() -> Vec<Pair> {
    let machine = Code::PlatformNotApproved;
    let snp = [
        ("chip of the inventory", changed("/machines/0/chip", json!("0a".repeat(64)))),
        ("machine from a second on", changed("/machines/0/from", json!(NOW + 1))),
        ("machine until a second ago", changed("/machines/0/until", json!(NOW - 1))),
        ("machine at all", changed("/machines", json!([]))),
    ];
    let tdx = [
        ("PPID of the inventory", changed("/machines/1/ppid", json!("98".repeat(16))), "ppid"),
        (
            "instance of the inventory",
            changed("/machines/1/platform-instance", json!("1e".repeat(16))),
            "platform-instance",
        ),
    ];
    let snp = snp.into_iter().map(|(what, other)| {
        let judge = |inventory: &Value| judge_snp(&taken(&[signed(inventory)]).unwrap());
        Pair::new(what, move || judge(&inventory()), move || judge(&other), "chip", machine)
    });
    let tdx = tdx.into_iter().map(|(what, other, check)| {
        let judge = |inventory: &Value| judge_tdx(&taken(&[signed(inventory)]).unwrap());
        Pair::new(what, move || judge(&inventory()), move || judge(&other), check, machine)
    });
    snp.chain(tdx).collect()
}

#[test]
fn machine_of_the_inventory_accepted_and_any_other_refused() {
    Pair::hold(pairs());
}

#[test]
fn policy_that_is_kept_judges_inventory_and_machines_at_the_moment_of_the_appraisal() {
    let policy = taken(&[signed(&inventory())]).unwrap();
    let at = |now: u64| {
        let authentic = snp_case::Case { now, ..snp_case::Case::sound() }.run().unwrap();
        let appraisal = appraise(&authentic, &policy, &Expected::UNBOUND);
        let failed = appraisal.checks().iter().filter_map(|check| Some((check.name.clone(), check.code?)));
        failed.collect::<Vec<_>>()
    };
    let machine = ("chip".to_owned(), Code::PlatformNotApproved);
    let validity = |code| ("validity of inventory `fleet`".to_owned(), code);
    assert_eq!([NOW - 5, NOW + 5].map(at), [vec![], vec![]]);
    assert_eq!([NOW - 6, NOW + 6].map(at), [vec![machine.clone()], vec![machine.clone()]]);
    assert_eq!(at(NOW - 11), [machine.clone(), validity(Code::InventoryNotYetValid)]);
    assert_eq!(at(NOW + 11), [machine, validity(Code::InventoryExpired)]);
}

#[test]
fn machine_with_two_times_may_be_used_in_each() {
    let mut twice = inventory();
    twice["machines"][1] = json!({ "chip": chip(), "from": NOW + 8 });
    let policy = taken(&[signed(&twice)]).unwrap();
    let held = |now: u64| {
        let authentic = snp_case::Case { now, ..snp_case::Case::sound() }.run().unwrap();
        appraise(&authentic, &policy, &Expected::UNBOUND).refusal().is_none()
    };
    assert_eq!([NOW + 5, NOW + 6, NOW + 7, NOW + 8].map(held), [true, false, false, true]);
}

/// The zone of the default report's chip at each of four moments, of a machine with two entries.
fn zones(first: Value, second: Value) -> [Option<String>; 4] {
    let mut twice = inventory();
    twice["machines"][0]["zone"] = first;
    twice["machines"][1] = json!({ "chip": chip(), "zone": second, "from": NOW + 4, "until": NOW + 8 });
    let policy = taken(&[signed(&twice)]).unwrap();
    let machines = &policy.snp().unwrap().chip;
    let id = Hex(core::array::from_fn(|byte| u8::try_from(byte).unwrap()));
    [NOW - 6, NOW + 3, NOW + 4, NOW + 8].map(|at| machines.zone_at(&id, at).map(str::to_owned))
}

#[test]
fn machine_stands_in_the_zone_of_the_entries_that_count_where_they_agree() {
    let [east, west] = ["east", "west"].map(|zone| Some(zone.to_owned()));
    assert_eq!(zones(json!("west"), json!("west")), [None, west.clone(), west.clone(), west.clone()]);
    assert_eq!(zones(json!("west"), json!("east")), [None, west.clone(), None, east.clone()]);
    assert_eq!(zones(json!("west"), Value::Null), [None, west, None, None]);
    assert_eq!(zones(Value::Null, json!("east")), [None, None, None, east]);
    let SnpPolicy { chip, .. } = policy("").snp().unwrap().clone();
    assert_eq!(chip.zone_at(&Hex([0; 64]), NOW), None);
}

#[test]
fn inventory_that_is_not_taken_lists_no_machine() {
    assert_eq!(judge_snp(&policy("")), Some(("chip".to_owned(), Code::InventoryMissing)));
    assert_eq!(judge_tdx(&policy("")), Some(("ppid".to_owned(), Code::InventoryMissing)));
    assert_eq!(code(taken(&[])), Some(Code::InventoryMissing));
}

#[test]
fn inventory_with_one_thing_wrong_refused() {
    assert_eq!(code(taken(&[signed(&inventory())])), None);
    let by_a_stranger = signed_as(Inventory::PAYLOAD_TYPE, &inventory(), &STRANGER);
    let of_another_type = signed_as("application/json", &inventory(), &KEEPER);
    let mut edited = Envelope::parse(&signed(&inventory())).unwrap();
    edited.payload = changed("/version", json!(8)).to_string().into_bytes();
    let cases = [
        (vec![by_a_stranger], Code::SignatureInvalid),
        (vec![of_another_type], Code::SignatureInvalid),
        (vec![edited.to_json().unwrap()], Code::SignatureInvalid),
        (vec![signed(&changed("/name", json!("others")))], Code::InventoryInvalid),
        (vec![signed(&inventory()), signed(&inventory())], Code::InventoryInvalid),
        (vec![signed(&changed("/issued", json!(NOW + 1)))], Code::InventoryNotYetValid),
        (vec![signed(&changed("/expires", json!(NOW - 1)))], Code::InventoryExpired),
        (vec![signed(&changed("/v", json!(2)))], Code::VersionUnsupported),
    ];
    for (envelopes, want) in cases {
        assert_eq!(code(taken(&envelopes)), Some(want));
    }
}

#[test]
fn inventory_older_than_one_seen_or_than_the_policy_demands_refused() {
    let mut seen = Seen::default();
    let mut take = |version: u64| {
        let envelope = signed(&changed("/version", json!(version)));
        code(policy("").with_inventories(&[&envelope], &mut seen, NOW))
    };
    assert_eq!([7, 7, 8, 7].map(&mut take), [None, None, None, Some(Code::InventoryRolledBack)]);
    let mut other = changed("/version", json!(8));
    other["machines"] = json!([]);
    let twin = policy("").with_inventories(&[&signed(&other)], &mut seen, NOW);
    assert_eq!(code(twin), Some(Code::InventoryRolledBack), "another document of the version that was seen");
    let floor = |least: u64| {
        let policy = policy(&format!("version = {{ at-least = {least} }}"));
        code(policy.with_inventories(&[&signed(&inventory())], &mut Seen::default(), NOW))
    };
    assert_eq!((floor(7), floor(8)), (None, Some(Code::InventoryRolledBack)));
}

#[test]
fn digest_of_a_policy_covers_its_inventory() {
    let digest = |inventory: &Value| taken(&[signed(inventory)]).unwrap().digest();
    assert_eq!(digest(&inventory()), digest(&inventory()));
    assert_ne!(digest(&inventory()), digest(&changed("/version", json!(8))));
    assert_ne!(digest(&inventory()), policy("").digest());
}

#[test]
fn policy_whose_inventory_has_no_entry_or_two_refused() {
    let parse = |text: &str| code(Policy::parse(text.as_bytes()));
    assert_eq!(parse(&text("")), None);
    for field in ["chip", "ppid", "platform-instance"] {
        let line = format!("{field} = {{ inventory = \"fleet\" }}");
        let other = text("").replace(&line, &line.replace("fleet", "others"));
        assert_eq!(parse(&other), Some(Code::PolicyInvalid), "{field}");
    }
    let twice = text("")
        .replace("[snp]", &format!("{}[snp]", text("").split("[snp]").next().unwrap().replace("version = 1\n", "")));
    assert_eq!(parse(&twice), Some(Code::PolicyInvalid));
    assert_eq!(parse(&text("version = { any = { because = \"\" } }")), Some(Code::PolicyInvalid));
    assert_eq!(parse(&text("threshold = 1")), Some(Code::UnknownField));
}

#[test]
fn release_policy_says_of_each_platform_what_a_policy_of_the_same_sections_says() {
    let exactly = |bytes: usize| format!("{{ exactly = \"{}\" }}", "00".repeat(bytes));
    let fixed = text("").replace(&format!("mrtd = {ANY}"), &format!("mrtd = {}", exactly(48)));
    let fixed = fixed.replace(&format!("measurement = {ANY}"), &format!("measurement = {}", exactly(48)));
    let fixed = ["rtmr0", "rtmr1", "rtmr2"].iter().fold(fixed, |text, register| {
        text.replace(&format!("{register} = {ANY}"), &format!("{register} = {}", exactly(48)))
    });
    let fixed = fixed.replace(&format!("deployment = {ANY}"), &format!("deployment = {}", exactly(32)));
    let azure = ["azure-snp-vtpm", "azure-tdx-vtpm"]
        .map(|section| azure_policy::text(section, azure_policy::Table::Own, "").replace("version = 1\n", ""));
    let text = fixed + &azure.concat();
    let release =
        "[[release.trust.rule]]\nrepository = \"r:1/a\"\n[[release.trust.rule.signer]]\nname = \"a\"\nkey = \"k\"\n";
    let policy = Policy::parse(text.as_bytes()).unwrap();
    let release = ReleasePolicy::parse((text + release).as_bytes()).unwrap();
    let release = release.appraisal();
    assert!(policy.snp().is_some() && policy.tdx().is_some());
    assert!(policy.azure_snp().is_some() && policy.azure_tdx().is_some());
    assert_eq!((release.snp(), release.tdx()), (policy.snp(), policy.tdx()));
    assert_eq!((release.azure_snp(), release.azure_tdx()), (policy.azure_snp(), policy.azure_tdx()));
    assert_eq!(release.inventory_sources(), policy.inventory_sources());
    assert_eq!(release.inventory_sources().len(), 1);
}
