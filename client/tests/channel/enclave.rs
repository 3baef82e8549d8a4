//! An enclave of a few lines: it answers the evidence request with reports of a fake security processor, and echoes
//! everything else. It keeps a list of what it was asked.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use strongroom_appraisal::{Policy, Roots};
use strongroom_client::Terms;
use strongroom_devkit::amd::{Hierarchy, VekSpec};
use strongroom_devkit::psp::Psp;
use strongroom_devkit::report::ReportSpec;
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config};
use strongroom_wire::binding::{Purpose, report_data};
use strongroom_wire::bytes::{hex_array, to_base64};
use strongroom_wire::deployment::{Attester, Deployment, Model, Runtime, Settings, Verifier};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{self, Endorsement, EvidenceAnswer, Workload, WorkloadModel};
use strongroom_wire::trust::{Rule, Signer, TrustFile};
use strongroom_wire::{Root, merkle};

/// A moment at which everything that the fake hierarchy issues is valid: 2026-01-01.
pub(crate) const NOW: u64 = 1_767_225_600;
pub(crate) const EVIDENCE_REQUEST: &str = "GET /.well-known/strongroom/evidence";
pub(crate) const MANIFEST: Sha256 = Sha256([0xa1; 32]);

/// What an enclave is, each part to be changed alone.
pub(crate) struct Guest {
    pub(crate) report: ReportSpec,
    pub(crate) settings: Settings,
    pub(crate) models: Vec<WorkloadModel>,
    /// What happens to an answer before it is sent.
    pub(crate) tamper: fn(&mut EvidenceAnswer),
    /// What happens to its JSON.
    pub(crate) tamper_json: fn(String) -> String,
}

/// A running enclave; it ends with its test.
#[derive(Clone)]
pub(crate) struct Enclave {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Arc<ServerIdentity>,
    requests: Requests,
}

/// The requests that a server saw, `METHOD /path` each.
#[derive(Clone, Default)]
pub(crate) struct Requests(Arc<Mutex<Vec<String>>>);

impl Requests {
    pub(crate) fn note(&self, request: &Request) {
        self.0.lock().unwrap().push(format!("{} {}", request.method(), request.uri().path()));
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

struct Running {
    psp: Psp,
    guest: Guest,
    document: Vec<u8>,
    spki: Vec<u8>,
    requests: Requests,
}

impl Guest {
    /// The guest that [`terms`] approve.
    pub(crate) fn approved() -> Self {
        let root = Root::Test(Hierarchy::shared().unwrap().ark.key_digest().unwrap());
        Self {
            report: ReportSpec::default(),
            settings: settings(root),
            models: vec![WorkloadModel { name: "embed".into(), manifest: MANIFEST, statement: Sha256([0x57; 32]) }],
            tamper: |_| {},
            tamper_json: |json| json,
        }
    }

    pub(crate) fn document(&self) -> Vec<u8> {
        Deployment::render(&self.settings).unwrap()
    }

    /// Runs it on a port of its own with a TLS key of its own.
    pub(crate) async fn run(self) -> Enclave {
        let identity = Arc::new(ServerIdentity::generate(&["enclave.example".into()]).unwrap());
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let document = self.document();
        let report = ReportSpec { host_data: Sha256::of(&document).0, ..self.report.clone() };
        let psp = Psp::new(&hierarchy, vek, report).unwrap();
        let requests = Requests::default();
        let spki = identity.spki_der().to_vec();
        let running = Running { psp, guest: self, document, spki, requests: requests.clone() };
        let router = Router::new().fallback(answer).with_state(Arc::new(running));
        let address = serve_tls(server_config(&identity).unwrap(), router).await;
        Enclave { address, identity, requests }
    }
}

impl Enclave {
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.requests.seen()
    }
}

/// Terms that approve [`Guest::approved`].
pub(crate) fn terms() -> Terms {
    Terms::new(policy(&policy_text(&Guest::approved())), roots()).unwrap()
}

pub(crate) fn policy(text: &str) -> Policy {
    Policy::parse(text.as_bytes()).unwrap()
}

/// A policy that fixes everything about `guest`.
pub(crate) fn policy_text(guest: &Guest) -> String {
    format!(
        "version = 1\n[snp]\nmeasurement = {{ one-of = [\"{}\"] }}\ndeployment = {{ exactly = \"{}\" }}\n\
         tcb = {{ at-least = {{ bootloader = 4, tee = 0, snp = 24, microcode = 219 }} }}\nproduct = {{ exactly = \"Milan\" }}\n\
         chip = {{ any = {{ because = \"any machine of this test\" }} }}\n\
         [model]\nmanifest = {{ one-of = [\"{}\"] }}\n",
        hex::encode(guest.report.measurement),
        Sha256::of(&guest.document()),
        MANIFEST.oci()
    )
}

pub(crate) fn roots() -> Roots {
    Roots::test(Hierarchy::shared().unwrap().ark.certificate()).unwrap()
}

/// Serves `router` until the test ends.
pub(crate) async fn serve_tls(config: Arc<rustls::ServerConfig>, router: Router) -> SocketAddr {
    let bound = bind("127.0.0.1:0").await.unwrap();
    let address = bound.local_addr();
    tokio::spawn(serve(bound, Some(config), router, ServeLimits::default(), core::future::pending()));
    address
}

fn settings(root: Root) -> Settings {
    let signer = Signer::with_key("release", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n");
    let rule = Rule::new("registry.example/models/*", vec![signer]);
    Settings {
        version: 1,
        root,
        attester: Attester::Socket,
        max_unleased: None,
        verifier: Verifier {
            url: "https://verifier.example".into(),
            pin: Sha256([1; 32]),
            token_key: String::new(),
            log_key: None,
        },
        runtime: Runtime { onnxruntime: Sha256([2; 32]) },
        registries: vec![],
        models: vec![Model {
            name: "embed".into(),
            reference: format!("registry.example/models/embed@{}", MANIFEST.oci()),
            replaceable: false,
        }],
        trust: TrustFile::new(vec![rule]),
        principals: vec![],
        access: Default::default(),
    }
}

/// Evidence at its path; the request's whole body at `/v1/whole`; everywhere else its body as it comes in.
async fn answer(State(running): State<Arc<Running>>, request: Request) -> Response {
    running.requests.note(&request);
    if request.uri().path() == "/v1/whole" {
        return match axum::body::to_bytes(request.into_body(), usize::MAX).await {
            Ok(body) => body.into_response(),
            Err(_) => http::StatusCode::BAD_REQUEST.into_response(),
        };
    }
    if request.uri().path() != evidence::PATH {
        let headers = request.headers().clone();
        let mut response = Response::new(Body::new(request.into_body()));
        for name in ["authorization", "x-end-to-end", "x-hop", "host", "keep-alive"] {
            if let Some(value) = headers.get(name) {
                response
                    .headers_mut()
                    .insert(http::HeaderName::try_from(format!("x-saw-{name}")).unwrap(), value.clone());
            }
        }
        return response;
    }
    let nonce = request.uri().query().and_then(|query| query.strip_prefix("nonce=")).unwrap();
    running.evidence(&hex_array(nonce, "nonce").unwrap()).into_response()
}

impl Running {
    fn evidence(&self, nonce: &[u8; 32]) -> String {
        let workload = Workload { deployment: to_base64(&self.document), models: self.guest.models.clone() };
        let (root, paths) = merkle::tree(&[*nonce]);
        let data = report_data(Purpose::ClientChannel, &root, &self.spki, &workload.digest().unwrap());
        let quote = self.psp.quote(&data).unwrap();
        let mut answer = EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: to_base64(&quote.evidence),
            endorsements: vec![Endorsement {
                r#type: "certificate-table".into(),
                data: to_base64(&quote.certificates),
            }],
            channel_key: to_base64(&self.spki),
            workload,
            nonce: Sha256(*nonce),
            path: paths.into_iter().next().unwrap(),
        };
        (self.guest.tamper)(&mut answer);
        (self.guest.tamper_json)(serde_json::to_string(&answer).unwrap())
    }
}
