//! `deployment`: the document that the hardware names.

use crate::run::{Run, strongroom, text};
use strongroom_wire::digest::Sha256;

fn settings(url: &str, key: &str) -> String {
    format!(
        "version = 1\nroot = 'amd'\nattester = 'configfs-tsm'\n\
         [verifier]\nurl = '{url}'\npin = '{0}'\ntoken-key = ''\n[runtime]\nonnxruntime = '{0}'\n\
         [[registry]]\nhost = 'r.example'\n\
         [[model]]\nname = 'embed'\nreference = 'r.example/models/embed@sha256:{0}'\n\
         [[trust.rule]]\nrepository = 'r.example/models/*'\n\
         [[trust.rule.signer]]\nname = 'release'\nkey = '''{key}'''\n",
        "ab".repeat(32)
    )
}

#[test]
fn document_is_rendered_and_its_digest_is_that_of_its_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("settings.toml"), folder.path().join("initdata.toml"));
    strongroom(["model", "keygen", text(&folder.path().join("signer"))]).done();
    let key = std::fs::read_to_string(folder.path().join("signer.pub")).unwrap();
    let render = |settings: &str| -> Run {
        std::fs::write(&input, settings).unwrap();
        strongroom(["deployment", "render", text(&input), "--out", text(&out), "--json"])
    };

    render(&settings("http://v.example", &key)).refused(1, "malformed");
    render(&settings("https://v.example", "no key")).refused(2, "key-invalid");
    render(&format!("{}insecure = true\n", settings("https://v.example", &key))).refused(2, "unknown-field");
    let policies = |cedar: &str| format!("{}[access]\npolicies = '{cedar}'\n", settings("https://v.example", &key));
    let verifier_s = r#"@id("a") permit (principal, action == Strongroom::Action::"ReleaseKey", resource);"#;
    render(&policies(verifier_s)).refused(2, "policy-invalid");
    assert!(!out.exists());
    render(&policies(&verifier_s.replace("ReleaseKey", "Embed"))).done();

    let rendered = render(&settings("https://v.example", &key)).done().json();
    let digest = Sha256::of(&std::fs::read(&out).unwrap()).to_string();
    assert_eq!(rendered["deployment"], digest.as_str());
    assert_eq!(strongroom(["deployment", "digest", text(&out)]).done().stdout, format!("{digest}\n"));

    std::fs::write(&out, "").unwrap();
    strongroom(["deployment", "digest", text(&out)]).refused(1, "deployment-missing");
}

#[test]
fn principal_is_known_by_the_hash_of_a_key_that_is_fresh_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let made = strongroom(["deployment", "principal", "a \"b\""]).done().stdout;
    let (key, lines) = made.split_once("\n\n").unwrap();
    assert_eq!((key.strip_prefix("sr-").unwrap().len(), lines.starts_with("[[principal]]\n")), (43, true), "{made}");
    assert!(lines.contains(&format!("key-sha256 = \"{}\"\n", Sha256::of(key.as_bytes()))), "{lines}");

    let json = strongroom(["deployment", "principal", "app", "--json"]).done().json();
    let other = json["key"].as_str().unwrap();
    assert_eq!((json["name"].as_str(), other == key), (Some("app"), false));
    assert_eq!(json["key-sha256"], Sha256::of(other.as_bytes()).to_string());

    // The lines are what a document takes.
    strongroom(["model", "keygen", text(&folder.path().join("signer"))]).done();
    let signer = std::fs::read_to_string(folder.path().join("signer.pub")).unwrap();
    let (input, out) = (folder.path().join("settings.toml"), folder.path().join("initdata.toml"));
    std::fs::write(&input, format!("{}{lines}", settings("https://v.example", &signer))).unwrap();
    strongroom(["deployment", "render", text(&input), "--out", text(&out)]).done();
}
