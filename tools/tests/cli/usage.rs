//! Wrong usage, missing files, help: what is the same for every command.

use crate::run::strongroom;

#[test]
fn wrong_usage_exits_2_and_with_json_says_so_in_one_document() {
    let run = strongroom(["evidence", "verify"]);
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
    let json = strongroom(["evidence", "verify", "--json"]).refused(2, "usage").json();
    assert_eq!(json["refused"]["what"], "the following required arguments were not provided: <FILE>");
    assert!(json.get("verdict").is_none());
    strongroom(["no-such-command", "--json"]).refused(2, "usage").json();
}

#[test]
fn missing_file_exits_3_and_with_json_says_so_in_one_document() {
    let run = strongroom(["evidence", "inspect", "/nonexistent"]).refused(3, "io");
    assert_eq!(run.stdout, "");
    strongroom(["evidence", "inspect", "/nonexistent", "--json"]).refused(3, "io").json();
}

#[test]
fn help_exits_0_and_shows_an_example() {
    assert_eq!(strongroom(["--help"]).done().stderr, "");
    let help = strongroom(["key", "disable", "--help"]).done();
    assert!(help.stdout.contains("Example:\n  strongroom key disable "), "{}", help.stdout);
}

#[test]
fn completions_name_the_commands() {
    assert!(strongroom(["completions", "bash"]).done().stdout.contains("evidence"));
    strongroom(["completions", "bash", "--json"]).refused(2, "usage").json();
}

#[test]
fn policy_is_read_and_a_wrong_one_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        strongroom(["policy", "check", file.to_str().unwrap(), "--json"])
    };
    let snp = format!(
        "version = 1\n[snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
         tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n",
        "11".repeat(48),
        "22".repeat(32)
    );
    let json = check(&snp).done().json();
    assert_eq!((json["kind"].as_str(), json["fixes_software"].as_bool()), (Some("appraisal"), Some(true)));
    assert_eq!(json["fixes_model"], false);
    let open = snp.replace(&format!("exactly = \"{}\"", "22".repeat(32)), "any = { because = \"test\" }");
    assert_eq!(check(&open).done().json()["fixes_software"], false);
    check(&format!("{snp}[other]\n")).refused(2, "unknown-field");
    check("version = 1").refused(2, "policy-invalid");

    // A release policy says whose models a key opens, by keys that can be used, and fixes the software.
    let prefix = folder.path().join("signer");
    strongroom(["model", "keygen", prefix.to_str().unwrap()]).done();
    let key = std::fs::read_to_string(folder.path().join("signer.pub")).unwrap();
    let release = |key: &str| {
        format!(
            "[[release.trust.rule]]\nrepository = \"r:1/*\"\n[[release.trust.rule.signer]]\nname = \"a\"\nkey = \"\"\"{key}\"\"\"\n"
        )
    };
    assert_eq!(check(&format!("{snp}{}", release(&key))).done().json()["kind"], "release");
    check(&format!("{snp}{}", release("no key"))).refused(2, "policy-invalid");
    check(&format!("{open}{}", release(&key))).refused(2, "no-reference-values");
    // As the verifier has it: whose models count is decided by their signers alone.
    let manifest = format!("[model]\nmanifest = {{ exactly = \"sha256:{}\" }}\n", "33".repeat(32));
    check(&format!("{snp}{manifest}")).done();
    assert_eq!(check(&format!("{snp}{manifest}{}", release(&key))).code, 2);
}
