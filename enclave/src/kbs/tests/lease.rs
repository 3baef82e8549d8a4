//! Leases of a verifier on loopback that gives one to everybody: what it is sent, and what is not taken from it.

use super::*;
use crate::evidence::Bound;
use strongroom_jose::signing_key;
use strongroom_wire::evidence::{Workload, WorkloadModel};
use strongroom_wire::lease::{self, Answer, LIFETIME, Lease};
use strongroom_wire::passport::{CHALLENGE, Challenge as Drawn};
use strongroom_wire::snp::Report;

const ADDR: &str = "192.0.2.1:443";

/// A verifier.
struct Leasing {
    tokens: TokenSigner,
    /// Changes what an honest one would say.
    lie: fn(&mut Lease),
    refuses: Option<Code>,
    asked: Mutex<Vec<lease::Request>>,
    nonces: AtomicUsize,
}

struct Asked {
    verifier: Arc<Leasing>,
    bound: Bound,
    clock: Clock,
    taken: Result<Lease>,
}

const NOW: u64 = 1_800_000_000;

/// What comes of a lease that is asked of a verifier which lies so.
async fn asked(lie: fn(&mut Lease), refuses: Option<Code>) -> Asked {
    asked_at(NOW, lie, refuses).await
}

async fn asked_at(host: u64, lie: fn(&mut Lease), refuses: Option<Code>) -> Asked {
    let identity = ServerIdentity::generate(&[]).unwrap();
    let tokens = TokenSigner::generate().unwrap();
    let bound = bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings();
    settings.verifier.url = format!("https://{}", bound.local_addr());
    settings.verifier.pin = Sha256(identity.spki_sha256());
    settings.verifier.token_key = bytes::to_base64(tokens.spki_der());
    let deployment = Deployment::parse(&Deployment::render(&settings).unwrap()).unwrap();
    let (asked, nonces) = (Mutex::default(), AtomicUsize::new(0));
    let verifier = Arc::new(Leasing { tokens, lie, refuses, asked, nonces });
    let router = Router::new()
        .route(CHALLENGE, post(challenge))
        .route(lease::PATH, post(give))
        .with_state(Arc::clone(&verifier));
    let tls = server_config(&identity).unwrap();
    tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), core::future::pending()));

    let model = WorkloadModel { name: "m".into(), manifest: Sha256([4; 32]), statement: Sha256([5; 32]) };
    let workload = Workload { deployment: bytes::to_base64(deployment.raw()), models: vec![model] };
    let bound = Bound { channel_key: TokenSigner::generate().unwrap().spki_der().to_vec(), workload };
    let clock = Clock::of(move || host);
    let taken = Verifier::of_deployment(&deployment, clock.clone()).unwrap();
    let taken = taken.lease(Arc::new(Unsigned::default()), &bound, Some(ADDR.parse().unwrap())).await;
    Asked { verifier, bound, clock, taken }
}

async fn challenge(State(verifier): State<Arc<Leasing>>) -> Json<Drawn> {
    verifier.nonces.fetch_add(1, Ordering::SeqCst);
    Json(Drawn { nonce: Sha256([6; 32]), expires: 0 })
}

async fn give(State(verifier): State<Arc<Leasing>>, body: axum::body::Bytes) -> axum::response::Response {
    if let Some(code) = verifier.refuses {
        let problem = json!({"type": "about:blank", "title": "t", "status": 403, "detail": "d", "code": code});
        return (StatusCode::FORBIDDEN, Json(problem)).into_response();
    }
    let request = lease::Request::parse(&body).unwrap();
    let document = request.evidence.workload.deployment().unwrap();
    let mut given = Lease {
        aud: lease::AUDIENCE.into(),
        iss: "verifier".into(),
        sub: Sha256::of(&document).oci(),
        jti: "1".into(),
        iat: NOW,
        exp: NOW + LIFETIME,
        nonce: request.evidence.nonce,
        root: settings().root,
        cnf: Confirmation { jkt: thumbprint(&signing_key(&request.evidence.key().unwrap()).unwrap()).unwrap() },
        workload: request.evidence.workload.digest().unwrap(),
        routes: vec!["embed.example".into()],
    };
    (verifier.lie)(&mut given);
    verifier.asked.lock().unwrap().push(request);
    Json(Answer { token: verifier.tokens.sign(&given).unwrap() }).into_response()
}

#[tokio::test]
async fn lease_is_asked_for_with_evidence_of_nonce_key_and_workload() {
    let Asked { verifier, bound, taken, .. } = asked(|_| {}, None).await;
    assert_eq!(taken.unwrap().routes, ["embed.example"]);
    let asked = verifier.asked.lock().unwrap();
    let [request] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((request.addr, request.evidence.nonce), (Some(ADDR.parse().unwrap()), Sha256([6; 32])));
    assert_eq!(request.evidence.workload, bound.workload);
    assert_eq!(request.evidence.key().unwrap(), bound.channel_key);
    let report = Report::parse(&bytes::from_base64(&request.evidence.evidence, "evidence").unwrap()).unwrap();
    assert_eq!(report.report_data, request.report_data().unwrap());
    assert_eq!(request.evidence.endorsements[0].r#type, "certificate-table");
}

#[tokio::test]
async fn lease_for_another_nonce_key_workload_or_audience_refused_and_raises_no_floor() {
    type Lie = fn(&mut Lease);
    let lies: [(Lie, Code); 6] = [
        (|lease| lease.nonce = Sha256([7; 32]), Code::NonceMismatch),
        (|lease| lease.cnf.jkt = "other".into(), Code::TokenInvalid),
        (|lease| lease.workload = Sha256([0; 32]), Code::TokenInvalid),
        (|lease| lease.aud = "other".into(), Code::TokenInvalid),
        (|lease| lease.exp = NOW, Code::TokenInvalid),
        (|lease| lease.exp = NOW + 901, Code::TokenInvalid),
    ];
    for (lie, code) in lies {
        let asked = asked_at(NOW - 30, lie, None).await;
        assert_eq!(asked.taken.unwrap_err().code, code);
        assert_eq!(asked.clock.now(), Ok(NOW - 30));
    }
}

#[tokio::test]
async fn lease_raises_the_floor_of_the_clock_to_when_it_was_signed() {
    let asked = asked_at(NOW - 30, |_| {}, None).await;
    assert!(asked.taken.is_ok());
    assert!(asked.clock.now().unwrap() >= NOW);
}

#[tokio::test]
async fn refusal_of_the_verifier_comes_through_as_a_problem_with_its_code() {
    let asked = asked(|_| {}, Some(Code::Revoked)).await;
    assert_eq!(asked.taken.unwrap_err().code, Code::Revoked);
    assert_eq!(asked.verifier.nonces.load(Ordering::SeqCst), 1);
}
