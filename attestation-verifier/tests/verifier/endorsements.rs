//! Evidence that comes without its endorsements: how often AMD is asked, for whom, and what is said when it does not help.

use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, START, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_appraisal::{Endorsements, Roots, authenticate};
use strongroom_devkit::amd::{ALWAYS, Authority, VekSpec};
use strongroom_devkit::vendors::{Answer as Sent, Fault};
use strongroom_wire::bytes::from_base64;
use strongroom_wire::endorsements::EndorsementSet;
use strongroom_wire::kbs::CertificateEntry;

/// When the revocation list ends.
const ENDS: u64 = START + 100_000;

/// The attestation of `guest`, of whose certificates `keep` are left.
fn with_certificates(guest: &Guest<'_>, keep: &[&str]) -> Value {
    let mut attestation = guest.attestation();
    let chain = &mut attestation["tee-evidence"]["primary_evidence"]["cert_chain"];
    chain.as_array_mut().unwrap().retain(|entry| keep.contains(&entry["cert_type"].as_str().unwrap()));
    attestation
}

fn bare(guest: &Guest<'_>) -> Value {
    let mut attestation = guest.attestation();
    attestation["tee-evidence"]["primary_evidence"]["cert_chain"] = Value::Null;
    attestation
}

impl World {
    /// A sound guest attests without any certificate.
    pub(crate) async fn attest_bare(&self, document: &[u8]) -> Answer {
        let guest = Guest::launch(self, document).await;
        guest.post(&bare(&guest)).await
    }

    pub(crate) fn asked(&self, part: &str) -> usize {
        self.vendors().asked().iter().filter(|path| path.contains(part)).count()
    }

    pub(crate) fn vceks_asked(&self) -> usize {
        self.asked("/vcek/v1/Milan/000102")
    }

    async fn set_of(&self, report: &[u8]) -> Answer {
        self.kbs(Method::POST, "/v1/endorsements", &[], report.to_vec()).await
    }
}

#[tokio::test]
async fn guest_without_certificates_gets_its_key_and_its_chip_is_asked_for_once() {
    let (mut world, document) = World::ready_with_vendors(ENDS).await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.post(&bare(&guest)).await.status, 200);
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(world.vendors().asked().len(), 3);
    for _ in 0..3 {
        assert_eq!(world.attest_bare(&document).await.status, 200);
    }
    world.restart().await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.vendors().asked().len(), 3);
}

#[tokio::test]
async fn of_thirty_guests_that_attest_at_once_one_asks() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let answers = futures_util::future::join_all((0..30).map(|_| world.attest_bare(&document))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(world.vendors().asked().len(), 3);
}

#[tokio::test]
async fn guest_that_brings_all_or_all_but_the_list_costs_no_question_for_its_chip() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    Guest::launch(&world, &document).await.attest().await;
    assert_eq!(world.vendors().asked().len(), 0);
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.post(&with_certificates(&guest, &["VCEK", "ASK", "ARK"])).await.status, 200);
    assert_eq!((world.vceks_asked(), world.asked("/crl")), (0, 1));
}

#[tokio::test]
async fn report_that_no_policy_would_accept_makes_nobody_ask() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let mut guest = Guest::launch(&world, &document).await;
    let other = Guest::launch(&world, &document).await;
    guest.report.measurement = [1; 48];
    assert_eq!(guest.refused(&bare(&guest)).await, "measurement-not-approved");
    let mut stale = other.attestation_bound_to(&guest.nonce, other.key.public());
    stale["tee-evidence"]["primary_evidence"]["cert_chain"] = Value::Null;
    assert_eq!(other.refused(&stale).await, "report-data-mismatch");
    let mut guest = Guest::launch(&world, &document).await;
    guest.report.host_data = [1; 32];
    assert_eq!(guest.refused(&bare(&guest)).await, "deployment-mismatch");
    let mut guest = Guest::launch(&world, &document).await;
    guest.document.extend_from_slice(b"# another\n");
    guest.report.host_data = strongroom_wire::digest::Sha256::of(&guest.document).0;
    assert_eq!(guest.refused(&bare(&guest)).await, "deployment-not-approved");
    world.put_policy(KEY, &world.policy(&document).replace("any = { because = \"any test chip\" }", &chips())).await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&bare(&guest)).await, "platform-not-approved");
    world.put_policy(KEY, &world.policy(&document).replace("snp = 8", "snp = 25")).await;
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&bare(&guest)).await, "tcb-too-old");
    assert_eq!(world.vendors().asked(), [""; 0]);
}

#[tokio::test]
async fn peer_that_invents_reports_without_a_vcek_is_busy_before_policies_are_read_and_the_known_chip_is_served() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let invented = async || {
        let mut guest = Guest::launch(&world, &document).await;
        (guest.report.chip_id, guest.report.measurement) = (Some([1; 64]), [1; 48]);
        guest.post(&bare(&guest)).await.code()
    };
    for _ in 1..60 {
        assert_eq!(invented().await, "measurement-not-approved");
    }
    assert_eq!(invented().await, "busy");
    assert_eq!(world.attest_bare(&document).await.status, 200);
    world.pass(1);
    assert_eq!(invented().await, "measurement-not-approved");
}

fn chips() -> String {
    format!("exactly = \"{}\"", "cc".repeat(64))
}

#[tokio::test]
async fn peer_that_invents_chips_is_stopped_and_the_known_chip_is_served() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let mut codes = Vec::new();
    for n in 1..=10 {
        let mut guest = Guest::launch(&world, &document).await;
        guest.report.chip_id = Some([n; 64]);
        codes.push(guest.post(&bare(&guest)).await.code());
    }
    assert_eq!(codes[..7], ["endorsement-unknown"; 7]);
    assert_eq!(codes[7..], ["busy"; 3]);
    assert_eq!((world.vceks_asked(), world.vendors().asked().len()), (1, 3 + 7));
    // The same chip once more costs nothing, and says the same.
    let asked = world.vendors().asked().len();
    let mut guest = Guest::launch(&world, &document).await;
    guest.report.chip_id = Some([1; 64]);
    assert_eq!(guest.refused(&bare(&guest)).await, "endorsement-unknown");
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.vendors().asked().len(), asked);
    assert_eq!(std::fs::read_dir(world.folder.path().join("state/endorsements/amd/Milan")).unwrap().count(), 3);
}

#[tokio::test]
async fn service_out_of_order_is_said_with_when_to_come_again_and_holds_up_nobody_else() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    (0..3).for_each(|_| world.vendors().fail_next(Fault::Status(503, None)));
    let answer = world.attest_bare(&document).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "endorsement-unavailable"));
    assert_eq!(answer.headers["retry-after"], "30");
    assert_eq!(world.decisions("attestation").await, ["endorsement-unavailable"]);
    // Within that time nobody is asked, and who brings its certificates needs nobody.
    assert_eq!(world.attest_bare(&document).await.code(), "endorsement-unavailable");
    assert_eq!(world.vendors().asked().len(), 3);
    Guest::launch(&world, &document).await.attest().await;
    world.pass(30);
    assert_eq!(world.attest_bare(&document).await.status, 200);
}

#[tokio::test]
async fn service_that_stalls_holds_up_one_session_and_no_other() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    world.vendors().fail_next(Fault::Stall);
    let (stalled, other) = tokio::join!(world.attest_bare(&document), async {
        let guest = Guest::launch(&world, &document).await;
        let begun = std::time::Instant::now();
        guest.attest().await;
        begun.elapsed()
    });
    assert!(other.as_secs() < 5, "{other:?}");
    assert_eq!(stalled.status, 200, "asked again after its time");
}

#[tokio::test]
async fn lie_of_the_service_is_refused_with_its_code_and_not_believed_again() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let issue = |spec| world.hierarchy.issue(spec).unwrap().certificate;
    let other_chip = issue(VekSpec { hwid: Some(vec![9; 64]), ..VekSpec::default() });
    let over = issue(VekSpec { validity: START - 20..START - 10, ..VekSpec::default() });
    let forged = world.hierarchy.asvk.issue(VekSpec::default()).unwrap().certificate;
    let mut asked = 0;
    for (lie, code) in [
        (other_chip, "endorsement-mismatch"),
        (over, "certificate-expired"),
        (b"<html>".to_vec(), "malformed"),
        // Of this very chip, and signed by somebody else.
        (forged, "intermediate-missing"),
    ] {
        world.vendors().fail_next(Fault::Lie(lie));
        assert_eq!(world.attest_bare(&document).await.code(), code);
        assert_eq!(world.attest_bare(&document).await.code(), code);
        asked += 1;
        assert_eq!(world.vceks_asked(), asked, "{code}");
        world.pass(600);
    }
    // It lied, and the chip is not to blame.
    assert_eq!(world.attest_bare(&document).await.status, 200);
}

const LIST: &str = "/vcek/v1/Milan/crl";
const CHAIN: &str = "/vcek/v1/Milan/cert_chain";
/// The serial of the ASK.
const ASK: u32 = 0x01_00_01;

#[tokio::test]
async fn old_list_of_a_guest_is_judged_beside_the_newer_one_that_is_kept() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    Guest::launch(&world, &document).await.attest().await;
    let revoking = world.hierarchy.ark.numbered_crl(&[ASK], START - 10..ENDS, Some(2)).unwrap();
    world.vendors().answer(LIST, Sent::of(&revoking));
    // Nobody is asked for a list beside the guest's, but what is known counts.
    Guest::launch(&world, &document).await.attest().await;
    assert_eq!(world.attest_bare(&document).await.code(), "certificate-revoked");
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "certificate-revoked");
    assert_eq!((world.vceks_asked(), world.asked("/crl")), (1, 1));
}

#[tokio::test]
async fn forged_list_is_refused_with_its_code_and_the_next_one_is_taken() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let ahead = world.hierarchy.ark.crl(&[], START + 5000..ENDS).unwrap();
    for (lie, code) in [
        (world.hierarchy.ask.crl(&[], ALWAYS).unwrap(), "crl-signature-invalid"),
        (ahead, "crl-expired"),
        (b"<html>".to_vec(), "malformed"),
    ] {
        world.vendors().answer(LIST, Sent::of(&lie));
        assert_eq!(world.attest_bare(&document).await.code(), code);
        // Who brings its own needs none.
        Guest::launch(&world, &document).await.attest().await;
        world.pass(600);
    }
    world.serve_list_until(ENDS);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.vceks_asked(), 1);
}

#[tokio::test]
async fn forged_chain_is_refused_with_its_code_and_the_chip_stays_known() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let elsewhere = Authority::root("ARK-Milan", ALWAYS).unwrap().certificate_pem().unwrap();
    world.vendors().answer(CHAIN, Sent::of(elsewhere.as_bytes()));
    assert_eq!(world.attest_bare(&document).await.code(), "root-untrusted");
    world.serve_list_until(ENDS);
    assert_eq!(world.attest_bare(&document).await.code(), "root-untrusted");
    world.pass(600);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!((world.vceks_asked(), world.asked("/cert_chain")), (1, 2));
}

#[tokio::test]
async fn forged_list_in_the_folder_is_not_used_and_replaced() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let file = world.folder.path().join("state/endorsements/amd/Milan/vcek-crl.der");
    let genuine = std::fs::read(&file).unwrap();
    std::fs::write(&file, world.hierarchy.ask.crl(&[], ALWAYS).unwrap()).unwrap();
    // The guest's own list is older than the one that was there: nor does that one pass for the newest.
    Guest::launch(&world, &document).await.attest().await;
    assert_eq!((world.asked("/crl"), std::fs::read(&file).unwrap() == genuine), (2, true));
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!(world.asked("/crl"), 2);
}

#[tokio::test]
async fn list_that_has_ended_is_asked_for_again_and_the_vcek_is_not() {
    let (world, document) = World::ready_with_vendors(START + 10).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    world.pass(11);
    // The new one cannot be had: the policy wants one.
    (0..3).for_each(|_| world.vendors().fail_next(Fault::Status(500, None)));
    let answer = world.attest_bare(&document).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "endorsement-unavailable"));
    // The same where the policy says why it wants none.
    let open = "revocation-list = { any = { because = \"test\" } }\nproduct";
    world.put_policy(KEY, &world.policy(&document).replace("product", open)).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    world.put_policy(KEY, &world.policy(&document)).await;
    world.serve_list_until(ENDS);
    world.pass(30);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    assert_eq!((world.vceks_asked(), world.asked("/crl")), (1, 5));
}

#[tokio::test]
async fn set_of_a_genuine_guest_is_all_that_its_report_is_verified_with() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let report = Guest::launch(&world, &document).await.report.sign(&world.vek).unwrap();
    let parse = |answer: &Answer| EndorsementSet::parse(&answer.body).unwrap();
    // Nobody has attested: lists and chains are public, the chip is not asked for.
    let before = world.set_of(&report).await;
    assert_eq!((before.status.as_u16(), parse(&before).endorsement_key), (200, false));
    assert_eq!(world.vceks_asked(), 0);
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let answer = world.set_of(&report).await;
    let set = parse(&answer);
    assert_eq!((set.endorsement_key, set.expires), (true, ENDS));
    assert_eq!(answer.headers["cache-control"], "private, max-age=50000");
    let mut endorsements = Endorsements::new();
    for given in &set.endorsements {
        endorsements.add(&from_base64(&given.data, "endorsement").unwrap()).unwrap();
    }
    let roots = Roots::test(world.hierarchy.ark.certificate()).unwrap();
    assert!(authenticate(&report, &endorsements, &roots, world.now()).unwrap().revocation_judged());
    assert_eq!((world.vceks_asked(), world.vendors().asked().len()), (1, 3));
}

#[tokio::test]
async fn set_has_the_newest_list_that_any_guest_showed_and_no_older_one() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let report = Guest::launch(&world, &document).await.report.sign(&world.vek).unwrap();
    let list_of_set = async || {
        let set = EndorsementSet::parse(&world.set_of(&report).await.body).unwrap();
        from_base64(&set.endorsements.last().unwrap().data, "list").unwrap()
    };
    let kept = list_of_set().await;
    let mut newest = kept.clone();
    for (number, is_newer) in [(9, true), (8, false), (10, true)] {
        let list = world.hierarchy.ark.numbered_crl(&[], START - 10..ENDS, Some(number)).unwrap();
        let guest = Guest::launch(&world, &document).await;
        drop(guest.post(&with_list(&guest, &list)).await);
        if is_newer {
            newest = list;
        }
        assert_eq!(list_of_set().await, newest, "{number}");
    }
    assert_ne!(kept, newest);
    // It is kept wherever a guest shows it, though another verifier, or one that ended before it was kept, remembers it already.
    let file = world.folder.path().join("state/endorsements/amd/Milan/vcek-crl.der");
    std::fs::write(file, &kept).unwrap();
    assert_eq!(list_of_set().await, kept);
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.post(&with_list(&guest, &newest)).await.status, 200);
    assert_eq!(list_of_set().await, newest);
    assert_eq!(world.asked("/crl"), 1);
}

/// An attestation of a guest that brings its certificates, and that list.
fn with_list(guest: &Guest<'_>, list: &[u8]) -> Value {
    let mut attestation = with_certificates(guest, &["VCEK", "ASK", "ARK"]);
    let chain = &mut attestation["tee-evidence"]["primary_evidence"]["cert_chain"];
    let shown = CertificateEntry { cert_type: "CRL".into(), data: list.to_vec() };
    chain.as_array_mut().unwrap().push(json!(shown));
    attestation
}

#[tokio::test]
async fn set_of_a_report_that_is_not_genuine_does_not_say_whether_its_chip_is_known() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    assert_eq!(world.attest_bare(&document).await.status, 200);
    let guest = Guest::launch(&world, &document).await;
    let mut of_known = guest.report.sign(&world.vek).unwrap();
    let mut of_unknown = of_known.clone();
    of_known[0x2a0] ^= 1;
    of_unknown[0x1a0] ^= 1;
    let (known, unknown) = (world.set_of(&of_known).await, world.set_of(&of_unknown).await);
    assert_eq!(known.json()["endorsement_key"], json!(false));
    assert_eq!(known.body, unknown.body);
}

#[tokio::test]
async fn set_is_refused_to_nonsense_to_who_asks_too_often_and_where_none_are_kept() {
    let (world, document) = World::ready_with_vendors(ENDS).await;
    let answer = world.set_of(b"nonsense").await;
    assert_eq!(answer.code(), "malformed");
    assert_eq!(world.set_of(&vec![0; 20_000]).await.status, 413);
    let report = Guest::launch(&world, &document).await.report.sign(&world.vek).unwrap();
    let mut answered = 0;
    let busy = loop {
        let answer = world.set_of(&report).await;
        if answer.status != 200 {
            break answer;
        }
        answered += 1;
    };
    assert_eq!((busy.status.as_u16(), busy.code().as_str(), answered), (429, "busy", 59));
    world.pass(1);
    assert_eq!(world.set_of(&report).await.status, 200);
    let (world, _) = World::ready().await;
    assert_eq!(world.set_of(&report).await.code(), "endorsement-not-cached");
}
