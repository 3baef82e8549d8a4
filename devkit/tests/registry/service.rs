use crate::client::{Fixture, PATIENCE, image};
use http::{Method, Request, StatusCode};
use std::sync::Arc;
use strongroom_devkit::registry::{Config, Credentials, Fault, Gate, Recorded, RunningRegistry, Target, Times};
use strongroom_transport::http::empty;
use strongroom_transport::{HttpClient, ServerIdentity, ServerTrust};
use strongroom_wire::Code;

#[tokio::test]
async fn base_says_which_protocol_it_is() {
    let fixture = Fixture::start().await;
    let reply = fixture.get("/v2/").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.header("docker-distribution-api-version"), Some("registry/2.0"));
    fixture.get("/").await.assert_error(404, "UNSUPPORTED");
}

#[tokio::test]
async fn method_that_an_endpoint_has_not_is_refused_with_those_it_has() {
    let fixture = Fixture::start().await;
    let reply = fixture.send(Method::PUT, "/v2/_catalog", &[], b"").await;
    reply.assert_error(405, "UNSUPPORTED");
    assert_eq!(reply.header("allow"), Some("GET, HEAD"));
}

#[tokio::test]
async fn right_password_accepted_and_wrong_or_absent_one_challenged() {
    let fixture = Fixture::with(|config| config.credentials = Some(Credentials::new("user", "password"))).await;
    // base64 of `user:password` and of `user:Password`.
    let right = fixture.send(Method::GET, "/v2/", &[("authorization", "Basic dXNlcjpwYXNzd29yZA==")], b"").await;
    assert_eq!(right.status, StatusCode::OK);
    let wrong = fixture.send(Method::GET, "/v2/", &[("authorization", "Basic dXNlcjpQYXNzd29yZA==")], b"").await;
    for reply in [wrong, fixture.get("/v2/").await, fixture.get("/v2/a/tags/list").await] {
        reply.assert_error(401, "UNAUTHORIZED");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"strongroom\""));
    }
}

#[tokio::test]
async fn requests_are_recorded_as_they_came() {
    let fixture = Fixture::start().await;
    let path = "/v2/a/blobs/sha256:0";
    fixture.send(Method::GET, &format!("{path}?x=y"), &[("range", "bytes=1-2")], b"").await;
    let recorded = Recorded {
        method: Method::GET,
        path: path.to_owned(),
        query: Some("x=y".to_owned()),
        range: Some("bytes=1-2".to_owned()),
    };
    assert_eq!(fixture.registry.requests().all(), [recorded]);
    fixture.registry.requests().clear();
    assert_eq!(fixture.registry.requests().count(&Method::GET, ""), 0);
}

#[tokio::test]
async fn registry_over_tls_is_reached_by_its_pin_and_not_by_another() {
    let root = tempfile::tempdir().unwrap();
    let identity = Arc::new(ServerIdentity::generate(&["127.0.0.1".to_owned()]).unwrap());
    let pin = identity.spki_sha256();
    let config = Config { tls: Some(identity), ..Config::new(root.path()) };
    let registry = RunningRegistry::start(config).await.unwrap();
    let send = |pin| {
        let request = Request::get(format!("https://{}/v2/", registry.addr())).body(empty()).unwrap();
        let client = HttpClient::new(&ServerTrust::Pin(pin), false).unwrap();
        async move { client.send(request, PATIENCE).await }
    };
    assert_eq!(send(pin).await.unwrap().status(), StatusCode::OK);
    assert_eq!(send([0; 32]).await.unwrap_err().code, Code::PinMismatch);
    registry.stop().await.unwrap();
}

#[tokio::test]
async fn restarted_registry_has_what_was_pushed_and_no_open_uploads() {
    let Fixture { registry, http, base, root } = {
        let fixture = Fixture::start().await;
        fixture.push_blob("a", b"{}").await;
        fixture.push_blob("a", b"layer").await;
        fixture.push_manifest("a", Some("v1"), &image(b"layer")).await;
        fixture
    };
    let addr = registry.addr();
    registry.stop().await.unwrap();
    let config = Config { listen: addr.to_string(), ..Config::new(root.path()) };
    let registry = RunningRegistry::start(config).await.unwrap();
    assert_eq!(registry.addr(), addr, "a stopped registry has given its port back");
    let fixture = Fixture { registry, http, base, root };
    assert_eq!(fixture.get("/v2/a/manifests/v1").await.body, image(b"layer").to_string());
    assert_eq!(fixture.registry.requests().all().len(), 1, "the record is the running registry's own");
}

#[tokio::test]
async fn stop_does_not_wait_for_a_stalled_answer() {
    let fixture = Fixture::start().await;
    let gate = Gate::closed();
    fixture.registry.faults().set(Target::Any, Times::Always, Fault::Stall(gate));
    let request = Request::get(format!("{}/v2/", fixture.base)).body(empty()).unwrap();
    let http = fixture.http.clone();
    let stalled = tokio::spawn(async move { http.send(request, PATIENCE).await });
    while fixture.registry.requests().all().is_empty() {
        tokio::task::yield_now().await;
    }
    fixture.registry.stop().await.unwrap();
    assert_eq!(stalled.await.unwrap().unwrap_err().code, Code::Network);
}
