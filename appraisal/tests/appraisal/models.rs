//! What an enclave serves, one departure at a time, against deployment document and policy.

use strongroom_appraisal::{Policy, appraise_models};
use strongroom_wire::binding::statement_commitment;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Workload, WorkloadModel};
use strongroom_wire::{Check, Code};

/// What stands for a key here: nobody verifies a signature with it.
const KEYS: [&[u8]; 3] = [b"first", b"second", b"third"];

fn key(at: usize) -> String {
    Sha256::of(KEYS[at]).to_string()
}

/// A document that names `a` (digest of ones) and `b` (digest of twos), of a repository whose rule wants `threshold` of the
/// first `signers` keys, in PEM under `label`.
fn document(threshold: usize, signers: usize, label: &str) -> Deployment {
    with_signers(threshold, signers, label, "")
}

/// The same, with `more` signers.
fn with_signers(threshold: usize, signers: usize, label: &str, more: &str) -> Deployment {
    with_models(threshold, signers, label, more, "")
}

/// The same; `of_a` is said of model `a`.
fn with_models(threshold: usize, signers: usize, label: &str, more: &str, of_a: &str) -> Deployment {
    let signers: String = KEYS
        .iter()
        .take(signers)
        .enumerate()
        .map(|(at, der)| {
            let pem = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", to_base64(der));
            format!("[[trust.rule.signer]]\nname = \"s{at}\"\nkey = \"\"\"\n{pem}\"\"\"\n")
        })
        .collect();
    let models: String = [("a", 1), ("b", 2)]
        .map(|(name, fill)| {
            let more = if name == "a" { of_a } else { "" };
            let reference = format!("r/m/{name}@{}", Sha256([fill; 32]).oci());
            format!("[[model]]\nname = \"{name}\"\nreference = \"{reference}\"\n{more}")
        })
        .concat();
    let zeros = "00".repeat(32);
    let settings = format!(
        "version = 1\nroot = \"test:{zeros}\"\nattester = \"socket\"\n\
         [verifier]\nurl = \"https://v:1\"\npin = \"{zeros}\"\ntoken-key = \"AA==\"\n\
         [runtime]\nonnxruntime = \"{zeros}\"\n[[registry]]\nhost = \"r\"\n{models}\
         [[trust.rule]]\nrepository = \"r/m/*\"\nthreshold = {threshold}\n{signers}{more}"
    );
    let text =
        format!("version = \"0.1.0\"\nalgorithm = \"sha256\"\n[data]\n\"strongroom.toml\" = '''\n{settings}'''\n");
    Deployment::parse(text.as_bytes()).unwrap()
}

fn policy(model: &str) -> Policy {
    let any = "{ any = { because = \"test\" } }";
    let text =
        format!("version = 1\n[snp]\nmeasurement = {any}\ndeployment = {any}\ntcb = {any}\nchip = {any}\n{model}");
    Policy::parse(text.as_bytes()).unwrap()
}

fn served(models: &[(&str, u8)]) -> Workload {
    let statement = statement_commitment(&[0; 32], b"");
    let model =
        |(name, fill): &(&str, u8)| WorkloadModel { name: (*name).into(), manifest: Sha256([*fill; 32]), statement };
    Workload { deployment: String::new(), models: models.iter().map(model).collect() }
}

fn failed(checks: &[Check]) -> Vec<(&str, Code)> {
    checks.iter().filter(|check| !check.ok).map(|check| (check.name.as_str(), check.code.unwrap())).collect()
}

fn signed_by(at: usize) -> Policy {
    policy(&format!("[model]\nsigner = {{ exactly = \"{}\" }}\n", key(at)))
}

const BOTH: [(&str, u8); 2] = [("a", 1), ("b", 2)];

#[test]
fn models_of_the_document_under_a_key_that_is_needed_accepted_with_a_check_for_each() {
    let checks = appraise_models(&signed_by(0), &document(1, 1, "PUBLIC KEY"), &served(&BOTH));
    assert_eq!(failed(&checks), []);
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let of = |model: &str| ["deployment entry", "manifest", "signer"].map(|check| format!("{check} of model {model}"));
    assert_eq!(names[0], "models");
    assert_eq!(names[1..], [of("a"), of("b")].concat());
    assert_eq!(checks[1].got.as_deref(), Some("r/m/a"));
    assert_eq!(checks[3].got, Some(format!("1 of {}", key(0))));
}

#[test]
fn policy_without_a_word_on_models_proves_nothing() {
    let checks = appraise_models(&policy(""), &document(1, 1, "PUBLIC KEY"), &served(&BOTH));
    assert_eq!(failed(&checks), [("model", Code::NoReferenceValues)]);
}

#[test]
fn model_too_few_or_of_another_name_or_digest_refused() {
    let workload = Code::WorkloadMismatch;
    let judged = |models: &[(&str, u8)]| {
        let checks = appraise_models(&signed_by(0), &document(1, 1, "PUBLIC KEY"), &served(models));
        failed(&checks).into_iter().map(|(name, code)| (name.to_owned(), code)).collect::<Vec<_>>()
    };
    let missing = |name: &str| {
        let signer = (format!("signer of model {name}"), Code::SignerUntrusted);
        vec![(format!("deployment entry of model {name}"), workload), signer]
    };
    assert_eq!(judged(&BOTH), []);
    assert_eq!(judged(&[("a", 1)]), [("models".to_owned(), workload)]);
    assert_eq!(judged(&[("a", 1), ("c", 2)]), missing("c"));
    assert_eq!(judged(&[("a", 1), ("b", 1)]), missing("b"));
}

#[test]
fn model_whose_entry_is_missing_fails_that_check_alone_where_any_signer_will_do() {
    let manifests = policy(&format!("[model]\nmanifest = {{ one-of = [\"{}\"] }}\n", Sha256([1; 32]).oci()));
    let document = document(1, 1, "PUBLIC KEY");
    let checks = appraise_models(&manifests, &document, &served(&[("a", 1), ("c", 1)]));
    assert_eq!(failed(&checks), [("deployment entry of model c", Code::WorkloadMismatch)]);
    let checks = appraise_models(&manifests, &document, &served(&BOTH));
    assert_eq!(failed(&checks), [("manifest of model b", Code::ModelNotApproved)]);
}

#[test]
fn model_that_may_be_replaced_accepted_with_another_digest_or_gone_and_told_to_be_changed_to_who_pinned_it() {
    let promoted =
        "[trust.rule.promotion]\nenvironment = \"p\"\n[[trust.rule.promotion.promoter]]\nname = \"p\"\nkey = \"k\"\n";
    let document = with_models(1, 1, "PUBLIC KEY", promoted, "replaceable = true\n");
    let judged = |policy: &Policy, models: &[(&str, u8)]| {
        let checks = appraise_models(policy, &document, &served(models));
        failed(&checks).into_iter().map(|(name, code)| (name.to_owned(), code)).collect::<Vec<_>>()
    };
    let signer = signed_by(0);
    for accepted in [&BOTH[..], &[("a", 3), ("b", 2)], &[("b", 2)]] {
        assert_eq!(judged(&signer, accepted), [], "{accepted:?}");
    }
    let entry = ("deployment entry of model b".to_owned(), Code::WorkloadMismatch);
    assert_eq!(judged(&signer, &[("a", 1), ("b", 3)])[0], entry);
    assert_eq!(judged(&signer, &[("a", 1)]), [("models".to_owned(), Code::WorkloadMismatch)]);
    let [one, two] = [1, 2].map(|fill| Sha256([fill; 32]).oci());
    let pinned = policy(&format!("[model]\nmanifest = {{ one-of = [\"{one}\", \"{two}\"] }}\n"));
    assert_eq!(judged(&pinned, &BOTH), []);
    assert_eq!(judged(&pinned, &[("a", 3), ("b", 2)]), [("manifest of model a".to_owned(), Code::WorkloadChanged)]);
}

#[test]
fn key_that_the_document_can_do_without_is_not_enough() {
    let holds = |threshold, signers, at| {
        let checks = appraise_models(&signed_by(at), &document(threshold, signers, "PUBLIC KEY"), &served(&BOTH));
        failed(&checks).is_empty()
    };
    // Another key alone, one of two, two of two, two of three, three of three.
    assert!(!holds(1, 1, 1));
    assert!(!holds(1, 2, 0));
    assert!(holds(2, 2, 0) && holds(2, 2, 1));
    assert!(!holds(2, 3, 0));
    assert!(holds(3, 3, 2));
}

#[test]
fn identity_beside_keys_harms_no_policy_that_asks_for_no_signer_and_is_none_that_asks() {
    let document = |threshold, signers| {
        let identity =
            "[[trust.rule.signer]]\nname = \"i\"\nidentity = { issuer = \"https://issuer\", subject = \"release\" }\n";
        with_signers(threshold, signers, "PUBLIC KEY", identity)
    };
    let manifests = [1, 2].map(|fill| format!("\"{}\"", Sha256([fill; 32]).oci())).join(", ");
    let anybody = policy(&format!("[model]\nmanifest = {{ one-of = [{manifests}] }}\n"));
    // Alone, beside a key, and needed together with one.
    for (threshold, signers) in [(1, 0), (1, 1), (2, 1)] {
        let checks = appraise_models(&anybody, &document(threshold, signers), &served(&BOTH));
        assert_eq!(failed(&checks), [], "{threshold} of {signers} keys and an identity");
        assert!(checks[3].got.as_deref().unwrap().ends_with("1 by identity"));
    }
    let asked = |threshold, signers| {
        failed(&appraise_models(&signed_by(0), &document(threshold, signers), &served(&BOTH))).is_empty()
    };
    assert_eq!([asked(1, 0), asked(1, 1), asked(2, 1)], [false, false, true]);
}

#[test]
fn signer_with_another_thing_than_a_public_key_refused_where_a_key_is_asked_for() {
    let judged =
        |policy: &Policy, label| failed(&appraise_models(policy, &document(1, 1, label), &served(&BOTH))).len();
    assert_eq!(judged(&signed_by(0), "PUBLIC KEY"), 0);
    assert_eq!(judged(&signed_by(0), "CERTIFICATE"), 2);
}
