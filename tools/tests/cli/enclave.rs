//! An enclave of a few lines for `verify` and `proxy`: evidence of a fake security processor over real TLS, and an echo.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
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

const MANIFEST: Sha256 = Sha256([0xa1; 32]);

/// A running enclave with the files that a client of it needs. It ends with its test.
pub(crate) struct Enclave {
    pub(crate) url: String,
    /// Approves this very enclave.
    pub(crate) policy: PathBuf,
    /// The test root, in PEM.
    pub(crate) root: PathBuf,
    _folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

struct Running {
    psp: Psp,
    document: Vec<u8>,
    spki: Vec<u8>,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Enclave {
    /// Runs a guest whose reports are of `report`, apart from the deployment document's digest.
    pub(crate) fn start(report: ReportSpec) -> Self {
        let hierarchy = Hierarchy::shared().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let document = Deployment::render(&settings(Root::Test(hierarchy.ark.key_digest().unwrap()))).unwrap();
        let report = ReportSpec { host_data: Sha256::of(&document).0, ..report };
        let (policy, root) = (folder.path().join("policy.toml"), folder.path().join("root.pem"));
        std::fs::write(&root, hierarchy.ark.certificate_pem().unwrap()).unwrap();
        std::fs::write(&policy, policy_text(&ReportSpec::default(), &document)).unwrap();

        let identity = ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        let psp = Psp::new(&hierarchy, hierarchy.issue(VekSpec::default()).unwrap(), report).unwrap();
        let seen = Arc::default();
        let running = Running { psp, document, spki: identity.spki_der().to_vec(), seen: Arc::clone(&seen) };
        let router = Router::new().fallback(answer).with_state(Arc::new(running));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(bind("127.0.0.1:0")).unwrap();
        let url = format!("https://{}", bound.local_addr());
        let config = server_config(&identity).unwrap();
        runtime.spawn(serve(bound, Some(config), router, ServeLimits::default(), core::future::pending()));
        Self { url, policy, root, _folder: folder, seen, _runtime: runtime }
    }

    /// The paths that were asked for.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn policy_text(report: &ReportSpec, document: &[u8]) -> String {
    format!(
        "version = 1\n[snp]\nmeasurement = {{ one-of = [\"{}\"] }}\ndeployment = {{ exactly = \"{}\" }}\n\
         tcb = {{ any = {{ because = \"test\" }} }}\nchip = {{ any = {{ because = \"test\" }} }}\n\
         [model]\nmanifest = {{ exactly = \"{}\" }}\n",
        hex::encode(report.measurement),
        Sha256::of(document),
        MANIFEST.oci()
    )
}

fn settings(root: Root) -> Settings {
    let signer = Signer::with_key("release", "");
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

async fn answer(State(running): State<Arc<Running>>, request: Request) -> Response {
    running.seen.lock().unwrap().push(request.uri().path().to_owned());
    if request.uri().path() != evidence::PATH {
        return Response::new(Body::new(request.into_body()));
    }
    let nonce = request.uri().query().and_then(|query| query.strip_prefix("nonce=")).unwrap();
    running.evidence(&hex_array(nonce, "nonce").unwrap()).into_response()
}

impl Running {
    fn evidence(&self, nonce: &[u8; 32]) -> String {
        let models = vec![WorkloadModel { name: "embed".into(), manifest: MANIFEST, statement: Sha256([0x57; 32]) }];
        let workload = Workload { deployment: to_base64(&self.document), models };
        let (root, paths) = merkle::tree(&[*nonce]);
        let data = report_data(Purpose::ClientChannel, &root, &self.spki, &workload.digest().unwrap());
        let quote = self.psp.quote(&data).unwrap();
        let table = Endorsement { r#type: "certificate-table".into(), data: to_base64(&quote.certificates) };
        let answer = EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: to_base64(&quote.evidence),
            endorsements: vec![table],
            channel_key: to_base64(&self.spki),
            workload,
            nonce: Sha256(*nonce),
            path: paths.into_iter().next().unwrap(),
        };
        serde_json::to_string(&answer).unwrap()
    }
}
