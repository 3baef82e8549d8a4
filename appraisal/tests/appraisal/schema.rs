//! The published schema of policies against the parser: the same fields, and the same verdict on each of many documents, by
//! a validator that is not ours (Python's `jsonschema`, where it is installed).

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};
use strongroom_appraisal::{POLICY_SCHEMA, Policy};

fn schema() -> Value {
    serde_json::from_str(POLICY_SCHEMA).unwrap()
}

const BOOT_CHAIN: [&str; 6] = ["2", "4", "9", "11", "12", "13"];

fn hex(n: usize) -> Value {
    json!({ "exactly": "0a".repeat(n) })
}

fn any() -> Value {
    json!({ "any": { "because": "test" } })
}

fn object(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<serde_json::Map<_, _>>().into()
}

/// Every field of `[snp]`.
fn snp() -> Value {
    let switches = [
        "debug",
        "migration-agent",
        "smt-allowed",
        "single-socket",
        "cxl",
        "aes-256-xts",
        "page-swap-disabled",
        "smt",
        "tsme",
        "ecc",
        "rapl-disabled",
        "ciphertext-hiding",
        "alias-check",
        "revocation-list",
    ];
    let tcb = json!({ "at-least": { "bootloader": 1, "tee": 0, "snp": 2, "microcode": 3 } });
    let others = [
        ("measurement", hex(48)),
        ("deployment", json!({ "one-of": ["0b".repeat(32)] })),
        ("tcb", tcb.clone()),
        ("committed-tcb", any()),
        ("current-tcb", tcb.clone()),
        ("launch-tcb", tcb),
        ("firmware", json!({ "at-least": { "major": 1, "minor": 2, "build": 3 } })),
        ("product", json!({ "exactly": "Milan" })),
        ("cpuid", hex(3)),
        ("chip", json!({ "inventory": "fleet" })),
        ("provider", json!({ "one-of": ["a cloud"] })),
        ("vmpl", json!({ "exactly": 0 })),
        ("abi", json!({ "at-least": { "major": 1, "minor": 2 } })),
        ("launch-mitigations", json!({ "at-least": [0, 63] })),
        ("current-mitigations", any()),
        ("guest-svn", json!({ "at-least": 1 })),
        ("family-id", hex(16)),
        ("image-id", any()),
        ("id-key-digest", hex(48)),
        ("author-key-digest", hex(48)),
        ("crl-number", json!({ "at-least": 1 })),
        ("crl-age", json!({ "at-most": 1 })),
    ];
    object(switches.map(|name| (name, json!({ "exactly": true }))).into_iter().chain(others))
}

/// Every field of `[tdx]`.
fn tdx() -> Value {
    let registers = [
        "mrtd",
        "rtmr0",
        "rtmr1",
        "rtmr2",
        "rtmr3",
        "mrseam",
        "mrsignerseam",
        "mrowner",
        "mrownerconfig",
        "service-td",
    ];
    let switches = [
        "dynamic-platform",
        "cached-keys",
        "smt",
        "debug",
        "migratable",
        "sept-ve-disable",
        "perfmon",
        "key-locker",
        "pks",
    ];
    let others = [
        ("deployment", hex(32)),
        ("ppid", json!({ "inventory": "fleet" })),
        ("platform-instance", json!({ "one-of": ["0c".repeat(16)] })),
        ("fmspc", hex(6)),
        ("tcb-status", json!({ "one-of": ["UpToDate", "OutOfDate"] })),
        ("tcb-evaluation", json!({ "at-least": 1 })),
        ("collateral-age", json!({ "at-most": 1 })),
        ("crl-number", json!({ "at-least": 1 })),
        ("crl-age", any()),
        ("root-crl-number", any()),
        ("root-crl-age", json!({ "at-most": 1 })),
        ("qe-vendor", hex(16)),
        ("vmid", json!({ "exactly": 0 })),
        ("xfam", hex(8)),
        (
            "event",
            json!([{ "rtmr": 1, "type": "EV_SEPARATOR", "digest": hex(48) }, { "rtmr": 0, "type": 13, "digest": hex(48) }]),
        ),
    ];
    let registers = registers.map(|name| (name, hex(48)));
    object(registers.into_iter().chain(switches.map(|name| (name, json!({ "exactly": true })))).chain(others))
}

fn azure(mut hardware: Value) -> Value {
    let needed = ["measurement", "tcb", "product", "chip", "mrtd", "rtmr0", "rtmr1", "rtmr2", "ppid"];
    hardware.as_object_mut().unwrap().retain(|name, _| needed.contains(&name.as_str()));
    let pcr = object(BOOT_CHAIN.into_iter().chain(["7"]).map(|number| (number, hex(32))));
    json!({
        "hardware": hardware, "pcr": pcr, "deployment": hex(32), "deployment-pcr": 8, "secure-boot": { "exactly": true },
        "console-enabled": any(), "vm-id": { "exactly": "an id" },
    })
}

/// A policy with every field that there is.
fn whole() -> Value {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVsoRhk4cKwTOUAjbniCbGTOTvf8C\n\
                       XydyHoHkLmpczmBoQmGzX7wjeA5av5GQ1opKjc47R/AbIs8mroBTB3C5Pg==\n-----END PUBLIC KEY-----\n";
    let source = |name: &str| json!({ "name": name, "signers": { "keys": [KEY], "threshold": 1 }, "version": { "at-least": 7 } });
    json!({
        "version": 1, "snp": snp(), "tdx": tdx(), "azure-snp-vtpm": azure(snp()), "azure-tdx-vtpm": azure(tdx()),
        "model": { "manifest": { "one-of": [format!("sha256:{}", "0d".repeat(32))] }, "signer": hex(32) },
        "inventory": [source("fleet")], "reference-values": [source("images")],
    })
}

fn parses(document: &Value) -> bool {
    let Ok(text) = toml::to_string(document) else { return false };
    Policy::parse(text.as_bytes()).is_ok()
}

/// Every place in `value`, as JSON pointers.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    let mut visit = |name: &str, value: &Value| {
        let place = format!("{at}/{name}");
        out.push(place.clone());
        places(value, &place, out);
    };
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| visit(name, value)),
        Value::Array(items) => items.iter().enumerate().for_each(|(at, value)| visit(&at.to_string(), value)),
        _ => {}
    }
}

fn split(place: &str) -> (&str, &str) {
    place.rsplit_once('/').unwrap()
}

/// Small policies, each with the place that is to be changed in it: for each field, what a section must have and that field.
/// They change nothing that one large policy would not, and a validator is through with them sooner.
fn policies() -> Vec<(String, Value)> {
    let whole = whole();
    let keep = |section: &str, names: &[&str]| -> Value {
        let fields = whole[section].as_object().unwrap().iter();
        fields.filter(|(name, _)| names.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect()
    };
    let needed: [(&str, &[&str]); 4] = [
        ("snp", &["measurement", "deployment", "tcb", "product", "chip"]),
        ("tdx", &["mrtd", "rtmr0", "rtmr1", "rtmr2", "deployment", "ppid"]),
        ("azure-snp-vtpm", &["hardware", "pcr", "deployment"]),
        ("azure-tdx-vtpm", &["hardware", "pcr", "deployment"]),
    ];
    let mut policies = Vec::new();
    for (section, needed) in needed {
        for field in whole[section].as_object().unwrap().keys() {
            let names: Vec<&str> = needed.iter().copied().chain([field.as_str()]).collect();
            let policy = json!({ "version": 1, section: keep(section, &names), "inventory": whole["inventory"] });
            policies.push((format!("/{section}/{field}"), policy));
        }
    }
    for name in ["version", "snp", "model", "inventory", "reference-values"] {
        let snp = keep("snp", needed[0].1);
        let mut policy = json!({ "version": 1, "snp": snp, "inventory": whole["inventory"] });
        if !policy[name].is_object() {
            policy[name] = whole[name].clone();
        }
        policies.push((format!("/{name}"), policy));
    }
    policies
}

/// Policies with one thing changed: left out, of another type, another value, one member more.
fn variations() -> Vec<(String, Value)> {
    let mut variations = vec![("the whole".to_owned(), whole())];
    for (field, policy) in policies() {
        let mut all = vec![field.clone()];
        places(policy.pointer(&field).unwrap(), &field, &mut all);
        all.iter().for_each(|place| vary(&policy, place, &mut variations));
        variations.push((format!("{field} as it is"), policy));
    }
    for number in 6..=17 {
        let mut other = whole();
        other["azure-snp-vtpm"]["deployment-pcr"] = json!(number);
        variations.push((format!("deployment-pcr {number}"), other.clone()));
        other["azure-snp-vtpm"]["pcr"]["8"] = hex(32);
        variations.push((format!("deployment-pcr {number} and PCR 8"), other.clone()));
        other["azure-snp-vtpm"]["pcr"].as_object_mut().unwrap().remove(&number.to_string());
        variations.push((format!("deployment-pcr {number} in its place"), other));
        let mut named = whole();
        named["azure-snp-vtpm"]["pcr"][number.to_string()] = hex(32);
        variations.push((format!("PCR {number}"), named));
    }
    variations
}

fn vary(policy: &Value, place: &str, variations: &mut Vec<(String, Value)>) {
    let (parent, name) = split(place);
    let mut without = policy.clone();
    match without.pointer_mut(parent).unwrap() {
        Value::Object(members) => drop(members.remove(name)),
        Value::Array(items) => drop(items.remove(name.parse().unwrap())),
        _ => unreachable!("only these have members"),
    }
    variations.push((format!("without {place}"), without));
    let others = [json!("x"), json!(""), json!(" "), json!(-1), json!(256), json!(true), json!({}), json!([])];
    let forms = [any(), json!({ "exactly": 1, "one-of": [1] }), json!({ "any": { "because": " " } })];
    let words = [json!({ "one-of": [] }), json!({ "exactly": "0A".repeat(48) }), hex(48), hex(32), hex(16)];
    for value in others.into_iter().chain(forms).chain(words) {
        let mut other = policy.clone();
        *other.pointer_mut(place).unwrap() = value.clone();
        variations.push((format!("{place} = {value}"), other));
    }
    let mut more = policy.clone();
    if let Value::Object(members) = more.pointer_mut(place).unwrap() {
        members.insert("no-such-field".into(), json!(1));
        variations.push((format!("{place} with one member more"), more));
    }
}

/// What the validator says of each, or `None` where there is no validator.
fn validated(instances: &[Value]) -> Option<Vec<bool>> {
    const SCRIPT: &str = "import json, sys\nfrom jsonschema import Draft202012Validator as V\n\
                          schema, instances = json.load(sys.stdin)\nV.check_schema(schema)\nv = V(schema)\n\
                          print(json.dumps([v.is_valid(i) for i in instances]))";
    let probe = Command::new("python3").args(["-c", "import jsonschema"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        eprintln!("skipped: python3 has no jsonschema");
        return None;
    }
    let python = Command::new("python3").args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut python = python.unwrap();
    python.stdin.take().unwrap().write_all(json!([schema(), instances]).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// What only the parser knows: that names have entries and stand once, that keys are keys and enough, that event types have those names.
fn beyond_a_schema(what: &str) -> bool {
    let names = [
        "/name =",
        "/inventory =",
        "without /inventory",
        "/keys/0",
        "/threshold = 256",
        "/type =",
        "/inventory\" =",
        "/inventory/0 =",
    ];
    names.iter().any(|name| what.contains(name))
}

#[test]
fn schema_and_parser_agree_on_a_policy_with_one_thing_changed() {
    let variations = variations();
    let instances: Vec<Value> = variations.iter().map(|(_, document)| document.clone()).collect();
    let Some(verdicts) = validated(&instances) else { return };
    let mut accepted = 0;
    let mut differ = Vec::new();
    for ((what, document), valid) in variations.iter().zip(verdicts) {
        let parsed = parses(document);
        accepted += usize::from(parsed);
        // An array of a table's values in their order is read as that table; of `[model]` all have defaults.
        let read_as_a_table = what == "/model = []";
        if parsed != valid && !read_as_a_table && (parsed || !beyond_a_schema(what)) {
            differ.push(format!("{what}: parser {parsed}, schema {valid}"));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
    assert!(accepted > 100 && accepted < variations.len() / 3, "{accepted} of {}", variations.len());
}

/// The names that a refusal of an unknown field lists as known.
fn known_to_the_parser(section: &str) -> BTreeSet<String> {
    let mut document = whole();
    let place = document.pointer_mut(section).unwrap();
    place.as_object_mut().unwrap().insert("no-such-field".into(), json!(1));
    let refusal = Policy::parse(toml::to_string(&document).unwrap().as_bytes()).unwrap_err().to_string();
    let (_, expected) = refusal.split_once("expected").unwrap_or_else(|| panic!("{refusal}"));
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn fields_of_the_schema_are_those_of_the_parser_and_the_examples_here_name_each() {
    let schema = schema();
    let members = |value: &Value| -> BTreeSet<String> { value.as_object().unwrap().keys().cloned().collect() };
    let sections = [
        ("", "/properties"),
        ("/snp", "/$defs/snp/properties"),
        ("/tdx", "/$defs/tdx/properties"),
        ("/tdx/event/0", "/$defs/event/properties"),
        ("/azure-snp-vtpm", "/$defs/azure-snp-vtpm/properties"),
        ("/azure-tdx-vtpm", "/$defs/azure-tdx-vtpm/properties"),
        ("/model", "/$defs/model/properties"),
        ("/inventory/0", "/$defs/source/properties"),
        ("/reference-values/0", "/$defs/source/properties"),
        ("/inventory/0/signers", "/$defs/signers/properties"),
    ];
    for (section, properties) in sections {
        let published = members(schema.pointer(properties).unwrap());
        assert_eq!(published, known_to_the_parser(section), "{section}");
        assert_eq!(published, members(whole().pointer(section).unwrap()), "{section}");
    }
    for (hardware, section) in [("snp-hardware", "/snp"), ("tdx-hardware", "/tdx")] {
        let mut fields = known_to_the_parser(section);
        assert!(fields.remove("deployment"));
        assert_eq!(members(&schema["$defs"][hardware]["properties"]), fields);
    }
}

/// Each TOML block of docs/policy.md that is a whole appraisal policy.
#[test]
fn examples_of_the_documentation_satisfy_the_schema() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy.md")).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole =
        blocks.filter(|block| block.starts_with("version = 1") && !block.contains("[[release") && !block.contains('…'));
    let examples: Vec<&str> = whole.collect();
    assert!(!examples.is_empty());
    for example in &examples {
        assert!(Policy::parse(example.as_bytes()).is_ok(), "{:?}\n{example}", Policy::parse(example.as_bytes()).err());
    }
    let instances: Vec<Value> = examples.iter().map(|example| toml::from_str(example).unwrap()).collect();
    let Some(verdicts) = validated(&instances) else { return };
    assert!(verdicts.iter().all(|valid| *valid), "{verdicts:?}");
}
