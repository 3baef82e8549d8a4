//! The audit log as an auditor has it: what is in it, what never is, and that nothing of it is lost.

use crate::binary;
use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, World};
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use strongroom_tlog::{
    NoteSigner, NoteVerifier, Role, SignedNote, Tile, Tiles, Trust, VerifiedCheckpoint, entries, prove_inclusion, root,
    verify_inclusion,
};
use strongroom_transport::http::full;
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::audit::Entry;
use strongroom_wire::bytes::{hex_array, to_base64};
use strongroom_wire::merkle::leaf_hash;
use zeroize::Zeroizing;

/// All leaves of the log, once they are proved to be those of a tree that its key signed.
pub(crate) async fn verified(
    get: impl AsyncFn(&str) -> Vec<u8>,
    key: NoteVerifier,
) -> (Vec<Vec<u8>>, Tiles, VerifiedCheckpoint) {
    let note = SignedNote::parse(&get("log/checkpoint").await).unwrap();
    let checkpoint = Trust::new(key, Vec::new(), 0).unwrap().verify(&note).unwrap();
    let (mut leaves, mut tiles) = (Vec::new(), Tiles::default());
    for index in 0..checkpoint.size().div_ceil(256) {
        let bundle = Tile::of_tree(0, index, checkpoint.size()).unwrap();
        let bytes = get(&format!("log/{}", bundle.entries_path())).await;
        for leaf in entries::parse(bundle, &bytes).unwrap() {
            tiles.append(leaves.len() as u64, leaf_hash(leaf)).unwrap();
            leaves.push(leaf.to_vec());
        }
    }
    assert_eq!(root(checkpoint.size(), &tiles).unwrap(), checkpoint.root());
    (leaves, tiles, checkpoint)
}

#[tokio::test]
async fn no_secret_that_any_route_is_given_is_in_the_log() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let token = guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let mark = |name: &str| format!("marked-secret-{name}").into_bytes();
    for (id, value) in [("a/b/c", mark("stored")), ("a/b/c", mark("refused")), ("a/../c", mark("badly-named"))] {
        world.admin(Method::PUT, &format!("keys/{id}"), value).await;
    }
    world.admin(Method::PUT, "keys/a/b/d", [mark("long"), vec![0; 70_000]].concat()).await;
    for (method, path) in [
        (Method::GET, "keys"),
        (Method::POST, "keys/a/b/c/disable"),
        (Method::PUT, "policies/a/b/c"),
        (Method::PUT, "documents"),
        (Method::POST, "promotions"),
        (Method::POST, "log/cosignatures"),
        (Method::GET, "log/checkpoint"),
        (Method::PUT, "nothing"),
    ] {
        world.admin(method.clone(), path, mark("body")).await;
        world.admin_with(method, path, mark("body"), Some("Bearer marked-secret-wrong-admin-token")).await;
    }
    let bearer = [("authorization", "Bearer marked-secret-bearer"), ("cookie", "kbs-session-id=marked-secret-cookie")];
    for (method, path) in [
        (Method::POST, "/kbs/v0/auth"),
        (Method::POST, "/kbs/v0/attest"),
        (Method::GET, "/kbs/v0/resource/a/b/c"),
        (Method::POST, "/v1/endorsements"),
    ] {
        for header in bearer {
            world.kbs(method.clone(), path, &[header], mark("kbs-body")).await;
        }
    }

    let admin_token = std::fs::read_to_string(world.folder.path().join("admin-token")).unwrap();
    let get = async |path: &str| world.admin(Method::GET, path, vec![]).await.body;
    let (leaves, ..) = verified(get, NoteVerifier::parse(&world.identity.log_key).unwrap()).await;
    assert!(leaves.len() > 15, "{}", leaves.len());
    let log = String::from_utf8(leaves.concat()).unwrap();
    let session = guest.cookie.split_once('=').unwrap().1.to_owned();
    let mut secrets = vec!["marked-secret".to_owned(), admin_token.trim().to_owned(), session, token];
    for secret in [&KEY_VALUE[..], b"marked-secret-stored"] {
        secrets.extend([hex::encode(secret), to_base64(secret), to_base64(secret).trim_end_matches('=').to_owned()]);
    }
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
    }
}

#[tokio::test]
async fn cosigned_checkpoint_is_kept_and_served() {
    let witness = NoteSigner::new("witness.example/w", Role::Witness, &Zeroizing::new([7; 32])).unwrap();
    let mut world = World::start().await;
    world.name_witness(&witness.verifier().to_string()).await;
    let none = world.admin(Method::GET, "log/witnessed", vec![]).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "witness-missing"));
    let mut note = SignedNote::parse(&world.admin(Method::GET, "log/checkpoint", vec![]).await.body).unwrap();
    let put =
        async |note: &SignedNote| world.admin(Method::POST, "log/cosignatures", note.to_string().into_bytes()).await;
    let bare = put(&note).await;
    assert_eq!((bare.status.as_u16(), bare.code().as_str()), (404, "witness-missing"));
    witness.sign(&mut note, 5).unwrap();
    assert_eq!(put(&note).await.body, note.to_string().into_bytes());
    assert_eq!(world.admin(Method::GET, "log/witnessed", vec![]).await.body, note.to_string().into_bytes());
    let row = world.audit().await.into_iter().rfind(|row| row["subject"] == "POST /admin/v1/log/cosignatures").unwrap();
    assert_eq!((&row["code"], row["detail"]["call"]["digest"].is_string()), (&json!(""), true));
}

#[test]
fn witness_that_is_none_refused_in_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let log = NoteSigner::new("l", Role::Log, &Zeroizing::new([7; 32])).unwrap().verifier().to_string();
    let witness = NoteSigner::new("w", Role::Witness, &Zeroizing::new([7; 32])).unwrap().verifier().to_string();
    for (key, exit) in [(witness.as_str(), 0), (log.as_str(), 2), ("w", 2)] {
        let file = binary::config(folder.path(), &format!("log-witnesses = ['{key}']\n"));
        assert_eq!(binary::run(&file, &["--check"]).status.code(), Some(exit), "{key}");
    }
}

#[tokio::test]
async fn store_from_before_the_transparency_log_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = binary::config(folder.path(), "");
    assert_eq!(binary::run(&file, &["--identity"]).status.code(), Some(0));
    let store = strongroom_attestation_verifier::store_path(&folder.path().join("state"));
    let pool = sqlx::SqlitePool::connect_with(sqlx::sqlite::SqliteConnectOptions::new().filename(store)).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1").execute(&pool).await.unwrap();
    pool.close().await;
    let refused = binary::run(&file, &[]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("version-unsupported"), "{refused:?}");
}

/// The service as a process, which a test kills.
pub(crate) struct Process {
    child: Child,
    pub(crate) admin: String,
}

impl Process {
    pub(crate) fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strongroom-verifier"));
        command.arg("--config").arg(config);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let admin = lines.find_map(|line| line.strip_prefix("admin listening on ").map(ToOwned::to_owned)).unwrap();
        lines.find(|line| line.starts_with("listening on ")).unwrap();
        // Nobody may be blocked by a pipe that nobody reads.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, admin }
    }

    pub(crate) fn kill(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::KILL).unwrap();
        self.child.wait().unwrap();
    }
}

pub(crate) async fn call(
    http: &HttpClient,
    admin: &str,
    token: &str,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Option<(StatusCode, Vec<u8>)> {
    let request = Request::builder().method(method).uri(format!("https://{admin}/admin/v1/{path}"));
    let request = request.header("authorization", format!("Bearer {token}")).body(full(body)).unwrap();
    let response = http.send(request, Duration::from_secs(60)).await.ok()?;
    let status = response.status();
    Some((status, read_body(response.into_body(), 32 << 20, "answer").await.ok()?.to_vec()))
}

/// 64 clients have keys stored while the service is killed again and again: what was answered is in the log and in force.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_answered_is_lost_however_often_the_service_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let file = binary::config(folder.path(), "log = 'error'\n");
    let identity: Value = serde_json::from_slice(&binary::run(&file, &["--identity"]).stdout).unwrap();
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();
    let (next, mut answered, kills) = (AtomicU64::new(0), BTreeSet::new(), 5);
    for round in 0..=kills {
        let process = Process::start(&file);
        let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
        let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
        let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
        let admin = process.admin.clone();
        let client = async || {
            let mut answered = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let id = next.fetch_add(1, Ordering::SeqCst);
                let put = call(&http, &admin, &token, Method::PUT, &format!("keys/a/b/{id}"), b"value".to_vec()).await;
                match put {
                    Some((status, _)) => {
                        assert_eq!(status, 201);
                        answered.push(id);
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                    // It was killed.
                    None => break,
                }
            }
            answered
        };
        let killer = async {
            // In the middle of what they do, at another place in each round.
            while done.load(Ordering::SeqCst) < 40 + 7 * round {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            process.kill();
            stop.store(true, Ordering::SeqCst);
        };
        let (all, ()) = tokio::join!(join_all((0..64).map(|_| client())), killer);
        answered.extend(all.into_iter().flatten());
    }

    let process = Process::start(&file);
    let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    let get = async |path: &str| {
        let answer = call(&http, &process.admin, &token, Method::GET, path, vec![]).await.unwrap();
        assert_eq!(answer.0, 200, "{path}");
        answer.1
    };
    let keys: Vec<Value> = serde_json::from_slice(&get("keys").await).unwrap();
    let key = NoteVerifier::parse(identity["log_key"].as_str().unwrap()).unwrap();
    let (leaves, tiles, checkpoint) = verified(get, key).await;
    let mut recorded = BTreeMap::new();
    for (seq, leaf) in (0_u64..).zip(&leaves) {
        let entry = Entry::parse(leaf).unwrap();
        assert_eq!(entry.seq, seq);
        if let Some(id) = entry.subject.strip_prefix("PUT /admin/v1/keys/a/b/") {
            assert_eq!(recorded.insert(id.parse::<u64>().unwrap(), seq), None, "once");
        }
    }
    assert!(answered.len() > 200, "{}", answered.len());
    for id in &answered {
        let seq = *recorded.get(id).unwrap_or_else(|| panic!("key {id} was answered and is not in the log"));
        let proof = prove_inclusion(seq, checkpoint.size(), &tiles).unwrap();
        verify_inclusion(leaf_hash(&leaves[seq as usize]), seq, &proof, &checkpoint).unwrap();
    }
    let stored: BTreeSet<u64> =
        keys.iter().map(|key| key["id"].as_str().unwrap().strip_prefix("a/b/").unwrap().parse().unwrap()).collect();
    assert_eq!(stored, recorded.into_keys().collect(), "what is on record is in force, and nothing else");
    process.kill();
}

/// Stored keys and recorded calls by number, of a log that is verified whole.
pub(crate) async fn stored_and_recorded(
    process: &Process,
    http: &HttpClient,
    token: &str,
    key: NoteVerifier,
) -> [BTreeSet<u64>; 2] {
    let get = async |path: &str| call(http, &process.admin, token, Method::GET, path, vec![]).await.unwrap().1;
    let keys: Vec<Value> = serde_json::from_slice(&get("keys").await).unwrap();
    let (leaves, ..) = verified(get, key).await;
    let entries = leaves.iter().map(|leaf| Entry::parse(leaf).unwrap()).filter(|entry| entry.code.is_empty());
    let recorded =
        entries.filter_map(|entry| Some(entry.subject.strip_prefix("PUT /admin/v1/keys/a/b/")?.parse().unwrap()));
    let stored = keys.iter().map(|key| key["id"].as_str().unwrap().strip_prefix("a/b/").unwrap().parse().unwrap());
    [stored.collect(), recorded.collect()]
}

/// SQLite then rolls back by itself what several clients share.
#[tokio::test(flavor = "multi_thread")]
async fn disk_that_takes_no_more_lets_nothing_through_without_its_entry_and_needs_no_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = binary::config(folder.path(), "log = 'error'\n");
    let identity: Value = serde_json::from_slice(&binary::run(&file, &["--identity"]).stdout).unwrap();
    let pin = hex_array(identity["pin"].as_str().unwrap(), "pin").unwrap();
    // Writes beyond 1 MiB fail, by a soft limit that is taken away later. Whoever ignores the signal is told by an error.
    let mut shell = Command::new("sh");
    shell.arg("-c").arg("trap '' XFSZ; ulimit -S -f 2048; exec \"$0\" --config \"$1\"");
    shell.arg(env!("CARGO_BIN_EXE_strongroom-verifier")).arg(&file);
    let process = Process::spawn(shell);
    let token = std::fs::read_to_string(folder.path().join("admin-token")).unwrap().trim().to_owned();
    let http = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
    let next = AtomicU64::new(0);
    let client = async |calls: u64| {
        let mut answered = Vec::new();
        for _ in 0..calls {
            let id = next.fetch_add(1, Ordering::SeqCst);
            let put = call(&http, &process.admin, &token, Method::PUT, &format!("keys/a/b/{id}"), vec![7; 4000]).await;
            match put.unwrap() {
                (StatusCode::CREATED, _) => answered.push(id),
                (status, body) => {
                    let refused: Value = serde_json::from_slice(&body).unwrap();
                    assert_eq!((status.as_u16(), &refused["code"]), (500, &json!("store-failed")));
                }
            }
        }
        answered
    };
    let full: BTreeSet<u64> = join_all((0..16).map(|_| client(40))).await.into_iter().flatten().collect();
    let asked = next.load(Ordering::SeqCst);
    assert!(!full.is_empty() && (full.len() as u64) < asked, "{} of {asked}", full.len());

    let unlimited = Rlimit { current: None, maximum: None };
    prlimit(Some(Pid::from_child(&process.child)), Resource::Fsize, unlimited).unwrap();
    let room: Vec<u64> = client(5).await;
    assert_eq!(room.len(), 5, "it goes on by itself");
    let key = NoteVerifier::parse(identity["log_key"].as_str().unwrap()).unwrap();
    let [stored, recorded] = stored_and_recorded(&process, &http, &token, key).await;
    assert_eq!(stored, recorded, "nothing without its entry, no entry without its effect");
    assert_eq!(stored, full.into_iter().chain(room).collect(), "what was answered, and nothing else");
    process.kill();
}
