//! An enclave that asks for a lease, honestly unless a test changes something.

use crate::guest::Guest;
use crate::world::{Answer, KEY, World};
use http::Method;
use strongroom_devkit::report::ReportSpec;
use strongroom_jose::{TokenSigner, TokenVerifier, signing_key, thumbprint};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::deployment::Deployment;
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{Endorsement, EvidenceAnswer, Workload, WorkloadModel};
use strongroom_wire::lease::{self, AUDIENCE, Holder, Lease, Request};
use strongroom_wire::passport::{CHALLENGE, Challenge};

/// A Cedar policy by which whoever the table of routes names gets connections.
pub(crate) const PERMIT_ROUTES: &str =
    "@id(\"routes\") permit (principal, action == Strongroom::Action::\"Route\", resource);";

pub(crate) struct Enclave<'a> {
    pub(crate) world: &'a World,
    pub(crate) key: TokenSigner,
    pub(crate) workload: Workload,
    pub(crate) report: ReportSpec,
    pub(crate) addr: Option<&'static str>,
}

impl<'a> Enclave<'a> {
    /// A sound one that was launched with this document, and given no key.
    pub(crate) fn launch(world: &'a World, document: &[u8]) -> Self {
        let models = Deployment::parse(document).unwrap().settings().models.clone();
        let served = models.iter().map(|model| WorkloadModel {
            name: model.name.clone(),
            manifest: model.repository_and_digest().unwrap().1.unwrap(),
            statement: Sha256([2; 32]),
        });
        Self {
            world,
            key: TokenSigner::generate().unwrap(),
            workload: Workload { deployment: to_base64(document), models: served.collect() },
            report: ReportSpec { host_data: Sha256::of(document).0, ..ReportSpec::default() },
            addr: Some("127.0.0.1:4433"),
        }
    }

    /// The same, after it attested and was given the key.
    pub(crate) async fn with_key(world: &'a World, document: &[u8]) -> Self {
        let guest = Guest::launch(world, document).await;
        guest.attest().await;
        guest.key(KEY).await;
        Self::launch(world, document)
    }

    pub(crate) fn document(&self) -> Vec<u8> {
        from_base64(&self.workload.deployment, "document").unwrap()
    }

    pub(crate) fn thumbprint(&self) -> String {
        thumbprint(&signing_key(self.key.spki_der()).unwrap()).unwrap()
    }

    pub(crate) fn holder(&self) -> Holder {
        Holder {
            document: Sha256::of(&self.document()),
            root: self.world.root(),
            thumbprint: self.thumbprint(),
            workload: self.workload.digest().unwrap(),
        }
    }

    /// A question for a nonce that was just drawn, without evidence.
    pub(crate) async fn question(&self) -> Request {
        let answer = self.world.kbs(Method::POST, CHALLENGE, &[], vec![]).await;
        let challenge: Challenge = serde_json::from_slice(&answer.body).unwrap();
        let table = self.world.hierarchy.certificate_table(&self.world.vek).unwrap().encode().unwrap();
        let evidence = EvidenceAnswer {
            v: 1,
            platform: "snp".into(),
            evidence: String::new(),
            endorsements: vec![Endorsement { r#type: "certificate-table".into(), data: to_base64(&table) }],
            channel_key: to_base64(self.key.spki_der()),
            workload: self.workload.clone(),
            nonce: challenge.nonce,
            path: vec![],
        };
        Request { addr: self.addr.map(|addr| addr.parse().unwrap()), evidence }
    }

    /// The question with evidence over this report data.
    pub(crate) fn bound_to(&self, mut request: Request, report_data: [u8; 64]) -> Request {
        let report = ReportSpec { report_data, ..self.report.clone() }.sign(&self.world.vek).unwrap();
        request.evidence.evidence = to_base64(&report);
        request
    }

    /// The question with evidence for it.
    pub(crate) fn bound(&self, request: Request) -> Request {
        let report_data = request.report_data().unwrap();
        self.bound_to(request, report_data)
    }

    pub(crate) async fn post(&self, request: &Request) -> Answer {
        self.world.kbs(Method::POST, lease::PATH, &[], serde_json::to_vec(request).unwrap()).await
    }

    pub(crate) async fn ask(&self) -> Answer {
        self.post(&self.bound(self.question().await)).await
    }

    /// The code with which it is refused.
    pub(crate) async fn refused(&self) -> String {
        let answer = self.ask().await;
        assert!(!answer.status.is_success(), "{}", String::from_utf8_lossy(&answer.body));
        answer.code()
    }

    /// A lease, verified as the enclave does.
    pub(crate) async fn lease(&self) -> Lease {
        let request = self.bound(self.question().await);
        let answer = self.post(&request).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let answer: lease::Answer = serde_json::from_slice(&answer.body).unwrap();
        let issuer = from_base64(&self.world.identity.token_key, "token key").unwrap();
        let issuer = TokenVerifier::new(&issuer).unwrap();
        let lease: Lease = issuer.verify(&answer.token, self.world.now(), AUDIENCE).unwrap();
        lease.verify_about(&request.evidence.nonce, &self.holder()).unwrap();
        lease
    }
}
