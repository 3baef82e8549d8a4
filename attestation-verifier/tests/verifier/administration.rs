//! The admin API over its socket.

use crate::world::{KEY, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_tlog::{NoteVerifier, SignedNote, Tile, Trust, entries};
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;

#[tokio::test]
async fn calls_without_or_with_a_wrong_token_refused() {
    let world = World::start().await;
    for token in
        [None, Some("Bearer "), Some("Bearer 0000000000000000000000000000000000000000000000000000000000000000")]
    {
        for (method, path) in
            [(Method::GET, "keys"), (Method::PUT, "keys/a/b/c"), (Method::GET, "audit"), (Method::GET, "no")]
        {
            let answer = world.admin_with(method, path, vec![1; 1000], token).await;
            // The limit on failures comes into it after ten.
            let code = answer.code();
            assert!(
                matches!((answer.status.as_u16(), code.as_str()), (401, "admin-unauthorized") | (429, "busy")),
                "{code}"
            );
        }
    }
}

#[tokio::test]
async fn peer_with_many_wrong_tokens_is_turned_away_and_the_right_token_is_not() {
    let world = World::start().await;
    for _ in 0..10 {
        let answer = world.admin_with(Method::GET, "keys", vec![], Some("Bearer wrong")).await;
        assert_eq!(answer.status, 401);
    }
    let answer = world.admin_with(Method::GET, "keys", vec![], Some("Bearer wrong")).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (429, "busy"));
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(world.admin(Method::GET, "keys", vec![]).await.status, 200);
    world.pass(60);
    let answer = world.admin_with(Method::GET, "keys", vec![], Some("Bearer wrong")).await;
    assert_eq!(answer.status, 401);

    // The first of a minute is a row, the others are a number in the next.
    let rows = world.audit().await;
    let rows: Vec<_> = rows.iter().filter(|row| row["code"] == "admin-unauthorized").collect();
    assert_eq!(rows.len(), 2);
    assert_eq!((&rows[0]["detail"]["unrecorded"], &rows[1]["detail"]["unrecorded"]), (&Value::Null, &json!(9)));
}

#[tokio::test]
async fn key_goes_in_and_never_out() {
    let world = World::start().await;
    let secret = b"a secret of any bytes \0\xff";
    let answer = world.admin(Method::PUT, "keys/a/b/c", secret.to_vec()).await;
    assert_eq!(answer.status, 201);
    assert_eq!(
        answer.json(),
        json!({"id": "a/b/c", "created": world.now(), "enabled": true, "state": "enabled", "custody": "master-key", "wrappings": 1, "releases": 0})
    );
    assert_eq!(world.admin(Method::PUT, "keys/a/b/c", secret.to_vec()).await.status, 200);
    let other = world.admin(Method::PUT, "keys/a/b/c", b"another".to_vec()).await;
    assert_eq!((other.status.as_u16(), other.code().as_str()), (409, "key-exists"));

    let one = world.admin(Method::GET, "keys/a/b/c", vec![]).await;
    assert_eq!(one.json()["id"], "a/b/c");
    assert_eq!(world.admin(Method::GET, "keys", vec![]).await.json(), json!([one.json()]));
    let disabled = world.admin(Method::POST, "keys/a/b/c/disable", vec![]).await;
    assert_eq!(disabled.json()["enabled"], false);
    let unknown = world.admin(Method::GET, "keys/a/b/d", vec![]).await;
    assert_eq!((unknown.status.as_u16(), unknown.code().as_str()), (404, "key-unknown"));
}

#[tokio::test]
async fn keys_that_are_empty_or_too_large_or_badly_named_refused() {
    let world = World::start().await;
    let put = async |id: &str, value: Vec<u8>| {
        let answer = world.admin(Method::PUT, &format!("keys/{id}"), value).await;
        (answer.status.as_u16(), if answer.status == 201 { String::new() } else { answer.code() })
    };
    assert_eq!(put("a/b/c", vec![1; limits::RESOURCE]).await, (201, String::new()));
    assert_eq!(put("a/b/d", vec![1; limits::RESOURCE + 1]).await, (413, "too-large".into()));
    assert_eq!(put("a/b/e", vec![]).await, (400, "key-invalid".into()));
    assert_eq!(put("a/../e", vec![1]).await, (400, "malformed".into()));
    assert_eq!(put("a/b", vec![1]).await, (400, "malformed".into()));
}

#[tokio::test]
async fn policy_is_kept_as_written_and_judged_before() {
    let world = World::start().await;
    let policy = world.policy(b"document");
    let first = world.admin(Method::PUT, &format!("policies/{KEY}"), policy.clone().into_bytes()).await;
    assert_eq!((first.status.as_u16(), &first.json()["version"]), (200, &json!(1)));
    let shown = world.admin(Method::GET, &format!("policies/{KEY}"), vec![]).await;
    assert_eq!(shown.body, policy.as_bytes());
    assert_eq!(world.admin(Method::GET, "policies", vec![]).await.json()[0]["id"], KEY);

    let fixed = policy.lines().find(|line| line.starts_with("measurement")).unwrap();
    let open = policy.replace(fixed, "measurement = { any = { because = \"x\" } }");
    for (text, code) in [
        (open, "no-reference-values"),
        (policy.split("[[release").next().unwrap().to_owned(), "policy-invalid"),
        (policy.replace("[snp]", "[snp]\nskip = true"), "unknown-field"),
        ("no toml".to_owned(), "policy-invalid"),
    ] {
        let answer = world.admin(Method::PUT, &format!("policies/{KEY}"), text.into_bytes()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (400, code));
    }
    let still = world.admin(Method::GET, &format!("policies/{KEY}"), vec![]).await;
    assert_eq!(still.body, policy.as_bytes());
    let none = world.admin(Method::GET, "policies/a/b/c", vec![]).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "no-policy"));
}

#[tokio::test]
async fn every_call_is_one_entry_with_its_outcome_and_the_log_is_one_tree() {
    let world = World::start().await;
    world.put_key("a/b/c", b"secret").await;
    world.admin(Method::PUT, "keys/a/b/c", b"other".to_vec()).await;
    world.admin(Method::POST, "keys/a/b/d/disable", vec![]).await;
    world.admin(Method::GET, "nothing", vec![]).await;
    let rows = world.audit().await;
    let seen: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["subject"].as_str().unwrap(), row["code"].as_str().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("PUT /admin/v1/keys/a/b/c", ""),
            ("PUT /admin/v1/keys/a/b/c", "key-exists"),
            ("POST /admin/v1/keys/a/b/d/disable", "key-unknown"),
            ("GET /admin/v1/nothing", "route-unknown"),
        ]
    );
    let page = world.admin(Method::GET, "audit?after=1&limit=2", vec![]).await.json();
    assert_eq!(page.as_array().unwrap().iter().map(|row| &row["seq"]).collect::<Vec<_>>(), [2, 3]);

    let releases = world.admin(Method::GET, "audit?kind=release", vec![]).await.json();
    assert_eq!(releases, json!([]));
    // Reads leave an entry a minute.
    let subjects = world.audit().await;
    let reads = subjects.iter().filter(|row| row["subject"] == "GET /admin/v1/audit");
    assert_eq!(reads.count(), 1);

    // The tree as somebody who has only the answers computes it.
    let get = async |path: &str| world.admin(Method::GET, &format!("log/{path}"), vec![]).await;
    let key = NoteVerifier::parse(String::from_utf8(get("key").await.body).unwrap().trim_end()).unwrap();
    assert_eq!(key.to_string(), world.identity.log_key);
    assert!(key.name().starts_with("strongroom-verifier.test/"), "{key}");
    let note = SignedNote::parse(&get("checkpoint").await.body).unwrap();
    let checkpoint = Trust::new(key, Vec::new(), 0).unwrap().verify(&note).unwrap();
    assert_eq!(checkpoint.size(), 6);
    let bundle = get("tile/entries/000.p/6").await.body;
    let leaves = entries::parse(Tile::of_tree(0, 0, 6).unwrap(), &bundle).unwrap();
    let hash = |parts: &[&[u8]]| Sha256::of_parts(parts).0;
    let h: Vec<_> = leaves.iter().map(|leaf| hash(&[&[0], leaf])).collect();
    let node = |a: &[u8; 32], b: &[u8; 32]| hash(&[&[1], a, b]);
    let left = node(&node(&h[0], &h[1]), &node(&h[2], &h[3]));
    assert_eq!(node(&left, &node(&h[4], &h[5])), checkpoint.root().0);
    assert_eq!(get("tile/0/000.p/6").await.body, h.concat());
    assert_eq!(get("tile/0/000.p/3").await.body, h[..3].concat(), "as it was once");
    for (path, status, code) in [
        ("tile/0/000.p/7", 404, "log-proof-invalid"),
        ("tile/1/000.p/1", 404, "log-proof-invalid"),
        ("tile/entries/001", 404, "log-proof-invalid"),
        ("tile/0/0", 400, "malformed"),
        ("tile", 404, "route-unknown"),
    ] {
        let answer = get(path).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{path}");
    }
}

#[tokio::test]
async fn call_that_cannot_be_recorded_has_no_effect() {
    let world = World::start().await;
    world.put_key("a/b/c", b"secret").await;
    let store = world.open_store().await;
    let writing = store.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for (method, path) in [(Method::PUT, "keys/a/b/d"), (Method::POST, "keys/a/b/c/disable")] {
        let answer = world.admin(method, path, b"secret".to_vec()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (500, "store-failed"), "{path}");
    }
    drop(writing);
    let keys = world.admin(Method::GET, "keys", vec![]).await.json();
    assert_eq!(
        keys,
        json!([{"id": "a/b/c", "created": world.now(), "enabled": true, "state": "enabled", "custody": "master-key", "wrappings": 1, "releases": 0}])
    );
}

#[tokio::test]
async fn refusals_that_could_not_be_recorded_are_in_the_next_row() {
    let world = World::start().await;
    let wrong = async || world.admin_with(Method::GET, "keys", vec![], Some("Bearer wrong")).await.code();
    let store = world.open_store().await;
    let writing = store.begin_with("BEGIN IMMEDIATE").await.unwrap();
    assert_eq!(wrong().await, "store-failed");
    assert_eq!(wrong().await, "admin-unauthorized");
    drop(writing);
    world.pass(60);
    assert_eq!(wrong().await, "admin-unauthorized");
    let rows = world.audit().await;
    assert_eq!((rows.len(), &rows[0]["detail"]["unrecorded"]), (1, &json!(2)));
}

#[tokio::test]
async fn admin_api_is_not_on_the_protocol_s_socket_nor_the_other_way_round() {
    let world = World::start().await;
    assert_eq!(world.kbs(Method::GET, "/admin/v1/keys", &[], vec![]).await.status, 404);
    let answer = world.admin(Method::POST, "../../kbs/v0/auth", b"{}".to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "route-unknown"));
}
