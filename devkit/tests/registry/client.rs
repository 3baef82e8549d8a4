//! A registry in a folder of its own, and a plain HTTP client in front of it.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use strongroom_devkit::registry::{Config, RunningRegistry};
use strongroom_transport::http::{empty, full};
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::Result;
use strongroom_wire::digest::Sha256;
use tempfile::TempDir;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Longer than any answer takes that is not stalled.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The status and the first error code of the body.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status.as_u16(), self.json()["errors"][0]["code"].as_str().unwrap().to_owned())
    }

    /// Asserts an error answer.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, code: &str) {
        assert_eq!(self.error(), (status, code.to_owned()));
    }
}

/// A running registry, its folder, and a client of it.
pub(crate) struct Fixture {
    pub(crate) registry: RunningRegistry,
    pub(crate) http: HttpClient,
    pub(crate) base: String,
    pub(crate) root: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut config = Config::new(root.path());
        change(&mut config);
        let registry = RunningRegistry::start(config).await.unwrap();
        let http = HttpClient::new(&ServerTrust::WebPki, true).unwrap();
        let base = format!("http://{}", registry.addr());
        Self { registry, http, base, root }
    }

    /// Sends a request and reads the answer; an error where the connection breaks before its end.
    pub(crate) async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        let body = body.into();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(if body.is_empty() { empty() } else { full(body) }).unwrap();
        let response = self.http.send(request, PATIENCE).await?;
        let (parts, body) = response.into_parts();
        let body = read_body(body, 64 * 1024 * 1024, "answer").await?;
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }

    pub(crate) async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body.to_vec()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], b"").await
    }

    pub(crate) async fn head(&self, path: &str) -> Reply {
        self.send(Method::HEAD, path, &[], b"").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        self.send(Method::DELETE, path, &[], b"").await
    }

    /// Opens an upload and returns where it goes on.
    pub(crate) async fn start_upload(&self, repository: &str) -> String {
        let reply = self.send(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], b"").await;
        assert_eq!(reply.status, StatusCode::ACCEPTED);
        reply.header("location").unwrap().to_owned()
    }

    /// Pushes a blob in two requests.
    pub(crate) async fn push_blob(&self, repository: &str, content: &[u8]) -> Sha256 {
        let digest = Sha256::of(content);
        let session = self.start_upload(repository).await;
        let reply = self.send(Method::PUT, &format!("{session}?digest={}", digest.oci()), &[], content).await;
        assert_eq!(reply.status, StatusCode::CREATED);
        digest
    }

    pub(crate) async fn put_manifest(
        &self,
        repository: &str,
        reference: &str,
        media_type: &str,
        bytes: &[u8],
    ) -> Reply {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.send(Method::PUT, &path, &[("content-type", media_type)], bytes).await
    }

    /// Pushes a manifest of `document` with all it needs under `reference`, or under its digest. Returns its digest.
    pub(crate) async fn push_manifest(&self, repository: &str, tag: Option<&str>, document: &Value) -> Sha256 {
        let bytes = document.to_string();
        let digest = Sha256::of(bytes.as_bytes());
        let reference = tag.map_or_else(|| digest.oci(), str::to_owned);
        let reply = self.put_manifest(repository, &reference, OCI_MANIFEST, bytes.as_bytes()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{:?}", reply.body);
        digest
    }
}

pub(crate) fn descriptor(media_type: &str, content: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Sha256::of(content).oci(), "size": content.len()})
}

/// A manifest with the config `{}` and one layer.
pub(crate) fn image(layer: &[u8]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        "layers": [descriptor("application/octet-stream", layer)],
    })
}

/// [`image`], with a subject and an artifact type.
pub(crate) fn referrer(subject: Sha256, artifact_type: &str) -> Value {
    let mut document = image(b"signature");
    document["artifactType"] = json!(artifact_type);
    document["subject"] = json!({"mediaType": OCI_MANIFEST, "digest": subject.oci(), "size": 1});
    document["annotations"] = json!({"of": artifact_type});
    document
}
