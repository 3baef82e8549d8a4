//! `verify` and `proxy` against an enclave of the test realm.

use crate::enclave::Enclave;
use crate::run::{Run, binary, finished, strongroom, text};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use strongroom_artifact::SigningKey;
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::dsse::Envelope;
use strongroom_wire::inventory::Inventory;

fn debugged() -> ReportSpec {
    ReportSpec { policy: ReportSpec::default().policy | 1 << 19, ..ReportSpec::default() }
}

fn verify(enclave: &Enclave, more: &[&str]) -> Run {
    let arguments = ["verify", &enclave.url, "--policy", text(&enclave.policy), "--root", text(&enclave.root)];
    strongroom(arguments.iter().chain(more))
}

#[test]
fn approved_enclave_accepted_and_what_it_serves_shown() {
    let enclave = Enclave::start(ReportSpec::default());
    let json = verify(&enclave, &["--json"]).done().json();
    assert_eq!((json["verdict"].as_str(), json["models"][0]["name"].as_str()), (Some("accepted"), Some("embed")));
    assert!(json["root"].as_str().unwrap().starts_with("test:"));
    let shown = verify(&enclave, &[]).done();
    assert!(shown.stderr.contains("TEST REALM"), "{}", shown.stderr);
    assert!(shown.stdout.contains(&format!("embed  sha256:{}", "a1".repeat(32))), "{}", shown.stdout);
}

#[test]
fn debugged_enclave_refused_with_every_check_that_was_made() {
    let enclave = Enclave::start(debugged());
    let run = verify(&enclave, &["--json"]).refused(1, "debug-enabled");
    let json = run.json();
    assert_eq!((json["verdict"].as_str(), json["code"].as_str()), (Some("refused"), Some("debug-enabled")));
    let failed: Vec<_> = json["checks"].as_array().unwrap().iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    let shown = verify(&enclave, &[]).refused(1, "debug-enabled");
    assert!(shown.stdout.contains("NO") && shown.stderr.contains("  try   "), "{}{}", shown.stdout, shown.stderr);
}

#[test]
fn enclave_of_a_test_root_refused_under_the_vendors_roots() {
    let enclave = Enclave::start(ReportSpec::default());
    let run = strongroom(["verify", &enclave.url, "--policy", text(&enclave.policy), "--json"]);
    run.refused(1, "root-untrusted");
}

#[test]
fn policy_that_leaves_the_model_open_refused_before_any_connection() {
    let enclave = Enclave::start(ReportSpec::default());
    let whole = std::fs::read_to_string(&enclave.policy).unwrap();
    std::fs::write(&enclave.policy, whole.split_once("[model]").unwrap().0).unwrap();
    verify(&enclave, &["--json"]).refused(2, "no-reference-values");
    let policy = text(&enclave.policy);
    let proxy = ["proxy", "--to", &enclave.url, "--listen", "127.0.0.1:0", "--policy", policy];
    strongroom(proxy).refused(2, "no-reference-values");
    assert_eq!(enclave.seen(), Vec::<String>::new());
}

/// Makes the memory in `state` one of somebody who saw the next list.
fn see_the_next(state: &str) {
    let mut seen: serde_json::Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    let lists = seen["seen"]["crl-number"].as_object_mut().unwrap();
    let number = &mut lists.values_mut().next().unwrap()["number"];
    *number = (number.as_u64().unwrap() + 1).into();
    std::fs::write(state, seen.to_string()).unwrap();
}

#[test]
fn revocation_list_older_than_one_seen_refused_by_verify_and_by_a_proxy_that_runs() {
    let enclave = Enclave::start(ReportSpec::default());
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("seen.json");
    let state = text(&state);
    let proxy = Proxy::start_with(&enclave, &["--state", state]);
    for _ in 0..2 {
        verify(&enclave, &["--state", state, "--json"]).done();
    }
    see_the_next(state);
    verify(&enclave, &["--state", state, "--json"]).refused(1, "collateral-rolled-back");
    verify(&enclave, &["--json"]).done();
    let answer = proxy.post("a prompt");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"collateral-rolled-back\""), "{answer}");
    assert!(!enclave.seen().contains(&"/v1/echo".to_owned()));
    std::fs::write(state, "{}").unwrap();
    verify(&enclave, &["--state", state, "--json"]).refused(2, "state-invalid");
}

/// Signs an inventory of that version with the machine of every default report, and writes it.
fn inventory(path: &std::path::Path, key: &SigningKey, version: u64) {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let machine = serde_json::json!({ "label": "ours", "chip": hex::encode((0..64).collect::<Vec<u8>>()) });
    let document = serde_json::json!({
        "v": 1, "name": "fleet", "version": version, "issued": now - 10, "expires": now + 1000, "machines": [machine],
    });
    let (payload_type, payload) = (Inventory::PAYLOAD_TYPE.to_owned(), document.to_string().into_bytes());
    let mut envelope = Envelope { payload_type, payload, signatures: Vec::new() };
    envelope.signatures.push(key.sign(&envelope.signed_bytes()).unwrap());
    std::fs::write(path, envelope.to_json().unwrap()).unwrap();
}

/// `enclave`'s policy with its machines by an inventory that `key` signs.
fn approve_by_inventory(enclave: &Enclave, key: &SigningKey, more: &str) {
    let whole = std::fs::read_to_string(&enclave.policy).unwrap();
    let named = whole.replace("chip = { any = { because = \"test\" } }", "chip = { inventory = \"fleet\" }");
    assert_ne!(named, whole);
    let entry =
        format!("[[inventory]]\nname = \"fleet\"\nsigners = {{ keys = [\"\"\"{}\"\"\"] }}\n", key.public().pem());
    std::fs::write(&enclave.policy, format!("{named}{entry}{more}")).unwrap();
}

#[test]
fn enclave_on_a_machine_of_the_inventory_accepted_and_without_it_or_with_an_older_one_refused() {
    let enclave = Enclave::start(ReportSpec::default());
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let [old, new, state] = ["old", "new", "seen.json"].map(|name| folder.path().join(name));
    inventory(&old, &key, 1);
    inventory(&new, &key, 2);
    approve_by_inventory(&enclave, &key, "");
    let verify = |more: &[&str]| verify(&enclave, &[&["--state", text(&state), "--json"], more].concat());
    verify(&["--inventory", text(&old)]).done();
    verify(&["--inventory", text(&new)]).done();
    verify(&["--inventory", text(&old)]).refused(1, "inventory-rolled-back");
    verify(&[]).refused(2, "inventory-missing");
}

#[test]
fn inventory_that_held_is_remembered_though_the_reference_values_are_missing() {
    let enclave = Enclave::start(ReportSpec::default());
    let (folder, key) = (tempfile::tempdir().unwrap(), SigningKey::generate().unwrap());
    let [old, new, state] = ["old", "new", "seen.json"].map(|name| folder.path().join(name));
    inventory(&old, &key, 1);
    inventory(&new, &key, 2);
    let pem = key.public().pem();
    let values = format!("[[reference-values]]\nname = \"image\"\nsigners = {{ keys = [\"\"\"{pem}\"\"\"] }}\n");
    approve_by_inventory(&enclave, &key, &values);
    let verify = |inventory| verify(&enclave, &["--state", text(&state), "--json", "--inventory", inventory]);
    verify(text(&old)).refused(2, "reference-values-missing");
    verify(text(&new)).refused(2, "reference-values-missing");
    verify(text(&old)).refused(1, "inventory-rolled-back");
}

#[test]
fn nobody_at_the_address_is_the_environments_fault() {
    let enclave = Enclave::start(ReportSpec::default());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |url: &str| strongroom(["verify", url, "--policy", text(&enclave.policy), "--root", text(&enclave.root)]);
    at(&format!("https://{free}")).refused(3, "network");
    at("http://127.0.0.1:1").refused(2, "plaintext-refused");
}

/// A running proxy; killed with its test.
struct Proxy {
    child: Child,
    address: String,
    banner: String,
    stderr: BufReader<std::process::ChildStderr>,
}

impl Proxy {
    fn start(enclave: &Enclave) -> Self {
        Self::start_with(enclave, &[])
    }

    fn start_with(enclave: &Enclave, more: &[&str]) -> Self {
        let arguments = ["proxy", "--to", &enclave.url, "--listen", "127.0.0.1:0", "--policy", text(&enclave.policy)];
        let mut command = binary();
        command.args(arguments).args(["--root", text(&enclave.root)]).args(more).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut lines = [String::new(), String::new()];
        for line in &mut lines {
            stderr.read_line(line).unwrap();
        }
        let [banner, listening] = lines;
        let address = listening.trim_end().strip_prefix("listening on ").expect(&listening).to_owned();
        Self { child, address, banner, stderr }
    }

    /// `POST /v1/echo`: the answer, head and body.
    fn post(&self, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head =
            format!("POST /v1/echo HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn proxy_forwards_to_an_approved_enclave_and_stops_on_sigterm() {
    let enclave = Enclave::start(ReportSpec::default());
    let mut proxy = Proxy::start(&enclave);
    assert!(proxy.banner.starts_with("TEST REALM"), "{}", proxy.banner);
    let answer = proxy.post("a prompt");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("a prompt"), "{answer}");
    assert_eq!(enclave.seen(), ["/.well-known/strongroom/evidence", "/v1/echo"]);

    let kill = std::process::Command::new("kill").arg(proxy.child.id().to_string()).output().unwrap();
    assert_eq!(finished(kill).code, 0);
    assert!(proxy.child.wait().unwrap().success());
    let mut rest = String::new();
    proxy.stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn proxy_says_in_one_document_where_it_listens() {
    let enclave = Enclave::start(ReportSpec::default());
    let mut command = binary();
    command.args(["proxy", "--json", "--to", &enclave.url, "--listen", "127.0.0.1:0", "--policy"]);
    command.args([text(&enclave.policy), "--root", text(&enclave.root)]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(json["realm"].as_str().unwrap().starts_with("test:"), "{line}");
    drop(TcpStream::connect(json["listening"].as_str().unwrap()).unwrap());
    let kill = std::process::Command::new("kill").arg(child.id().to_string()).output().unwrap();
    assert_eq!(finished(kill).code, 0);
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[test]
fn proxy_sends_nothing_to_an_enclave_that_is_not_approved() {
    let enclave = Enclave::start(debugged());
    let answer = Proxy::start(&enclave).post("a prompt");
    assert!(answer.starts_with("HTTP/1.1 502 ") && answer.contains("\"debug-enabled\""), "{answer}");
    assert_eq!(enclave.seen(), ["/.well-known/strongroom/evidence"]);
}
