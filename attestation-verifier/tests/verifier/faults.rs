//! What two verifiers that share a PostgreSQL database come through under load from 64 clients: `docs/faults.md`. Whatever fails,
//! what was answered is in the log, and what is in the log is in force.

use crate::binary;
use crate::guest::Guest;
use crate::log::{Process, call, stored_and_recorded, verified};
use crate::world::{KEY, KEY_VALUE, World};
use futures_util::future::{join, join_all};
use http::Method;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
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

#[tokio::test(flavor = "multi_thread")]
async fn every_release_has_its_leaf_where_the_database_is_killed_and_clocks_jump_by_an_hour() {
    let Some((mut world, document)) = World::ready_on_postgres(2).await else { return };
    let mut postgres = world.database.take().unwrap();
    let (counts, stop) = (Counts::default(), AtomicBool::new(false));
    let client = async |n: usize| {
        let mut proofs = Vec::new();
        while !stop.load(Ordering::SeqCst) {
            world.ask(n % 2);
            let guest = Guest::launch(&world, &document).await;
            world.ask((n + 1) % 2);
            let attested = guest.post(&guest.attestation()).await;
            if attested.status != 200 {
                one(&counts.refused);
                continue;
            }
            one(&counts.attempted);
            world.ask(n % 2);
            let answer = guest.fetch(KEY).await;
            if answer.status != 200 {
                one(&counts.refused);
                continue;
            }
            let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(&**guest.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
            let proof = from_base64(answer.headers[LOG_PROOF].to_str().unwrap(), "proof").unwrap();
            proofs.push(EntryProof::parse(&proof).unwrap());
            one(&counts.granted);
        }
        proofs
    };
    let granted = async |more: u64| {
        let before = counts.granted.load(Ordering::SeqCst);
        while counts.granted.load(Ordering::SeqCst) < before + more {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Whatever each came to.
    let ended = || counts.granted.load(Ordering::SeqCst) + counts.refused.load(Ordering::SeqCst);
    let met = async || {
        let before = ended();
        while ended() < before + CLIENTS {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let faults = async {
        granted(20).await;
        postgres.kill();
        postgres.restart().unwrap();
        granted(20).await;
        world.pass(3600);
        met().await;
        world.set_back(3600);
        granted(20).await;
        world.set_back(3600);
        met().await;
        world.pass(3600);
        granted(20).await;
        stop.store(true, Ordering::SeqCst);
    };
    let clients = join_all((0..64).map(client));
    let proofs: Vec<EntryProof> = join(clients, faults).await.0.into_iter().flatten().collect();
    let get = async |path: &str| world.admin(Method::GET, path, vec![]).await.body;
    let (leaves, ..) = verified(get, NoteVerifier::parse(&world.identity.log_key).unwrap()).await;
    let is_there = |proof: &&EntryProof| leaves.get(proof.index as usize) == proof.extra.as_ref();
    let lost = proofs.len() - proofs.iter().filter(is_there).count();
    let entries: BTreeSet<u64> = proofs.iter().map(|proof| proof.index).collect();
    eprintln!("{counts:?}, lost {lost}");
    assert_eq!((lost, entries.len()), (0, proofs.len()), "each its own: {counts:?}");
}
