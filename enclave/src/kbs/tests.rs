//! Against a KBS on loopback that accepts everybody: what the guest sends it, and what the guest does not take from it.

mod coco;
mod lease;

use super::*;
use crate::attester::ConfigfsTsm;
use crate::attester::configfs_tsm::tests::TDX;
use crate::attester::tests::Unsigned;
use crate::boot::tests::settings;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Json};
use axum::routing::{get, post};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use strongroom_jose::{TokenSigner, encrypt};
use strongroom_tlog::{Checkpoint, EntryProof, NoteSigner, Role};
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config};
use strongroom_wire::Root;
use strongroom_wire::audit::Entry;
use strongroom_wire::digest::Sha256;
use strongroom_wire::ear::{Confirmation, PROFILE, VerifierId};
use strongroom_wire::kbs::{Attestation, ErrorInformation, LOG_PROOF, SnpEvidence, TdxEvidence, TeePubKey};
use zeroize::Zeroizing;

const NONCE: &str = "bm9uY2Ugb2YgdGhpcnR5LXR3byBieXRlcyBpdCBpcyA=";
const KEY: [u8; 32] = [0x5a; 32];

/// A verifier that accepts everybody.
struct Lenient {
    identity: ServerIdentity,
    tokens: TokenSigner,
    /// Changes what an honest verifier would say.
    lie: fn(&mut EarClaims),
    /// Wraps keys to this one in place of the attested one.
    wraps_to: Option<TeePubKey>,
    refuses: bool,
    /// Proves releases, by what it says of them and under the key of which log.
    proves: Option<fn(&mut Entry, &mut NoteSigner)>,
    /// Answers `busy` to so many of the first requests for a session.
    busy: AtomicUsize,
    attested: OnceLock<TeePubKey>,
    /// The platforms that sessions were asked for.
    asked: Mutex<Vec<String>>,
    received: Mutex<Vec<Attestation>>,
}

impl Lenient {
    fn new() -> Self {
        Self {
            identity: ServerIdentity::generate(&[]).unwrap(),
            tokens: TokenSigner::generate().unwrap(),
            lie: |_| {},
            wraps_to: None,
            refuses: false,
            proves: None,
            busy: AtomicUsize::new(0),
            attested: OnceLock::new(),
            asked: Mutex::default(),
            received: Mutex::default(),
        }
    }

    /// Starts it, and gives the document that names it.
    async fn start(self) -> (Arc<Self>, Deployment) {
        let bound = bind("127.0.0.1:0").await.unwrap();
        let mut settings = settings();
        settings.verifier.url = format!("https://{}", bound.local_addr());
        settings.verifier.pin = Sha256(self.identity.spki_sha256());
        settings.verifier.token_key = bytes::to_base64(self.tokens.spki_der());
        let deployment = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
        let tls = server_config(&self.identity).unwrap();
        let lenient = Arc::new(self);
        let router = Router::new()
            .route("/kbs/v0/auth", post(auth))
            .route("/kbs/v0/attest", post(attest))
            .route("/kbs/v0/resource/a/b/c", get(resource))
            .with_state(Arc::clone(&lenient));
        tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), core::future::pending()));
        (lenient, deployment)
    }

    fn claims(&self, attestation: &Attestation) -> EarClaims {
        let document = attestation.init_data.as_ref().unwrap().body.as_bytes();
        let now = Clock::default().now().unwrap();
        let mut claims = EarClaims {
            eat_profile: PROFILE.into(),
            iss: "lenient".into(),
            aud: AUDIENCE.into(),
            sub: Sha256::of(document).oci(),
            jti: "session".into(),
            iat: now,
            exp: now + 300,
            root: settings().root,
            cnf: Confirmation { jkt: thumbprint(&attestation.runtime_data.tee_pubkey).unwrap() },
            verifier_id: VerifierId { developer: "d".into(), build: "b".into() },
            submods: BTreeMap::new(),
        };
        (self.lie)(&mut claims);
        claims
    }
}

async fn auth(State(lenient): State<Arc<Lenient>>, body: axum::body::Bytes) -> axum::response::Response {
    let busy = |left: usize| left.checked_sub(1);
    if lenient.busy.fetch_update(Ordering::SeqCst, Ordering::SeqCst, busy).is_ok() {
        let refusal = ErrorInformation { kind: String::new(), detail: String::new(), code: Some(Code::Busy) };
        return (StatusCode::TOO_MANY_REQUESTS, Json(refusal)).into_response();
    }
    let asked = strongroom_wire::kbs::Request::parse(&body).unwrap();
    lenient.asked.lock().unwrap().push(asked.tee);
    let challenge = Json(json!({"nonce": NONCE, "extra-params": ""}));
    ([(SET_COOKIE, "kbs-session-id=0af; Max-Age=300; Secure")], challenge).into_response()
}

async fn attest(
    State(lenient): State<Arc<Lenient>>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> axum::response::Response {
    assert_eq!(headers[COOKIE], "kbs-session-id=0af");
    if lenient.refuses {
        let code = Some(Code::MeasurementNotApproved);
        let refusal = ErrorInformation { kind: "x/AttestationError".into(), detail: String::new(), code };
        return (StatusCode::UNAUTHORIZED, Json(refusal)).into_response();
    }
    let attestation = Attestation::parse(&body).unwrap();
    lenient.attested.set(attestation.runtime_data.tee_pubkey.clone()).unwrap();
    let token = lenient.tokens.sign(&lenient.claims(&attestation)).unwrap();
    lenient.received.lock().unwrap().push(attestation);
    Json(AttestResponse { token }).into_response()
}

async fn resource(State(lenient): State<Arc<Lenient>>, headers: HeaderMap) -> axum::response::Response {
    assert_eq!(headers[COOKIE], "kbs-session-id=0af");
    let to = lenient.wraps_to.as_ref().unwrap_or_else(|| lenient.attested.get().unwrap());
    let key = Json(encrypt(&KEY, to).unwrap());
    match lenient.proves {
        Some(lie) => ([(LOG_PROOF, lenient.proof(lie))], key).into_response(),
        None => key.into_response(),
    }
}

fn log_signer(seed: u8) -> NoteSigner {
    NoteSigner::new("log", Role::Log, &Zeroizing::new([seed; 32])).unwrap()
}

impl Lenient {
    /// The proof that a release is the one entry of a log.
    fn proof(&self, lie: fn(&mut Entry, &mut NoteSigner)) -> String {
        let document = self.received.lock().unwrap()[0].init_data.as_ref().unwrap().body.clone();
        let key = thumbprint(self.attested.get().unwrap()).unwrap();
        let mut entry = Entry {
            v: strongroom_wire::audit::VERSION,
            seq: 0,
            time: 1,
            kind: "release".into(),
            subject: "a/b/c".into(),
            code: String::new(),
            detail: json!({ "key": key, "deployment": Sha256::of(document.as_bytes()).oci() }),
        };
        let mut signer = log_signer(1);
        lie(&mut entry, &mut signer);
        let leaf = entry.leaf().unwrap();
        let root = strongroom_wire::merkle::leaf_hash(&leaf);
        let mut checkpoint = Checkpoint { origin: "log".into(), size: 1, root }.note().unwrap();
        signer.sign(&mut checkpoint, 0).unwrap();
        let proof = EntryProof { index: 0, extra: Some(leaf), path: Vec::new(), checkpoint };
        bytes::to_base64(proof.to_string().as_bytes())
    }
}

/// What becomes of the key of a verifier that proves so, for a document that names its log.
async fn logged(proves: Option<fn(&mut Entry, &mut NoteSigner)>) -> Option<Code> {
    let (_lenient, deployment) = Lenient { proves, ..Lenient::new() }.start().await;
    let mut settings = deployment.settings().clone();
    settings.verifier.log_key = Some(log_signer(1).verifier().to_string());
    let deployment = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
    session(&deployment).await.unwrap().key(&path()).await.err().map(|refusal| refusal.code)
}

#[tokio::test]
async fn key_whose_release_is_in_the_log_accepted_and_one_that_was_released_in_silence_refused() {
    assert_eq!(logged(Some(|_, _| {})).await, None);
    assert_eq!(logged(None).await, Some(Code::ReleaseNotLogged));
}

#[tokio::test]
async fn proof_of_another_release_or_of_another_log_refused() {
    let lies: [fn(&mut Entry, &mut NoteSigner); 7] = [
        |entry, _| entry.kind = "attestation".into(),
        |entry, _| entry.subject = "a/b/d".into(),
        |entry, _| entry.code = "no-policy".into(),
        |entry, _| entry.seq = 1,
        |entry, _| entry.detail["key"] = json!("another"),
        |entry, _| entry.detail["deployment"] = json!("another"),
        |entry, _| entry.detail = json!({}),
    ];
    for (at, lie) in lies.into_iter().enumerate() {
        assert_eq!(logged(Some(lie)).await, Some(Code::ReleaseNotLogged), "{at}");
    }
    assert_eq!(logged(Some(|_, signer| *signer = log_signer(2))).await, Some(Code::LogUntrusted));
}

async fn session(deployment: &Deployment) -> Result<Session> {
    Verifier::of_deployment(deployment, Clock::default())?.attest(Arc::new(Unsigned::default())).await
}

fn path() -> ResourcePath {
    ResourcePath::parse("a/b/c").unwrap()
}

#[tokio::test]
async fn key_arrives_at_the_guest_that_was_attested() {
    let (lenient, deployment) = Lenient::new().start().await;
    let key = session(&deployment).await.unwrap().key(&path()).await.unwrap();
    assert_eq!(key.expose(), &KEY);

    assert_eq!(*lenient.asked.lock().unwrap(), ["snp"]);
    let received = lenient.received.lock().unwrap();
    let attestation = &received[0];
    assert_eq!(attestation.init_data.as_ref().unwrap().body.as_bytes(), deployment.raw());
    assert_eq!(attestation.runtime_data.nonce, NONCE);
    let evidence: SnpEvidence = serde_json::from_value(attestation.tee_evidence.primary_evidence.clone()).unwrap();
    let bound = kbs_report_data(NONCE, &attestation.runtime_data.tee_pubkey).unwrap();
    assert_eq!(evidence.report().unwrap().report_data, bound);
    let chain = evidence.cert_chain.unwrap();
    assert!(matches!(&chain[..], [vcek] if vcek.cert_type == "VCEK" && vcek.data == [7]), "{chain:?}");
}

#[tokio::test]
async fn tdx_guest_says_so_and_shows_its_quote_over_the_same_report_data() {
    let (lenient, deployment) = Lenient::new().start().await;
    let root = tempfile::tempdir().unwrap();
    let attester = Arc::new(ConfigfsTsm::open(root.path(), TDX).unwrap());
    let session = Verifier::of_deployment(&deployment, Clock::default()).unwrap().attest(attester).await.unwrap();
    assert_eq!(session.key(&path()).await.unwrap().expose(), &KEY);

    let received = lenient.received.lock().unwrap();
    assert_eq!(*lenient.asked.lock().unwrap(), ["tdx"]);
    let evidence = received[0].tee_evidence.primary_evidence.clone();
    let quote = serde_json::from_value::<TdxEvidence>(evidence).unwrap().quote().unwrap();
    let bound = kbs_report_data(NONCE, &received[0].runtime_data.tee_pubkey).unwrap();
    assert_eq!(quote.body.report_data, bound);
}

#[tokio::test]
async fn result_about_another_document_root_or_key_refused() {
    let lies: [fn(&mut EarClaims); 4] = [
        |claims| claims.sub = Sha256([0; 32]).oci(),
        |claims| claims.root = Root::Amd,
        |claims| claims.cnf.jkt = "other".into(),
        |claims| claims.aud = "other".into(),
    ];
    for lie in lies {
        let (_lenient, deployment) = Lenient { lie, ..Lenient::new() }.start().await;
        assert_eq!(session(&deployment).await.unwrap_err().code, Code::TokenInvalid);
    }
}

#[tokio::test]
async fn result_by_another_token_key_refused() {
    let (_lenient, deployment) = Lenient::new().start().await;
    let mut settings = deployment.settings().clone();
    settings.verifier.token_key = bytes::to_base64(TokenSigner::generate().unwrap().spki_der());
    let other = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
    assert_eq!(session(&other).await.unwrap_err().code, Code::TokenInvalid);
}

#[tokio::test]
async fn verifier_with_another_tls_key_told_nothing() {
    let (lenient, deployment) = Lenient::new().start().await;
    let mut settings = deployment.settings().clone();
    settings.verifier.pin = Sha256([0; 32]);
    let other = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
    assert_eq!(session(&other).await.unwrap_err().code, Code::PinMismatch);
    assert!(lenient.received.lock().unwrap().is_empty());
}

#[tokio::test]
async fn refusal_of_the_verifier_comes_through_with_its_code() {
    let (_lenient, deployment) = Lenient { refuses: true, ..Lenient::new() }.start().await;
    assert_eq!(session(&deployment).await.unwrap_err().code, Code::MeasurementNotApproved);
}

#[tokio::test]
async fn key_wrapped_to_somebody_else_refused() {
    let wraps_to = Some(TeeKey::generate_p256().unwrap().public().clone());
    let (_lenient, deployment) = Lenient { wraps_to, ..Lenient::new() }.start().await;
    let session = session(&deployment).await.unwrap();
    assert_eq!(session.key(&path()).await.unwrap_err().code, Code::WrappedKeyInvalid);
}

#[tokio::test]
async fn resource_that_is_not_there_refused() {
    let (_lenient, deployment) = Lenient::new().start().await;
    let other = ResourcePath::parse("a/b/other").unwrap();
    let refusal = session(&deployment).await.unwrap().key(&other).await.unwrap_err();
    assert_eq!(refusal.code, Code::VerifierRefused);
}

#[tokio::test]
async fn verifier_that_is_busy_for_a_while_asked_again_and_one_that_stays_busy_given_up() {
    for (busy, outcome) in [(2, None), (usize::MAX, Some(Code::Busy))] {
        let (lenient, deployment) = Lenient { busy: AtomicUsize::new(busy), ..Lenient::new() }.start().await;
        assert_eq!(session(&deployment).await.err().map(|refusal| refusal.code), outcome);
        assert!(busy - lenient.busy.load(Ordering::SeqCst) <= 5);
    }
}
