//! The local endpoint in front of the client.

use crate::enclave::{EVIDENCE_REQUEST, Enclave, Guest, terms};
use crate::impostor::Impostor;
use crate::pool::{fed, options};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::net::SocketAddr;
use std::time::Duration;
use strongroom_client::{AttestedClient, serve_proxy};
use strongroom_transport::http::{empty, full};
use strongroom_transport::{Body, HttpClient, ServerTrust, bind, read_body};
use strongroom_wire::{Code, limits};

struct Proxy(SocketAddr);

impl Proxy {
    async fn to(authority: &str) -> Self {
        let client = AttestedClient::new(&format!("https://{authority}"), terms(), options()).unwrap();
        let bound = bind("127.0.0.1:0").await.unwrap();
        let address = bound.local_addr();
        tokio::spawn(serve_proxy(bound, client, core::future::pending()));
        Self(address)
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.0))
    }

    async fn send(&self, request: Request<Body>) -> Response<Incoming> {
        let client = HttpClient::new(&ServerTrust::WebPki, true).unwrap();
        client.send(request, Duration::from_secs(10)).await.unwrap()
    }

    async fn post(&self, path: &str, body: Body) -> Response<Incoming> {
        self.send(self.request(Method::POST, path).body(body).unwrap()).await
    }
}

async fn enclave_behind_proxy() -> (Enclave, Proxy) {
    let enclave = Guest::approved().run().await;
    let proxy = Proxy::to(&enclave.authority()).await;
    (enclave, proxy)
}

/// Status, and `error.code` of an answer that is the proxy's own.
async fn own_error(answer: Response<Incoming>) -> (StatusCode, String) {
    let status = answer.status();
    let body = read_body(answer.into_body(), 1 << 16, "answer").await.unwrap();
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let error = json.get("error").unwrap().as_object().unwrap();
    assert!(error["message"].is_string() && error["type"].is_string() && error["param"].is_null());
    (status, error["code"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn request_forwarded_with_its_headers_and_without_those_of_the_hop() {
    let (enclave, proxy) = enclave_behind_proxy().await;
    let request = proxy
        .request(Method::POST, "/v1/embeddings?a=b%2Fc")
        .header("authorization", "Bearer key")
        .header("x-end-to-end", "kept")
        .header("connection", "x-hop")
        .header("x-hop", "not for others")
        .body(full("prompt"))
        .unwrap();
    let answer = proxy.send(request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-saw-authorization"], "Bearer key");
    assert_eq!(answer.headers()["x-saw-x-end-to-end"], "kept");
    assert_eq!(answer.headers()["x-saw-host"], enclave.authority().as_str());
    assert!(!answer.headers().contains_key("x-saw-x-hop"));
    assert_eq!(read_body(answer.into_body(), 100, "answer").await.unwrap(), "prompt");
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, "POST /v1/embeddings"]);
}

#[tokio::test]
async fn every_api_and_its_description_forwarded() {
    let (enclave, proxy) = enclave_behind_proxy().await;
    let paths = ["/v1/models", "/v2", "/v2/models/m/infer", "/openapi.json"];
    for path in paths {
        let answer = proxy.send(proxy.request(Method::GET, path).body(empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
    }
    let seen: Vec<String> = paths.iter().map(|path| format!("GET {path}")).collect();
    assert_eq!(enclave.seen()[1..], seen);
}

#[tokio::test]
async fn bodies_streamed_both_ways_at_once() {
    let (_, proxy) = enclave_behind_proxy().await;
    let (chunks, body) = fed();
    let mut answer = proxy.post("/v1/stream", body).await.into_body();
    for chunk in ["one", "two", "three"] {
        chunks.send(chunk.into()).unwrap();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), chunk);
    }
    drop(chunks);
    assert!(answer.frame().await.is_none());
}

#[tokio::test]
async fn refusal_to_attest_answered_with_502_and_nothing_sent() {
    let enclave = Guest::approved().run().await;
    let impostor = Impostor::relaying(&enclave).await;
    let proxy = Proxy::to(&impostor.authority()).await;
    let answer = proxy.post("/v1/embeddings", full("prompt")).await;
    assert_eq!(own_error(answer).await, (StatusCode::BAD_GATEWAY, Code::ChannelKeyMismatch.to_string()));
    assert_eq!(impostor.seen(), [EVIDENCE_REQUEST]);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn enclave_that_is_not_there_answered_with_502() {
    let nobody = bind("127.0.0.1:0").await.unwrap().local_addr();
    let proxy = Proxy::to(&nobody.to_string()).await;
    let answer = proxy.post("/v1/embeddings", full("prompt")).await;
    assert_eq!(own_error(answer).await, (StatusCode::BAD_GATEWAY, Code::Network.to_string()));
}

#[tokio::test]
async fn health_answered_here_and_unknown_routes_refused_here() {
    let (enclave, proxy) = enclave_behind_proxy().await;
    let health = proxy.send(proxy.request(Method::GET, "/healthz").body(empty()).unwrap()).await;
    assert_eq!(health.status(), StatusCode::OK);
    let unknown = (StatusCode::NOT_FOUND, Code::RouteUnknown.to_string());
    for path in ["/", "/v1", "/v3/models", "/.well-known/strongroom/evidence?nonce=00", "/readyz"] {
        let answer = proxy.send(proxy.request(Method::GET, path).body(empty()).unwrap()).await;
        assert_eq!(own_error(answer).await, unknown, "{path}");
    }
    let traced = proxy.send(proxy.request(Method::TRACE, "/v1/models").body(empty()).unwrap()).await;
    assert_eq!(own_error(traced).await, unknown);
    assert_eq!(enclave.seen(), [""; 0]);
}

#[tokio::test]
async fn body_at_limit_forwarded_and_over_it_refused_unsent() {
    let (enclave, proxy) = enclave_behind_proxy().await;
    let answer = proxy.post("/v1/embeddings", full(vec![b'x'; limits::API_BODY + 1])).await;
    assert_eq!(own_error(answer).await, (StatusCode::PAYLOAD_TOO_LARGE, Code::TooLarge.to_string()));
    assert_eq!(enclave.seen(), [""; 0]);
    let answer = proxy.post("/v1/embeddings", full(vec![b'x'; limits::API_BODY])).await;
    assert_eq!(read_body(answer.into_body(), limits::API_BODY, "answer").await.unwrap().len(), limits::API_BODY);
}

#[tokio::test]
async fn body_that_announces_no_length_cut_off_at_the_limit() {
    let (enclave, proxy) = enclave_behind_proxy().await;
    for (length, status) in [(limits::API_BODY, StatusCode::OK), (limits::API_BODY + 1, StatusCode::PAYLOAD_TOO_LARGE)]
    {
        let (chunks, body) = fed();
        chunks.send(vec![b'x'; length].into()).unwrap();
        drop(chunks);
        let answer = proxy.post("/v1/whole", body).await;
        assert_eq!(answer.status(), status);
        if status != StatusCode::OK {
            assert_eq!(own_error(answer).await.1, Code::TooLarge.to_string());
        }
    }
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, "POST /v1/whole", "POST /v1/whole"]);
}

#[tokio::test]
async fn proxy_on_an_address_of_the_network_refused() {
    let client = AttestedClient::new("https://enclave.example", terms(), options()).unwrap();
    let open = bind("0.0.0.0:0").await.unwrap();
    let refusal = serve_proxy(open, client.clone(), core::future::ready(())).await.unwrap_err();
    assert_eq!(refusal.code, Code::PlaintextRefused);
    let local = bind("127.0.0.1:0").await.unwrap();
    assert!(serve_proxy(local, client, core::future::ready(())).await.is_ok());
}
