//! Cedar policies in files: `policy check`, `test`, `explain` and `schema --cedar`.

use crate::run::{Run, strongroom, text};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples").join(name)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn policy(arguments: &[&str]) -> Run {
    strongroom(["policy"].iter().chain(arguments))
}

#[test]
fn example_is_sound_and_its_cases_hold() {
    let [policies, cases] = ["authorization.cedar", "authorization.cases.toml"].map(example);
    let checked = policy(&["check", text(&policies), "--json"]).done().json();
    assert_eq!((&checked["kind"], &checked["warnings"]), (&json!("cedar"), &json!([])));
    assert!(checked["policies"].as_array().unwrap().contains(&json!({"id": "models", "effect": "permit"})));
    let tested = policy(&["test", text(&policies), text(&cases), "--json"]).done().json();
    assert_eq!((&tested["verdict"], &tested["failed"]), (&json!("accepted"), &json!(0)));
    assert_eq!(tested["passed"], tested["cases"].as_array().unwrap().len());
    assert!(policy(&["test", text(&policies), text(&cases)]).done().stdout.contains("8 passed, 0 failed"));
}

#[test]
fn what_is_wrong_with_policies_is_named_with_its_line_and_column() {
    let folder = Folder::new();
    let sound = "@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.platform == \"snp\" };\n";
    let check = |content: &str| policy(&["check", text(&folder.file("p.cedar", content)), "--json"]);
    check(sound).done();
    for (content, part) in [
        (sound.replace("platform", "colour"), "line 3, column"),
        (sound.replace("when {", "when"), "line 3, column"),
        (sound.replace("@id(\"a\")\n", ""), "@id("),
    ] {
        let refused = check(&content).refused(2, "policy-invalid").json();
        assert!(refused.to_string().contains(part), "{refused}");
    }
    check("// nothing\n").done();
}

#[test]
fn case_that_comes_out_otherwise_exits_1_and_is_named() {
    let folder = Folder::new();
    let policies = folder
        .file("p.cedar", r#"@id("a") permit (principal, action, resource) when { principal.platform == "snp" };"#);
    let question = json!({
        "now": 5,
        "workload": {"id": "w", "platform": "snp", "root": "amd", "measurement": "", "deployment": ""},
        "action": {"route": {"name": "r"}},
    });
    let other = json!({"workload": {"platform": "tdx"}});
    let test = |cases: Value| {
        let file = folder.file("cases.json", &json!({"question": question, "case": cases}).to_string());
        policy(&["test", text(&policies), text(&file), "--json"])
    };
    let sound = json!([
        {"name": "one", "expect": "allow", "by": ["a"]},
        {"name": "two", "expect": "deny", "by": [], "with": other},
    ]);
    test(sound.clone()).done();
    for (pointer, value) in [
        ("/0/expect", json!("deny")),
        ("/0/by", json!(["b"])),
        ("/0/by", json!([])),
        ("/1/expect", json!("allow")),
        ("/1/with", Value::Null),
    ] {
        let mut cases = sound.clone();
        *cases.pointer_mut(pointer).unwrap() = value;
        let run = test(cases);
        let said = run.json();
        assert_eq!(
            (run.code, &said["code"], &said["failed"]),
            (1, &json!("policy-test-failed"), &json!(1)),
            "{pointer}"
        );
    }
    assert_eq!(test(json!([])).json()["code"], "malformed");
    assert_eq!(test(json!([{"name": "x", "expect": "allow", "with": {"now": "late"}}])).json()["code"], "malformed");
    assert_eq!(test(json!([{"name": "x", "expect": "allow", "unless": 1}])).json()["code"], "malformed");
}

#[test]
fn question_is_explained_by_each_policy_also_where_it_is_in_a_row_of_the_log() {
    let folder = Folder::new();
    let question = json!({
        "now": 1_800_000_000,
        "workload": {"id": "w", "platform": "snp", "root": "amd", "measurement": "aa", "deployment": "bb", "zone": "us"},
        "action": {"release-key": {
            "key": {"id": "models/embed/v1", "labels": ["eu-only"]},
            "model": {"repository": "r:1/m", "manifest": "sha256:00", "signers": ["a"]},
        }},
    });
    let policies = example("authorization.cedar");
    let row = folder.file("row.json", &json!({"seq": 7, "detail": {"question": question}}).to_string());
    let plain = folder.file("question.json", &question.to_string());
    for file in [row, plain] {
        let said = policy(&["explain", text(&policies), text(&file), "--json"]).done().json();
        assert_eq!((&said["verdict"], &said["by"]), (&json!("forbid"), &json!(["eu-only"])));
        let of = |id: &str| said["policies"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap().clone();
        assert_eq!((&of("models")["applies"], &of("eu-only")["applies"]), (&json!(true), &json!(true)));
        assert_eq!(of("on-hold")["unmet"], r#"resource.labels.contains("on-hold")"#);
    }
    let other = question.to_string().replace("models/embed", "other/embed");
    let said = policy(&["explain", text(&policies), text(&folder.file("other.json", &other))]).done().stdout;
    assert!(said.starts_with("policy-denied: forbidden by eu-only\n"), "{said}");
    assert!(said.contains(r#"not: resource in Strongroom::Folder::"models""#), "{said}");
    let bad = folder.file("bad.json", "{\"now\": 1}");
    policy(&["explain", text(&policies), text(&bad), "--json"]).refused(1, "malformed");
}

#[test]
fn schema_of_cedar_policies_is_printed_and_other_policies_are_no_cedar() {
    let schema = policy(&["schema", "--cedar"]).done().stdout;
    assert!(schema.contains("action ReleaseKey appliesTo"), "{schema}");
    assert_eq!(policy(&["schema", "--cedar", "--json"]).done().json()["cedar"], schema.as_str());
    let calls = policy(&["schema", "--calls"]).done().stdout;
    assert!(calls.contains("action ListModels, Embed, Infer, Generate, ManageModel appliesTo"), "{calls}");
    let folder = Folder::new();
    let toml = folder.file("release.toml", "version = 1\n");
    for command in ["test", "explain"] {
        policy(&[command, text(&toml), "question.json", "--json"]).refused(2, "usage");
    }
}
