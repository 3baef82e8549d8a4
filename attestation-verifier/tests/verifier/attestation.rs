//! `/attest`: what is accepted, and every single thing that makes it refused.

use crate::guest::Guest;
use crate::world::{Trust, World};
use serde_json::{Value, json};
use strongroom_jose::{TeeKey, TokenVerifier, thumbprint};
use strongroom_wire::Root;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::deployment::{Attester, Deployment};
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{EarClaims, Status};

#[tokio::test]
async fn sound_guest_gets_a_token_that_binds_document_key_and_root() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let token = guest.attest().await;

    let key = from_base64(&world.identity.token_key, "token key").unwrap();
    let verifier = TokenVerifier::new(&key).unwrap();
    let claims: EarClaims = verifier.verify(&token, world.now(), "strongroom-kbs").unwrap();
    assert_eq!(claims.sub, Sha256::of(&document).oci());
    assert_eq!(claims.root, world.root());
    assert_eq!(claims.cnf.jkt, thumbprint(guest.key.public()).unwrap());
    assert_eq!(claims.exp - claims.iat, 300);
    assert_eq!(claims.submods["cpu0"].status, Status::Affirming);
    assert_eq!(claims.submods["cpu0"].policy_id, Sha256::of(world.policy(&document).as_bytes()).oci());
    assert_eq!(world.decisions("attestation").await, [""]);
}

#[tokio::test]
async fn report_bound_to_another_nonce_or_key_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let other = Guest::launch(&world, &document).await;
    let stale = guest.attestation_bound_to(&other.nonce, guest.key.public());
    assert_eq!(guest.refused(&stale).await, "report-data-mismatch");

    let guest = Guest::launch(&world, &document).await;
    let swapped = guest.attestation_bound_to(&guest.nonce, TeeKey::generate_p256().unwrap().public());
    assert_eq!(guest.refused(&swapped).await, "report-data-mismatch");
    // Evidence that was not made for the session is anybody's to send: the first of a minute is a row.
    assert_eq!(world.decisions("attestation").await, ["report-data-mismatch"]);
}

#[tokio::test]
async fn nonce_of_another_session_refused() {
    let (world, document) = World::ready().await;
    let mut guest = Guest::launch(&world, &document).await;
    guest.nonce = Guest::launch(&world, &document).await.nonce;
    assert_eq!(guest.refused(&guest.attestation()).await, "nonce-mismatch");
}

#[tokio::test]
async fn second_attestation_on_a_nonce_refused_and_no_token_repeated() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    let answer = guest.post(&guest.attestation()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "nonce-used"));
    assert!(answer.json().get("token").is_none());
    // A refused attestation uses the nonce up as well.
    let guest = Guest::launch(&world, &document).await;
    let other = TeeKey::generate_p256().unwrap();
    guest.refused(&guest.attestation_bound_to(&guest.nonce, other.public())).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "nonce-used");
}

#[tokio::test]
async fn document_that_the_hardware_does_not_name_refused() {
    let (world, document) = World::ready().await;
    let mut guest = Guest::launch(&world, &document).await;
    guest.document.extend_from_slice(b"# changed\n");
    assert_eq!(guest.refused(&guest.attestation()).await, "deployment-mismatch");
}

#[tokio::test]
async fn guest_without_document_or_host_data_refused() {
    let (world, document) = World::ready().await;
    for init_data in [Value::Null, json!({"format": "toml", "body": ""})] {
        let guest = Guest::launch(&world, &document).await;
        let mut attestation = guest.attestation();
        attestation["init-data"] = init_data;
        assert_eq!(guest.refused(&attestation).await, "deployment-missing");
    }
    let mut guest = Guest::launch(&world, &document).await;
    guest.report.host_data = [0; 32];
    assert_eq!(guest.refused(&guest.attestation()).await, "deployment-missing");
}

#[tokio::test]
async fn document_in_another_format_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let mut attestation = guest.attestation();
    attestation["init-data"]["format"] = json!("json");
    assert_eq!(guest.refused(&attestation).await, "malformed");
}

#[tokio::test]
async fn guest_that_no_policy_approves_refused_with_the_failed_check() {
    let (world, document) = World::ready().await;
    type Change = fn(&mut Guest<'_>);
    let changes: [(Change, &str); 5] = [
        (|guest| guest.report.policy |= 1 << 19, "debug-enabled"),
        (|guest| guest.report.policy |= 1 << 18, "migration-agent-enabled"),
        (|guest| guest.report.vmpl = 1, "vmpl-mismatch"),
        (|guest| guest.report.measurement[0] ^= 1, "measurement-not-approved"),
        (|guest| guest.report.raw.push((0x90, 0)), "measurement-not-approved"),
    ];
    for (change, code) in changes {
        let mut guest = Guest::launch(&world, &document).await;
        change(&mut guest);
        assert_eq!(guest.refused(&guest.attestation()).await, code);
    }
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["code"] == "debug-enabled").unwrap();
    let checks = row["detail"]["appraisal"].as_array().unwrap();
    let failed: Vec<_> = checks.iter().filter(|check| check["ok"] == false).collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0]["got"].is_string() && failed[0]["want"].is_string());
    assert!(checks.len() > 5, "every check is in the log");
}

#[tokio::test]
async fn policy_that_speaks_of_another_platform_hides_no_reason() {
    let (world, document) = World::ready().await;
    let zeros = "00".repeat(48);
    let signers = world.policy(&document);
    let signers = signers.split_once("[[release").unwrap().1;
    let tdx = format!(
        "version = 1\n[tdx]\nmrtd = {{ exactly = \"{zeros}\" }}\nrtmr0 = {{ exactly = \"{zeros}\" }}\n\
         rtmr1 = {{ exactly = \"{zeros}\" }}\nrtmr2 = {{ exactly = \"{zeros}\" }}\n\
         deployment = {{ exactly = \"{}\" }}\nppid = {{ any = {{ because = \"test\" }} }}\n[[release{signers}",
        Sha256::of(&document)
    );
    // Its id is before and after that of the other.
    for id in ["a/b/tdx", "z/b/tdx"] {
        world.put_policy(id, &tdx).await;
    }
    Guest::launch(&world, &document).await.attest().await;
    for (bit, code) in [(19, "debug-enabled"), (18, "migration-agent-enabled")] {
        let mut guest = Guest::launch(&world, &document).await;
        guest.report.policy |= 1 << bit;
        assert_eq!(guest.refused(&guest.attestation()).await, code);
        // Two failed checks are still closer than the one of a policy that does not speak of the platform.
        guest.begin().await;
        guest.report.vmpl = 1;
        assert_eq!(guest.refused(&guest.attestation()).await, code);
    }
}

#[tokio::test]
async fn document_that_no_policy_approves_refused() {
    let (world, _) = World::ready().await;
    let other = world.document(&[format!("{}/models/other@{}", world.registry.addr(), Sha256([7; 32]).oci())]);
    let guest = Guest::launch(&world, &other).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "deployment-not-approved");
}

#[tokio::test]
async fn verifier_without_policies_accepts_nobody() {
    let world = World::start().await;
    let document = world.document(&[format!("{}/models/tiny@{}", world.registry.addr(), Sha256([7; 32]).oci())]);
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "no-policy");
}

#[tokio::test]
async fn guest_of_the_test_realm_refused_under_the_vendors_roots() {
    let world = World::with(Trust::Vendors, None).await;
    let document = world.document(&[format!("{}/models/tiny@{}", world.registry.addr(), Sha256([7; 32]).oci())]);
    world.put_policy(crate::world::KEY, &world.policy(&document)).await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "root-untrusted");
}

#[tokio::test]
async fn document_of_another_root_refused() {
    let (world, document) = World::ready().await;
    let mut settings = Deployment::parse(&document).unwrap().settings().clone();
    (settings.root, settings.attester) = (Root::Amd, Attester::ConfigfsTsm);
    let other = Deployment::render(&settings).unwrap();
    world.put_policy(crate::world::KEY, &world.policy(&other)).await;
    let guest = Guest::launch(&world, &other).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "realm-mismatch");
}

#[tokio::test]
async fn report_changed_after_signing_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let mut attestation = guest.attestation();
    let report = &mut attestation["tee-evidence"]["primary_evidence"]["attestation_report"];
    report["guest_svn"] = json!(7);
    assert_eq!(guest.refused(&attestation).await, "evidence-signature-invalid");
}

#[tokio::test]
async fn evidence_that_proves_nothing_does_not_fill_the_log_and_leaves_a_trace() {
    let (mut world, document) = World::ready().await;
    let forged = async |world: &World| {
        let guest = Guest::launch(world, &document).await;
        let mut attestation = guest.attestation();
        attestation["tee-evidence"]["primary_evidence"]["attestation_report"]["guest_svn"] = json!(7);
        assert_eq!(guest.refused(&attestation).await, "evidence-signature-invalid");
    };
    for _ in 0..5 {
        forged(&world).await;
    }
    assert_eq!(world.decisions("attestation").await, ["evidence-signature-invalid"]);
    // What proves to be a genuine guest of ours is on record each time, beside it.
    for _ in 0..2 {
        let mut guest = Guest::launch(&world, &document).await;
        guest.report.measurement[0] ^= 1;
        assert_eq!(guest.refused(&guest.attestation()).await, "measurement-not-approved");
    }
    assert_eq!(world.decisions("attestation").await.len(), 3);
    world.pass(60);
    forged(&world).await;
    forged(&world).await;
    world.restart().await;
    let rows = world.audit().await;
    let rows: Vec<_> = rows.iter().filter(|row| row["code"] == "evidence-signature-invalid").collect();
    let unrecorded: Vec<_> = rows.iter().map(|row| row["detail"]["unrecorded"].as_u64().unwrap_or(0)).collect();
    assert_eq!(unrecorded, [0, 4, 1]);
}

#[tokio::test]
async fn report_without_endorsements_refused() {
    let (world, document) = World::ready().await;
    for chain in [Value::Null, json!([])] {
        let guest = Guest::launch(&world, &document).await;
        let mut attestation = guest.attestation();
        attestation["tee-evidence"]["primary_evidence"]["cert_chain"] = chain;
        assert_eq!(guest.refused(&attestation).await, "endorsement-missing");
    }
}

#[tokio::test]
async fn evidence_of_devices_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let mut attestation = guest.attestation();
    attestation["tee-evidence"]["additional_evidence"] = json!("{}");
    assert_eq!(guest.refused(&attestation).await, "platform-unsupported");
}

#[tokio::test]
async fn key_that_nothing_can_be_wrapped_to_refused() {
    let (world, document) = World::ready().await;
    for (member, value) in [("alg", json!("RSA1_5")), ("crv", json!("P-384")), ("x", json!("AA"))] {
        let guest = Guest::launch(&world, &document).await;
        let mut attestation = guest.attestation();
        attestation["runtime-data"]["tee-pubkey"][member] = value;
        assert_eq!(guest.refused(&attestation).await, "key-invalid", "{member}");
    }
}

#[tokio::test]
async fn attestation_that_is_not_json_leaves_the_nonce() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&json!("no attestation")).await, "malformed");
    guest.attest().await;
}
