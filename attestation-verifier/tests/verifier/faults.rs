//! What verifiers, two that share a PostgreSQL database among them, come through under load from 64 clients: `docs/faults.md`. Whatever fails,
//! what was answered is in the log, and what is in the log is in force.

use crate::binary;
use crate::guest::Guest;
use crate::log::{Process, call, stored_and_recorded, verified};
use crate::transit;
use crate::world::{Answer, KEY, KEY_VALUE, World};
use futures_util::future::{join, join_all};
use http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strongroom_devkit::postgres::Postgres;
use strongroom_tlog::{EntryProof, NoteVerifier};
use strongroom_transport::{HttpClient, ServerTrust};
use strongroom_wire::bytes::{from_base64, hex_array};
use strongroom_wire::kbs::{Jwe, LOG_PROOF};

const CLIENTS: u64 = 64;

/// What was asked, by what it came to.
#[derive(Debug, Default)]
struct Counts {
    attempted: AtomicU64,
    granted: AtomicU64,
    refused: AtomicU64,
}

fn one(count: &AtomicU64) -> u64 {
    count.fetch_add(1, Ordering::SeqCst)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_where_verifiers_and_their_database_are_killed_in_turn() {
    let Some(mut postgres) = Postgres::of_test().unwrap() else { return };
    postgres.sql("postgres", &["CREATE DATABASE strongroom"]).unwrap();
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let more = format!("log = 'off'\ndatabase = '{}'\n", postgres.url("strongroom"));
    let files: Vec<PathBuf> = folders.iter().map(|folder| binary::config(folder.path(), &more)).collect();
    let identity: Value = serde_json::from_slice(&binary::run(&files[0], &["--identity"]).stdout).unwrap();
    std::fs::copy(folders[0].path().join("master-key"), folders[1].path().join("master-key")).unwrap();
    let same: Value = serde_json::from_slice(&binary::run(&files[1], &["--identity"]).stdout).unwrap();
    assert_eq!(identity, same);
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();

    let (counts, mut answered) = (Counts::default(), BTreeSet::new());
    for round in 0..4_u64 {
        let mut verifiers: Vec<Process> = files.iter().map(|file| Process::start(file)).collect();
        let admin: Vec<String> = verifiers.iter().map(|verifier| verifier.admin.clone()).collect();
        let tokens =
            folders.each_ref().map(|folder| std::fs::read_to_string(folder.path().join("admin-token")).unwrap());
        let (http, stop) = (HttpClient::new(&ServerTrust::Pin(pin), false).unwrap(), AtomicBool::new(false));
        let before = counts.granted.load(Ordering::SeqCst);
        let client = async |at: usize| {
            let mut answered = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let id = one(&counts.attempted);
                let path = format!("keys/a/b/{id}");
                match call(&http, &admin[at], tokens[at].trim(), Method::PUT, &path, b"value".to_vec()).await {
                    Some((status, _)) if status == 201 => {
                        answered.push(id);
                        one(&counts.granted);
                    }
                    Some((status, body)) => {
                        let code = serde_json::from_slice::<Value>(&body).unwrap()["code"].clone();
                        assert_eq!((status.as_u16(), code.as_str()), (500, Some("store-failed")));
                        one(&counts.refused);
                    }
                    // It was killed.
                    None => break,
                }
            }
            answered
        };
        let granted = async |more: u64| {
            while counts.granted.load(Ordering::SeqCst) < before + more {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let faults = async {
            granted(40 + 7 * round).await;
            if round % 2 == 0 {
                // The other one goes on without help.
                verifiers.pop().unwrap().kill();
                granted(120).await;
            } else {
                postgres.kill();
                postgres.restart().unwrap();
                granted(120).await;
            }
            stop.store(true, Ordering::SeqCst);
        };
        let clients = join_all((0..CLIENTS).map(|n| client(usize::from(n % 2 == 1))));
        answered.extend(join(clients, faults).await.0.into_iter().flatten());
        verifiers.into_iter().for_each(Process::kill);
    }
    let verifier = Process::start(&files[1]);
    let token = std::fs::read_to_string(folders[1].path().join("admin-token")).unwrap();
    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    let key = NoteVerifier::parse(identity["log_key"].as_str().unwrap()).unwrap();
    let [stored, recorded] = stored_and_recorded(&verifier, &http, token.trim(), key).await;
    assert_eq!(stored, recorded, "what is on record is in force, and nothing else");
    let lost = answered.difference(&recorded).count();
    eprintln!("{counts:?}, lost {lost}");
    assert_eq!((lost, answered.len() > 400), (0, true), "{counts:?}");
    verifier.kill();
}

/// Guests that ask for the key as often as they can, until they are told to stop.
struct Load<'a> {
    world: &'a World,
    document: &'a [u8],
    /// Verifiers that they ask in turn.
    replicas: usize,
    counts: Counts,
    /// Codes of what they were refused.
    codes: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

impl<'a> Load<'a> {
    fn new(world: &'a World, document: &'a [u8], replicas: usize) -> Self {
        let (counts, codes, stop) = (Counts::default(), Mutex::default(), AtomicBool::new(false));
        Self { world, document, replicas, counts, codes, stop }
    }

    fn refused(&self, answer: &Answer) {
        self.codes.lock().unwrap().insert(answer.code());
        one(&self.counts.refused);
    }

    /// The proofs that came with the keys of one guest after the other.
    async fn client(&self, n: usize) -> Vec<EntryProof> {
        let (world, mut proofs) = (self.world, Vec::new());
        while !self.stop.load(Ordering::SeqCst) {
            world.ask(n % self.replicas);
            let guest = Guest::launch(world, self.document).await;
            world.ask((n + 1) % self.replicas);
            let attested = guest.post(&guest.attestation()).await;
            if attested.status != 200 {
                self.refused(&attested);
                continue;
            }
            one(&self.counts.attempted);
            world.ask(n % self.replicas);
            let answer = guest.fetch(KEY).await;
            if answer.status != 200 {
                self.refused(&answer);
                continue;
            }
            let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(&**guest.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
            let proof = from_base64(answer.headers[LOG_PROOF].to_str().unwrap(), "proof").unwrap();
            proofs.push(EntryProof::parse(&proof).unwrap());
            one(&self.counts.granted);
        }
        proofs
    }

    async fn until(&self, count: impl Fn() -> u64, more: u64) {
        let before = count();
        while count() < before + more {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Until so many more keys were given.
    async fn granted(&self, more: u64) {
        self.until(|| self.counts.granted.load(Ordering::SeqCst), more).await;
    }

    /// Until what happened met as many as there are guests, whatever each came to.
    async fn met(&self) {
        let ended = || self.counts.granted.load(Ordering::SeqCst) + self.counts.refused.load(Ordering::SeqCst);
        self.until(ended, CLIENTS).await;
    }

    /// All guests ask while `faults` happen; then no key was given without its own entry in the log, which verifies from end to end.
    async fn under(&self, faults: impl Future<Output = ()>) {
        let faults = async {
            faults.await;
            self.stop.store(true, Ordering::SeqCst);
        };
        let clients = join_all((0..64).map(|n| self.client(n)));
        let proofs: Vec<EntryProof> = join(clients, faults).await.0.into_iter().flatten().collect();
        let get = async |path: &str| self.world.admin(Method::GET, path, vec![]).await.body;
        let (leaves, ..) = verified(get, NoteVerifier::parse(&self.world.identity.log_key).unwrap()).await;
        let is_there = |proof: &&EntryProof| leaves.get(proof.index as usize) == proof.extra.as_ref();
        let lost = proofs.len() - proofs.iter().filter(is_there).count();
        let entries: BTreeSet<u64> = proofs.iter().map(|proof| proof.index).collect();
        eprintln!("{:?}, lost {lost}", self.counts);
        assert_eq!((lost, entries.len()), (0, proofs.len()), "each its own: {:?}", self.counts);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_release_has_its_leaf_where_the_database_is_killed_and_clocks_jump_by_an_hour() {
    let Some((mut world, document)) = World::ready_on_postgres(2).await else { return };
    let mut postgres = world.database.take().unwrap();
    let load = Load::new(&world, &document, 2);
    let faults = async {
        load.granted(20).await;
        postgres.kill();
        postgres.restart().unwrap();
        load.granted(20).await;
        world.pass(3600);
        load.met().await;
        world.set_back(3600);
        load.granted(20).await;
        world.set_back(3600);
        load.met().await;
        world.pass(3600);
        load.granted(20).await;
    };
    load.under(faults).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_release_has_its_leaf_where_the_database_s_disk_is_full_and_has_room_again() {
    let Some(postgres) = Postgres::of_test_on_a_disk_of(256).unwrap() else { return };
    let (mut world, document) = World::ready_on(postgres, 2).await;
    let mut postgres = world.database.take().unwrap();
    let load = Load::new(&world, &document, 2);
    let refused = || load.counts.refused.load(Ordering::SeqCst);
    let faults = async {
        load.granted(20).await;
        postgres.fill_disk(true).unwrap();
        load.until(refused, CLIENTS).await;
        postgres.fill_disk(false).unwrap();
        // Where its own log found no room it ended; whoever supervises it starts it anew.
        postgres.restart().unwrap();
        load.granted(40).await;
    };
    load.under(faults).await;
    assert_eq!(*load.codes.lock().unwrap(), BTreeSet::from(["store-failed".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_release_has_its_leaf_where_the_custody_of_keys_is_gone_and_comes_back() {
    let (world, document, served) = transit::world(transit::FILE).await;
    let load = Load::new(&world, &document, 1);
    let gone = |is_gone: bool| *served.engine.sealed.lock().unwrap() = is_gone;
    let faults = async {
        for _ in 0..3 {
            load.granted(20).await;
            gone(true);
            load.met().await;
            gone(false);
        }
        load.granted(20).await;
    };
    load.under(faults).await;
    assert_eq!(*load.codes.lock().unwrap(), BTreeSet::from(["custody-unavailable".to_owned()]));
}
