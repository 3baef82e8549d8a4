//! The token flow, and what may not travel to another host.

use crate::common::{client_at, code, pattern, serve_router};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use strongroom_devkit::registry::{Config, Registry};
use strongroom_registry_client::{Access, Blob, Credentials, Password, Ranges};
use strongroom_wire::Code;

type Log = Arc<Mutex<Vec<(String, Option<String>)>>>;

fn authorization(headers: &HeaderMap) -> Option<String> {
    headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned())
}

fn note(log: &Log, request: &Request) {
    log.lock().unwrap().push((request.uri().to_string(), authorization(request.headers())));
}

/// A server that answers every request with what `answer` makes of it, and remembers who asked for what.
async fn server(answer: impl Fn(&Request) -> Response + Clone + Send + Sync + 'static) -> (SocketAddr, Log) {
    let log = Log::default();
    let handler = move |State(log): State<Log>, request: Request| {
        note(&log, &request);
        let response = answer(&request);
        async move { response }
    };
    let router = Router::new().fallback(get(handler)).with_state(log.clone());
    (serve_router(router).await, log)
}

fn credentials() -> Access {
    let password = Password::new("geheim".to_owned());
    Access { credentials: Some(Credentials { username: "anna".to_owned(), password }), ..Access::default() }
}

async fn token_service(answer: &'static str) -> (SocketAddr, Log) {
    server(move |_| answer.into_response()).await
}

/// A registry that wants `Bearer token`, for more than is asked of it, and redirects blobs to `store`.
async fn registry(service: SocketAddr, store: SocketAddr) -> (SocketAddr, Log) {
    server(move |request| {
        if authorization(request.headers()).as_deref() == Some("Bearer token") {
            return (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, format!("http://{store}/x?signature=y"))])
                .into_response();
        }
        let challenge =
            format!("Bearer realm=\"http://{service}/token\",service=\"the registry\",scope=\"repository:other:*\"");
        (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
    })
    .await
}

#[tokio::test]
async fn token_obtained_once_and_sent_to_nobody_else() {
    for answer in [r#"{"token":"token"}"#, r#"{"access_token":"token","expires_in":60}"#] {
        let blob = Blob::bytes("content");
        let (store, stored) = server(|_| Body::from("content").into_response()).await;
        let (service, asked) = token_service(answer).await;
        let (registry, served) = registry(service, store).await;
        let client = client_at(registry, credentials());
        for _ in 0..2 {
            assert_eq!(client.blob("a/b", blob.digest(), blob.size(), 100).await.unwrap(), "content");
        }
        let basic = Some("Basic YW5uYTpnZWhlaW0=".to_owned());
        let query = "/token?scope=repository%3Aa%2Fb%3Apull&service=the%20registry".to_owned();
        assert_eq!(*asked.lock().unwrap(), [(query, basic)]);
        let bearer = Some("Bearer token".to_owned());
        let seen: Vec<_> = served.lock().unwrap().iter().map(|(_, authorization)| authorization.clone()).collect();
        assert_eq!(seen, [None, bearer.clone(), bearer]);
        assert_eq!(*stored.lock().unwrap(), [("/x?signature=y".to_owned(), None), ("/x?signature=y".to_owned(), None)]);
    }
}

#[tokio::test]
async fn token_service_that_gives_none_refused() {
    let blob = Blob::bytes("content");
    for (answer, want) in
        [("{}", Code::RegistryFailed), ("<html>", Code::RegistryFailed), (r#"{"token":"a\nb"}"#, Code::RegistryFailed)]
    {
        let (service, _) = token_service(answer).await;
        let (registry, _) = registry(service, service).await;
        let pulled = client_at(registry, credentials()).blob("a/b", blob.digest(), blob.size(), 100).await;
        assert_eq!(code(pulled), want, "{answer}");
    }
    let (service, _) = server(|_| StatusCode::FORBIDDEN.into_response()).await;
    let (registry, _) = registry(service, service).await;
    let pulled = client_at(registry, credentials()).blob("a/b", blob.digest(), blob.size(), 100).await;
    assert_eq!(code(pulled), Code::RegistryUnauthorized);
}

#[tokio::test]
async fn token_that_is_not_accepted_asked_for_once() {
    let blob = Blob::bytes("content");
    let (service, asked) = token_service(r#"{"token":"other"}"#).await;
    let (registry, _) = registry(service, service).await;
    let pulled = client_at(registry, Access::default()).blob("a/b", blob.digest(), blob.size(), 100).await;
    assert_eq!(code(pulled), Code::RegistryUnauthorized);
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn redirects_without_end_and_without_target_refused() {
    let blob = Blob::bytes("content");
    for location in [Some("/again"), Some("again"), None] {
        let (registry, served) = server(move |_| match location {
            Some(location) => (StatusCode::FOUND, [(header::LOCATION, location)]).into_response(),
            None => StatusCode::FOUND.into_response(),
        })
        .await;
        let pulled = client_at(registry, Access::default()).blob("a/b", blob.digest(), blob.size(), 100).await;
        assert_eq!(code(pulled), Code::RegistryFailed, "{location:?}");
        assert!(served.lock().unwrap().len() <= 5);
    }
}

/// A devkit registry behind a guard whose tokens are good for `uses` requests each, and a service that gives such tokens.
struct Guarded {
    registry: Registry,
    addr: SocketAddr,
    given: Arc<Mutex<u32>>,
    forms: Log,
    _folder: tempfile::TempDir,
}

impl Guarded {
    async fn start(uses: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let registry = Registry::open(&Config::new(folder.path().join("registry"))).unwrap();
        let (given, left, forms) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)), Log::default());
        let (counted, filled, log) = (Arc::clone(&given), Arc::clone(&left), forms.clone());
        let issue = move |request: Request| async move {
            let authorization = authorization(request.headers());
            let form = axum::body::to_bytes(request.into_body(), 4096).await.unwrap();
            log.lock().unwrap().push((String::from_utf8(form.to_vec()).unwrap(), authorization));
            *counted.lock().unwrap() += 1;
            *filled.lock().unwrap() = uses;
            format!(r#"{{"token":"t{}"}}"#, counted.lock().unwrap())
        };
        let service = serve_router(Router::new().fallback(issue)).await;
        let current = Arc::clone(&given);
        let guard = middleware::from_fn(move |request: Request, next: Next| {
            let good = {
                let mut left = left.lock().unwrap();
                let want = format!("Bearer t{}", current.lock().unwrap());
                let good = *left > 0 && authorization(request.headers()) == Some(want);
                *left -= u32::from(good);
                good
            };
            async move {
                if good {
                    return next.run(request).await;
                }
                let challenge = format!("Bearer realm=\"http://{service}/token\",service=\"s\"");
                (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
            }
        });
        let addr = serve_router(registry.router().layer(guard)).await;
        Self { registry, addr, given, forms, _folder: folder }
    }
}

#[tokio::test]
async fn token_that_runs_out_in_mid_transfer_is_renewed() {
    let guarded = Guarded::start(4).await;
    let ranges = Ranges { length: 10_000, ahead: 3 };
    let client = client_at(guarded.addr, Access { ranges, ..Access::default() });
    let bytes = pattern(200_000);
    let blob = Blob::bytes(bytes.clone());
    assert!(client.push_blob("a/b", &blob).await.unwrap());
    assert_eq!(client.blob("a/b", blob.digest(), blob.size(), 200_000).await.unwrap(), bytes);
    let asked = guarded.registry.requests().all().len();
    assert_eq!(asked, 3 + 20, "each part once");
    let given = *guarded.given.lock().unwrap();
    assert!((6..=10).contains(&given), "{given}");
}

#[tokio::test]
async fn token_that_runs_out_obtained_once_for_all_ranges() {
    let guarded = Guarded::start(1000).await;
    let ranges = Ranges { length: 10_000, ahead: 8 };
    let client = client_at(guarded.addr, Access { ranges, ..Access::default() });
    let blob = Blob::bytes(pattern(200_000));
    client.push_blob("a/b", &blob).await.unwrap();
    let before = *guarded.given.lock().unwrap();
    // Another scope: the first range obtains its token before there are others.
    client.blob("a/b", blob.digest(), blob.size(), 200_000).await.unwrap();
    assert_eq!(*guarded.given.lock().unwrap(), before + 1);
}

#[tokio::test]
async fn identity_token_exchanged_and_never_shown_to_the_registry() {
    let guarded = Guarded::start(1000).await;
    let json = format!(r#"{{"auths":{{"{}":{{"identitytoken":"ge+heim"}}}}}}"#, guarded.addr);
    let credentials = Credentials::from_config_json(json.as_bytes(), &guarded.addr.to_string()).unwrap();
    let client = client_at(guarded.addr, Access { credentials, ..Access::default() });
    assert!(client.push_blob("a/b", &Blob::bytes("content")).await.unwrap());
    let form = "grant_type=refresh_token&client_id=strongroom&scope=repository%3Aa%2Fb%3Apull%2Cpush&service=s\
                &refresh_token=ge%2Bheim";
    assert_eq!(*guarded.forms.lock().unwrap(), [(form.to_owned(), None)]);
}

#[tokio::test]
async fn failing_token_service_asked_again() {
    let blob = Blob::bytes("content");
    let (store, _) = server(|_| Body::from("content").into_response()).await;
    let failures = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&failures);
    let (service, asked) = server(move |_| {
        *counted.lock().unwrap() += 1;
        match *counted.lock().unwrap() {
            1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            2 => StatusCode::TOO_MANY_REQUESTS.into_response(),
            _ => r#"{"token":"token"}"#.into_response(),
        }
    })
    .await;
    let (registry, _) = registry(service, store).await;
    let client = client_at(registry, Access::default());
    assert_eq!(client.blob("a/b", blob.digest(), blob.size(), 100).await.unwrap(), "content");
    assert_eq!(asked.lock().unwrap().len(), 3);
}
