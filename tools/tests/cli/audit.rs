//! `audit` against a server that serves a log as a verifier's admin API does, and tampers with it.

use crate::admin::Service;
use crate::run::{strongroom, text};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};
use strongroom_tlog::{Checkpoint, EntryProof, NoteSigner, Role, SignedNote, Tile, Tiles, entries, root};
use strongroom_wire::audit::{Entry, VERSION};
use strongroom_wire::merkle::leaf_hash;
use zeroize::Zeroizing;

/// A log whose every entry a test may change, under any key.
pub(crate) struct Decisions {
    pub(crate) leaves: Vec<Vec<u8>>,
    seed: u8,
    /// What is served instead of the entries that the tree is over.
    shown: Option<Vec<Vec<u8>>>,
    /// What witnesses cosigned.
    witnessed: String,
}

impl Default for Decisions {
    fn default() -> Self {
        let mut log = Self { leaves: Vec::new(), seed: 1, shown: None, witnessed: String::new() };
        log.decide(1, 0);
        log
    }
}

impl Decisions {
    fn signer(&self) -> NoteSigner {
        NoteSigner::new("strongroom-verifier/test", Role::Log, &Zeroizing::new([self.seed; 32])).unwrap()
    }

    fn key(&self) -> String {
        self.signer().verifier().to_string()
    }

    /// Appends so many decisions, at this time.
    fn decide(&mut self, count: u64, time: u64) {
        for _ in 0..count {
            let (kind, code) = if self.next() == 2 { ("admin", "no-policy") } else { ("release", "") };
            self.append(kind, "a/b/c\u{1b}[2J", code, time, json!({ "z": 1, "a": "\u{e9}" }));
        }
    }

    /// The number of the next entry.
    pub(crate) fn next(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    /// Appends one.
    pub(crate) fn append(&mut self, kind: &str, subject: &str, code: &str, time: u64, detail: Value) {
        let (kind, subject, code) = (kind.into(), subject.into(), code.into());
        let entry = Entry { v: VERSION, seq: self.next(), time: 1_767_225_600 + time, kind, subject, code, detail };
        self.leaves.push(entry.leaf().unwrap());
    }

    fn tiles(&self) -> Tiles {
        let mut tiles = Tiles::default();
        for (size, leaf) in (0..).zip(&self.leaves) {
            tiles.append(size, leaf_hash(leaf)).unwrap();
        }
        tiles
    }

    fn checkpoint(&self) -> String {
        let size = u64::try_from(self.leaves.len()).unwrap();
        let origin = self.signer().verifier().name().to_owned();
        let mut note = Checkpoint { origin, size, root: root(size, &self.tiles()).unwrap() }.note().unwrap();
        self.signer().sign(&mut note, 0).unwrap();
        note.to_string()
    }

    pub(crate) fn answer(&self, path: &str) -> Response {
        let place = |tile: Tile| (usize::try_from(tile.index()).unwrap() * 256, usize::from(tile.width()));
        if let Ok(tile) = Tile::parse_entries_path(path) {
            let mut bundle = Vec::new();
            let (first, width) = place(tile);
            let leaves = self.shown.as_ref().unwrap_or(&self.leaves);
            leaves.iter().skip(first).take(width).for_each(|leaf| entries::push(&mut bundle, leaf).unwrap());
            return bundle.into_response();
        }
        if let Ok(tile) = Tile::parse_path(path) {
            let mut hashes = self.tiles().bytes(tile.level(), tile.index()).unwrap();
            hashes.truncate(place(tile).1 * 32);
            return hashes.into_response();
        }
        match path {
            "checkpoint" => self.checkpoint().into_response(),
            "witnessed" => self.witnessed.clone().into_response(),
            "key" => format!("{}\n", self.key()).into_response(),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }
}

#[test]
fn decisions_are_printed_with_their_codes() {
    let service = Service::start();
    assert_eq!(service.run(&["audit", "show"]).done().json(), json!([]));
    service.decisions().decide(4, 0);
    let rows = service.run(&["audit", "show", "--after", "1", "--limit", "2"]).done().json();
    assert_eq!(
        (rows.as_array().unwrap().len(), &rows[0]["code"], &rows[1]["seq"]),
        (2, &json!("no-policy"), &json!(3))
    );
    let table = strongroom(["audit", "show"].into_iter().chain(service.flags())).done();
    assert!(table.stdout.contains("2026-01-01T00:00:00Z  admin    no-policy  a/b/c\\u{1b}[2J"), "{}", table.stdout);
    assert!(table.stderr.contains(&service.decisions().key()), "{}", table.stderr);
    let one = strongroom(["audit", "show", "2"].into_iter().chain(service.flags())).done();
    assert!(one.stdout.contains("  z: 1\n") && one.stdout.contains("no-policy"), "{}", one.stdout);
    assert_eq!(service.run(&["audit", "show", "2"]).done().json()["seq"], 2);
    let kinds = service.run(&["audit", "show", "--kind", "admin"]).done().json();
    assert_eq!(kinds.as_array().unwrap().len(), 1);
    assert_eq!(service.run(&["audit", "show", "--after", "1000"]).done().json(), json!([]));
    service.run(&["audit", "show", "5"]).refused(1, "log-proof-invalid");
    assert_eq!(service.run(&["audit", "show", "--limit", "0"]).refused(2, "usage").code, 2);
    let last = service.run(&["audit", "tail", "-n", "2"]).done().json();
    assert_eq!(last.as_array().unwrap().iter().map(|row| &row["seq"]).collect::<Vec<_>>(), [3, 4]);
    service.run(&["audit", "tail", "-f"]).refused(2, "usage");
}

#[test]
fn entries_that_are_not_those_of_the_tree_refused_and_not_printed() {
    let service = Service::start();
    service.decisions().decide(600, 0);
    service.run(&["audit", "show", "--after", "250", "--limit", "20"]).done();
    let whole = service.decisions().leaves.clone();
    let changed = |at: usize, leaf: &[u8]| {
        let mut shown = whole.clone();
        shown[at] = leaf.to_vec();
        shown
    };
    let mut swapped = whole.clone();
    swapped.swap(258, 259);
    for shown in [changed(258, &whole[257]), changed(258, b"{}"), swapped, whole[..258].to_vec()] {
        service.decisions().shown = Some(shown);
        assert!(service.run(&["audit", "show", "258"]).refused(1, "store-tampered").json().get("verdict").is_some());
        let people =
            strongroom(["audit", "show", "258"].into_iter().chain(service.flags())).refused(1, "store-tampered");
        assert_eq!(people.stdout, "");
        let key = service.decisions().key();
        service.run(&["audit", "verify", "--log-key", &key]).refused(1, "store-tampered");
    }
}

#[test]
fn whole_log_is_verified_under_its_key_and_no_other() {
    let service = Service::start();
    service.decisions().decide(600, 0);
    let key = service.decisions().key();
    let report = service.run(&["audit", "verify", "--log-key", &key]).done().json();
    assert_eq!(
        (&report["size"], &report["since"], &report["entries"]["admin"]),
        (&json!(601), &Value::Null, &json!(1))
    );
    service.decisions().seed = 2;
    service.run(&["audit", "verify", "--log-key", &key]).refused(1, "log-untrusted");
    service.run(&["audit", "show", "--log-key", &key]).refused(1, "log-untrusted");
    service.run(&["audit", "verify"]).refused(2, "usage");
}

#[test]
fn log_that_does_not_begin_with_what_was_remembered_refused() {
    let service = Service::start();
    service.decisions().decide(300, 0);
    let key = service.decisions().key();
    let (state, old) = (service.file("state"), service.file("old"));
    let verify = || service.run(&["audit", "verify", "--log-key", &key, "--state", text(&state)]);
    let consistency = || service.run(&["audit", "consistency", text(&old), "--log-key", &key]);
    verify().done();
    service.run(&["audit", "checkpoint", "--out", text(&old)]).done();
    service.decisions().decide(300, 0);
    assert_eq!(verify().done().json()["since"], 301);
    assert_eq!(consistency().done().json()["new"], 601);

    // Put back to what it was once, and then grown in another way, all of it signed by its key.
    let whole = service.decisions().leaves.clone();
    service.decisions().leaves.truncate(200);
    verify().refused(1, "log-inconsistent");
    consistency().refused(1, "log-inconsistent");
    service.decisions().decide(500, 7);
    verify().refused(1, "log-inconsistent");
    consistency().refused(1, "log-inconsistent");
    service.decisions().leaves = whole;
    verify().done();
    consistency().done();
    std::fs::write(&state, "nothing").unwrap();
    verify().refused(2, "state-invalid");
}

#[test]
fn proof_of_a_decision_is_checked_without_a_connection() {
    let service = Service::start();
    service.decisions().decide(600, 0);
    let key = service.decisions().key();
    let file = service.file("proof");
    service.run(&["audit", "prove", "300", "--out", text(&file)]).done();
    let check = |key: &str| strongroom(["audit", "prove", "--check", text(&file), "--log-key", key, "--json"]);
    let checked = check(&key).done().json();
    assert_eq!((&checked["entry"]["seq"], &checked["size"]), (&json!(300), &json!(601)));
    service.decisions().seed = 2;
    check(&service.decisions().key()).refused(1, "log-untrusted");
    let mut proof = EntryProof::parse(&std::fs::read(&file).unwrap()).unwrap();
    proof.extra = Some(service.decisions().leaves[301].clone());
    std::fs::write(&file, proof.to_string()).unwrap();
    check(&key).refused(1, "log-proof-invalid");
    proof.extra = None;
    std::fs::write(&file, proof.to_string()).unwrap();
    check(&key).refused(1, "malformed");
    service.run(&["audit", "prove", "9999", "--out", text(&file)]).refused(1, "log-proof-invalid");
    service.run(&["audit", "prove", "3"]).refused(2, "usage");
}

#[test]
fn checkpoint_of_enough_witnesses_accepted_and_without_one_refused() {
    let service = Service::start();
    let witness = |seed| NoteSigner::new("witness", Role::Witness, &Zeroizing::new([seed; 32])).unwrap();
    let [key, other] = [3, 4].map(|seed| witness(seed).verifier().to_string());
    let mut note = SignedNote::parse(service.decisions().checkpoint().as_bytes()).unwrap();
    witness(3).sign(&mut note, 5).unwrap();
    service.decisions().witnessed = note.to_string();
    let checkpoint = |more: &[&str]| service.run(&[&["audit", "checkpoint", "--witnessed"], more].concat());
    assert_eq!(checkpoint(&["--witness", &key]).done().json()["note"], note.to_string());
    checkpoint(&["--witness", &key, "--witness", &other]).refused(1, "witness-missing");
    let log = service.decisions().key();
    checkpoint(&["--witness", &log]).refused(2, "configuration-invalid");
}

#[test]
fn whole_log_is_exported_as_events() {
    let service = Service::start();
    service.decisions().decide(1100, 0);
    let lines = strongroom(["audit", "export", "--ocsf", "--after", "2"].into_iter().chain(service.flags())).done();
    let events: Vec<Value> = lines.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((events.len(), &events[0]["metadata"]["sequence"]), (1098, &json!(3)));
    let one = service.run(&["audit", "show", "2", "--ocsf"]).done().json();
    assert_eq!((&one["class_uid"], &one["status_code"]), (&json!(6003), &json!("no-policy")));
    let last = service.run(&["audit", "tail", "-n", "3", "--ocsf"]).done().json();
    assert_eq!(last.as_array().unwrap().len(), 3);
    service.run(&["audit", "export"]).refused(2, "usage");
}
