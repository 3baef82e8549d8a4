//! Identities: who is given one, for which key and how long, and whom others believe.

use crate::enclave::Enclave;
use crate::revocations::put;
use crate::world::{AUTHORIZATION, Answer, START, World};
use http::Method;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _, SanType};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::process::Command;
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::intel::pem_chain;
use strongroom_svid::{Bundle, Side};
use strongroom_wire::Code;
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::identity::{BUNDLE, ISSUE, Identity, Request};
use strongroom_wire::passport::{CHALLENGE, Challenge};
use strongroom_wire::spiffe::TrustDomain;

const ID: &str = "spiffe://strongroom.test/models/embed";
/// Whoever is accepted may be anybody below `models`.
const PERMIT: &str = "@id(\"identities\") permit (principal, action == Strongroom::Action::\"IssueIdentity\", \
                      resource in Strongroom::Folder::\"spiffe://strongroom.test/models\");";

/// A guest with a key of its own that asks for an identity.
struct Asking<'a> {
    enclave: Enclave<'a>,
    key: KeyPair,
    names: Vec<&'static str>,
}

impl<'a> Asking<'a> {
    async fn ready(world: &'a World, document: &[u8]) -> Self {
        world.authorize(&format!("{AUTHORIZATION}{PERMIT}")).await;
        Self { enclave: Enclave::launch(world, document), key: KeyPair::generate().unwrap(), names: vec![ID] }
    }

    fn csr(&self, key: &KeyPair) -> String {
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            self.names.iter().map(|name| SanType::URI(Ia5String::try_from(*name).unwrap())).collect();
        to_base64(params.serialize_request(key).unwrap().der())
    }

    /// A request for a nonce that was just drawn, without evidence.
    async fn question(&self) -> Request {
        let answer = self.enclave.world.kbs(Method::POST, CHALLENGE, &[], vec![]).await;
        let challenge: Challenge = serde_json::from_slice(&answer.body).unwrap();
        let mut evidence = self.enclave.question().await.evidence;
        evidence.nonce = challenge.nonce;
        evidence.channel_key = to_base64(&self.key.subject_public_key_info());
        Request { csr: self.csr(&self.key), evidence }
    }

    fn bound_to(&self, mut request: Request, report_data: [u8; 64]) -> Request {
        let report = strongroom_devkit::report::ReportSpec { report_data, ..self.enclave.report.clone() };
        request.evidence.evidence = to_base64(&report.sign(&self.enclave.world.vek).unwrap());
        request
    }

    async fn bound(&self) -> Request {
        let question = self.question().await;
        let report_data = question.report_data(&self.key.subject_public_key_info()).unwrap();
        self.bound_to(question, report_data)
    }

    async fn post(&self, request: &Request) -> Answer {
        self.enclave.world.kbs(Method::POST, ISSUE, &[], serde_json::to_vec(request).unwrap()).await
    }

    async fn identity(&self) -> Identity {
        let answer = self.post(&self.bound().await).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap()
    }

    async fn refused(&self) -> (u16, String) {
        let answer = self.post(&self.bound().await).await;
        (answer.status.as_u16(), answer.code())
    }
}

/// [`World::ready`] of a verifier that gives identities.
async fn ready() -> (World, Vec<u8>) {
    let (world, document) = World::ready().await;
    (world.with_identities().await, document)
}

async fn bundle(world: &World) -> Bundle {
    let answer = world.kbs(Method::GET, BUNDLE, &[], vec![]).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    Bundle::parse(TrustDomain::parse("strongroom.test").unwrap(), &answer.body).unwrap()
}

fn verified(bundle: &Bundle, identity: &Identity, now: u64) -> Result<String, Code> {
    let der = from_base64(&identity.certificate, "certificate").unwrap();
    let id = bundle.verify(&[CertificateDer::from(der)], Side::Server, now);
    id.map(|id| id.to_string()).map_err(|refusal| refusal.code)
}

#[tokio::test]
async fn accepted_guest_gets_a_certificate_of_an_hour_for_the_key_that_it_attested() {
    let (world, document) = ready().await;
    let asking = Asking::ready(&world, &document).await;
    let identity = asking.identity().await;
    assert_eq!(identity.expires, START + 3600);
    let bundle = bundle(&world).await;
    assert_eq!(verified(&bundle, &identity, START), Ok(ID.to_owned()));
    assert_eq!(verified(&bundle, &identity, START + 3601), Err(Code::SvidUntrusted));
    let der = from_base64(&identity.certificate, "certificate").unwrap();
    let spki = asking.key.subject_public_key_info();
    assert!(der.windows(spki.len()).any(|window| window == spki));

    let rows = world.audit().await;
    let row = rows.iter().rfind(|row| row["kind"] == "identity").unwrap();
    assert_eq!((&row["subject"], &row["code"]), (&json!(ID), &json!("")));
    let detail = &row["detail"];
    assert_eq!((&detail["expires"], &detail["authorization"]["by"]), (&json!(START + 3600), &json!(["identities"])));
    let serial = hex::decode(detail["serial"].as_str().unwrap()).unwrap();
    assert!(der.windows(serial.len()).any(|window| window == serial));
    // The authority was in the log before.
    let made = rows.iter().find(|row| row["subject"] == "spiffe://strongroom.test").unwrap();
    assert_eq!(made["detail"]["authority"], detail["authority"]);
    assert!(made["seq"].as_u64() < row["seq"].as_u64());
}

/// Another implementation of RFC 5280, on the bytes of the answers.
#[tokio::test]
async fn openssl_trusts_an_identity_by_the_bundle_for_its_hour_on_either_side() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: no openssl");
        return;
    }
    let (world, document) = ready().await;
    let identity = Asking::ready(&world, &document).await.identity().await;
    let bundle = world.kbs(Method::GET, BUNDLE, &[], vec![]).await.json();
    let authority = bundle["keys"].as_array().unwrap().iter().find(|key| key["use"] == "x509-svid").unwrap();
    let pem = |der: &str| pem_chain(&[&from_base64(der, "certificate").unwrap()]).unwrap();
    let path = |name: &str| world.folder.path().join(name);
    std::fs::write(path("authority.pem"), pem(authority["x5c"][0].as_str().unwrap())).unwrap();
    std::fs::write(path("identity.pem"), pem(&identity.certificate)).unwrap();
    let trusted = |purpose: &str, at: u64| {
        let mut openssl = Command::new("openssl");
        openssl.args(["verify", "-x509_strict", "-purpose", purpose, "-attime", &at.to_string(), "-CAfile"]);
        openssl.args([path("authority.pem"), path("identity.pem")]).output().unwrap().status.success()
    };
    for purpose in ["sslserver", "sslclient"] {
        assert!(trusted(purpose, START) && trusted(purpose, identity.expires - 1), "{purpose}");
        assert!(!trusted(purpose, identity.expires + 1), "{purpose}");
    }
    assert!(!trusted("smimesign", START), "for nothing else");
}

#[tokio::test]
async fn identity_ends_with_the_certificate_that_it_rests_on() {
    let (mut world, document) = ready().await;
    let ends = world.now() + 100;
    world.vek = world.hierarchy.issue(VekSpec { validity: world.now() - 100..ends, ..VekSpec::default() }).unwrap();
    assert_eq!(Asking::ready(&world, &document).await.identity().await.expires, ends);
}

#[tokio::test]
async fn key_that_was_not_attested_gets_no_identity() {
    let (world, document) = ready().await;
    let asking = Asking::ready(&world, &document).await;
    let other = KeyPair::generate().unwrap();
    // The request of another key beside evidence of this one, and evidence that names that other.
    let mut request = asking.bound().await;
    request.csr = asking.csr(&other);
    assert_eq!(asking.post(&request).await.code(), "request-invalid");
    let mut request = asking.bound().await;
    request.csr = asking.csr(&other);
    request.evidence.channel_key = to_base64(&other.subject_public_key_info());
    assert_eq!(asking.post(&request).await.code(), "report-data-mismatch");
    // Evidence for another purpose: the same nonce, key and workload.
    for purpose in [Purpose::Passport, Purpose::Lease, Purpose::ClientChannel] {
        let question = asking.question().await;
        let workload = question.evidence.workload.digest().unwrap();
        let spki = asking.key.subject_public_key_info();
        let made = report_data(purpose, &question.evidence.nonce.0, &spki, &workload);
        assert_eq!(asking.post(&asking.bound_to(question, made)).await.code(), "report-data-mismatch", "{purpose:?}");
    }
    let once = asking.bound().await;
    assert_eq!(asking.post(&once).await.status, 200);
    assert_eq!(asking.post(&once).await.code(), "nonce-used");
    assert_eq!(world.decisions("identity").await, ["", ""]);
}

#[tokio::test]
async fn identity_that_no_policy_permits_or_of_another_trust_domain_refused() {
    let (world, document) = ready().await;
    let mut asking = Asking::ready(&world, &document).await;
    for (names, want) in [
        (vec!["spiffe://strongroom.test/models/other"], (200, String::new())),
        (vec!["spiffe://strongroom.test/agents/embed"], (403, "policy-denied".to_owned())),
        (vec!["spiffe://example.org/models/embed"], (403, "policy-denied".to_owned())),
        (vec![ID, ID], (400, "identity-invalid".to_owned())),
        (vec![], (400, "identity-invalid".to_owned())),
    ] {
        asking.names.clone_from(&names);
        let answer = asking.post(&asking.bound().await).await;
        let code = if answer.status == 200 { String::new() } else { answer.code() };
        assert_eq!((answer.status.as_u16(), code), want, "{names:?}");
    }
    // Where policies permit every name, the trust domain is still the verifier's.
    world.authorize(&format!("{AUTHORIZATION}@id(\"all\") permit (principal, action, resource);")).await;
    asking.names = vec!["spiffe://example.org/models/embed"];
    assert_eq!(asking.refused().await.1, "identity-invalid");
    world.authorize(AUTHORIZATION).await;
    asking.names = vec![ID];
    assert_eq!(asking.refused().await, (403, "policy-denied".to_owned()));
}

#[tokio::test]
async fn revoked_identity_is_issued_to_nobody() {
    let (world, document) = ready().await;
    let asking = Asking::ready(&world, &document).await;
    asking.identity().await;
    assert!(put(&world, "revoked", "identity", ID).await.status.is_success());
    assert_eq!(asking.refused().await, (403, "revoked".to_owned()));
    let other =
        Asking { names: vec!["spiffe://strongroom.test/models/other"], ..Asking::ready(&world, &document).await };
    other.identity().await;
    // Its holder's key is revoked: that is another one's name.
    let holder = strongroom_jose::signing_key(&other.key.subject_public_key_info()).unwrap();
    let holder = strongroom_jose::thumbprint(&holder).unwrap();
    assert!(put(&world, "quarantined", "identity", &holder).await.status.is_success());
    assert_eq!(other.refused().await, (403, "quarantined".to_owned()));
}

#[tokio::test]
async fn authority_that_is_over_is_followed_by_one_that_others_knew_before_and_both_outlive_a_restart() {
    let (mut world, document) = ready().await;
    let first = Asking::ready(&world, &document).await.identity().await;
    let before = bundle(&world).await;
    world.restart().await;
    assert_eq!(bundle(&world).await, before);
    // A day on, the next one is made when the service starts: others are told of it, and it issues nothing yet.
    world.pass(24 * 3600);
    world.restart().await;
    let both = bundle(&world).await;
    assert_eq!(both.sequence(), before.sequence() + 1);
    let second = Asking::ready(&world, &document).await.identity().await;
    assert_eq!(verified(&before, &second, world.now()), Ok(ID.to_owned()));
    world.pass(3600);
    let third = Asking::ready(&world, &document).await.identity().await;
    assert_eq!(verified(&before, &third, world.now()), Err(Code::SvidUntrusted));
    assert_eq!(verified(&both, &third, world.now()), Ok(ID.to_owned()));
    assert_eq!(verified(&both, &second, world.now()), Ok(ID.to_owned()));
    assert_eq!(verified(&both, &first, START), Ok(ID.to_owned()));
}

#[tokio::test]
async fn verifier_without_a_trust_domain_gives_no_identity_and_has_no_bundle() {
    let (world, document) = World::ready().await;
    let asking = Asking::ready(&world, &document).await;
    assert_eq!(asking.refused().await, (404, "route-unknown".to_owned()));
    let answer = world.kbs(Method::GET, BUNDLE, &[], vec![]).await;
    assert_eq!((answer.status.as_u16(), answer.code()), (404, "route-unknown".to_owned()));
}
