//! Who may administer, and what: certificates, tokens of issuers and roles, over the socket.

use crate::people::{AUDIENCE, Authority, ISSUER, Person, Provider, claims};
use crate::world::{Answer, START, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_jose::TokenSigner;
use strongroom_wire::bytes::to_base64url;

/// Every call, and the role that it takes.
const ROUTES: [(&str, &str, &str); 34] = [
    ("GET", "keys", "viewer"),
    ("GET", "keys/a/b/c", "viewer"),
    ("PUT", "keys/a/b/c", "operator"),
    ("POST", "keys/a/b/c/label?owner=o", "operator"),
    ("POST", "keys/a/b/c/enable", "operator"),
    ("POST", "keys/a/b/c/disable", "operator"),
    ("POST", "keys/a/b/c/rotate", "operator"),
    ("POST", "keys/a/b/c/destroy", "operator"),
    ("GET", "policies", "viewer"),
    ("GET", "policies/a/b/c", "viewer"),
    ("PUT", "policies/a/b/c", "operator"),
    ("GET", "authorization", "viewer"),
    ("GET", "authorization/1", "viewer"),
    ("PUT", "authorization", "operator"),
    ("GET", "documents", "viewer"),
    ("PUT", "documents", "operator"),
    ("GET", "promotions?repository=r/m", "viewer"),
    ("POST", "promotions", "operator"),
    ("POST", "token-key", "operator"),
    ("GET", "audit", "viewer"),
    ("GET", "log/key", "viewer"),
    ("GET", "log/checkpoint", "viewer"),
    ("GET", "log/witnessed", "viewer"),
    ("GET", "log/tile/0/000.p/1", "viewer"),
    ("POST", "log/cosignatures", "operator"),
    ("PUT", "routes", "operator"),
    ("GET", "routes", "viewer"),
    ("POST", "revocations", "operator"),
    ("GET", "revocations", "viewer"),
    ("POST", "revocations/release", "operator"),
    ("GET", "changes", "viewer"),
    ("GET", "changes/00000000000000000000000000000000", "viewer"),
    ("POST", "changes/00000000000000000000000000000000/reject", "viewer"),
    (
        "POST",
        "changes/00000000000000000000000000000000/approve?digest=0000000000000000000000000000000000000000000000000000000000000000",
        "approver",
    ),
];

/// The table of a person's certificate for each role, under `authority`.
pub(crate) fn roles(authority: &Authority) -> String {
    let entry = |role: &str| format!("[[admin]]\ncertificate = 'spiffe://example.org/{role}/*'\nroles = ['{role}']\n");
    let entries = ["viewer", "operator", "approver"].map(entry).concat();
    format!("[admin-certificates]\nca = '''{}'''\n{entries}", authority.pem())
}

/// A verifier of that table, whose break-glass token is as ever.
async fn ready(keys: &str) -> (World, Authority) {
    let (mut world, authority) = (World::start().await, Authority::new("people"));
    world.configure(keys, &roles(&authority)).await;
    (world, authority)
}

fn code(answer: &Answer) -> String {
    if answer.status.is_success() { String::new() } else { answer.code() }
}

#[tokio::test]
async fn every_route_is_a_role_s_and_nobody_else_s() {
    let (world, authority) = ready("").await;
    let person = |role: &str| authority.person(&world, &format!("spiffe://example.org/{role}/alice"));
    let people = ["viewer", "operator", "approver", "stranger"].map(|role| (role, person(role)));
    let nobody = Person::nobody(&world);
    for (method, path, needs) in ROUTES {
        let call = async |who: &Person| {
            let answer = world.admin_as(who, method.parse().unwrap(), path, vec![1]).await;
            (answer.status.as_u16(), code(&answer))
        };
        assert_eq!(call(&nobody).await, (401, "admin-unauthorized".into()), "{method} {path}");
        for (role, who) in &people {
            let (status, code) = call(who).await;
            let may = *role == needs || (needs == "viewer" && *role != "stranger");
            let refused = status == 403 && code == "role-insufficient";
            assert_eq!(refused, !may, "{role} {method} {path}: {status} {code}");
            assert_ne!(code, "admin-unauthorized", "{role} {method} {path}");
        }
        // The limit on failures is another test's.
        world.pass(60);
    }
}

#[tokio::test]
async fn change_that_is_not_one_s_own_to_make_has_no_effect_and_is_on_record() {
    let (world, authority) = ready("").await;
    let viewer = authority.person(&world, "spiffe://example.org/viewer/bob");
    for _ in 0..3 {
        let answer = world.admin_as(&viewer, Method::PUT, "keys/a/b/c", b"secret".to_vec()).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (403, "role-insufficient"));
    }
    assert_eq!(world.admin(Method::GET, "keys", vec![]).await.json(), json!([]));
    let rows = world.audit().await;
    let refused: Vec<_> = rows.iter().filter(|row| row["code"] == "role-insufficient").collect();
    assert_eq!(refused.len(), 1, "the others of the minute are counted");
    let bob = json!({ "name": "spiffe://example.org/viewer/bob", "by": "certificate" });
    assert_eq!(refused[0]["detail"]["administrator"], bob);
}

#[tokio::test]
async fn person_who_changes_without_end_is_busy_and_nobody_else_is() {
    let (world, authority) = ready("").await;
    let [alice, bob] =
        ["alice", "bob"].map(|name| authority.person(&world, &format!("spiffe://example.org/operator/{name}")));
    let call = async |who: &Person, method: Method, path: &str| code(&world.admin_as(who, method, path, vec![]).await);
    for _ in 0..1000 {
        assert_eq!(call(&alice, Method::POST, "keys/a/b/c/disable").await, "key-unknown");
    }
    let over = world.admin_as(&alice, Method::POST, "keys/a/b/c/disable", vec![]).await;
    assert_eq!((over.status.as_u16(), over.headers.contains_key("retry-after")), (429, true));
    assert_eq!(call(&alice, Method::GET, "keys").await, "", "who reads changes nothing");
    assert_eq!(call(&bob, Method::POST, "keys/a/b/c/disable").await, "key-unknown");
    world.pass(1);
    assert_eq!(call(&alice, Method::POST, "keys/a/b/c/disable").await, "key-unknown");
    assert_eq!(call(&alice, Method::POST, "keys/a/b/c/disable").await, "busy");
}

#[tokio::test]
async fn every_entry_names_who_asked_and_how_they_came_in() {
    let signer = TokenSigner::generate().unwrap();
    let (mut world, authority) = (World::start().await, Authority::new("people"));
    let keys = world.folder.path().join("jwks.json");
    std::fs::write(&keys, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    let issuer = format!(
        "[[admin-issuer]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks-file = '{}'\n\
         [[admin]]\nname = 'carol'\nissuer = '{ISSUER}'\nsubject = 'c-1'\nroles = ['operator']\n\
         [[admin]]\nissuer = '{ISSUER}'\ngroup = 'ops'\nroles = ['operator']\n",
        keys.display()
    );
    world.configure("", &format!("{}{issuer}", roles(&authority))).await;
    let token =
        |subject: &str, groups: &[&str]| Person::with_token(&world, signer.sign(&claims(subject, groups)).unwrap());
    let people = [
        (
            authority.person(&world, "spiffe://example.org/operator/alice"),
            "spiffe://example.org/operator/alice",
            "certificate",
        ),
        (token("d-2", &["staff", "ops"]), "https://issuer.example#d-2", "token"),
        (token("c-1", &[]), "carol", "token"),
    ];
    for (at, (who, ..)) in people.iter().enumerate() {
        let answer = world.admin_as(who, Method::PUT, &format!("keys/a/b/k{at}"), b"secret".to_vec()).await;
        assert_eq!(answer.status, 201, "{at}");
    }
    world.put_key("a/b/c", b"secret").await;
    let rows = world.audit().await;
    let named = rows.iter().filter(|row| row["subject"].as_str().unwrap().starts_with("PUT"));
    let named: Vec<Value> = named.map(|row| row["detail"]["administrator"].clone()).collect();
    let want = people.iter().map(|(_, name, by)| match *name {
        "carol" => json!({ "name": name, "by": by, "login": "https://issuer.example#c-1" }),
        _ => json!({ "name": name, "by": by }),
    });
    let want: Vec<Value> = want.chain([json!({ "name": "break-glass", "by": "break-glass" })]).collect();
    assert_eq!(named, want);
}

#[tokio::test]
async fn token_that_is_not_the_issuer_s_for_this_verifier_and_this_hour_refused() {
    let (signer, stranger) = (TokenSigner::generate().unwrap(), TokenSigner::generate().unwrap());
    let mut world = World::start().await;
    let keys = world.folder.path().join("jwks.json");
    std::fs::write(&keys, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    let tables = format!(
        "[[admin-issuer]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks-file = '{}'\n\
         [[admin]]\nissuer = '{ISSUER}'\ngroup = 'ops'\nroles = ['viewer']\n",
        keys.display()
    );
    world.configure("", &tables).await;
    let with = async |token: String| {
        // The limit on failures is another test's.
        world.pass(30);
        code(&world.admin_as(&Person::with_token(&world, token), Method::GET, "keys", vec![]).await)
    };
    let of = |change: &dyn Fn(&mut Value)| {
        let mut claims = claims("s", &["ops"]);
        change(&mut claims);
        signer.sign(&claims).unwrap()
    };
    assert_eq!(with(of(&|_| ())).await, "");
    assert_eq!(with(of(&|claims| claims["groups"] = json!("ops"))).await, "");
    assert_eq!(with(of(&|claims| claims["exp"] = json!(START + 43_200))).await, "");
    assert_eq!(with(of(&|claims| claims["groups"] = json!(["staff"]))).await, "role-insufficient");
    let none = format!(
        "{}.{}.",
        to_base64url(json!({ "alg": "none", "kid": signer.kid() }).to_string().as_bytes()),
        to_base64url(claims("s", &["ops"]).to_string().as_bytes())
    );
    for wrong in [
        of(&|claims| claims["exp"] = json!(START)),
        of(&|claims| claims["exp"] = json!(START + 43_201)),
        of(&|claims| claims["events"] = json!({ "logout": {} })),
        of(&|claims| claims["nbf"] = json!(START + 3000)),
        of(&|claims| claims["iat"] = json!(START + 3000)),
        of(&|claims| claims["aud"] = json!("another service")),
        of(&|claims| claims["iss"] = json!("https://another.example")),
        of(&|claims| claims["sub"] = json!("")),
        of(&|claims| claims["groups"] = json!({ "ops": true })),
        stranger.sign(&claims("s", &["ops"])).unwrap(),
        none,
    ] {
        assert_eq!(with(wrong.clone()).await, "admin-unauthorized", "{wrong}");
    }
}

#[tokio::test]
async fn keys_of_an_issuer_are_fetched_when_they_change_and_not_for_every_token_that_says_so() {
    let [first, second, stranger] = [(); 3].map(|()| TokenSigner::generate().unwrap());
    let (mut world, provider) = (World::start().await, Provider::start().await);
    provider.publish(&[&first]);
    let tables = format!(
        "[[admin-issuer]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks-url = '{}'\nca = '''{}'''\n\
         [[admin]]\nissuer = '{ISSUER}'\ngroup = 'ops'\nroles = ['viewer']\n",
        provider.url, provider.ca
    );
    world.configure("", &tables).await;
    let by = async |signer: &TokenSigner| {
        let mut claims = claims("s", &["ops"]);
        (claims["iat"], claims["exp"]) = (json!(world.now()), json!(world.now() + 3600));
        let token = signer.sign(&claims).unwrap();
        code(&world.admin_as(&Person::with_token(&world, token), Method::GET, "keys", vec![]).await)
    };
    assert_eq!((by(&first).await.as_str(), provider.asked()), ("", 1));
    assert_eq!((by(&first).await.as_str(), provider.asked()), ("", 1), "they are kept");
    assert_eq!(by(&stranger).await, "admin-unauthorized");
    world.pass(60);
    for _ in 0..3 {
        assert_eq!((by(&stranger).await.as_str(), provider.asked()), ("admin-unauthorized", 2), "once a minute");
    }
    provider.publish(&[&second]);
    world.pass(60);
    assert_eq!((by(&second).await.as_str(), provider.asked()), ("", 3));
    assert_eq!(by(&first).await, "admin-unauthorized", "its key was withdrawn");
    // The issuer has nothing to say any more: what it said counts for a working day, and no longer.
    provider.publish(&[]);
    world.pass(8 * 60 * 60 - 1);
    assert_eq!(by(&second).await, "");
    world.pass(1);
    assert_eq!(by(&second).await, "admin-unauthorized");
}

#[tokio::test]
async fn issuer_is_not_asked_about_tokens_of_another() {
    let signer = TokenSigner::generate().unwrap();
    let mut world = World::start().await;
    let (other, provider) = (Provider::start().await, Provider::start().await);
    provider.publish(&[&signer]);
    let issuer = |name: &str, provider: &Provider| {
        format!(
            "[[admin-issuer]]\nissuer = '{name}'\naudience = '{AUDIENCE}'\njwks-url = '{}'\nca = '''{}'''\n",
            provider.url, provider.ca
        )
    };
    let entry = format!("[[admin]]\nissuer = '{ISSUER}'\ngroup = 'ops'\nroles = ['viewer']\n");
    world
        .configure("", &format!("{}{}{entry}", issuer("https://other.example", &other), issuer(ISSUER, &provider)))
        .await;
    let who = Person::with_token(&world, signer.sign(&claims("s", &["ops"])).unwrap());
    assert_eq!(code(&world.admin_as(&who, Method::GET, "keys", vec![]).await), "");
    assert_eq!((provider.asked(), other.asked()), (1, 0));
}

#[tokio::test]
async fn certificate_of_another_authority_or_after_its_end_refused_on_an_open_connection_too() {
    let (world, authority) = ready("").await;
    let alice = authority.person(&world, "spiffe://example.org/viewer/alice");
    let impostor = Authority::new("people").person(&world, "spiffe://example.org/viewer/alice");
    let by = async |who: &Person| code(&world.admin_as(who, Method::GET, "keys", vec![]).await);
    assert_eq!((by(&alice).await.as_str(), by(&impostor).await.as_str()), ("", "admin-unauthorized"));
    // 2027-02-01 is over.
    world.pass(1_801_526_400 - START);
    assert_eq!(by(&alice).await, "admin-unauthorized");
}

#[tokio::test]
async fn break_glass_token_that_is_switched_off_is_nobody_s() {
    let (mut world, authority) = (World::start().await, Authority::new("people"));
    let token = std::fs::read_to_string(world.folder.path().join("admin-token")).unwrap();
    world.stop().await;
    let text = format!("{}\n{}", world.config_text("master-key"), roles(&authority));
    let without: Vec<&str> = text.lines().filter(|line| !line.starts_with("admin-token")).collect();
    let config = strongroom_attestation_verifier::Config::parse(without.join("\n").as_bytes()).unwrap();
    world.start_on(&config).await;
    assert_eq!(
        code(&world.admin_as(&Person::with_token(&world, token), Method::GET, "keys", vec![]).await),
        "admin-unauthorized"
    );
    let alice = authority.person(&world, "spiffe://example.org/viewer/alice");
    assert_eq!(code(&world.admin_as(&alice, Method::GET, "keys", vec![]).await), "");
}
