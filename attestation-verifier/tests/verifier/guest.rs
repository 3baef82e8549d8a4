//! A guest that speaks the KBS protocol, honestly unless a test changes something.

use crate::world::{Answer, World};
use http::Method;
use serde_json::{Value, json};
use strongroom_devkit::report::ReportSpec;
use strongroom_jose::TeeKey;
use strongroom_wire::binding::kbs_report_data;
use strongroom_wire::digest::Sha256;
use strongroom_wire::kbs::{CertificateEntry, Jwe, SnpEvidence, TeePubKey};
use strongroom_wire::snp::CertificateKind;

pub(crate) struct Guest<'a> {
    pub(crate) world: &'a World,
    pub(crate) tee: &'static str,
    pub(crate) key: TeeKey,
    pub(crate) document: Vec<u8>,
    pub(crate) report: ReportSpec,
    pub(crate) cookie: String,
    pub(crate) nonce: String,
}

impl<'a> Guest<'a> {
    /// A sound SNP guest that was launched with this document, with an open session.
    pub(crate) async fn launch(world: &'a World, document: &[u8]) -> Self {
        Self::launch_as("snp", world, document).await
    }

    /// A guest with this document of another platform: its evidence is its test's to make.
    pub(crate) async fn launch_as(tee: &'static str, world: &'a World, document: &[u8]) -> Self {
        let report = ReportSpec { host_data: Sha256::of(document).0, ..ReportSpec::default() };
        let mut guest = Self {
            world,
            tee,
            key: TeeKey::generate_p256().unwrap(),
            document: document.to_vec(),
            report,
            cookie: String::new(),
            nonce: String::new(),
        };
        guest.begin().await;
        guest
    }

    /// Opens a session.
    pub(crate) async fn begin(&mut self) {
        let answer = auth(self.world, json!({"version": "0.4.0", "tee": self.tee, "extra-params": {}})).await;
        assert_eq!(answer.status, 200);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        self.cookie = cookie.split(';').next().unwrap().to_owned();
        self.nonce = answer.json()["nonce"].as_str().unwrap().to_owned();
    }

    /// The attestation of this guest, as it is now.
    pub(crate) fn attestation(&self) -> Value {
        self.attestation_bound_to(&self.nonce, self.key.public())
    }

    /// The same, its report bound to another nonce or key than those that are stated.
    pub(crate) fn attestation_bound_to(&self, nonce: &str, key: &TeePubKey) -> Value {
        let spec = ReportSpec { report_data: kbs_report_data(nonce, key).unwrap(), ..self.report.clone() };
        let report = spec.report(&self.world.vek).unwrap();
        self.attestation_with(json!(SnpEvidence::from_report(&report, Some(chain(self.world))).unwrap()))
    }

    /// What this guest sends with that evidence.
    pub(crate) fn attestation_with(&self, primary: Value) -> Value {
        json!({
            "init-data": {"format": "toml", "body": String::from_utf8(self.document.clone()).unwrap()},
            "runtime-data": {"nonce": self.nonce, "tee-pubkey": self.key.public()},
            "tee-evidence": {"primary_evidence": primary, "additional_evidence": ""},
        })
    }

    /// What its evidence has to be bound to.
    pub(crate) fn bound(&self) -> [u8; 64] {
        kbs_report_data(&self.nonce, self.key.public()).unwrap()
    }

    pub(crate) async fn post(&self, attestation: &Value) -> Answer {
        let body = attestation.to_string().into_bytes();
        self.world.kbs(Method::POST, "/kbs/v0/attest", &[("cookie", &self.cookie)], body).await
    }

    /// Attests and is accepted; the token.
    pub(crate) async fn attest(&self) -> String {
        let answer = self.post(&self.attestation()).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Attests and is refused; the code.
    pub(crate) async fn refused(&self, attestation: &Value) -> String {
        let answer = self.post(attestation).await;
        assert_eq!(answer.status, 401, "{}", String::from_utf8_lossy(&answer.body));
        let kind = answer.json()["type"].as_str().unwrap().to_owned();
        assert_eq!(kind, "https://github.com/confidential-containers/kbs/errors/AttestationError");
        answer.code()
    }

    pub(crate) async fn fetch(&self, id: &str) -> Answer {
        self.world.kbs(Method::GET, &format!("/kbs/v0/resource/{id}"), &[("cookie", &self.cookie)], vec![]).await
    }

    /// Fetches a key and opens it.
    pub(crate) async fn key(&self, id: &str) -> Vec<u8> {
        let answer = self.fetch(id).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let jwe: Jwe = serde_json::from_slice(&answer.body).unwrap();
        self.key.decrypt(&jwe).unwrap().to_vec()
    }
}

/// What the chip's host has beside its reports: certificates, and a revocation list that is signed anew.
pub(crate) fn chain(world: &World) -> Vec<CertificateEntry> {
    let table = world.hierarchy.certificate_table(&world.vek).unwrap();
    let chain = table.entries.into_iter().map(|entry| {
        let kind = match entry.kind {
            CertificateKind::Vcek => "VCEK",
            CertificateKind::Ask => "ASK",
            CertificateKind::Ark => "ARK",
            CertificateKind::Crl => "CRL",
            _ => "Empty",
        };
        CertificateEntry { cert_type: kind.into(), data: entry.data }
    });
    chain.collect()
}

pub(crate) async fn auth(world: &World, request: Value) -> Answer {
    world.kbs(Method::POST, "/kbs/v0/auth", &[], request.to_string().into_bytes()).await
}
