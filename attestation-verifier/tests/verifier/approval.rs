//! Changes that take two people.

use crate::administrators::roles;
use crate::people::{AUDIENCE, Authority, ISSUER, Person, claims};
use crate::transit::{FILE, Served};
use crate::world::{Answer, KEY, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_jose::TokenSigner;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::limits;

/// Two who may ask, one who may approve, one who may do both.
struct Team {
    world: World,
    authority: Authority,
    /// What the configuration says of them.
    tables: String,
    alice: Person,
    carol: Person,
    bob: Person,
    both: Person,
}

impl Team {
    async fn of(changes: &str) -> Self {
        let (world, authority) = (World::start().await, Authority::new("people"));
        let both = "[[admin]]\ncertificate = 'spiffe://example.org/both'\nroles = ['operator', 'approver']\n";
        let tables = format!("{}{both}", roles(&authority));
        Self::with(world, authority, changes, tables).await
    }

    async fn with(mut world: World, authority: Authority, changes: &str, tables: String) -> Self {
        world.configure(&format!("admin-approval = [{changes}]"), &tables).await;
        let person = |path: &str| authority.person(&world, &format!("spiffe://example.org/{path}"));
        let [alice, carol, bob, both] = ["operator/alice", "operator/carol", "approver/bob", "both"].map(person);
        Self { world, authority, tables, alice, carol, bob, both }
    }

    async fn call(&self, who: &Person, method: Method, path: &str, body: &[u8]) -> Answer {
        self.world.admin_as(who, method, path, body.to_vec()).await
    }

    /// Asks for a change that waits; gives it.
    async fn ask(&self, who: &Person, method: Method, path: &str, body: &[u8]) -> Value {
        let answer = self.call(who, method, path, body).await;
        assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()
    }

    async fn approve(&self, who: &Person, change: &Value) -> (u16, String) {
        let path = format!("changes/{}/approve?digest={}", text(change, "id"), text(change, "digest"));
        outcome(&self.call(who, Method::POST, &path, b"").await)
    }

    async fn waiting(&self) -> usize {
        self.call(&self.bob, Method::GET, "changes", b"").await.json().as_array().unwrap().len()
    }

    async fn keys(&self) -> usize {
        self.call(&self.bob, Method::GET, "keys", b"").await.json().as_array().unwrap().len()
    }
}

fn text<'a>(change: &'a Value, member: &str) -> &'a str {
    change[member].as_str().unwrap()
}

fn outcome(answer: &Answer) -> (u16, String) {
    let code = if answer.status.is_success() { String::new() } else { answer.code() };
    (answer.status.as_u16(), code)
}

#[tokio::test]
async fn change_waits_for_another_person_and_both_stand_in_its_entry() {
    let team = Team::of("'key-put'").await;
    let change = team.ask(&team.alice, Method::PUT, "keys/a/b/c?owner=o", b"a key").await;
    assert_eq!(text(&change, "path"), "/admin/v1/keys/a/b/c?owner=o");
    assert_eq!(change["asked_by"], json!({ "name": "spiffe://example.org/operator/alice", "by": "certificate" }));
    assert_eq!((team.keys().await, team.waiting().await), (0, 1));
    assert_eq!(team.approve(&team.bob, &change).await, (201, String::new()));
    assert_eq!((team.keys().await, team.waiting().await), (1, 0));
    let key = team.call(&team.bob, Method::GET, "keys/a/b/c", b"").await.json();
    assert_eq!(key["owner"], "o");
    let again = team.call(&team.alice, Method::PUT, "keys/a/b/c?owner=o", b"a key").await;
    assert_eq!((again.status.as_u16(), again.json()), (200, key), "what changes nothing waits for nobody");
    let rows = team.world.audit().await;
    let row = rows.iter().find(|row| row["subject"].as_str().unwrap().ends_with("/approve")).unwrap();
    assert_eq!(row["detail"]["administrator"]["name"], "spiffe://example.org/approver/bob");
    assert_eq!(row["detail"]["change"], change);
    assert_eq!(row["detail"]["key"]["id"], "a/b/c");
    let asked = rows.iter().find(|row| row["detail"]["waits"] == change).unwrap();
    assert_eq!(asked["detail"]["administrator"]["name"], "spiffe://example.org/operator/alice");
}

#[tokio::test]
async fn nobody_approves_their_own_change_or_without_the_role() {
    let team = Team::of("'key-put'").await;
    let own = team.ask(&team.both, Method::PUT, "keys/a/b/c", b"a key").await;
    assert_eq!(team.approve(&team.both, &own).await, (403, "approval-own".into()));
    assert_eq!(team.approve(&team.alice, &own).await, (403, "role-insufficient".into()));
    assert_eq!((team.keys().await, team.waiting().await), (0, 1));
    assert_eq!(team.approve(&team.bob, &own).await, (201, String::new()));
}

/// Who asks may have the file, too; and who approves what it asked for.
#[tokio::test]
async fn break_glass_token_is_neither_of_the_two() {
    let team = Team::of("'key-put'").await;
    let token = std::fs::read_to_string(team.world.folder.path().join("admin-token")).unwrap();
    let break_glass = Person::with_token(&team.world, token);
    let change = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"a key").await;
    assert_eq!(team.approve(&break_glass, &change).await, (403, "role-insufficient".into()));
    let asked = team.call(&break_glass, Method::PUT, "keys/a/b/d", b"a key").await;
    assert_eq!(outcome(&asked), (403, "role-insufficient".into()));
    assert_eq!((team.keys().await, team.waiting().await), (0, 1));
    let alone = team.call(&break_glass, Method::POST, "keys/a/b/c/disable", b"").await;
    assert_eq!(outcome(&alone), (404, "key-unknown".into()), "what takes nobody else is its to do");
}

/// As in the configuration that `docs/administration.md` warns of.
#[tokio::test]
async fn certificate_and_token_of_one_person_are_not_two_people() {
    let (signer, authority) = (TokenSigner::generate().unwrap(), Authority::new("people"));
    let world = World::start().await;
    let keys = world.folder.path().join("jwks.json");
    std::fs::write(&keys, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    let tables = format!(
        "{}[[admin-issuer]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks-file = '{}'\n\
         [[admin]]\nissuer = '{ISSUER}'\ngroup = 'custodians'\nroles = ['approver']\n\
         [[admin]]\nname = 'dora'\nissuer = '{ISSUER}'\nsubject = 'd'\nroles = ['approver']\n\
         [[admin]]\nname = 'erik'\ncertificate = 'spiffe://example.org/erik'\nroles = ['operator']\n",
        roles(&authority),
        keys.display()
    );
    let team = Team::with(world, authority, "'key-put'", tables).await;
    let erik = team.authority.person(&team.world, "spiffe://example.org/erik");
    let token =
        |subject: &str| Person::with_token(&team.world, signer.sign(&claims(subject, &["custodians"])).unwrap());
    let (custodian, dora) = (token("a"), token("d"));
    let own = (403, "approval-own".to_owned());
    let change = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"a key").await;
    assert_eq!(team.approve(&custodian, &change).await, own, "it may be hers");
    assert_eq!(team.approve(&dora, &change).await, own, "it may be hers, named or not");
    assert_eq!(team.approve(&team.bob, &change).await, (201, String::new()));
    let named = team.ask(&erik, Method::PUT, "keys/a/b/d", b"a key").await;
    assert_eq!(team.approve(&custodian, &named).await, own);
    assert_eq!(team.approve(&dora, &named).await, (201, String::new()), "the configuration tells them apart");
}

#[tokio::test]
async fn approval_is_of_what_was_seen_and_counts_once() {
    let team = Team::of("'key-disable', 'key-put'").await;
    let first = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"one").await;
    let second = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"two").await;
    let mixed = json!({ "id": first["id"], "digest": second["digest"] });
    assert_eq!(team.approve(&team.bob, &mixed).await, (404, "change-unknown".into()));
    assert_eq!(team.approve(&team.bob, &first).await, (201, String::new()));
    assert_eq!(team.approve(&team.bob, &first).await, (404, "change-unknown".into()));
    // Judged as if it were asked for now: there is another key at that id meanwhile. It still waits.
    assert_eq!(team.approve(&team.bob, &second).await, (409, "key-exists".into()));
    assert_eq!(team.waiting().await, 1);
    let reject = format!("changes/{}/reject", text(&second, "id"));
    assert_eq!(outcome(&team.call(&team.carol, Method::POST, &reject, b"").await), (403, "role-insufficient".into()));
    assert_eq!(outcome(&team.call(&team.alice, Method::POST, &reject, b"").await), (200, String::new()), "her own");
    assert_eq!(team.approve(&team.bob, &second).await, (404, "change-unknown".into()));
}

#[tokio::test]
async fn change_that_would_be_refused_waits_for_nobody() {
    let team = Team::of("'key-put', 'key-disable', 'release-policy', 'token-key'").await;
    for (method, path, body, code) in [
        (Method::PUT, "keys/a/b/c", &b""[..], "key-invalid"),
        (Method::POST, "keys/a/b/c/disable", b"", "key-unknown"),
        (Method::PUT, "policies/a/b/c", b"no policy", "policy-invalid"),
    ] {
        assert_eq!(team.call(&team.alice, method, path, body).await.code(), code, "{path}");
    }
    assert_eq!(team.waiting().await, 0);
    // What needs nobody else is done at once, and the other changes are made once they are approved.
    assert_eq!(team.call(&team.alice, Method::POST, "keys/a/b/c/label?owner=o", b"").await.code(), "key-unknown");
    let change = team.ask(&team.alice, Method::POST, "token-key", b"").await;
    let path = format!("changes/{}/approve?digest={}", text(&change, "id"), text(&change, "digest"));
    let answer = team.call(&team.bob, Method::POST, &path, b"").await;
    assert_eq!((answer.status.as_u16(), answer.json()["kid"].is_string()), (201, true));
}

#[tokio::test]
async fn approver_sees_a_policy_and_never_a_key() {
    let team = Team::of("'key-put', 'release-policy'").await;
    let policy = team.world.policy(b"document");
    let policies = team.ask(&team.alice, Method::PUT, &format!("policies/{KEY}"), policy.as_bytes()).await;
    let key = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"a key of many bytes").await;
    let show = async |change: &Value| {
        team.call(&team.bob, Method::GET, &format!("changes/{}", text(change, "id")), b"").await.json()
    };
    assert_eq!(from_base64(text(&show(&policies).await, "body"), "body").unwrap(), policy.as_bytes());
    assert_eq!(show(&key).await, key, "no body");
    // Nor is it in the file, or in the log.
    let pattern = b"a key of many bytes";
    let mut files = vec![team.world.store()];
    files.push(format!("{}-wal", team.world.store().display()).into());
    for file in files {
        let bytes = std::fs::read(file).unwrap();
        assert!(!bytes.windows(pattern.len()).any(|window| window == pattern));
    }
}

#[tokio::test]
async fn key_waits_in_its_custody_and_is_stored_only_where_that_opens_it() {
    let (world, authority) = (World::start().await, Authority::new("people"));
    let served = Served::start(world.folder.path(), FILE).await;
    let engine = &served.engine;
    engine.tokens.lock().unwrap().push("token-of-a-file".to_owned());
    let tables = format!("{}{}", roles(&authority), served.custody);
    let team = Team::with(world, authority, "'key-put'", tables).await;
    let change = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"a key").await;
    *engine.sealed.lock().unwrap() = true;
    assert_eq!(team.approve(&team.bob, &change).await, (503, "custody-unavailable".into()));
    assert_eq!((team.keys().await, team.waiting().await), (0, 1));
    *engine.sealed.lock().unwrap() = false;
    let opened = engine.opened("a/b/c");
    assert_eq!(team.approve(&team.bob, &change).await, (201, String::new()));
    assert_eq!((team.keys().await, engine.opened("a/b/c")), (1, opened + 1), "the verifier alone had it not");
}

#[tokio::test]
async fn change_outlives_a_restart_and_its_day_and_nothing_that_was_changed_in_it() {
    let mut team = Team::of("'key-put'").await;
    let [soon, late] = ["keys/a/b/c", "keys/a/b/d"].map(|path| path.to_owned());
    let first = team.ask(&team.alice, Method::PUT, &soon, b"one").await;
    let second = team.ask(&team.alice, Method::PUT, &late, b"two").await;
    team.world.pass(24 * 60 * 60 - 1);
    assert_eq!(team.approve(&team.bob, &first).await, (201, String::new()));
    team.world.pass(1);
    assert_eq!(team.approve(&team.bob, &second).await, (404, "change-unknown".into()));
    assert_eq!(team.waiting().await, 0);

    let third = team.ask(&team.alice, Method::PUT, "keys/a/b/e", b"three").await;
    team.world.stop().await;
    let store = team.world.open_store().await;
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM changes").fetch_one(&store).await.unwrap();
    assert_eq!(kept, 1, "those whose day was over went");
    let change = sqlx::query("UPDATE changes SET path = '/admin/v1/keys/a/b/f' WHERE id = $1");
    change.bind(text(&third, "id")).execute(&store).await.unwrap();
    store.close().await;
    team.world.start_again().await;
    team.world.configure("admin-approval = ['key-put']", &team.tables).await;
    assert_eq!(team.approve(&team.bob, &third).await, (400, "store-tampered".into()));
}

#[tokio::test]
async fn changes_that_wait_are_bounded_by_person_and_in_all_and_there_is_room_to_disable_a_key() {
    let team = Team::of("'key-put', 'key-disable'").await;
    let first = team.ask(&team.alice, Method::PUT, "keys/a/b/c", b"a key").await;
    assert_eq!(team.approve(&team.bob, &first).await, (201, String::new()));
    for person in 0..limits::PENDING_CHANGES / 8 {
        let person = team.authority.person(&team.world, &format!("spiffe://example.org/operator/p{person}"));
        for at in 0..8 {
            team.ask(&person, Method::PUT, &format!("keys/a/b/k{at}"), b"a key").await;
        }
        let over = team.call(&person, Method::PUT, "keys/a/b/over", b"a key").await;
        assert_eq!(outcome(&over), (429, "busy".into()));
        assert!(over.headers.contains_key("retry-after"));
    }
    assert_eq!(outcome(&team.call(&team.alice, Method::PUT, "keys/a/b/over", b"a key").await), (429, "busy".into()));
    team.ask(&team.alice, Method::POST, "keys/a/b/c/disable", b"").await;
    team.world.pass(24 * 60 * 60);
    team.ask(&team.alice, Method::PUT, "keys/a/b/over", b"a key").await;
    assert_eq!(team.waiting().await, 1);
}

#[tokio::test]
async fn viewer_who_reads_without_end_fills_no_log() {
    let team = Team::of("'key-put'").await;
    for _ in 0..20 {
        for (path, status) in [("keys", 200), ("keys/a/b/c", 404), ("policies/a/b/c", 404), ("nothing", 404)] {
            assert_eq!(team.call(&team.bob, Method::GET, path, b"").await.status, status, "{path}");
        }
    }
    let rows = team.world.audit().await;
    let of = |code: &str| rows.iter().filter(|row| row["code"] == code).count();
    assert_eq!(["", "key-unknown", "no-policy", "route-unknown"].map(of), [1, 1, 1, 1], "{rows:?}");
}
