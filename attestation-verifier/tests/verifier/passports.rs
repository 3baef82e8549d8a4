//! Passports, and refusals in our own form.

use crate::guest::Guest;
use crate::world::{Answer, KEY, KEY_VALUE, Trust, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_devkit::amd::VekSpec;
use strongroom_devkit::intel::{CollateralSpec, PckSpec};
use strongroom_devkit::quote::QuoteSpec;
use strongroom_devkit::report::ReportSpec;
use strongroom_jose::{TokenSigner, TokenVerifier, verify_passport};
use strongroom_wire::Code;
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{EarClaims, TeeClaims};
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer, Workload, WorkloadModel};
use strongroom_wire::passport::{ATTEST, CHALLENGE, Challenge, JWKS, Request};

const AUDIENCE: &str = "https://relying.example";

/// An enclave with a key of its own that asks for a passport.
struct Enclave<'a> {
    world: &'a World,
    key: TokenSigner,
    request: Request,
    report: ReportSpec,
}

impl<'a> Enclave<'a> {
    async fn launch(world: &'a World, document: &[u8]) -> Self {
        let answer = world.kbs(Method::POST, CHALLENGE, &[], vec![]).await;
        assert_eq!(answer.status, 200);
        let challenge: Challenge = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(challenge.expires, world.now() + 300);
        let key = TokenSigner::generate().unwrap();
        let table = world.hierarchy.certificate_table(&world.vek).unwrap().encode().unwrap();
        let table = Endorsement { r#type: "certificate-table".into(), data: to_base64(&table) };
        let model = WorkloadModel { name: "m0".into(), manifest: Sha256([1; 32]), statement: Sha256([2; 32]) };
        let evidence = EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: String::new(),
            endorsements: vec![table],
            channel_key: to_base64(key.spki_der()),
            workload: Workload { deployment: to_base64(document), models: vec![model] },
            nonce: challenge.nonce,
            path: vec![],
        };
        let report = ReportSpec { host_data: Sha256::of(document).0, ..ReportSpec::default() };
        Self { world, key, request: Request { audience: AUDIENCE.into(), evidence }, report }
    }

    /// What is asked, with evidence that is bound to it.
    fn bound(&self) -> Request {
        self.bound_to(self.request.report_data().unwrap())
    }

    fn bound_to(&self, report_data: [u8; 64]) -> Request {
        let mut request = self.request.clone();
        let report = ReportSpec { report_data, ..self.report.clone() }.sign(&self.world.vek).unwrap();
        request.evidence.evidence = to_base64(&report);
        request
    }

    async fn ask(&self, request: &Request) -> Answer {
        self.world.kbs(Method::POST, ATTEST, &[], serde_json::to_vec(request).unwrap()).await
    }

    async fn passport(&self) -> String {
        let answer = self.ask(&self.bound()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["token"].as_str().unwrap().to_owned()
    }
}

/// The issuer, as whoever trusts the verifier's TLS knows it.
async fn issuer(world: &World) -> TokenVerifier {
    let answer = world.kbs(Method::GET, JWKS, &[], vec![]).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["content-type"]), (200, &"application/json".parse().unwrap()));
    TokenVerifier::of_jwks(&answer.body).unwrap()
}

fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status.as_u16());
    (answer.status.as_u16(), answer.code())
}

#[tokio::test]
async fn passport_ends_with_the_certificate_that_it_rests_on() {
    let (mut world, document) = World::ready().await;
    let ends = world.now() + 100;
    world.vek = world.hierarchy.issue(VekSpec { validity: world.now() - 100..ends, ..VekSpec::default() }).unwrap();
    let token = Enclave::launch(&world, &document).await.passport().await;
    let claims: EarClaims = issuer(&world).await.verify(&token, world.now(), AUDIENCE).unwrap();
    assert_eq!((claims.iat, claims.exp), (world.now(), ends));
}

#[tokio::test]
async fn enclave_gets_a_passport_that_is_good_for_its_key_and_audience_alone_and_for_five_minutes() {
    let (world, document) = World::ready().await;
    let enclave = Enclave::launch(&world, &document).await;
    let token = enclave.passport().await;
    let issuer = issuer(&world).await;
    let verify = |audience: &str, now: u64, spki: &[u8]| -> Result<EarClaims, Code> {
        verify_passport(&issuer, &token, audience, now, spki).map_err(|refusal| refusal.code)
    };
    let (now, spki) = (world.now(), enclave.key.spki_der());
    let claims = verify(AUDIENCE, now, spki).unwrap();
    assert_eq!((claims.sub, claims.root), (Sha256::of(&document).oci(), world.root()));
    assert_eq!((claims.exp - claims.iat, claims.submods["cpu0"].vector["hardware"]), (300, 2));
    let second = Enclave::launch(&world, &document).await.passport().await;
    let second: EarClaims = issuer.verify(&second, now, AUDIENCE).unwrap();
    assert_ne!(claims.jti, second.jti);

    assert!(verify(AUDIENCE, now + 299, spki).is_ok());
    let invalid = Some(Code::TokenInvalid);
    assert_eq!(verify(AUDIENCE, now + 300, spki).err(), invalid);
    assert_eq!(verify("https://another.example", now, spki).err(), invalid);
    assert_eq!(verify(AUDIENCE, now, TokenSigner::generate().unwrap().spki_der()).err(), invalid);
    // It opens nothing here.
    let bearer = format!("Bearer {token}");
    let path = format!("/v1/kbs/resource/{KEY}");
    let answer = world.kbs(Method::GET, &path, &[("authorization", &bearer)], vec![]).await;
    assert_eq!(problem(&answer), (401, "token-invalid".into()));
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["kind"] == "attestation").unwrap();
    assert_eq!((&row["code"], &row["detail"]["purpose"]), (&json!(""), &json!("passport")));
    assert_eq!(row["detail"]["audience"], AUDIENCE);
}

#[tokio::test]
async fn evidence_that_was_not_made_for_this_passport_refused() {
    let (world, document) = World::ready().await;
    type Change = fn(&mut Request);
    let swapped: [Change; 3] = [
        |request| request.evidence.channel_key = to_base64(TokenSigner::generate().unwrap().spki_der()),
        |request| request.evidence.workload.models[0].manifest = Sha256([9; 32]),
        |request| request.evidence.workload.models.clear(),
    ];
    for change in swapped {
        let enclave = Enclave::launch(&world, &document).await;
        let mut request = enclave.bound();
        change(&mut request);
        assert_eq!(problem(&enclave.ask(&request).await), (403, "report-data-mismatch".into()));
    }
    // Made for a client's channel: the same nonce, key and workload.
    let enclave = Enclave::launch(&world, &document).await;
    let evidence = &enclave.request.evidence;
    let workload = evidence.workload.digest().unwrap();
    let channel = report_data(Purpose::ClientChannel, &evidence.nonce.0, enclave.key.spki_der(), &workload);
    assert_eq!(problem(&enclave.ask(&enclave.bound_to(channel)).await), (403, "report-data-mismatch".into()));
    // Of another session's nonce.
    let (one, other) = (Enclave::launch(&world, &document).await, Enclave::launch(&world, &document).await);
    let mut replayed = one.bound();
    replayed.evidence.nonce = other.request.evidence.nonce;
    assert_eq!(problem(&one.ask(&replayed).await), (403, "report-data-mismatch".into()));
    // Anybody's to send: the first of a minute is a row.
    assert_eq!(world.decisions("attestation").await, ["report-data-mismatch"]);
}

#[tokio::test]
async fn nonce_is_good_for_one_passport_and_for_no_other_purpose() {
    let (world, document) = World::ready().await;
    let enclave = Enclave::launch(&world, &document).await;
    enclave.passport().await;
    assert_eq!(problem(&enclave.ask(&enclave.bound()).await), (409, "nonce-used".into()));
    let mut unknown = Enclave::launch(&world, &document).await;
    unknown.request.evidence.nonce = Sha256([7; 32]);
    assert_eq!(problem(&unknown.ask(&unknown.bound()).await), (401, "session-unknown".into()));
    let late = Enclave::launch(&world, &document).await;
    world.pass(300);
    assert_eq!(problem(&late.ask(&late.bound()).await), (401, "session-expired".into()));
    // As a session of the KBS protocol it is none.
    let passport = Enclave::launch(&world, &document).await;
    let mut guest = Guest::launch(&world, &document).await;
    guest.cookie = format!("kbs-session-id={}", passport.request.evidence.nonce);
    assert_eq!(guest.refused(&guest.attestation()).await, "session-unknown");
}

#[tokio::test]
async fn guest_that_no_policy_approves_gets_no_passport_and_is_not_told_what_would_be() {
    let (world, document) = World::ready().await;
    let mut enclave = Enclave::launch(&world, &document).await;
    enclave.report.measurement[0] ^= 1;
    let answer = enclave.ask(&enclave.bound()).await;
    assert_eq!(problem(&answer), (403, "measurement-not-approved".into()));
    assert_eq!((answer.json().get("got"), answer.json().get("want")), (None, None));
    assert_eq!(world.decisions("attestation").await, ["measurement-not-approved"]);
    let mut enclave = Enclave::launch(&world, &document).await;
    enclave.request.evidence.workload.deployment = String::new();
    assert_eq!(problem(&enclave.ask(&enclave.bound()).await), (403, "deployment-missing".into()));
    let mut enclave = Enclave::launch(&world, &document).await;
    enclave.request.evidence.channel_key = to_base64(b"no key");
    assert_eq!(problem(&enclave.ask(&enclave.bound()).await), (400, "key-invalid".into()));
    let mut enclave = Enclave::launch(&world, &document).await;
    enclave.request.audience = strongroom_wire::ear::AUDIENCE.into();
    let answer = enclave.ask(&enclave.bound()).await;
    assert_eq!(problem(&answer), (400, "request-invalid".into()));
    assert!(answer.json()["want"].is_string());
}

#[tokio::test]
async fn tdx_enclave_gets_a_passport_with_collateral_of_its_own_where_nobody_may_be_asked() {
    let world = World::with(Trust::Intel, None).await;
    let document = world.set_up_model().await;
    let line = |name: &str, byte: &str| format!("{name} = {{ exactly = \"{}\" }}\n", byte.repeat(48));
    let registers = [("mrtd", "4d"), ("rtmr0", "70"), ("rtmr1", "71"), ("rtmr2", "72")];
    let registers = registers.map(|(name, byte)| line(name, byte)).concat();
    let deployment = Sha256::of(&document);
    let policy = format!(
        "version = 1\n[tdx]\n{registers}ppid = {{ any = {{ because = \"a test\" }} }}\n\
         deployment = {{ exactly = \"{deployment}\" }}\n{}",
        world.release_rules()
    );
    world.put_policy(KEY, &policy).await;
    let mut mrconfigid = [0; 48];
    mrconfigid[..32].copy_from_slice(&deployment.0);
    for brings in [true, false] {
        let mut enclave = Enclave::launch(&world, &document).await;
        enclave.request.evidence.platform = "tdx".into();
        let collateral = world.intel.collateral(&CollateralSpec::default()).unwrap();
        let collateral = Endorsement { r#type: "collateral".into(), data: to_base64(&collateral) };
        enclave.request.evidence.endorsements = if brings { vec![collateral] } else { vec![] };
        let mut request = enclave.request.clone();
        let report_data = request.report_data().unwrap();
        let pck = world.intel.issue(PckSpec::default()).unwrap();
        let quote = QuoteSpec { mrconfigid, report_data, ..QuoteSpec::default() }.sign(&pck).unwrap();
        request.evidence.evidence = to_base64(&quote);
        let answer = enclave.ask(&request).await;
        if !brings {
            assert_eq!(problem(&answer), (403, "collateral-missing".into()));
            continue;
        }
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let token = answer.json()["token"].as_str().unwrap().to_owned();
        let issuer = issuer(&world).await;
        let claims = verify_passport(&issuer, &token, AUDIENCE, world.now(), enclave.key.spki_der()).unwrap();
        assert!(matches!(claims.submods["cpu0"].evidence.tee, TeeClaims::Tdx(_)));
    }
}

/// A request of the KBS protocol, on the path of one of both APIs.
async fn auth(world: &World, prefix: &str, body: &str) -> Answer {
    world.kbs(Method::POST, &format!("{prefix}/auth"), &[], body.into()).await
}

#[tokio::test]
async fn same_steps_have_status_codes_of_their_own_for_who_asks_on_our_path() {
    let (world, document) = World::ready().await;
    let mut guest = Guest::launch(&world, &document).await;
    let opened = auth(&world, "/v1/kbs", r#"{"version":"0.4.0","tee":"snp","extra-params":""}"#).await;
    guest.cookie = opened.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    guest.nonce = opened.json()["nonce"].as_str().unwrap().to_owned();
    let attestation = guest.attestation().to_string().into_bytes();
    let cookie = [("cookie", guest.cookie.as_str())];
    let attest = async || world.kbs(Method::POST, "/v1/kbs/attest", &cookie, attestation.clone()).await;
    assert_eq!(attest().await.status, 200);
    assert_eq!(problem(&attest().await), (409, "nonce-used".into()));
    let resource = async |id: &str, headers: &[(&str, &str)]| {
        world.kbs(Method::GET, &format!("/v1/kbs/resource/{id}"), headers, vec![]).await
    };
    let jwe = serde_json::from_slice(&resource(KEY, &cookie).await.body).unwrap();
    assert_eq!(&**guest.key.decrypt(&jwe).unwrap(), &KEY_VALUE);
    assert_eq!(problem(&resource("a/b/unknown", &cookie).await), (403, "key-unknown".into()));
    assert_eq!(problem(&resource("../b/c", &cookie).await), (400, "malformed".into()));
    let without = resource(KEY, &[]).await;
    assert_eq!(
        (problem(&without), &without.headers["www-authenticate"]),
        ((401, "session-unknown".into()), &"Bearer".parse().unwrap())
    );

    for (body, status, code) in [
        ("{", 400, "malformed"),
        (r#"{"version":"0.1.0","tee":"snp","extra-params":""}"#, 400, "version-unsupported"),
        (r#"{"version":"0.4.0","tee":"sample","extra-params":""}"#, 400, "platform-unsupported"),
    ] {
        assert_eq!(problem(&auth(&world, "/v1/kbs", body).await), (status, code.into()));
        let kbs = auth(&world, "/kbs/v0", body).await;
        assert_eq!((kbs.status.as_u16(), &kbs.headers["content-type"]), (401, &"application/json".parse().unwrap()));
        assert!(kbs.json()["type"].as_str().unwrap().ends_with("/AttestationError"));
    }
    let unknown = world.kbs(Method::GET, "/v1/nothing", &[], vec![]).await;
    assert_eq!(problem(&unknown), (404, "route-unknown".into()));
    let too_large = auth(&world, "/v1/kbs", &" ".repeat(strongroom_wire::limits::KBS_BODY + 1)).await;
    assert_eq!(problem(&too_large), (413, "too-large".into()));
    let _: Value = too_large.json();
}

#[tokio::test]
async fn token_key_changes_while_tokens_of_the_old_one_and_documents_that_pin_it_go_on() {
    let (mut world, document) = World::ready().await;
    let old = Enclave::launch(&world, &document).await.passport().await;
    let pinned = TokenVerifier::new(&from_base64(&world.identity.token_key, "token key").unwrap()).unwrap();
    let answer = world.admin(Method::POST, "token-key", vec![]).await;
    assert_eq!(answer.status, 201);
    let (kid, token_key) = (answer.json()["kid"].clone(), answer.json()["token_key"].as_str().unwrap().to_owned());
    let rows = world.audit().await;
    let row = rows.iter().find(|row| row["subject"] == "POST /admin/v1/token-key").unwrap();
    assert_eq!((&row["code"], &row["detail"]["kid"]), (&json!(""), &kid));
    // A second one within the same second: the clock stands still here.
    assert_eq!(world.admin(Method::POST, "token-key", vec![]).await.code(), "busy");
    assert!(world.decisions("admin").await.contains(&"busy".to_owned()));

    let new = Enclave::launch(&world, &document).await.passport().await;
    let issuer = issuer(&world).await;
    let audience = |token: &str| issuer.verify::<EarClaims>(token, world.now(), AUDIENCE).is_ok();
    assert_eq!((audience(&old), audience(&new)), (true, true));
    assert_eq!(pinned.verify::<EarClaims>(&new, world.now(), AUDIENCE).unwrap_err().code, Code::TokenInvalid);
    // The document names the key of before: its guest believes that one, and its token is as good here as the cookie.
    let token = Guest::launch(&world, &document).await.attest().await;
    assert!(pinned.verify::<EarClaims>(&token, world.now(), strongroom_wire::ear::AUDIENCE).is_ok());
    let bearer = format!("Bearer {token}");
    let path = format!("/kbs/v0/resource/{KEY}");
    assert_eq!(world.kbs(Method::GET, &path, &[("authorization", &bearer)], vec![]).await.status, 200);

    world.identity.token_key = token_key;
    world.restart().await;
    world.pass(360);
    let set = world.kbs(Method::GET, JWKS, &[], vec![]).await.json();
    assert_eq!((set["keys"].as_array().unwrap().len(), &set["keys"][0]["kid"]), (1, &kid));
}
