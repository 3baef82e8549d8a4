//! One connection: accepted, or refused with nothing sent but the request for evidence.

use crate::enclave::{EVIDENCE_REQUEST, Enclave, Guest, MANIFEST, NOW, policy, policy_text, roots, terms};
use crate::impostor::Impostor;
use http::Request;
use std::time::Duration;
use strongroom_appraisal::Roots;
use strongroom_client::{Attested, Provisional, Terms};
use strongroom_devkit::report::ReportSpec;
use strongroom_transport::http::full;
use strongroom_transport::{ServerIdentity, read_body, server_config};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::EvidenceAnswer;
use strongroom_wire::{Check, Code, Refusal, Result, Root, limits};

type Tamper = fn(String) -> String;

const TIMEOUT: Duration = Duration::from_secs(10);

async fn attest_as_of(authority: &str, now: u64, trace: &mut Vec<Check>) -> Result<Attested> {
    Provisional::connect(&terms(), authority, TIMEOUT).await?.attest_traced(now, trace).await
}

async fn attest(authority: &str) -> Result<Attested> {
    attest_as_of(authority, NOW, &mut Vec::new()).await
}

/// The refusal of `guest`, which saw nothing but one request for evidence.
async fn refusal_of(guest: Guest) -> Refusal {
    let enclave = guest.run().await;
    let refusal = attest(&enclave.authority()).await.unwrap_err();
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
    refusal
}

async fn approved() -> Enclave {
    Guest::approved().run().await
}

#[tokio::test]
async fn approved_enclave_accepted_and_what_it_is_reported() {
    let guest = Guest::approved();
    let document = Sha256::of(&guest.document());
    let enclave = guest.run().await;
    let mut attested = attest(&enclave.authority()).await.unwrap();

    let verified = attested.verified();
    assert!(matches!(verified.root(), Root::Test(_)));
    assert_eq!(verified.measurement(), "4d".repeat(48));
    assert_eq!(verified.deployment(), document);
    assert_eq!(verified.tcb().microcode, 219);
    assert_eq!(verified.channel_key().0, enclave.identity.spki_sha256());
    assert_eq!(verified.policy(), terms().policy_digest());
    assert_eq!(verified.at(), NOW);
    assert!(verified.checks().iter().all(|check| check.ok));
    let json = serde_json::to_value(&**verified).unwrap();
    assert_eq!(json["verdict"], "accepted");
    assert_eq!(json["models"][0]["manifest"], MANIFEST.oci());
    for name in ["nonce-and-channel-key", "signature", "measurement", "report-data", "deployment-document", "realm"] {
        let found = json["checks"].as_array().unwrap().iter().filter(|check| check["name"] == name).count();
        assert_eq!(found, 1, "{name}");
    }

    let request = Request::post("/v1/embeddings").body(full("prompt")).unwrap();
    let answer = attested.send(request, TIMEOUT).await.unwrap();
    assert_eq!(answer.headers()["x-saw-host"], enclave.authority().as_str());
    assert_eq!(read_body(answer.into_body(), 100, "answer").await.unwrap(), "prompt");
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, "POST /v1/embeddings"]);
}

#[tokio::test]
async fn request_that_names_another_server_refused() {
    let enclave = approved().await;
    let mut attested = attest(&enclave.authority()).await.unwrap();
    let request = Request::post("https://elsewhere.example/v1/embeddings").body(full("prompt")).unwrap();
    assert_eq!(attested.send(request, TIMEOUT).await.unwrap_err().code, Code::Usage);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[test]
fn policy_that_leaves_something_open_refused_before_there_is_anybody_to_connect_to() {
    let text = policy_text(&Guest::approved());
    assert!(Terms::new(policy(&text), roots()).is_ok());
    let any = "{ any = { because = \"test\" } }";
    for fixed in ["measurement", "deployment", "manifest"] {
        let open: String = text
            .lines()
            .map(|line| if line.starts_with(fixed) { format!("{fixed} = {any}\n") } else { format!("{line}\n") })
            .collect();
        assert_eq!(Terms::new(policy(&open), roots()).unwrap_err().code, Code::NoReferenceValues, "{fixed}");
    }
    let without_models = text.split("[model]").next().unwrap();
    assert_eq!(Terms::new(policy(without_models), roots()).unwrap_err().code, Code::NoReferenceValues);
}

#[tokio::test]
async fn answer_that_echoes_another_nonce_refused() {
    let tamper: fn(&mut _) = |answer: &mut EvidenceAnswer| answer.nonce = Sha256([0; 32]);
    let refusal = refusal_of(Guest { tamper, ..Guest::approved() }).await;
    assert_eq!(refusal.code, Code::NonceMismatch);
}

#[tokio::test]
async fn evidence_relayed_unchanged_refused() {
    let enclave = approved().await;
    let impostor = Impostor::relaying(&enclave).await;
    let refusal = attest(&impostor.authority()).await.unwrap_err();
    assert_eq!(refusal.code, Code::ChannelKeyMismatch);
    assert_eq!(impostor.seen(), [EVIDENCE_REQUEST]);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn evidence_relayed_with_the_relays_own_key_refused() {
    let enclave = approved().await;
    let impostor = Impostor::substituting_its_key(&enclave).await;
    let refusal = attest(&impostor.authority()).await.unwrap_err();
    assert_eq!(refusal.code, Code::ReportDataMismatch);
    assert_eq!(impostor.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn certificate_shown_without_its_key_refused_in_the_handshake() {
    let enclave = approved().await;
    let impostor = Impostor::showing_the_certificate_of(&enclave).await;
    let refusal = attest(&impostor.authority()).await.unwrap_err();
    assert_eq!(refusal.code, Code::HandshakeSignatureInvalid);
    assert_eq!(impostor.seen(), [""; 0]);
}

#[tokio::test]
async fn debug_guest_refused_and_every_check_reported() {
    let report = ReportSpec { policy: ReportSpec::default().policy | 1 << 19, ..ReportSpec::default() };
    let enclave = Guest { report, ..Guest::approved() }.run().await;
    let mut trace = Vec::new();
    let refusal = attest_as_of(&enclave.authority(), NOW, &mut trace).await.unwrap_err();
    assert_eq!(refusal.code, Code::DebugEnabled);
    let failed: Vec<_> = trace.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, ["debug"]);
    assert!(trace.iter().any(|check| check.name == "report-data" && check.ok));
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn other_measurement_refused() {
    let report = ReportSpec { measurement: [0x4e; 48], ..ReportSpec::default() };
    assert_eq!(refusal_of(Guest { report, ..Guest::approved() }).await.code, Code::MeasurementNotApproved);
}

#[tokio::test]
async fn other_deployment_refused() {
    let mut guest = Guest::approved();
    guest.settings.runtime.onnxruntime = Sha256([3; 32]);
    assert_eq!(refusal_of(guest).await.code, Code::DeploymentNotApproved);
}

#[tokio::test]
async fn approved_deployment_shown_by_an_enclave_of_another_refused() {
    // The hardware names the other document, whatever document the answer shows.
    let mut guest = Guest::approved();
    guest.settings.runtime.onnxruntime = Sha256([3; 32]);
    guest.tamper = |answer| {
        answer.workload.deployment = to_base64(&Guest::approved().document());
    };
    let enclave = guest.run().await;
    let mut trace = Vec::new();
    assert!(attest_as_of(&enclave.authority(), NOW, &mut trace).await.is_err());
    let failed: Vec<_> = trace.iter().filter_map(|check| check.code).collect();
    assert_eq!(failed, [Code::DeploymentNotApproved, Code::DeploymentMismatch, Code::ReportDataMismatch]);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn other_model_than_the_deployment_names_refused() {
    let mut guest = Guest::approved();
    guest.models[0].manifest = Sha256([0xa2; 32]);
    assert_eq!(refusal_of(guest).await.code, Code::WorkloadMismatch);
}

#[tokio::test]
async fn model_that_the_policy_does_not_name_refused() {
    let enclave = approved().await;
    let other = policy_text(&Guest::approved()).replace(&MANIFEST.oci(), &Sha256([0xa2; 32]).oci());
    let terms = Terms::new(policy(&other), roots()).unwrap();
    let provisional = Provisional::connect(&terms, &enclave.authority(), TIMEOUT).await.unwrap();
    assert_eq!(provisional.attest(NOW).await.unwrap_err().code, Code::ModelNotApproved);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn statement_changed_on_the_way_refused() {
    let tamper: fn(&mut _) = |answer: &mut EvidenceAnswer| answer.workload.models[0].statement = Sha256([0; 32]);
    assert_eq!(refusal_of(Guest { tamper, ..Guest::approved() }).await.code, Code::ReportDataMismatch);
}

#[tokio::test]
async fn deployment_of_another_realm_refused() {
    let mut guest = Guest::approved();
    guest.settings.root = Root::Test(Sha256([9; 32]));
    let text = policy_text(&guest);
    let enclave = guest.run().await;
    let terms = Terms::new(policy(&text), roots()).unwrap();
    let provisional = Provisional::connect(&terms, &enclave.authority(), TIMEOUT).await.unwrap();
    assert_eq!(provisional.attest(NOW).await.unwrap_err().code, Code::RealmMismatch);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn evidence_under_a_root_that_is_not_ours_refused() {
    let enclave = approved().await;
    let builtin = Roots::builtin().unwrap();
    let terms = Terms::new(policy(&policy_text(&Guest::approved())), builtin).unwrap();
    let provisional = Provisional::connect(&terms, &enclave.authority(), TIMEOUT).await.unwrap();
    assert_eq!(provisional.attest(NOW).await.unwrap_err().code, Code::RootUntrusted);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn evidence_judged_at_the_time_that_is_given() {
    let enclave = approved().await;
    let late = attest_as_of(&enclave.authority(), 4_000_000_000, &mut Vec::new()).await.unwrap_err();
    assert_eq!(late.code, Code::CertificateExpired);
}

#[tokio::test]
async fn answer_without_endorsements_refused() {
    let tamper: fn(&mut _) = |answer: &mut EvidenceAnswer| answer.endorsements.clear();
    assert_eq!(refusal_of(Guest { tamper, ..Guest::approved() }).await.code, Code::EndorsementMissing);
}

#[tokio::test]
async fn answers_of_another_shape_refused() {
    let cases: [(Tamper, Code); 5] = [
        (|json| json.replacen('{', r#"{"extra":1,"#, 1), Code::UnknownField),
        (|json| json.replace(r#""v":1"#, r#""v":2"#), Code::VersionUnsupported),
        (|json| json.replace(r#""platform":"snp""#, r#""platform":"tdx""#), Code::PlatformUnsupported),
        (|json| json.replace("certificate-table", "certificates"), Code::Malformed),
        (|json| format!("{json}{}", " ".repeat(limits::EVIDENCE_ANSWER)), Code::TooLarge),
    ];
    for (tamper_json, code) in cases {
        assert_eq!(refusal_of(Guest { tamper_json, ..Guest::approved() }).await.code, code);
    }
}

#[tokio::test]
async fn server_that_is_no_enclave_refused() {
    let identity = ServerIdentity::generate(&[]).unwrap();
    let config = server_config(&identity).unwrap();
    let address = crate::enclave::serve_tls(config, axum::Router::new()).await;
    assert_eq!(attest(&address.to_string()).await.unwrap_err().code, Code::Malformed);
}
