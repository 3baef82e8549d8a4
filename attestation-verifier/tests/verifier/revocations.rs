//! Revocation and quarantine: effective at the next question of any kind, of sessions that were accepted before too.

use crate::enclave::Enclave;
use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_devkit::report::ReportSpec;
use strongroom_wire::deployment::Deployment;
use strongroom_wire::passport;

pub(crate) async fn say(world: &World, path: &str, mut what: Value) -> Answer {
    what["because"] = json!("it leaks");
    what["by"] = json!("Anna Kern");
    world.admin(Method::POST, path, what.to_string().into_bytes()).await
}

pub(crate) async fn put(world: &World, state: &str, kind: &str, value: &str) -> Answer {
    say(world, "revocations", json!({ "state": state, "kind": kind, "value": value })).await
}

async fn release(world: &World, kind: &str, value: &str) -> Answer {
    say(world, "revocations/release", json!({ "kind": kind, "value": value })).await
}

/// What comes of a passport that an enclave asks for.
async fn passport_code(enclave: &Enclave<'_>) -> String {
    let mut evidence = enclave.question().await.evidence;
    let request = |evidence| passport::Request { audience: "https://relying.example".into(), evidence };
    let report_data = request(evidence.clone()).report_data().unwrap();
    let report = ReportSpec { report_data, ..enclave.report.clone() }.sign(&enclave.world.vek).unwrap();
    evidence.evidence = strongroom_wire::bytes::to_base64(&report);
    let body = serde_json::to_vec(&request(evidence)).unwrap();
    let answer = enclave.world.kbs(Method::POST, passport::ATTEST, &[], body).await;
    if answer.status.is_success() { String::new() } else { answer.code() }
}

/// What comes of a key in an accepted session, of a new attestation, of a passport and of a lease.
async fn codes(session: &Guest<'_>, enclave: &Enclave<'_>) -> [String; 4] {
    let told = |answer: Answer| if answer.status.is_success() { String::new() } else { answer.code() };
    let attesting = Guest::launch(enclave.world, &enclave.document()).await;
    [
        told(session.fetch(KEY).await),
        told(attesting.post(&attesting.attestation()).await),
        passport_code(enclave).await,
        told(enclave.ask().await),
    ]
}

#[tokio::test]
async fn whoever_is_revoked_by_any_word_gets_nothing_more_and_whoever_is_quarantined_until_a_person_says_so() {
    let (world, document) = World::ready().await;
    let model =
        Deployment::parse(&document).unwrap().settings().models[0].repository_and_digest().unwrap().1.unwrap().oci();
    let chip = world.chip();
    let session = Guest::launch(&world, &document).await;
    session.attest().await;
    session.key(KEY).await;
    let enclave = Enclave::launch(&world, &document);
    assert_eq!(codes(&session, &enclave).await, [""; 4]);
    let holder = enclave.thumbprint();
    let everywhere = [true; 4];
    for (kind, value, hit) in [
        ("measurement", "4d".repeat(48), everywhere),
        ("chip", chip, everywhere),
        ("model", model, everywhere),
        // Of what is attested: the session's key is another than the channel's.
        ("identity", holder, [false, false, true, true]),
        ("key", KEY.to_owned(), everywhere),
    ] {
        let expected = |code: &str| hit.map(|hit| if hit { code.to_owned() } else { String::new() });
        assert_eq!(put(&world, "quarantined", kind, &value).await.status, 200, "{kind}");
        assert_eq!(codes(&session, &enclave).await, expected("quarantined"), "{kind}");
        let answer = release(&world, kind, &value).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["released"]["by"]), (200, &json!("Anna Kern")), "{kind}");
        assert_eq!(codes(&session, &enclave).await, [""; 4], "{kind}");
        // Of a neighbour it says nothing.
        let mut other = value.clone();
        let last = other.pop();
        other.push(if last == Some('1') { '2' } else { '1' });
        assert_eq!(put(&world, "revoked", kind, &other).await.status, 200, "{kind} {other}");
        assert_eq!(codes(&session, &enclave).await, [""; 4], "{kind}");
    }
    assert_eq!(put(&world, "revoked", "key", KEY).await.status, 200);
    assert_eq!(codes(&session, &enclave).await, ["revoked"; 4]);
}

#[tokio::test]
async fn revocation_is_for_good_and_over_a_restart_and_a_quarantine_may_become_one() {
    let (mut world, document) = World::ready().await;
    put(&world, "quarantined", "key", KEY).await;
    assert_eq!(put(&world, "revoked", "key", KEY).await.status, 200);
    for refused in [release(&world, "key", KEY).await, put(&world, "quarantined", "key", KEY).await] {
        assert_eq!((refused.status.as_u16(), refused.code()), (409, "revoked".into()));
    }
    world.restart().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.fetch(KEY).await.code(), "revoked");
    let listed = world.admin(Method::GET, "revocations", vec![]).await.json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["state"]), (1, &json!("revoked")));
    assert_eq!((&listed[0]["kind"], &listed[0]["because"]), (&json!("key"), &json!("it leaks")));
}

#[tokio::test]
async fn each_call_is_on_record_with_person_and_reason_and_one_without_them_refused() {
    let (world, _) = World::ready().await;
    put(&world, "quarantined", "key", KEY).await;
    release(&world, "key", KEY).await;
    let rows = world.audit().await;
    let of = |row: &Value| row["detail"]["revocation"].clone();
    let said: Vec<Value> = rows.iter().map(of).filter(|said| !said.is_null()).collect();
    assert_eq!((&said[0]["by"], &said[0]["state"]), (&json!("Anna Kern"), &json!("quarantined")));
    assert_eq!(said[1]["released"], json!({ "because": "it leaks", "by": "Anna Kern" }));
    assert_eq!(release(&world, "key", KEY).await.code(), "request-invalid", "there is none any more");
    let body = |change: fn(&mut Value)| {
        let mut body = json!({ "state": "revoked", "kind": "key", "value": KEY, "because": "x", "by": "y" });
        change(&mut body);
        body.to_string().into_bytes()
    };
    for (change, code) in [
        ((|_| ()) as fn(&mut Value), ""),
        (|body| body["by"] = json!(" "), "request-invalid"),
        (|body| body["because"] = json!(""), "request-invalid"),
        (|body| body["because"] = json!("a\nb"), "request-invalid"),
        (|body| body["value"] = json!("models"), "request-invalid"),
        (|body| body["kind"] = json!("person"), "request-invalid"),
        (|body| body["state"] = json!(null), "request-invalid"),
        (|body| body["more"] = json!(1), "unknown-field"),
    ] {
        let answer = world.admin(Method::POST, "revocations", body(change)).await;
        assert_eq!(if answer.status.is_success() { String::new() } else { answer.code() }, code);
    }
}

#[tokio::test]
async fn revocation_that_was_taken_out_of_the_store_is_noticed_before_anything_is_released() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    put(&world, "revoked", "key", "models/other/v1").await;
    let store = world.open_store().await;
    for statement in
        ["UPDATE revocations SET value = 'models/another/v1'", "DELETE FROM revocations", "DELETE FROM openings"]
    {
        let mut transaction = store.begin().await.unwrap();
        sqlx::query(statement).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(guest.fetch(KEY).await.code(), "store-tampered", "{statement}");
    }
}
