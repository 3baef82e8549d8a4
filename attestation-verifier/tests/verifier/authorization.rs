//! Cedar policies: of guests and models that are judged sound, which may have which key.

use crate::documents::{Publisher, chip, put};
use crate::guest::Guest;
use crate::promotions::Staged;
use crate::world::{AUTHORIZATION, KEY, KEY_VALUE, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_devkit::amd::VekSpec;
use strongroom_policy::{Policies, Question};
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;

/// A policy that permits where a condition holds.
fn permit(id: &str, condition: &str) -> String {
    format!(
        r#"@id("{id}") permit (principal, action == Strongroom::Action::"ReleaseKey", resource) when {{ {condition} }};"#
    )
}

/// `""`, or the code that a fetch is refused with.
async fn fetch(guest: &Guest<'_>, id: &str) -> String {
    let answer = guest.fetch(id).await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

/// What the newest release's row says.
async fn last(world: &World) -> Value {
    let rows = world.audit().await;
    rows.iter().rfind(|row| row["kind"] == "release").unwrap()["detail"].clone()
}

async fn label(world: &World, query: &str) -> Value {
    let answer = world.admin(Method::POST, &format!("keys/{KEY}/label?{query}"), vec![]).await;
    assert_eq!(answer.status, 200);
    answer.json()
}

#[tokio::test]
async fn nothing_is_released_before_policies_permit_it_and_everything_that_decides_is_on_record() {
    let (world, document) = World::ready_without_authorization().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(fetch(&guest, KEY).await, "authorization-empty");
    assert_eq!(last(&world).await["question"]["action"]["release-key"]["key"]["id"], KEY, "asked all the same");
    world.authorize("// nothing").await;
    assert_eq!(fetch(&guest, KEY).await, "authorization-empty");
    assert_eq!(last(&world).await["authorization"]["verdict"], "empty");

    world.authorize(AUTHORIZATION).await;
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let detail = last(&world).await;
    let digest = Sha256::of(AUTHORIZATION.as_bytes());
    let want = json!({"version": 2, "digest": digest, "verdict": "permit", "by": ["models"], "error": null});
    assert_eq!(detail["authorization"], want);
    // The question is whole: asked again of the same policies it has the same answer.
    let question: Question = serde_json::from_value(detail["question"].clone()).unwrap();
    assert_eq!((question.now, question.workload.id.as_str()), (world.now(), detail["key"].as_str().unwrap()));
    let again = Policies::parse(AUTHORIZATION.as_bytes()).unwrap().ask(&question).unwrap();
    assert_eq!(again.by, ["models"]);
}

#[tokio::test]
async fn each_thing_that_policies_may_ask_decides() {
    let (world, document) = World::ready().await;
    label(&world, "owner=team-a&label=gold&label=eu").await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    guest.key(KEY).await;
    let question: Question = serde_json::from_value(last(&world).await["question"].clone()).unwrap();
    let registry = world.registry.addr();
    let strongroom_policy::Action::ReleaseKey { model, .. } = &question.action else { panic!("{question:?}") };
    let pairs = [
        (r#"principal.platform == "snp""#.to_owned(), r#"principal.platform == "tdx""#.to_owned()),
        (format!("principal.root == \"{}\"", world.root()), r#"principal.root == "amd""#.to_owned()),
        (
            format!("principal.measurement == \"{}\"", "4d".repeat(48)),
            format!("principal.measurement == \"{}\"", "4e".repeat(48)),
        ),
        (
            format!("principal.deployment == \"{}\"", Sha256::of(&document)),
            format!("principal.deployment == \"{}\"", Sha256::of(b"")),
        ),
        (
            format!("principal has machine && principal.machine == \"{}\"", chip()),
            "!(principal has machine)".to_owned(),
        ),
        ("!(principal has zone)".to_owned(), "principal has zone".to_owned()),
        (
            format!("principal == Strongroom::Workload::\"{}\"", question.workload.id),
            "principal == Strongroom::Workload::\"x\"".to_owned(),
        ),
        (
            "principal has snp && principal.snp.tcb.microcode >= 219".to_owned(),
            "principal has snp && principal.snp.tcb.microcode >= 220".to_owned(),
        ),
        (
            "principal has snp && !principal.snp.debug && principal.snp.vmpl == 0".to_owned(),
            "principal has snp && principal.snp.debug".to_owned(),
        ),
        (
            r#"principal has snp && principal.snp.product == "Milan""#.to_owned(),
            r#"principal has snp && principal.snp.product == "Genoa""#.to_owned(),
        ),
        (
            format!("resource == Strongroom::Key::\"{KEY}\""),
            "resource == Strongroom::Key::\"models/tiny/v2\"".to_owned(),
        ),
        (
            r#"resource in Strongroom::Folder::"models""#.to_owned(),
            r#"resource in Strongroom::Folder::"other""#.to_owned(),
        ),
        (
            r#"resource has owner && resource.owner == "team-a""#.to_owned(),
            r#"resource has owner && resource.owner == "team-b""#.to_owned(),
        ),
        (r#"resource.labels.contains("gold")"#.to_owned(), r#"resource.labels.contains("silver")"#.to_owned()),
        (
            format!("context.model.repository == \"{registry}/models/tiny\""),
            format!("context.model.repository == \"{registry}/models/other\""),
        ),
        (
            format!("context.model.manifest == \"{}\"", model.manifest),
            format!("context.model.manifest == \"{}\"", Sha256::of(b"").oci()),
        ),
        (
            r#"context.model.signers.contains("release")"#.to_owned(),
            r#"context.model.signers.contains("stranger")"#.to_owned(),
        ),
        ("!(context.model has promotion)".to_owned(), "context.model has promotion".to_owned()),
        (
            r#"context.now == datetime("2027-01-15T08:00:00Z")"#.to_owned(),
            r#"context.now > datetime("2027-01-15T08:00:00Z")"#.to_owned(),
        ),
    ];
    for (holds, does_not) in pairs {
        world.authorize(&permit("p", &holds)).await;
        assert_eq!(fetch(&guest, KEY).await, "", "{holds}");
        world.authorize(&permit("p", &does_not)).await;
        assert_eq!(fetch(&guest, KEY).await, "policy-denied", "{does_not}");
        assert_eq!(last(&world).await["authorization"]["verdict"], "none", "{does_not}");
    }
}

#[tokio::test]
async fn forbid_beats_permit_and_is_named() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    label(&world, "label=on-hold").await;
    assert_eq!(fetch(&guest, KEY).await, "policy-denied");
    let detail = last(&world).await;
    assert_eq!(detail["authorization"]["by"], json!(["on-hold"]));
    assert_eq!(detail["authorization"]["verdict"], "forbid");
    assert_eq!(detail["refusal"]["got"], "forbidden by on-hold");
    assert_eq!(
        label(&world, "").await,
        json!({
            "id": KEY, "created": world.now(), "enabled": true, "state": "enabled", "custody": "master-key",
            "wrappings": 1, "releases": 0,
        })
    );
    assert_eq!(fetch(&guest, KEY).await, "");
}

#[tokio::test]
async fn policy_that_cannot_be_evaluated_releases_nothing_whatever_others_permit() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    // Four, the boot loader of the test chip, is added to it: no validation sees that the sum is past 64 bits.
    for (number, code) in [("9223372036854775803", ""), ("9223372036854775804", "policy-failed")] {
        let sum = format!("principal has snp && principal.snp.tcb.bootloader + {number} == 5");
        let forbid = permit("f", &sum).replace("permit", "forbid");
        world.authorize(&format!("{AUTHORIZATION}\n{forbid}")).await;
        assert_eq!(fetch(&guest, KEY).await, code, "{number}");
    }
    let detail = last(&world).await;
    assert_eq!(
        (&detail["authorization"]["verdict"], &detail["authorization"]["by"]),
        (&json!("failed"), &json!(["f"]))
    );
}

#[tokio::test]
async fn bad_policies_are_refused_with_what_is_wrong_and_where_and_the_old_ones_decide() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let long = format!("//{}", " ".repeat(limits::POLICY));
    for (cedar, code, part) in [
        ("permit (principal, action, resource)", "policy-invalid", "unexpected end of input"),
        (
            "@id(\"a\")\npermit (principal, action, resource) when { principal.colour };",
            "policy-invalid",
            "line 2, column",
        ),
        ("permit (principal, action, resource);", "policy-invalid", "@id"),
        (long.as_str(), "too-large", "policies"),
    ] {
        let answer = world.admin(Method::PUT, "authorization", json!({"cedar": cedar}).to_string().into_bytes()).await;
        let status = if code == "too-large" { 413 } else { 400 };
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{cedar:.60}");
        assert!(answer.json().to_string().contains(part), "{}", answer.json());
        assert_eq!(fetch(&guest, KEY).await, "");
    }
    for body in [&b"permit"[..], b"{}", br#"{"cedar": "", "more": 1}"#] {
        let answer = world.admin(Method::PUT, "authorization", body.to_vec()).await;
        assert_eq!(answer.status, 400, "{}", answer.json());
    }
    let versions = world.admin(Method::GET, "authorization", vec![]).await.json();
    assert_eq!(versions.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn every_version_is_kept_and_shown_and_its_row_names_it() {
    let (world, _) = World::ready().await;
    let second = json!({"cedar": permit("b", "true"), "comment": "for b"}).to_string().into_bytes();
    let put = world.admin(Method::PUT, "authorization", second).await.json();
    let digest = Sha256::of(permit("b", "true").as_bytes());
    assert_eq!(put, json!({"version": 2, "digest": digest, "created": world.now(), "comment": "for b"}));
    let rows = world.audit().await;
    let row = rows.iter().rfind(|row| row["subject"] == "PUT /admin/v1/authorization").unwrap();
    assert_eq!(row["detail"]["authorization"], put);
    let versions = world.admin(Method::GET, "authorization", vec![]).await.json();
    assert_eq!((versions[0]["version"].as_u64(), &versions[1]), (Some(1), &put));
    assert_eq!(world.admin(Method::GET, "authorization/1", vec![]).await.body, AUTHORIZATION.as_bytes());
    let none = world.admin(Method::GET, "authorization/3", vec![]).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "no-policy"));
}

#[tokio::test]
async fn machine_in_the_zone_of_the_inventory_gets_the_key_and_one_in_another_or_none_does_not() {
    let (world, document) = World::ready().await;
    let publisher = Publisher::new();
    world.put_policy(KEY, &publisher.policy(&world, &document)).await;
    put(&world, publisher.values(1, "4d")).await;
    label(&world, "label=eu-only").await;
    for (version, zone, code) in
        [(1, Some("eu"), ""), (2, Some("us"), "policy-denied"), (3, None, "policy-denied"), (4, Some("eu"), "")]
    {
        put(&world, publisher.machine(version, &json!({"chip": chip(), "zone": zone}))).await;
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        assert_eq!(fetch(&guest, KEY).await, code, "{zone:?}");
        assert_eq!(last(&world).await["question"]["workload"]["zone"], json!(zone));
    }
    world.put_policy(KEY, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(
        fetch(&guest, KEY).await,
        "policy-denied",
        "an inventory that the key's policy does not name says nothing"
    );
}

#[tokio::test]
async fn platform_at_the_floor_of_a_policy_gets_the_key_and_one_below_it_does_not() {
    let (mut world, document) = World::ready().await;
    world.authorize(&permit("p", "principal has snp && principal.snp.tcb.microcode >= 120")).await;
    let mut tcb = VekSpec::default().tcb;
    for (microcode, code) in [(120, ""), (119, "policy-denied")] {
        tcb.microcode = microcode;
        world.vek = world.hierarchy.issue(VekSpec { tcb, ..VekSpec::default() }).unwrap();
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        assert_eq!(fetch(&guest, KEY).await, code, "{microcode}");
    }
}

#[tokio::test]
async fn key_of_a_folder_that_no_policy_names_refused() {
    let (world, _) = World::ready().await;
    let reference = world.push("models/other", "other/tiny/v1", &world.signer).await;
    let document = world.document(&[reference]);
    world.put_key("other/tiny/v1", &KEY_VALUE).await;
    world.put_policy("other/tiny/v1", &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    assert_eq!(fetch(&guest, "other/tiny/v1").await, "policy-denied");
    let other = permit("o", r#"resource in Strongroom::Folder::"other/tiny""#);
    world.authorize(&format!("{AUTHORIZATION}\n{other}")).await;
    assert_eq!(fetch(&guest, "other/tiny/v1").await, "");
}

#[tokio::test]
async fn model_promoted_where_a_policy_demands_it_released_and_one_that_is_not_refused() {
    let staged = Staged::new(1).await;
    let world = &staged.world;
    staged.told(&staged.promotion(3), &staged.anna).await;
    for (holds, does_not) in [
        (r#"promotion.environment == "production""#, r#"promotion.environment == "staging""#),
        ("promotion.sequence >= 3", "promotion.sequence >= 4"),
        (
            r#"promotion.expires < datetime("2027-01-15T08:16:41Z")"#,
            r#"promotion.expires < datetime("2027-01-15T08:16:40Z")"#,
        ),
    ] {
        for (part, code) in [(holds, ""), (does_not, "policy-denied")] {
            world.authorize(&permit("p", &format!("context.model has promotion && context.model.{part}"))).await;
            assert_eq!(staged.release().await, code, "{part}");
        }
    }
    label(world, "label=production-only").await;
    world.authorize(AUTHORIZATION).await;
    assert_eq!(staged.release().await, "");
    world.put_policy(KEY, &world.policy(&staged.document)).await;
    assert_eq!(staged.release().await, "policy-denied");
}

#[tokio::test]
async fn policy_about_time_holds_until_its_last_second() {
    let (world, document) = World::ready().await;
    world.authorize(&permit("p", r#"context.now < datetime("2027-01-15T08:01:40Z")"#)).await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    world.pass(99);
    assert_eq!(fetch(&guest, KEY).await, "");
    world.pass(1);
    assert_eq!(fetch(&guest, KEY).await, "policy-denied");
}

#[tokio::test]
async fn owner_and_labels_are_given_with_the_key_and_shown() {
    let world = World::start().await;
    let put = async |query: &str| {
        let answer = world.admin(Method::PUT, &format!("keys/a/b/c{query}"), b"value".to_vec()).await;
        (answer.status.as_u16(), answer.json())
    };
    let shown = json!({
        "id": "a/b/c", "created": world.now(), "enabled": true, "state": "enabled", "custody": "master-key",
        "wrappings": 1, "releases": 0, "owner": "o", "labels": ["x", "y"],
    });
    assert_eq!(put("?label=y&owner=o&label=x").await, (201, shown.clone()));
    assert_eq!(put("?label=x&owner=o&label=y").await, (200, shown.clone()));
    assert_eq!(put("").await, (200, shown.clone()));
    let (status, refused) = put("?label=x").await;
    assert_eq!((status, &refused["code"]), (409, &json!("key-exists")));
    assert_eq!(world.admin(Method::GET, "keys/a/b/c", vec![]).await.json(), shown);
    let rows = world.audit().await;
    assert_eq!(rows[0]["detail"]["key"], shown);
    let none = world.admin(Method::POST, "keys/a/b/d/label?label=x", vec![]).await;
    assert_eq!((none.status.as_u16(), none.code().as_str()), (404, "key-unknown"));
    let bad = world.admin(Method::POST, "keys/a/b/c/label?label=x%20y", vec![]).await;
    assert_eq!((bad.status.as_u16(), bad.code().as_str()), (400, "request-invalid"));
}

#[tokio::test]
async fn policies_outlive_a_restart_and_those_that_somebody_changed_release_nothing() {
    let (mut world, document) = World::ready().await;
    world.restart().await;
    {
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        assert_eq!(fetch(&guest, KEY).await, "");
    }
    let store = world.open_store().await;
    for statement in ["DROP TRIGGER policy_sets_stay_delete", "DELETE FROM policy_sets"] {
        sqlx::query(statement).execute(&store).await.unwrap();
    }
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.post(&guest.attestation()).await.code(), "store-tampered");
}
