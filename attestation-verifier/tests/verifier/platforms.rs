//! TDX and Azure's guests through the same routes as SNP: each is accepted and given its key, and each thing that speaks
//! against it refused with its code. What a judge of one platform alone looks at is tested where it is (`appraisal`).

use crate::guest::Guest;
use crate::world::{AUTHORIZATION, KEY, KEY_VALUE, START, Trust, World};
use serde_json::{Value, json};
use strongroom_devkit::azure::{self, Vtpm};
use strongroom_devkit::intel::{CollateralSpec, Hierarchy, PckSpec, qe_identity, tcb_info};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_devkit::vendors::{Fault, Vendors};
use strongroom_jose::TokenVerifier;
use strongroom_wire::azure::Evidence;
use strongroom_wire::bytes::from_base64;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{EarClaims, TeeClaims};
use strongroom_wire::kbs::TdxEvidence;

const ANY: &str = "{ any = { because = \"a test\" } }";

fn exactly(byte: &str, length: usize) -> String {
    format!("{{ exactly = \"{}\" }}", byte.repeat(length))
}

/// The lines of a TDX section but for the document.
fn tdx_lines() -> String {
    let registers = [("mrtd", "4d"), ("rtmr0", "70"), ("rtmr1", "71"), ("rtmr2", "72")];
    let lines = registers.map(|(name, byte)| format!("{name} = {}\n", exactly(byte, 48)));
    lines.concat() + "ppid = " + ANY + "\n"
}

/// A section of Azure's on that hardware.
fn azure_policy(section: &str, hardware: &str, document: &[u8]) -> String {
    let pcr = |number: u8| format!("{number} = {}\n", exactly(&format!("{:02x}", 0xa0 + number), 32));
    let pcrs: String = [2, 4, 9, 11, 12, 13].map(pcr).concat();
    let document = Sha256::of(document);
    format!(
        "version = 1\n[{section}]\ndeployment = {{ exactly = \"{document}\" }}\n[{section}.hardware]\n{hardware}\
         [{section}.pcr]\n{pcrs}"
    )
}

impl World {
    /// Of the realm of Intel's hierarchy, with a service that has its collateral, and a policy for TDX guests with the
    /// document that is returned.
    async fn ready_for_tdx() -> (Self, Vec<u8>) {
        let world = Self::with(Trust::Intel, Some(Vendors::start().await.unwrap())).await;
        world.serve_collateral(&CollateralSpec::default());
        let document = world.set_up_model().await;
        let deployment = Sha256::of(&document);
        let section = format!("[tdx]\n{}deployment = {{ exactly = \"{deployment}\" }}\n", tdx_lines());
        world.put_policy(KEY, &format!("version = 1\n{section}{}", world.release_rules())).await;
        world.authorize(AUTHORIZATION).await;
        (world, document)
    }

    async fn ready_for_azure(trust: Trust, section: &str, hardware: &str) -> (Self, Vec<u8>) {
        let world = Self::with(trust, Some(Vendors::start().await.unwrap())).await;
        world.serve_collateral(&CollateralSpec::default());
        world.serve_list_until(START + 100_000);
        let document = world.set_up_model().await;
        let policy = azure_policy(section, hardware, &document);
        world.put_policy(KEY, &format!("{policy}{}", world.release_rules())).await;
        world.authorize(AUTHORIZATION).await;
        (world, document)
    }

    async fn ready_for_azure_on_snp() -> (Self, Vec<u8>) {
        let hardware = format!("measurement = {}\ntcb = {ANY}\nchip = {ANY}\n", exactly("4d", 48));
        Self::ready_for_azure(Trust::Amd, "azure-snp-vtpm", &hardware).await
    }

    async fn ready_for_azure_on_tdx() -> (Self, Vec<u8>) {
        Self::ready_for_azure(Trust::Intel, "azure-tdx-vtpm", &tdx_lines()).await
    }

    fn serve_collateral(&self, spec: &CollateralSpec) {
        self.serve_collateral_of(&self.intel, spec);
    }

    fn serve_collateral_of(&self, hierarchy: &Hierarchy, spec: &CollateralSpec) {
        self.vendors().add_intel(&hierarchy.collateral(spec).unwrap(), "b0c06f000000", "platform").unwrap();
    }

    fn forget_collateral(&self) {
        std::fs::remove_dir_all(self.folder.path().join("state/endorsements/intel")).unwrap();
    }
}

fn collateral_of(window: core::ops::Range<u64>, evaluation: u32) -> CollateralSpec {
    let (mut tcb_info, mut qe_identity) = (tcb_info(&window), qe_identity(&window));
    for document in [&mut tcb_info, &mut qe_identity] {
        document["tcbEvaluationDataNumber"] = evaluation.into();
    }
    CollateralSpec { tcb_info, qe_identity, ..CollateralSpec::default() }
}

fn mrconfigid(document: &[u8]) -> [u8; 48] {
    let mut field = [0; 48];
    field[..32].copy_from_slice(&Sha256::of(document).0);
    field
}

/// A sound TDX guest's quote.
fn quote(guest: &Guest<'_>) -> QuoteSpec {
    let mrconfigid = mrconfigid(&guest.document);
    QuoteSpec { mrconfigid, report_data: guest.bound(), ..QuoteSpec::default() }
}

async fn tdx<'a>(world: &'a World, document: &[u8]) -> Guest<'a> {
    Guest::launch_as("tdx", world, document).await
}

fn shown(guest: &Guest<'_>, quote: &QuoteSpec) -> Value {
    let pck = guest.world.intel.issue(PckSpec::default()).unwrap();
    guest.attestation_with(json!(TdxEvidence::new(&quote.sign(&pck).unwrap(), None)))
}

async fn attest_tdx(world: &World, document: &[u8]) -> u16 {
    let guest = tdx(world, document).await;
    guest.post(&shown(&guest, &quote(&guest))).await.status.as_u16()
}

fn claims(world: &World, token: &str) -> EarClaims {
    let key = from_base64(&world.identity.token_key, "token key").unwrap();
    TokenVerifier::new(&key).unwrap().verify(token, world.now(), "strongroom-kbs").unwrap()
}

#[tokio::test]
async fn tdx_guest_gets_its_key_and_the_collateral_of_its_platform_is_asked_for_once() {
    let (mut world, document) = World::ready_for_tdx().await;
    let guest = tdx(&world, &document).await;
    let answer = guest.post(&shown(&guest, &quote(&guest))).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let claims = claims(&world, answer.json()["token"].as_str().unwrap());
    assert_eq!((claims.root, claims.sub), (world.root(), Sha256::of(&document).oci()));
    let evidence = &claims.submods["cpu0"].evidence;
    let TeeClaims::Tdx(tdx) = &evidence.tee else { panic!("{:?}", evidence.tee) };
    assert_eq!((&tdx["tcb_status"], &tdx["quote"]["body"]["mr_td"]), (&json!("UpToDate"), &json!("4d".repeat(48))));
    assert_eq!(evidence.init_data, hex::encode(mrconfigid(&document)));
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    assert_eq!(world.vendors().asked().len(), 4);
    for _ in 0..2 {
        assert_eq!(attest_tdx(&world, &document).await, 200);
    }
    world.restart().await;
    assert_eq!(attest_tdx(&world, &document).await, 200);
    assert_eq!(world.vendors().asked().len(), 4);
    let rows = world.audit().await;
    let release = rows.iter().find(|row| row["kind"] == "release").unwrap();
    assert_eq!((&release["code"], &release["detail"]["platform"]), (&json!(""), &json!("tdx")));
    let workload = asked_about(&world, "tdx", &document).await;
    let says = (&workload["tdx"]["status"], &workload["tdx"]["debug"], &workload["measurement"]);
    assert_eq!(says, (&json!("UpToDate"), &json!(false), &json!("4d".repeat(48))));
    assert_eq!(workload.get("snp"), None);
}

/// What the last question to Cedar policies says of the guest, which is of that platform and was launched with this document.
async fn asked_about(world: &World, platform: &str, document: &[u8]) -> Value {
    let rows = world.audit().await;
    let release = rows.iter().rfind(|row| row["kind"] == "release").unwrap();
    let workload = release["detail"]["question"]["workload"].clone();
    let says = (&workload["platform"], &workload["root"], &workload["deployment"]);
    assert_eq!(says, (&json!(platform), &json!(world.root()), &json!(Sha256::of(document))));
    workload
}

#[tokio::test]
async fn of_thirty_tdx_guests_that_attest_at_once_one_asks() {
    let (world, document) = World::ready_for_tdx().await;
    let answers = futures_util::future::join_all((0..30).map(|_| attest_tdx(&world, &document))).await;
    assert!(answers.iter().all(|status| *status == 200), "{answers:?}");
    assert_eq!(world.vendors().asked().len(), 4);
}

#[tokio::test]
async fn tdx_guest_refused_for_each_thing_that_is_not_as_it_was_approved() {
    let (world, document) = World::ready_for_tdx().await;
    assert_eq!(attest_tdx(&world, &document).await, 200);
    type Change = fn(&mut QuoteSpec);
    let changes: [(Change, &str); 8] = [
        (|quote| quote.report_data[47] ^= 1, "report-data-mismatch"),
        (|quote| quote.report_data[48] ^= 1, "report-data-mismatch"),
        (|quote| quote.mrconfigid = [0; 48], "deployment-missing"),
        (|quote| quote.mrconfigid[0] ^= 1, "deployment-not-approved"),
        (|quote| quote.mrconfigid[47] ^= 1, "deployment-not-approved"),
        (|quote| quote.td_attributes |= 1, "debug-enabled"),
        (|quote| quote.rtmr[2][0] ^= 1, "measurement-not-approved"),
        (|quote| quote.qe_mrsigner[0] ^= 1, "qe-identity-mismatch"),
    ];
    for (change, code) in changes {
        let guest = tdx(&world, &document).await;
        let mut quote = quote(&guest);
        change(&mut quote);
        assert_eq!(guest.refused(&shown(&guest, &quote)).await, code);
    }
    let mut guest = tdx(&world, &document).await;
    let sound = shown(&guest, &quote(&guest));
    guest.document.extend_from_slice(b"# changed\n");
    let mut changed = sound.clone();
    changed["init-data"] = guest.attestation_with(Value::Null)["init-data"].clone();
    assert_eq!(guest.refused(&changed).await, "deployment-mismatch");
}

#[tokio::test]
async fn quote_that_was_changed_or_is_of_another_root_refused_and_makes_nobody_ask() {
    let (world, document) = World::ready_for_tdx().await;
    let guest = tdx(&world, &document).await;
    let other = Hierarchy::generate().unwrap().issue(PckSpec::default()).unwrap();
    let foreign = json!(TdxEvidence::new(&quote(&guest).sign(&other).unwrap(), None));
    assert_eq!(guest.refused(&guest.attestation_with(foreign)).await, "root-untrusted");
    let guest = tdx(&world, &document).await;
    let pck = world.intel.issue(PckSpec::default()).unwrap();
    let mut raw = quote(&guest).sign(&pck).unwrap();
    // MRSEAM, which nothing but the signature is looked at for before collateral is there.
    raw[48 + 16] ^= 1;
    let changed = guest.attestation_with(json!(TdxEvidence::new(&raw, None)));
    assert_eq!(guest.refused(&changed).await, "evidence-signature-invalid");
    let guest = tdx(&world, &document).await;
    let stale = QuoteSpec { report_data: [7; 64], ..quote(&guest) };
    assert_eq!(guest.refused(&shown(&guest, &stale)).await, "report-data-mismatch");
    assert_eq!(world.vendors().asked(), [""; 0]);
    // What anybody can send is one row of a code.
    let rows = world.decisions("attestation").await;
    assert_eq!(rows, ["root-untrusted", "evidence-signature-invalid", "report-data-mismatch"]);
}

#[tokio::test]
async fn tdx_guest_refused_where_nobody_may_be_asked_and_where_the_service_is_out_of_order() {
    let world = World::with(Trust::Intel, None).await;
    let document = world.set_up_model().await;
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.refused(&shown(&guest, &quote(&guest))).await, "collateral-missing");

    let (world, document) = World::ready_for_tdx().await;
    (0..3).for_each(|_| world.vendors().fail_next(Fault::Status(503, None)));
    let guest = tdx(&world, &document).await;
    let answer = guest.post(&shown(&guest, &quote(&guest))).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (503, "endorsement-unavailable"));
    world.pass(30);
    assert_eq!(attest_tdx(&world, &document).await, 200);
}

#[tokio::test]
async fn platform_that_intel_revoked_or_calls_out_of_date_refused() {
    let (world, document) = World::ready_for_tdx().await;
    world.serve_collateral(&CollateralSpec { revoked_by_authority: vec![0x0f_00_01], ..CollateralSpec::default() });
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.refused(&shown(&guest, &quote(&guest))).await, "certificate-revoked");

    let (world, document) = World::ready_for_tdx().await;
    let guest = tdx(&world, &document).await;
    let old = world.intel.issue(PckSpec { sgx_components: [3; 16], pce_svn: 11, ..PckSpec::default() }).unwrap();
    let shown = guest.attestation_with(json!(TdxEvidence::new(&quote(&guest).sign(&old).unwrap(), None)));
    let code = guest.refused(&shown).await;
    assert!(["tcb-status-not-accepted", "tcb-not-supported"].contains(&code.as_str()), "{code}");
}

#[tokio::test]
async fn collateral_that_lies_is_neither_kept_nor_believed() {
    let (world, document) = World::ready_for_tdx().await;
    world.serve_collateral_of(&Hierarchy::generate().unwrap(), &CollateralSpec::default());
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.refused(&shown(&guest, &quote(&guest))).await, "root-untrusted");
    assert!(!world.folder.path().join("state/endorsements/intel/b0c06f000000-platform.json").exists());
    world.serve_collateral(&CollateralSpec::default());
    world.pass(600);
    assert_eq!(attest_tdx(&world, &document).await, 200);
}

#[tokio::test]
async fn collateral_older_than_what_was_seen_refused_until_the_newest_can_be_had() {
    let (world, document) = World::ready_for_tdx().await;
    let window = CollateralSpec::default().root_crl_window;
    world.serve_collateral(&collateral_of(window.clone(), 21));
    assert_eq!(attest_tdx(&world, &document).await, 200);
    world.forget_collateral();
    world.serve_collateral(&collateral_of(window.clone(), 20));
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.refused(&shown(&guest, &quote(&guest))).await, "collateral-rolled-back");
    // The newer one is back: it takes the place of the one that is kept.
    world.serve_collateral(&collateral_of(window, 21));
    world.pass(600);
    assert_eq!(attest_tdx(&world, &document).await, 200);
}

#[tokio::test]
async fn evidence_of_another_platform_than_the_session_s_refused() {
    let (world, document) = World::ready_for_tdx().await;
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "malformed");
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&shown(&guest, &quote(&guest))).await, "malformed");
    // A report of the other vendor's hardware, in a realm that has Intel's root alone.
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&guest.attestation()).await, "root-untrusted");
}

/// One of Azure's guests, one part of which each test changes.
struct Azure {
    vtpm: Vtpm,
    pcrs: [[u8; 32]; 24],
    nonce: Vec<u8>,
    brings_vcek: bool,
}

impl Azure {
    fn sound(guest: &Guest<'_>) -> Self {
        let mut pcrs: [[u8; 32]; 24] = core::array::from_fn(|number| [0xa0 + u8::try_from(number).unwrap(); 32]);
        pcrs[8] = Sha256::of(&[[0; 32], Sha256::of(&guest.document).0].concat()).0;
        Self { vtpm: Vtpm::generate().unwrap(), pcrs, nonce: guest.bound()[..48].to_vec(), brings_vcek: true }
    }

    fn shown(&self, guest: &Guest<'_>) -> Value {
        let runtime = self.vtpm.runtime_data().unwrap();
        let report_data = azure::report_data(&runtime);
        let (message, signature) = self.vtpm.quote(&self.nonce, &self.pcrs).unwrap();
        let (hcl_report, td_quote, vcek) = if guest.tee == "az-snp-vtpm" {
            let report = ReportSpec { report_data, ..ReportSpec::default() }.sign(&guest.world.vek).unwrap();
            let vcek = self.brings_vcek.then(|| guest.world.vek.certificate.clone());
            (azure::hcl_report(azure::SNP, &report, &runtime), None, vcek)
        } else {
            let pck = guest.world.intel.issue(PckSpec::default()).unwrap();
            let quote = QuoteSpec { report_data, ..QuoteSpec::default() }.sign(&pck).unwrap();
            (azure::hcl_report(azure::TDX, &[0x81], &runtime), Some(quote), None)
        };
        let pcrs = self.pcrs;
        let evidence = Evidence { hcl_report: hcl_report.unwrap(), message, signature, pcrs, td_quote, vcek };
        guest.attestation_with(azure::document(&evidence))
    }
}

async fn launch_azure<'a>(tee: &'static str, world: &'a World, document: &[u8]) -> (Guest<'a>, Azure) {
    let guest = Guest::launch_as(tee, world, document).await;
    let azure = Azure::sound(&guest);
    (guest, azure)
}

#[tokio::test]
async fn azure_guest_on_snp_gets_its_key_with_a_vcek_of_its_own_and_without() {
    let (world, document) = World::ready_for_azure_on_snp().await;
    for (brings_vcek, length) in [(true, 48), (false, 48), (true, 32)] {
        let (guest, mut azure) = launch_azure("az-snp-vtpm", &world, &document).await;
        azure.brings_vcek = brings_vcek;
        azure.nonce.truncate(length);
        let answer = guest.post(&azure.shown(&guest)).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let claims = claims(&world, answer.json()["token"].as_str().unwrap());
        let evidence = &claims.submods["cpu0"].evidence;
        let TeeClaims::AzSnpVtpm(tee) = &evidence.tee else { panic!("{:?}", evidence.tee) };
        assert_eq!(tee["tpm"]["pcr08"], hex::encode(azure.pcrs[8]));
        assert_eq!(evidence.report_data, hex::encode(&azure.nonce));
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
    }
    let workload = asked_about(&world, "azure-snp-vtpm", &document).await;
    let says = (&workload["snp"]["product"], &workload["measurement"], workload.get("tdx"));
    assert_eq!(says, (&json!("Milan"), &json!("4d".repeat(48)), None));
    // One VCEK, one chain, one list.
    assert_eq!(world.vendors().asked().len(), 3);
}

#[tokio::test]
async fn azure_guest_on_tdx_gets_its_key() {
    let (world, document) = World::ready_for_azure_on_tdx().await;
    let (guest, azure) = launch_azure("az-tdx-vtpm", &world, &document).await;
    let answer = guest.post(&azure.shown(&guest)).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let claims = claims(&world, answer.json()["token"].as_str().unwrap());
    assert!(matches!(claims.submods["cpu0"].evidence.tee, TeeClaims::AzTdxVtpm(_)));
    assert_eq!(guest.key(KEY).await, KEY_VALUE);
    let workload = asked_about(&world, "azure-tdx-vtpm", &document).await;
    assert_eq!((&workload["tdx"]["status"], workload.get("snp")), (&json!("UpToDate"), None));
}

/// A verifier that knows nothing of an accepted session but what is in the store, and whom no vendor answers, releases its key.
async fn goes_on(mut world: World, cookie: String) {
    let asked = world.vendors().asked().len();
    std::fs::remove_dir_all(world.folder.path().join("state/endorsements")).unwrap();
    world.restart().await;
    let fetched =
        world.kbs(http::Method::GET, &format!("/kbs/v0/resource/{KEY}"), &[("cookie", &cookie)], vec![]).await;
    assert_eq!(fetched.status, 200, "{}", String::from_utf8_lossy(&fetched.body));
    assert_eq!(world.vendors().asked().len(), asked);
}

#[tokio::test]
async fn session_of_every_platform_is_verified_again_by_what_is_kept_of_it() {
    let (world, document) = World::ready_for_tdx().await;
    let guest = tdx(&world, &document).await;
    assert_eq!(guest.post(&shown(&guest, &quote(&guest))).await.status, 200);
    let cookie = guest.cookie;
    goes_on(world, cookie).await;

    let (world, document) = World::ready_for_azure_on_snp().await;
    let (guest, mut azure) = launch_azure("az-snp-vtpm", &world, &document).await;
    azure.brings_vcek = false;
    assert_eq!(guest.post(&azure.shown(&guest)).await.status, 200);
    let cookie = guest.cookie;
    goes_on(world, cookie).await;

    let (world, document) = World::ready_for_azure_on_tdx().await;
    let (guest, azure) = launch_azure("az-tdx-vtpm", &world, &document).await;
    assert_eq!(guest.post(&azure.shown(&guest)).await.status, 200);
    let cookie = guest.cookie;
    goes_on(world, cookie).await;
}

#[tokio::test]
async fn azure_guest_refused_for_each_thing_that_is_not_as_it_was_approved() {
    let (snp, snp_document) = World::ready_for_azure_on_snp().await;
    let (tdx, tdx_document) = World::ready_for_azure_on_tdx().await;
    type Change = fn(&mut Azure);
    let changes: [(Change, &str); 8] = [
        (|azure| azure.nonce[0] ^= 1, "nonce-mismatch"),
        (|azure| azure.nonce[47] ^= 1, "nonce-mismatch"),
        (|azure| azure.nonce.truncate(31), "nonce-mismatch"),
        (|azure| azure.nonce.clear(), "nonce-mismatch"),
        (|azure| azure.pcrs[0] = [0; 32], "software-not-measured"),
        (|azure| azure.pcrs[4] = [1; 32], "measurement-not-approved"),
        (|azure| azure.pcrs[8] = [0; 32], "deployment-missing"),
        (|azure| azure.pcrs[8] = [1; 32], "deployment-not-approved"),
    ];
    for (tee, world, document) in [("az-snp-vtpm", &snp, &snp_document), ("az-tdx-vtpm", &tdx, &tdx_document)] {
        for (change, code) in changes {
            let (guest, mut azure) = launch_azure(tee, world, document).await;
            change(&mut azure);
            assert_eq!(guest.refused(&azure.shown(&guest)).await, code, "{tee}");
        }
        let (guest, azure) = launch_azure(tee, world, document).await;
        let mut shown = azure.shown(&guest);
        shown["tee-evidence"]["primary_evidence"]["tpm_quote"]["pcrs"][23] = json!("00".repeat(32));
        assert_eq!(guest.refused(&shown).await, "pcr-mismatch", "{tee}");
        // A quote by a TPM of the host's own, over PCRs of its choice.
        let (guest, azure) = launch_azure(tee, world, document).await;
        let (message, signature) = Vtpm::generate().unwrap().quote(&azure.nonce, &azure.pcrs).unwrap();
        let mut shown = azure.shown(&guest);
        let quote = &mut shown["tee-evidence"]["primary_evidence"]["tpm_quote"];
        (quote["message"], quote["signature"]) = (json!(hex::encode(message)), json!(hex::encode(signature)));
        assert_eq!(guest.refused(&shown).await, "evidence-signature-invalid", "{tee}");
    }
}

#[tokio::test]
async fn report_of_azure_s_paravisor_is_no_evidence_of_a_guest_of_our_own() {
    let (world, document) = World::ready_for_azure_on_snp().await;
    world.put_policy("a/b/own", &world.policy(&document)).await;
    let mut guest = Guest::launch(&world, &document).await;
    // Its HOST_DATA and report data are the paravisor's.
    guest.report.host_data = [0; 32];
    assert_eq!(guest.refused(&guest.attestation()).await, "deployment-missing");
    let (guest, azure) = launch_azure("az-snp-vtpm", &world, &document).await;
    let shown = azure.shown(&guest);
    let guest = Guest::launch(&world, &document).await;
    assert_eq!(guest.refused(&shown).await, "nonce-mismatch");
}

#[tokio::test]
async fn published_quote_with_an_invented_tpm_makes_nobody_ask() {
    let (world, document) = World::ready_for_azure_on_tdx().await;
    let (guest, azure) = launch_azure("az-tdx-vtpm", &world, &document).await;
    let mut shown = azure.shown(&guest);
    // The quote of that machine, above a paravisor and a TPM of one's own.
    let own = Vtpm::generate().unwrap();
    let (message, signature) = own.quote(&azure.nonce, &azure.pcrs).unwrap();
    let report = azure::hcl_report(azure::TDX, &[0x81], &own.runtime_data().unwrap()).unwrap();
    let pcrs = azure.pcrs;
    let invented = Evidence { hcl_report: report, message, signature, pcrs, td_quote: None, vcek: None };
    let quote = shown["tee-evidence"]["primary_evidence"]["td_quote"].take();
    shown = guest.attestation_with(azure::document(&invented));
    shown["tee-evidence"]["primary_evidence"]["td_quote"] = quote;
    assert_eq!(guest.refused(&shown).await, "report-data-mismatch");
    assert_eq!(world.vendors().asked(), [""; 0]);
}

#[tokio::test]
async fn newer_identity_of_the_quoting_enclave_with_another_kind_of_platform_keeps_no_guest_out() {
    let (world, document) = World::ready_for_tdx().await;
    assert_eq!(attest_tdx(&world, &document).await, 200);
    let window = CollateralSpec::default().root_crl_window;
    let (mut tcb_info, later) = (tcb_info(&window), window.start + 1000..window.end);
    tcb_info["fmspc"] = json!("C0C06F000000");
    let spec = CollateralSpec { tcb_info, qe_identity: qe_identity(&later), ..CollateralSpec::default() };
    let collateral = world.intel.collateral(&spec).unwrap();
    world.vendors().add_intel(&collateral, "c0c06f000000", "platform").unwrap();
    let guest = tdx(&world, &document).await;
    let pck = PckSpec { fmspc: [0xc0, 0xc0, 0x6f, 0, 0, 0], ..PckSpec::default() };
    let pck = world.intel.issue(pck).unwrap();
    let shown = json!(TdxEvidence::new(&quote(&guest).sign(&pck).unwrap(), None));
    assert_eq!(guest.post(&guest.attestation_with(shown)).await.status, 200);
    let asked = world.vendors().asked().len();
    assert_eq!(attest_tdx(&world, &document).await, 200);
    assert_eq!(world.vendors().asked().len(), asked);
}
