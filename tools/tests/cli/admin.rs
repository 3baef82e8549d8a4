//! `key` and `policy` against a server that answers as a verifier's admin API does, over real TLS. (The verifier
//! itself is met in the workspace's end-to-end tests; no crate of a service is linked here.)

use crate::audit::Decisions;
use crate::run::{Run, set_mode, strongroom, text, write_secret};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config};
use strongroom_wire::{Code, Refusal};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A running admin API that keeps what it is given. It ends with its test.
pub(crate) struct Service {
    pub(crate) url: String,
    pub(crate) pin: String,
    pub(crate) token: PathBuf,
    state: Arc<Kept>,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Default)]
struct Kept {
    keys: Mutex<Vec<(String, Vec<u8>)>>,
    policies: Mutex<Vec<(String, Vec<u8>)>>,
    documents: Mutex<Vec<Vec<u8>>>,
    disabled: Mutex<Vec<String>>,
    rotated: Mutex<Vec<String>>,
    decisions: Mutex<Decisions>,
    /// Owner and labels as they came.
    tags: Mutex<Vec<String>>,
    authorization: Mutex<Vec<Value>>,
}

impl Service {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token = folder.path().join("token");
        write_secret(&token, format!("{TOKEN}\n"));
        let identity = ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("ca.pem"), identity.certificate_pem()).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(bind("127.0.0.1:0")).unwrap();
        let url = format!("https://localhost:{}", bound.local_addr().port());
        let state = Arc::new(Kept::default());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&state));
        let config = server_config(&identity).unwrap();
        runtime.spawn(serve(bound, Some(config), router, ServeLimits::default(), core::future::pending()));
        Self { url, pin: hex::encode(identity.spki_sha256()), token, state, folder, _runtime: runtime }
    }

    /// The flags that reach it.
    pub(crate) fn flags(&self) -> [&str; 6] {
        ["--verifier", &self.url, "--verifier-pin", &self.pin, "--admin-token-file", text(&self.token)]
    }

    /// Never lets a key out again.
    pub(crate) fn disable(&self, id: &str) {
        self.state.disabled.lock().unwrap().push(id.to_owned());
    }

    /// The keys that it was given.
    pub(crate) fn keys(&self) -> Vec<(String, Vec<u8>)> {
        self.state.keys.lock().unwrap().clone()
    }

    /// What it decided.
    pub(crate) fn decisions(&self) -> std::sync::MutexGuard<'_, Decisions> {
        self.state.decisions.lock().unwrap()
    }

    /// A file of this test's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets the log have so many entries, those with these numbers with these details.
    fn log(&self, entries: u64, details: &[(u64, Value)]) {
        let mut decisions = self.state.decisions.lock().unwrap();
        for seq in decisions.next()..entries {
            let detail = details.iter().find(|(of, _)| *of == seq).map_or(json!({}), |(_, detail)| detail.clone());
            decisions.append("release", "a/b/c", "", 0, detail);
        }
    }

    pub(crate) fn run(&self, command: &[&str]) -> Run {
        strongroom(command.iter().copied().chain(self.flags()).chain(["--json"]))
    }
}

/// What a verifier says of a document that it keeps.
fn document() -> Value {
    json!({ "kind": "inventory", "name": "fleet", "signers": "cd".repeat(32), "version": 7, "digest": "ab".repeat(32), "created": 1_767_225_600 })
}

/// What a verifier says of a version of its Cedar policies.
fn version(version: usize, put: &Value) -> Value {
    json!({ "version": version, "digest": "ab".repeat(32), "created": 1_767_225_600, "comment": put["comment"] })
}

async fn answer(State(kept): State<Arc<Kept>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |status: StatusCode, refusal: Refusal| (status, axum::Json(json!(refusal))).into_response();
    if headers["authorization"] != format!("Bearer {TOKEN}") {
        return refuse(
            StatusCode::UNAUTHORIZED,
            Refusal::new(Code::AdminUnauthorized, "admin token").got("a wrong one"),
        );
    }
    let path = uri.path().strip_prefix("/admin/v1/").unwrap();
    let metadata = |id: &str| {
        let enabled = !kept.disabled.lock().unwrap().iter().any(|disabled| disabled == id);
        json!({ "id": id, "created": 1_767_225_600, "enabled": enabled })
    };
    let (collection, id) = path.split_once('/').unwrap_or((path, ""));
    let json: Value = match (method.as_str(), collection) {
        ("PUT", "keys") => {
            let mut keys = kept.keys.lock().unwrap();
            if keys.iter().any(|(known, value)| known == id && *value != body) {
                return refuse(StatusCode::CONFLICT, Refusal::new(Code::KeyExists, "key").got(id));
            }
            keys.push((id.to_owned(), body.to_vec()));
            metadata(id)
        }
        ("GET", "keys") if id.is_empty() => kept.keys.lock().unwrap().iter().map(|(id, _)| metadata(id)).collect(),
        ("GET", "keys") => match kept.keys.lock().unwrap().iter().find(|(known, _)| known == id) {
            Some((id, _)) => metadata(id),
            None => return refuse(StatusCode::NOT_FOUND, Refusal::new(Code::KeyUnknown, "key").got(id)),
        },
        ("POST", "keys") if id.ends_with("/label") => {
            kept.tags.lock().unwrap().push(uri.query().unwrap_or_default().to_owned());
            metadata(id.strip_suffix("/label").unwrap())
        }
        ("PUT", "authorization") => {
            let mut versions = kept.authorization.lock().unwrap();
            versions.push(serde_json::from_slice(&body).unwrap());
            version(versions.len(), versions.last().unwrap())
        }
        ("GET", "authorization") if id.is_empty() => {
            let versions = kept.authorization.lock().unwrap();
            versions.iter().enumerate().map(|(at, put)| version(at + 1, put)).collect()
        }
        ("GET", "authorization") => match kept.authorization.lock().unwrap().get(id.parse::<usize>().unwrap() - 1) {
            Some(put) => return put["cedar"].as_str().unwrap().to_owned().into_response(),
            None => {
                return refuse(StatusCode::NOT_FOUND, Refusal::new(Code::NoPolicy, "version of the policies").got(id));
            }
        },
        ("POST", "keys") => {
            let (id, change) = id.rsplit_once('/').unwrap();
            match change {
                "enable" => kept.disabled.lock().unwrap().retain(|disabled| disabled != id),
                "disable" => kept.disabled.lock().unwrap().push(id.to_owned()),
                "rotate" => kept.rotated.lock().unwrap().push(id.to_owned()),
                other => assert_eq!(other, "destroy"),
            }
            let mut key = metadata(id);
            if change == "destroy" {
                key["state"] = json!("destroyed");
            }
            key
        }
        ("PUT", "documents") => {
            kept.documents.lock().unwrap().push(body.to_vec());
            json!([document()])
        }
        ("GET", "documents") => json!([document()]),
        ("PUT", "policies") => {
            kept.policies.lock().unwrap().push((id.to_owned(), body.to_vec()));
            json!({ "id": id, "version": 1, "digest": "ab".repeat(32), "created": 1_767_225_600 })
        }
        ("GET", "policies") => match kept.policies.lock().unwrap().iter().find(|(known, _)| known == id) {
            Some((_, text)) => return text.clone().into_response(),
            None => return refuse(StatusCode::NOT_FOUND, Refusal::new(Code::NoPolicy, "release policy").got(id)),
        },
        ("GET", "log") => return kept.decisions.lock().unwrap().answer(id),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    axum::Json(json).into_response()
}

#[test]
fn key_is_stored_once_listed_shown_and_disabled() {
    let service = Service::start();
    let (file, other) = (service.folder.path().join("key"), service.folder.path().join("other"));
    write_secret(&file, "0a".repeat(32));
    write_secret(&other, "0b".repeat(32));
    assert_eq!(service.run(&["key", "put", "a/b/c", "--key-file", text(&file)]).done().json()["id"], "a/b/c");
    assert_eq!(service.keys(), [("a/b/c".to_owned(), vec![10; 32])]);
    let refused = service.run(&["key", "put", "a/b/c", "--key-file", text(&other)]).refused(2, "key-exists");
    assert_eq!(refused.json()["refused"]["got"], "a/b/c");
    assert_eq!(service.run(&["key", "list"]).done().json()[0]["id"], "a/b/c");
    assert_eq!(service.run(&["key", "show", "a/b/c"]).done().json()["enabled"], true);
    service.run(&["key", "show", "a/b/d"]).refused(1, "key-unknown");
    assert_eq!(service.run(&["key", "disable", "a/b/c"]).done().json()["enabled"], false);

    assert_eq!(service.run(&["key", "enable", "a/b/c"]).done().json()["enabled"], true);
    assert_eq!(service.run(&["key", "rotate", "a/b/c"]).done().json()["id"], "a/b/c");
    assert_eq!(service.run(&["key", "rotate", "--all"]).done().json()[0]["id"], "a/b/c");
    assert_eq!(*service.state.rotated.lock().unwrap(), ["a/b/c", "a/b/c"]);
    // Nobody destroys a key by a slip.
    assert_eq!(service.run(&["key", "destroy", "a/b/c"]).code, 2);
    assert_eq!(service.run(&["key", "destroy", "a/b/c", "--for-good"]).done().json()["state"], "destroyed");
    service.disable("a/b/c");

    let table = strongroom(["key", "list"].into_iter().chain(service.flags())).done();
    assert!(table.stdout.contains("a/b/c  disabled  2026-01-01T00:00:00Z"), "{}", table.stdout);
}

#[test]
fn service_with_another_key_or_token_refused() {
    let service = Service::start();
    let [verifier, url, pin, _, token, file] = service.flags();
    let list = |more: &[&str]| strongroom(["key", "list", verifier, url].iter().chain(more));
    list(&[pin, &service.pin, token, file]).done();
    list(&[pin, &"00".repeat(32), token, file]).refused(1, "pin-mismatch");

    let wrong = service.folder.path().join("wrong");
    write_secret(&wrong, "f".repeat(32));
    list(&[pin, &service.pin, token, text(&wrong)]).refused(1, "admin-unauthorized");
    write_secret(&wrong, "");
    list(&[pin, &service.pin, token, text(&wrong)]).refused(2, "configuration-invalid");

    // By a certificate instead of a pin; by neither nobody is recognised.
    list(&["--verifier-ca", text(&service.folder.path().join("ca.pem")), token, file]).done();
    list(&[token, file]).refused(2, "usage");
    assert_eq!(list(&[pin, "no hex", token, file]).code, 2);
    strongroom(["key", "list", verifier, &url.replace("https", "http"), pin, &service.pin, token, file])
        .refused(2, "plaintext-refused");
}

#[test]
fn policy_is_checked_before_it_is_set() {
    let service = Service::start();
    strongroom(["model", "keygen", text(&service.folder.path().join("signer"))]).done();
    let key = std::fs::read_to_string(service.folder.path().join("signer.pub")).unwrap();
    let snp = format!(
        "version = 1\n[snp]\nmeasurement = {{ exactly = \"{}\" }}\ndeployment = {{ exactly = \"{}\" }}\n\
         tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n",
        "11".repeat(48),
        "22".repeat(32)
    );
    let rule = "[[release.trust.rule]]\nrepository = \"r:1/*\"\n[[release.trust.rule.signer]]\nname = \"a\"\n";
    let release = format!("{snp}{rule}key = \"\"\"{key}\"\"\"\n");
    let file = service.folder.path().join("policy.toml");
    let set = |text: &str| {
        std::fs::write(&file, text).unwrap();
        service.run(&["policy", "set", "a/b/c", file.to_str().unwrap()])
    };
    set(&snp).refused(2, "policy-invalid");
    let source =
        format!("version = 1\n[[reference-values]]\nname = \"image\"\nsigners = {{ keys = [\"\"\"{key}\"\"\"] }}\n");
    let taken = "measurement = { reference-values = \"image\" }\ndeployment";
    let fixed = format!("measurement = {{ exactly = \"{}\" }}\ndeployment", "11".repeat(48));
    let taking = release.replace("version = 1\n", &source).replace(&fixed, taken);
    assert!(service.state.policies.lock().unwrap().is_empty());
    service.run(&["policy", "show", "a/b/c"]).refused(1, "no-policy");
    assert_eq!(set(&taking).done().json()["version"], 1);
    set(&taking.replace("name = \"image\"", "name = \"other\"")).refused(2, "policy-invalid");
    service.state.policies.lock().unwrap().clear();
    assert_eq!(set(&release).done().json()["version"], 1);
    assert_eq!(service.run(&["policy", "show", "a/b/c"]).done().json()["policy"], release.as_str());
}

#[test]
fn owner_and_labels_of_a_key_are_sent_as_they_are_or_not_at_all() {
    let service = Service::start();
    let file = service.folder.path().join("key");
    write_secret(&file, "0a".repeat(32));
    service.run(&["key", "put", "a/b/c", "--key-file", text(&file)]).done();
    service.run(&["key", "label", "a/b/c", "--owner", "team-a", "--label", "eu", "--label", "b:c@d"]).done();
    service.run(&["key", "label", "a/b/c"]).done();
    for wrong in ["a&label=b", "a b", "a%20b", "\u{e4}", "a/b", "a#b"] {
        service.run(&["key", "label", "a/b/c", "--label", wrong]).refused(2, "usage");
        service.run(&["key", "put", "a/b/c", "--key-file", text(&file), "--owner", wrong]).refused(2, "usage");
    }
    assert_eq!(*service.state.tags.lock().unwrap(), ["owner=team-a&label=eu&label=b:c@d", ""]);
}

#[test]
fn cedar_policies_are_checked_before_they_are_put_shown_and_put_again() {
    let service = Service::start();
    let file = service.folder.path().join("p.cedar");
    let put = |cedar: &str| {
        std::fs::write(&file, cedar).unwrap();
        service.run(&["policy", "authorization", "put", text(&file), "--comment", "why"])
    };
    service.run(&["policy", "authorization", "show"]).refused(1, "authorization-empty");
    put("permit (principal, action, resource);").refused(2, "policy-invalid");
    assert!(service.state.authorization.lock().unwrap().is_empty());
    let [a, b] = ["a", "b"].map(|id| format!("@id(\"{id}\") permit (principal, action, resource);"));
    assert_eq!(put(&a).done().json()["version"], 1);
    assert_eq!(put(&b).done().json()["version"], 2);
    let show = |version: &[&str]| {
        let run = service.run(&[&["policy", "authorization", "show"], version].concat()).done();
        (run.json()["version"].clone(), run.json()["cedar"].clone())
    };
    assert_eq!(show(&[]), (json!(2), json!(b)));
    assert_eq!(show(&["1"]), (json!(1), json!(a)));
    service.run(&["policy", "authorization", "show", "3"]).refused(1, "no-policy");
    assert_eq!(service.run(&["policy", "authorization", "activate", "1"]).done().json()["version"], 3);
    assert_eq!(show(&[]), (json!(3), json!(a)));
    let versions = service.run(&["policy", "authorization", "versions"]).done().json();
    let comments: Vec<_> = versions.as_array().unwrap().iter().map(|one| one["comment"].clone()).collect();
    assert_eq!(comments, ["why", "why", "version 1 again"]);
}

#[test]
fn questions_of_the_past_are_asked_of_policies_that_are_tried_and_nothing_is_put_that_changes_an_answer() {
    let service = Service::start();
    let question = |platform: &str| {
        json!({
            "now": 1_800_000_000,
            "workload": {"id": "w", "platform": platform, "root": "amd", "measurement": "", "deployment": ""},
            "action": {"release-key": {
                "key": {"id": "a/b/c"},
                "model": {"repository": "r:1/m", "manifest": "sha256:00"},
            }},
        })
    };
    let permit = json!({"version": 1, "verdict": "permit", "by": ["a"], "digest": "", "error": null});
    let none = json!({"version": 1, "verdict": "none", "by": [], "digest": "", "error": null});
    // Two bundles of the log, with questions at their edges.
    let rows = [
        (1, json!({"question": question("snp"), "authorization": permit})),
        (2, json!({"key": "refused before any policy was asked"})),
        (255, json!({"question": question("tdx"), "authorization": none})),
        (256, json!({"question": question("tdx")})),
        (300, json!({"question": question("snp"), "authorization": permit})),
    ];
    service.log(301, &rows);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.cedar");
    let policies = |condition: &str| {
        let text = format!("@id(\"p\") permit (principal, action, resource) when {{ {condition} }};");
        std::fs::write(&file, text).unwrap();
    };
    let tried = |last: &str| {
        let said = service.run(&["policy", "authorization", "try", text(&file), "--last", last]).done().json();
        let of = |one: &Value| (one["seq"].as_u64().unwrap(), one["changes"].as_bool().unwrap());
        (said["decisions"].as_array().unwrap().iter().map(of).collect::<Vec<_>>(), said["changed"].clone())
    };
    policies("principal.platform == \"snp\"");
    assert_eq!(tried("9"), (vec![(1, false), (255, false), (256, false), (300, false)], json!(0)));
    assert_eq!(tried("2"), (vec![(256, false), (300, false)], json!(0)));
    let put = |last: &str| {
        let run = service.run(&["policy", "authorization", "put", text(&file), "--unless-changes", last]);
        (run.code, run.json()["refused"]["code"].clone(), service.state.authorization.lock().unwrap().len())
    };
    assert_eq!(put("9"), (0, Value::Null, 1));
    policies("principal.platform == \"tdx\"");
    assert_eq!(tried("9"), (vec![(1, true), (255, true), (256, true), (300, true)], json!(4)));
    assert_eq!(put("9"), (1, json!("authorization-changes"), 1));
    policies("principal.platform == \"snp\" || principal.platform == \"tdx\"");
    assert_eq!(put("1"), (0, Value::Null, 2), "the newest alone has its answer");
    assert_eq!(put("2"), (1, json!("authorization-changes"), 2));
    let flags = service.flags();
    let said = ["policy", "authorization", "try", text(&file)].into_iter().chain(flags);
    let said = strongroom(said).done().stdout;
    assert!(said.contains("256  2026-01-01T00:00:00Z  a/b/c  empty  permit by p"), "{said}");
    assert!(said.ends_with("4 questions asked, 2 answered otherwise\n"), "{said}");

    // What cannot be read is no answer, and nothing is put past it.
    service.log(302, &[(301, json!({"question": {"now": "later"}, "authorization": permit}))]);
    policies("principal.platform == \"snp\"");
    assert_eq!(put("1"), (1, json!("authorization-changes"), 2));
}

#[test]
fn signed_document_is_given_as_it_was_signed_and_what_is_none_is_not_sent() {
    let service = Service::start();
    let [fleet, key, signed] = ["fleet.json", "keeper", "fleet.dsse"].map(|name| service.folder.path().join(name));
    strongroom(["model", "keygen", text(&key)]).done();
    let inventory = json!({ "v": 1, "name": "fleet", "version": 7, "issued": 100, "expires": 200, "machines": [] });
    std::fs::write(&fleet, inventory.to_string()).unwrap();
    let key = format!("{}.key", text(&key));
    strongroom(["inventory", "sign", text(&fleet), "--key", &key, "--out", text(&signed)]).done();
    service.run(&["policy", "give", text(&fleet)]).refused(1, "malformed");
    assert!(service.state.documents.lock().unwrap().is_empty());
    assert_eq!(service.run(&["policy", "give", text(&signed)]).done().json()[0]["name"], "fleet");
    assert_eq!(*service.state.documents.lock().unwrap(), [std::fs::read(&signed).unwrap()]);
    assert_eq!(service.run(&["policy", "given"]).done().json(), json!([document()]));
}

#[test]
fn token_that_others_can_read_refused() {
    let service = Service::start();
    for (mode, code) in [(0o600, 0), (0o640, 2), (0o604, 2), (0o620, 2), (0o400, 0)] {
        set_mode(&service.token, mode);
        let run = service.run(&["key", "list"]);
        assert_eq!(run.code, code, "{mode:o}: {}", run.stdout);
        if code != 0 {
            run.refused(2, "file-mode-unsafe");
        }
    }
}

#[test]
fn every_missing_flag_is_named() {
    let service = Service::start();
    let json = strongroom(["key", "list", "--json"]).refused(2, "usage").json();
    let me = "--admin-cert FILE --admin-key FILE (or --admin-token-file FILE)";
    let flags = format!("--verifier URL, --verifier-pin HEX (or --verifier-ca FILE), {me}");
    assert_eq!((&json["refused"]["want"], &json["refused"]["got"]), (&json!(flags), &json!("none of them")));
    let [verifier, url, pin, digest, ..] = service.flags();
    let json = strongroom(["policy", "list", "--json", verifier, url, pin, digest]).refused(2, "usage").json();
    assert_eq!(json["refused"]["what"], format!("flags for the verifier are missing: {me}"));
    strongroom(["key", "list"].into_iter().chain(service.flags())).done();
}
