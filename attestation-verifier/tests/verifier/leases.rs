//! Leases: who is given one, for how long, and under which names it gets connections.

use crate::enclave::{Enclave, PERMIT_ROUTES};
use crate::promotions::Staged;
use crate::world::{AUTHORIZATION, Answer, KEY, START, World};
use http::{Method, StatusCode};
use serde_json::{Value, json};
use strongroom_devkit::amd::VekSpec;
use strongroom_jose::TokenSigner;
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::lease::Request;

/// The table of routes in which guests of that document have one name.
pub(crate) fn table(document: &[u8]) -> String {
    format!(
        "[tenants.search]\nconnections = 100\nper-second = 20\n[routes.'embed.example']\ntenant = 'search'\n\
         deployments = ['{}']\n",
        Sha256::of(document)
    )
}

pub(crate) async fn put_routes(world: &World, table: &str) -> Answer {
    world.admin(Method::PUT, "routes", table.as_bytes().to_vec()).await
}

async fn row(world: &World, kind: &str) -> Value {
    world.audit().await.into_iter().rfind(|row| row["kind"] == kind).unwrap()
}

#[tokio::test]
async fn enclave_gets_a_lease_for_its_nonce_key_and_workload_of_five_minutes() {
    let (world, document) = World::ready().await;
    let enclave = Enclave::with_key(&world, &document).await;
    let lease = enclave.lease().await;
    assert_eq!((lease.iat, lease.exp, lease.routes.len()), (START, START + 300, 0));
    world.pass(150);
    let next = enclave.lease().await;
    assert_eq!((next.iat, next.exp), (START + 150, START + 450));
    assert_ne!((lease.jti, lease.nonce), (next.jti, next.nonce));
    let row = row(&world, "lease").await;
    assert_eq!((&row["subject"], &row["code"]), (&json!(Sha256::of(&document).oci()), &json!("")));
    assert_eq!(row["detail"]["key"], enclave.thumbprint());
    assert_eq!(row["detail"]["keys"], json!([{ "key": KEY, "promotion": null }]));
    assert_eq!(world.decisions("lease").await, ["", ""]);
}

#[tokio::test]
async fn lease_ends_with_the_certificate_that_it_rests_on() {
    let (mut world, document) = World::ready().await;
    let ends = world.now() + 100;
    world.vek = world.hierarchy.issue(VekSpec { validity: world.now() - 100..ends, ..VekSpec::default() }).unwrap();
    assert_eq!(Enclave::launch(&world, &document).lease().await.exp, ends);
}

#[tokio::test]
async fn evidence_that_was_not_made_for_this_lease_refused() {
    let (world, document) = World::ready().await;
    let enclave = Enclave::launch(&world, &document);
    type Change = fn(&mut Request);
    let swapped: [Change; 3] = [
        |request| request.evidence.channel_key = to_base64(TokenSigner::generate().unwrap().spki_der()),
        |request| request.evidence.workload.models[0].manifest = Sha256([9; 32]),
        |request| request.evidence.workload.models[0].statement = Sha256([9; 32]),
    ];
    for change in swapped {
        let mut request = enclave.bound(enclave.question().await);
        change(&mut request);
        let answer = enclave.post(&request).await;
        assert_eq!((answer.status.as_u16(), answer.code()), (403, "report-data-mismatch".into()));
    }
    // Made for a passport, or for a client's channel: the same nonce, key and workload.
    for purpose in [Purpose::Passport, Purpose::ClientChannel] {
        let question = enclave.question().await;
        let workload = enclave.workload.digest().unwrap();
        let other = report_data(purpose, &question.evidence.nonce.0, enclave.key.spki_der(), &workload);
        let answer = enclave.post(&enclave.bound_to(question, other)).await;
        assert_eq!(answer.code(), "report-data-mismatch", "{purpose:?}");
    }
    // Of another nonce, and of one that was used.
    let (one, other) = (enclave.bound(enclave.question().await), enclave.question().await);
    let mut replayed = one.clone();
    replayed.evidence.nonce = other.evidence.nonce;
    assert_eq!(enclave.post(&replayed).await.code(), "report-data-mismatch");
    assert_eq!(enclave.post(&one).await.status, StatusCode::OK);
    assert_eq!(enclave.post(&one).await.code(), "nonce-used");
}

#[tokio::test]
async fn enclave_that_serves_the_models_of_its_document_accepted_and_one_that_serves_others_refused() {
    let (world, document) = World::ready().await;
    let mut enclave = Enclave::launch(&world, &document);
    enclave.lease().await;
    let model = enclave.workload.models[0].clone();
    enclave.workload.models[0].manifest = Sha256([9; 32]);
    assert_eq!(enclave.refused().await, "workload-mismatch");
    enclave.workload.models[0] = model;
    enclave.workload.models[0].name.push('x');
    assert_eq!(enclave.refused().await, "workload-mismatch");
    enclave.workload.models.clear();
    assert_eq!(enclave.refused().await, "workload-mismatch");
    assert_eq!(world.decisions("lease").await, ["", "workload-mismatch", "workload-mismatch", "workload-mismatch"]);
}

#[tokio::test]
async fn model_whose_promotion_ended_or_that_was_demoted_gets_no_lease_any_more() {
    let staged = Staged::new(1).await;
    staged.told(&staged.promotion(1), &staged.anna).await;
    let enclave = Enclave::with_key(&staged.world, &staged.document).await;
    // The registry is not asked.
    staged.world.registry.faults().set(
        strongroom_devkit::registry::Target::Any,
        strongroom_devkit::registry::Times::Always,
        strongroom_devkit::registry::Fault::Status { status: StatusCode::NOT_FOUND, retry_after: None },
    );
    enclave.lease().await;
    let row = row(&staged.world, "lease").await;
    assert_eq!(row["detail"]["keys"][0]["promotion"]["sequence"], 1);
    staged.world.pass(1000);
    enclave.lease().await;
    staged.world.pass(1);
    assert_eq!(enclave.refused().await, "promotion-expired");
    staged.told(&staged.promotion(2), &staged.anna).await;
    enclave.lease().await;
    staged.told(&staged.demotion(3), &staged.anna).await;
    assert_eq!(enclave.refused().await, "promotion-demoted");
}

#[tokio::test]
async fn guest_that_the_policy_of_its_key_accepts_no_more_gets_no_lease_though_another_policy_accepts_it() {
    let (world, document) = World::ready().await;
    let enclave = Enclave::with_key(&world, &document).await;
    world.put_key("models/other/v1", &[1; 32]).await;
    world.put_policy("models/other/v1", &world.policy(&document)).await;
    enclave.lease().await;
    world.put_policy(KEY, &world.policy(&document).replace(&"4d".repeat(48), &"4e".repeat(48))).await;
    assert_eq!(enclave.refused().await, "measurement-not-approved");
    assert_eq!(world.decisions("lease").await, ["", "measurement-not-approved"]);
    // A guest that was given nothing is judged by what accepts it.
    let other = world.document(&[world.push("models/tiny2", "models/other/v1", &world.signer).await]);
    world.put_policy("models/other/v1", &world.policy(&other)).await;
    Enclave::launch(&world, &other).lease().await;
}

#[tokio::test]
async fn names_are_those_that_the_table_gives_its_document_and_cedar_permits_in_a_network_of_the_configuration() {
    let (world, document) = World::ready().await;
    let mut enclave = Enclave::with_key(&world, &document).await;
    assert_eq!(enclave.lease().await.routes, [""; 0], "no table");
    assert_eq!(put_routes(&world, &table(&document)).await.status, StatusCode::OK);
    assert_eq!(enclave.lease().await.routes, [""; 0], "no policy permits it");
    world.authorize(&format!("{AUTHORIZATION}\n{PERMIT_ROUTES}")).await;
    assert_eq!(enclave.lease().await.routes, ["embed.example"]);
    for addr in [None, Some("192.0.2.1:4433"), Some("[2001:db8::1]:443")] {
        enclave.addr = addr;
        assert_eq!(enclave.lease().await.routes, [""; 0], "{addr:?}");
    }
    enclave.addr = Some("[::ffff:127.0.0.2]:1");
    assert_eq!(enclave.lease().await.routes, ["embed.example"]);
    let forbid = "@id(\"f\") forbid (principal, action, resource == Strongroom::Route::\"embed.example\");";
    world.authorize(&format!("{AUTHORIZATION}\n{PERMIT_ROUTES}\n{forbid}")).await;
    assert_eq!(enclave.lease().await.routes, [""; 0]);
    assert_eq!(row(&world, "lease").await["detail"]["routes"][0]["by"], json!(["f"]));
    world.authorize(PERMIT_ROUTES).await;
    put_routes(&world, &table(b"another document")).await;
    assert_eq!(enclave.lease().await.routes, [""; 0], "of another document's guests");
}

#[tokio::test]
async fn table_of_routes_is_kept_by_version_and_one_that_no_router_takes_refused() {
    let (world, document) = World::ready().await;
    let first = put_routes(&world, &table(&document)).await;
    assert_eq!(first.json()["version"], 1);
    assert_eq!(put_routes(&world, &table(&document)).await.json()["version"], 1, "the same again");
    let unshared = table(&document).replace("tenant = 'search'", "tenant = 'other'");
    assert_eq!(put_routes(&world, &unshared).await.code(), "request-invalid");
    assert_eq!(world.admin(Method::GET, "routes", vec![]).await.body, table(&document).into_bytes());
    assert_eq!(put_routes(&world, "").await.json()["version"], 2);
    assert_eq!(row(&world, "admin").await["detail"]["routes"]["version"], 2);
}
