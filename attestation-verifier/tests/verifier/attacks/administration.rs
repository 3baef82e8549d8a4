//! What is tried to administer a verifier that is somebody else's to administer, and alone what takes two.

use super::Row;
use super::rows::attempt;
use crate::administrators::roles;
use crate::people::{AUDIENCE, Authority, ISSUER, Person, claims};
use crate::world::{Answer, START, World};
use core::pin::Pin;
use http::Method;
use serde_json::{Value, json};
use std::sync::LazyLock;
use strongroom_jose::TokenSigner;
use strongroom_wire::bytes::to_base64url;

static PEOPLE: LazyLock<Authority> = LazyLock::new(|| Authority::new("people"));
static SIGNER: LazyLock<TokenSigner> = LazyLock::new(|| TokenSigner::generate().unwrap());

/// Has people administer, by certificates and tokens, and two of them put a key.
pub(super) async fn configure(world: &mut World) {
    let keys = world.folder.path().join("jwks.json");
    std::fs::write(&keys, json!({ "keys": [SIGNER.jwk()] }).to_string()).unwrap();
    let tables = format!(
        "{}[[admin]]\ncertificate = 'spiffe://example.org/both'\nroles = ['operator', 'approver']\n\
         [[admin-issuer]]\nissuer = '{ISSUER}'\naudience = '{AUDIENCE}'\njwks-file = '{}'\n\
         [[admin]]\nissuer = '{ISSUER}'\ngroup = 'ops'\nroles = ['operator']\n",
        roles(&PEOPLE),
        keys.display()
    );
    world.configure("admin-approval = ['key-put']", &tables).await;
}

async fn put(world: &World, who: &Person, id: &str) -> Answer {
    world.admin_as(who, Method::PUT, &format!("keys/{id}"), b"a key".to_vec()).await
}

fn holder(world: &World, path: &str) -> Person {
    PEOPLE.person(world, &format!("spiffe://example.org/{path}"))
}

async fn with_token(world: &World, token: String) -> Answer {
    put(world, &Person::with_token(world, token), "a/b/c").await
}

fn token(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = claims("s", &["ops"]);
    change(&mut claims);
    SIGNER.sign(&claims).unwrap()
}

async fn approve(world: &World, who: &Person, id: &Value, digest: &Value) -> Answer {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let path = format!("changes/{}/approve?digest={}", text(id), text(digest));
    world.admin_as(who, Method::POST, &path, vec![]).await
}

pub(super) fn rows() -> Vec<Row> {
    let row = |attempt, code, run| Row { part: "administration", attempt, at: "admin", code, run };
    vec![
        row(
            "a call with a token that was guessed",
            "admin-unauthorized",
            attempt!(world, _document => {
                world.admin_with(Method::GET, "keys", vec![], Some("Bearer 0123456789abcdef0123456789abcdef"))
            }),
        ),
        row(
            "a call with nothing",
            "admin-unauthorized",
            attempt!(world, _document => async move { put(world, &Person::nobody(world), "a/b/c").await }),
        ),
        row(
            "a certificate with an operator's name, of an authority of one's own",
            "admin-unauthorized",
            attempt!(world, _document => async move {
                let own = Authority::new("people");
                put(world, &own.person(world, "spiffe://example.org/operator/alice"), "a/b/c").await
            }),
        ),
        row(
            "an operator's token, after it ended",
            "admin-unauthorized",
            attempt!(world, _document => with_token(world, token(|claims| claims["exp"] = json!(START)))),
        ),
        row(
            "an operator's token for another service",
            "admin-unauthorized",
            attempt!(world, _document => with_token(world, token(|claims| claims["aud"] = json!("another service")))),
        ),
        row(
            "a token whose `alg` is `HS256`, the issuer's public key being the secret",
            "admin-unauthorized",
            attempt!(world, _document => {
                let header = json!({ "alg": "HS256", "kid": SIGNER.kid() }).to_string();
                let payload = claims("s", &["ops"]).to_string();
                let input = format!("{}.{}", to_base64url(header.as_bytes()), to_base64url(payload.as_bytes()));
                let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, SIGNER.spki_der());
                let signature = to_base64url(aws_lc_rs::hmac::sign(&key, input.as_bytes()).as_ref());
                with_token(world, format!("{input}.{signature}"))
            }),
        ),
        row(
            "a change by somebody who may read",
            "role-insufficient",
            attempt!(world, _document => async move { put(world, &holder(world, "viewer/eve"), "a/b/c").await }),
        ),
        row(
            "an approval by somebody who may change",
            "role-insufficient",
            attempt!(world, _document => async move {
                let operator = holder(world, "operator/alice");
                let change = put(world, &operator, "a/b/c").await.json();
                approve(world, &operator, &change["id"], &change["digest"]).await
            }),
        ),
        row(
            "an approval of one's own change",
            "approval-own",
            attempt!(world, _document => async move {
                let both = holder(world, "both");
                let change = put(world, &both, "a/b/c").await.json();
                approve(world, &both, &change["id"], &change["digest"]).await
            }),
        ),
        row(
            "an approval, a second time",
            "change-unknown",
            attempt!(world, _document => async move {
                let change = put(world, &holder(world, "operator/alice"), "a/b/c").await.json();
                let approver = holder(world, "approver/bob");
                let first = approve(world, &approver, &change["id"], &change["digest"]).await;
                assert_eq!(first.status, 201);
                approve(world, &approver, &change["id"], &change["digest"]).await
            }),
        ),
        row(
            "another change in the place of the one that the approver saw",
            "change-unknown",
            attempt!(world, _document => async move {
                let operator = holder(world, "operator/alice");
                let seen = put(world, &operator, "a/b/c").await.json();
                let other = put(world, &operator, "a/b/d").await.json();
                approve(world, &holder(world, "approver/bob"), &other["id"], &seen["digest"]).await
            }),
        ),
    ]
}
