//! The real program from its start to its stop: with a registry, a security processor of a test root and the set-up's model.
//! Models are plain here, so that no verifier is needed; key release is tested where both services are.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod setup;
mod world;

use serde_json::{Value, json};
use std::time::Duration;
use strongroom_svid::Bundle;
use strongroom_transport::http::{empty, full};
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::Code;
use strongroom_wire::deployment::{Settings, TrustedDomain};
use strongroom_wire::digest::Sha256;
use strongroom_wire::evidence::{self, EvidenceAnswer};
use strongroom_wire::snp::Report;
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{bytes, deployment::Deployment};
use world::{Boot, World};

const KEY: &str = "Bearer key-of-app";

/// A client that trusts whatever key it is told that `spki` is.
struct Caller {
    http: HttpClient,
    url: String,
}

impl Caller {
    async fn of(address: &str) -> (Self, Vec<u8>) {
        let spki = strongroom_transport::connect_provisional(address, Duration::from_secs(5)).await.unwrap().spki;
        let http = HttpClient::new(&ServerTrust::Pin(Sha256::of(&spki).0), false).unwrap();
        (Self { http, url: format!("https://{address}") }, spki)
    }

    async fn ask(&self, path: &str, key: &str, body: Option<&Value>) -> (u16, Vec<u8>) {
        let request = http::Request::builder().uri(format!("{}{path}", self.url)).header("authorization", key);
        let request = match body {
            Some(body) => request.method("POST").body(full(body.to_string())),
            None => request.body(empty()),
        };
        let answer = self.http.send(request.unwrap(), Duration::from_secs(20)).await.unwrap();
        let status = answer.status().as_u16();
        (status, read_body(answer.into_body(), 1 << 22, "answer").await.unwrap().to_vec())
    }

    async fn json(&self, path: &str, key: &str, body: Option<&Value>) -> (u16, Value) {
        let (status, body) = self.ask(path, key, body).await;
        (status, serde_json::from_slice(&body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signed_model_served_with_evidence_and_stopped_on_sigterm() {
    let Some(world) = World::new().await else { return };
    let enclave = world.boot(Boot::default()).await.unwrap();
    let (caller, spki) = Caller::of(&enclave.address).await;
    assert_eq!(caller.json("/readyz", "", None).await, (200, json!({"stage": "serving"})));
    let (status, model) = caller.json("/v1/models/tiny", KEY, None).await;
    assert_eq!((status, &model["manifest"]), (200, &json!(world.manifest().oci())));

    let secret = "correct horse battery staple";
    let ask = json!({"model": "tiny", "input": [secret, ""]});
    let (status, answer) = caller.json("/v1/embeddings", KEY, Some(&ask)).await;
    assert_eq!((status, answer["data"].as_array().unwrap().len()), (200, 2));
    assert_eq!(caller.json("/v1/embeddings", "Bearer other", Some(&ask)).await.0, 401);

    let nonce = [0xcd; 32];
    let path = format!("{}?nonce={}", evidence::PATH, Sha256(nonce));
    let (_, evidence) = caller.ask(&path, "", None).await;
    let answer = EvidenceAnswer::parse(&evidence).unwrap();
    let report = Report::parse(&bytes::from_base64(&answer.evidence, "evidence").unwrap()).unwrap();
    assert_eq!(answer.expected_report_data(&nonce, &spki).unwrap(), report.report_data);
    let document = answer.workload.deployment().unwrap();
    assert_eq!(Sha256::of(&document).0, report.host_data);
    assert_eq!(Deployment::parse(&document).unwrap().settings(), &world.settings());
    assert_eq!(answer.workload.models[0].manifest, world.manifest());

    // `prlimit` of the process: no core dump, whoever asks for one.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", enclave.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);

    let counts = world::curl(&[&format!("http://{}/metrics", enclave.metrics())]).await;
    let log = enclave.stop().await;
    assert!(log.contains(r#""next":"serving""#), "{log}");
    let requests: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let asked: Vec<_> = requests.iter().filter(|line| line["route"] == "/v1/embeddings").collect();
    let outcomes: Vec<_> = asked.iter().map(|line| (line["outcome"].as_str(), line["identity"].as_str())).collect();
    assert_eq!(outcomes, [(Some("ok"), Some("app")), (Some("unauthenticated"), None)]);
    assert!(asked.iter().all(|line| line["span"]["trace_id"].as_str().is_some_and(|id| id.len() == 32)), "{asked:?}");
    assert!(counts.is_none_or(|counts| counts.contains(r#"{route="/v1/embeddings",code="ok"} 1"#)));
    assert!(!log.contains(secret) && !log.contains("key-of-app"), "{log}");
}

/// An authority and a workload's certificate as anybody makes them, and a caller that is no client of ours.
#[tokio::test(flavor = "multi_thread")]
async fn workload_with_a_certificate_that_openssl_made_served_and_one_of_another_authority_not() {
    let Some(world) = World::new().await else { return };
    let folder = tempfile::tempdir().unwrap();
    let made = async |name: &str| world::workload(folder.path(), name, "spiffe://apps.test/indexer").await;
    let (Some(own), Some(other)) = (made("own").await, made("other").await) else { return };
    let domain = TrustDomain::parse("apps.test").unwrap();
    let bundle = Bundle::new(domain.clone(), vec![own.authority.clone()], 1, 300).to_json().unwrap();
    let change = move |settings: &mut Settings| {
        let policy = r#"@id("w") permit (principal in Strongroom::Folder::"spiffe://apps.test", action, resource);"#;
        settings.access.policies = Some(policy.into());
        let bundle = String::from_utf8(bundle).unwrap();
        settings.access.trust_domains = vec![TrustedDomain { name: domain, bundle }];
    };
    let enclave = world.boot(Boot { change: Some(Box::new(change)), ..Boot::default() }).await.unwrap();
    let url = format!("https://{}/v1/embeddings", enclave.address);
    let body = r#"{"model":"tiny","input":"a cat"}"#;
    for (who, status) in [(&own, "200"), (&other, "401")] {
        let shown = ["--cert", &who.certificate, "--key", &who.key];
        let asked = ["-k", "-o", "/dev/null", "-w", "%{http_code}", "-d", body, &url];
        assert_eq!(world::curl(&[&shown[..], &asked].concat()).await.as_deref(), Some(status));
    }
    let log = enclave.stop().await;
    assert!(log.contains(r#""kind":"workload","identity":"spiffe://apps.test/indexer""#), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn document_that_the_hardware_does_not_name_refused() {
    let Some(world) = World::new().await else { return };
    let refusal = world.boot(Boot { host_data: Some([7; 32]), ..Boot::default() }).await.err().unwrap();
    assert_eq!(refusal, (Code::DeploymentMismatch, 1));
    let refusal = world.boot(Boot { host_data: Some([0; 32]), ..Boot::default() }).await.err().unwrap();
    assert_eq!(refusal, (Code::DeploymentMissing, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn model_of_a_stranger_refused() {
    let Some(world) = World::new().await else { return };
    let refusal =
        world.boot(Boot { change: Some(Box::new(world::trust_somebody_else)), ..Boot::default() }).await.err().unwrap();
    assert_eq!(refusal, (Code::SignerUntrusted, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn manifest_that_the_registry_does_not_have_refused() {
    let Some(world) = World::new().await else { return };
    let other = |settings: &mut Settings| {
        let (repository, _) = settings.models[0].repository_and_digest().unwrap();
        settings.models[0].reference = format!("{repository}@{}", Sha256([1; 32]).oci());
    };
    let refusal = world.boot(Boot { change: Some(Box::new(other)), ..Boot::default() }).await.err().unwrap();
    assert_eq!(refusal, (Code::RegistryNotFound, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn runtime_that_the_document_does_not_name_refused() {
    let Some(world) = World::new().await else { return };
    let other = |settings: &mut Settings| settings.runtime.onnxruntime = Sha256([1; 32]);
    let refusal = world.boot(Boot { change: Some(Box::new(other)), ..Boot::default() }).await.err().unwrap();
    assert_eq!(refusal, (Code::RuntimeMismatch, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_checked_without_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enclave.toml");
    for (line, code) in [("", 0), ("pin = 'aa'", 2)] {
        std::fs::write(&file, format!("listen = 'x'\ndeployment = '/d'\nonnxruntime = '/o'\n{line}\n")).unwrap();
        let status = world::program().arg("--check").arg("--config").arg(&file).status().await.unwrap();
        assert_eq!(status.code(), Some(code), "{line}");
    }
}
