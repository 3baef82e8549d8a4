//! A patched enclave: it speaks the key release protocol as the real one does, and leaves out every check of its own.

use crate::world::Verifier;
use http::{Request, header};
use std::time::Duration;
use strongroom_devkit::psp::PspServer;
use strongroom_jose::TeeKey;
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::attester::Quote;
use strongroom_wire::binding::kbs_report_data;
use strongroom_wire::kbs::{
    AttestResponse, Attestation, CertificateEntry, Challenge, ErrorInformation, InitData, Jwe, RuntimeData,
    SnpEvidence, TeeEvidence, VERSION,
};
use strongroom_wire::snp::{CertificateKind, CertificateTable, Report};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Evidence for one session, to be used there or elsewhere.
#[derive(Clone)]
pub(crate) struct Evidence {
    json: serde_json::Value,
}

/// A session with a verifier.
pub(crate) struct Session<'a> {
    verifier: &'a Verifier,
    client: HttpClient,
    cookie: String,
    nonce: String,
    key: TeeKey,
}

impl<'a> Session<'a> {
    /// `POST /auth`.
    pub(crate) async fn open(verifier: &'a Verifier) -> Result<Self> {
        let client = HttpClient::new(&ServerTrust::Pin(verifier.pin.0), false)?;
        let request = serde_json::json!({ "version": VERSION, "tee": "snp", "extra-params": {} });
        let request = post(verifier, "auth").body(body::full(request.to_string())).map_err(internal)?;
        let response = client.send(request, PATIENCE).await?;
        let cookie = response.headers().get(header::SET_COOKIE).and_then(|value| value.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned();
        let challenge: Challenge = parse(response).await?;
        Ok(Self { verifier, client, cookie, nonce: challenge.nonce, key: TeeKey::generate_p256()? })
    }

    /// Evidence of the guest behind `hardware` for this session.
    pub(crate) async fn evidence(&self, hardware: &PspServer) -> Result<Evidence> {
        let quote = quote(hardware, &kbs_report_data(&self.nonce, self.key.public())?).await?;
        let chain = CertificateTable::parse(&quote.certificates)?.entries.into_iter().map(|entry| CertificateEntry {
            cert_type: match entry.kind {
                CertificateKind::Vcek => "VCEK".into(),
                CertificateKind::Ark => "ARK".into(),
                _ => "ASK".into(),
            },
            data: entry.data,
        });
        let evidence = SnpEvidence::from_report(&Report::parse(&quote.evidence)?, Some(chain.collect()))?;
        Ok(Evidence { json: serde_json::to_value(evidence).map_err(internal)? })
    }

    /// `POST /attest` with whatever evidence and document. The nonce named is always this session's.
    pub(crate) async fn attest(&self, evidence: &Evidence, deployment: &[u8]) -> Result<AttestResponse> {
        let text = String::from_utf8(deployment.to_vec()).map_err(internal)?;
        let attestation = Attestation {
            init_data: Some(InitData { format: "toml".into(), body: text }),
            runtime_data: RuntimeData { nonce: self.nonce.clone(), tee_pubkey: self.key.public().clone() },
            tee_evidence: TeeEvidence { primary_evidence: evidence.json.clone(), additional_evidence: String::new() },
        };
        let request = post(self.verifier, "attest").header(header::COOKIE, &self.cookie);
        let attestation = serde_json::to_vec(&attestation).map_err(internal)?;
        let request = request.body(body::full(attestation)).map_err(internal)?;
        parse(self.client.send(request, PATIENCE).await?).await
    }

    /// `GET /resource/…`: the key, opened. Only its length is shown to anybody.
    pub(crate) async fn fetch(&self, key: &str) -> Result<usize> {
        let request = Request::get(format!("{}/kbs/v0/resource/{key}", self.verifier.url));
        let request = request.header(header::COOKIE, &self.cookie).body(body::empty()).map_err(internal)?;
        let jwe: Jwe = parse(self.client.send(request, PATIENCE).await?).await?;
        Ok(self.key.decrypt(&jwe)?.len())
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn post(verifier: &Verifier, step: &str) -> http::request::Builder {
    Request::post(format!("{}/kbs/v0/{step}", verifier.url)).header(header::CONTENT_TYPE, "application/json")
}

async fn quote(hardware: &PspServer, report_data: &[u8; 64]) -> Result<Quote> {
    let io = |e: std::io::Error| Refusal::io(hardware.path().display(), &e);
    let mut stream = UnixStream::connect(hardware.path()).await.map_err(io)?;
    stream.write_all(report_data).await.map_err(io)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.map_err(io)?;
    Quote::parse(&answer)
}

/// The answer, or the refusal whose code the verifier gave.
async fn parse<T: serde::de::DeserializeOwned>(response: http::Response<hyper::body::Incoming>) -> Result<T> {
    let status = response.status();
    let body = read_body(response.into_body(), limits::KBS_ANSWER, "verifier's answer").await?;
    if status.is_success() {
        return document::parse_json(&body, "verifier's answer", limits::KBS_ANSWER, Code::Malformed);
    }
    let error: ErrorInformation = document::parse_json(&body, "verifier's error", limits::KBS_ANSWER, Code::Malformed)?;
    Err(Refusal::new(error.code.unwrap_or(Code::Malformed), "refused by the verifier").because(error.detail))
}

fn internal(error: impl core::fmt::Display) -> Refusal {
    Refusal::new(Code::Internal, "patched enclave").because(error)
}
