//! Nothing that a caller wrote is in the log, in the counts or in a refusal, whatever becomes of the request.

use super::*;
use crate::inference::generation_tests::alphabet;
use crate::inference::tensor::tests::doubling;
use futures_util::FutureExt as _;
use std::io::Write;
use std::sync::Mutex;
use strongroom_jose::TokenSigner;
use strongroom_policy::PRINCIPALS;
use strongroom_wire::document;
use tracing_subscriber::fmt::MakeWriter;

/// What callers write here.
const MARK: &str = "xylophone-4711";

/// All that is logged, at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn start() -> Self {
        let log = Self::default();
        let lines = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(tracing::Level::TRACE);
        // Of all threads: nextest gives each test a process of its own.
        tracing::subscriber::set_global_default(lines.with_writer(log.clone()).finish()).unwrap();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about requests.
    fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == "request").collect()
    }
}

async fn metrics_of(app: &App) -> String {
    let (status, headers, body) = send(&app.clone().metrics_router(), Method::GET, "/metrics", &[], "").await;
    assert_eq!((status, headers[header::CONTENT_TYPE].to_str().unwrap()), (StatusCode::OK, exposition::CONTENT_TYPE));
    String::from_utf8(body).unwrap()
}

/// Bodies that are asked about, that no API takes, and that break off; each has the mark wherever a caller may write.
fn bodies() -> Vec<String> {
    let whole = json!({
        "model": "tiny/1", "input": [MARK, MARK], "user": MARK, "prompt": MARK, "stop": [MARK],
        "messages": [{"role": "user", "content": MARK}], "id": MARK,
        "inputs": [{"name": MARK, "datatype": "BYTES", "shape": [1], "data": [MARK]}],
    });
    let with = |name: &str, value: Value| {
        let mut body = whole.clone();
        body[name] = value;
        body.to_string()
    };
    vec![
        whole.to_string(),
        with("model", MARK.into()),
        with("input", json!([MARK, 1])),
        with("input", json!({ MARK: MARK })),
        with("encoding_format", MARK.into()),
        with("dimensions", json!(7)),
        with(MARK, MARK.into()),
        whole.to_string().replace('}', ""),
        MARK.to_owned(),
    ]
}

#[tokio::test]
async fn what_callers_write_is_in_no_log_no_count_and_no_refusal() {
    let log = Log::start();
    let signer = TokenSigner::generate().unwrap();
    let claims = json!({"iss": "https://i", "aud": MARK, "sub": MARK, "iat": 1, "exp": 2, "cnf": {MARK: MARK}});
    let token = |header: Value| {
        let [header, payload] = [header, claims.clone()].map(|part| bytes::to_base64url(part.to_string().as_bytes()));
        format!("Bearer {header}.{payload}.{MARK}")
    };
    let authorizations = [
        KEY.1.to_owned(),
        format!("Bearer {MARK}"),
        format!("Bearer {MARK}.{MARK}.{MARK}"),
        MARK.into(),
        token(json!({"alg": MARK, "kid": MARK, "typ": MARK})),
        token(json!({"alg": MARK, "kid": signer.kid()})),
        token(json!(MARK)),
        format!("Bearer {}", signer.sign(&claims).unwrap()),
    ];
    let mut asked = 0;
    let issuer = format!("issuer = 'https://i'\naudience = 'a'\njwks = '''{}'''", json!({"keys": [signer.jwk()]}));
    for model in [counting(), panicking(), doubling(), alphabet()] {
        let issuer = document::parse_toml(issuer.as_bytes(), "issuer", 1 << 16, Code::Malformed).unwrap();
        let access = access::tests::access(|access| {
            (access.policies, access.issuers) = (Some(PRINCIPALS.into()), vec![issuer]);
        });
        let app = app_of([model], Tenure::without_lease(), access);
        let router = app.clone().router();
        for route in routes::table() {
            let path = path_of(&route);
            let paths = [
                path.clone(),
                format!("{path}?{MARK}={MARK}"),
                route.path.replace("{*name}", MARK).replace("{*target}", &format!("{MARK}/infer")),
            ];
            for (authorization, path) in authorizations.iter().flat_map(|one| paths.iter().map(move |path| (one, path)))
            {
                for body in bodies() {
                    let headers = [("authorization", authorization.as_str()), ("x-other", MARK), ("traceparent", MARK)];
                    let (status, _, answer) = send(&router, route.method.clone(), path, &headers, body).await;
                    let answer = String::from_utf8(answer).unwrap();
                    assert!(status.is_success() || !answer.contains(MARK), "{path}: {answer}");
                    asked += 1;
                }
            }
        }
        assert!(!metrics_of(&app).await.contains(MARK));
    }
    assert!(asked > 500, "{asked}");
    let text = log.text();
    assert!(!text.contains(MARK) && !text.contains("key-of-app"), "{text}");
    assert!(log.requests().len() > 400, "{}", log.requests().len());
}

#[tokio::test]
async fn each_request_leaves_one_line_and_is_counted() {
    let log = Log::start();
    let app = app([counting()]);
    let router = app.clone().router();
    let ask = r#"{"model":"tiny/1","input":["a b","c"]}"#;
    assert_eq!(embed(&router, &[KEY], ask).await.0, StatusCode::OK);
    assert_eq!(embed(&router, &[("authorization", "Bearer wrong")], ask).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(embed(&router, &[KEY], r#"{"model":"other","input":"a"}"#).await.0, StatusCode::NOT_FOUND);
    let nonce = format!("{}?nonce={}", evidence::PATH, "ab".repeat(32));
    assert_eq!(send(&router, Method::GET, &nonce, &[], "").await.0, StatusCode::OK);
    assert_eq!(get(&router, "/readyz", &[]).await.0, StatusCode::OK);
    let lines = log.requests();
    let [served, unknown, absent, evidence] = &lines[..] else { panic!("{lines:#?}") };
    for (name, value) in [
        ("route", json!("/v1/embeddings")),
        ("outcome", json!("ok")),
        ("status", json!(200)),
        ("kind", json!("api-key")),
        ("identity", json!("app")),
        ("action", json!("Embed")),
        ("model", json!("tiny/1")),
        ("manifest", json!(Sha256([1; 32]).oci())),
        ("policies", json!("principals")),
        ("output_tokens", json!(0)),
    ] {
        assert_eq!(served[name], value, "{name}");
    }
    let tokens = served["input_tokens"].as_u64().unwrap();
    assert!(tokens > 0 && served["microseconds"].is_u64());
    assert_eq!((&unknown["outcome"], unknown.get("identity")), (&json!("unauthenticated"), None));
    assert_eq!(
        (&absent["outcome"], &absent["identity"], absent.get("model")),
        (&json!("model-unknown"), &json!("app"), None)
    );
    assert_eq!((&evidence["outcome"], evidence.get("identity")), (&json!("ok"), None));
    let metrics = metrics_of(&app).await;
    for line in [
        "strongroom_enclave_requests_total{route=\"/v1/embeddings\",code=\"ok\"} 1".to_owned(),
        "strongroom_enclave_requests_total{route=\"/v1/embeddings\",code=\"unauthenticated\"} 1".to_owned(),
        "strongroom_enclave_requests_total{route=\"/v1/embeddings\",code=\"model-unknown\"} 1".to_owned(),
        "strongroom_enclave_request_seconds_count{route=\"/v1/embeddings\"} 3".to_owned(),
        format!("strongroom_enclave_tokens_total{{action=\"Embed\",way=\"input\"}} {tokens}"),
        "strongroom_enclave_queued_requests 0".to_owned(),
        "strongroom_enclave_ready 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|had| had == line), "{line}\n{metrics}");
    }
}

#[tokio::test]
async fn answer_that_is_streamed_leaves_its_line_at_its_end_with_its_tokens() {
    let log = Log::start();
    let router = app([alphabet()]).router();
    let ask = json!({"model": "tiny/1", "prompt": "w", "temperature": 0, "stream": true}).to_string();
    let request = Request::post("/v1/completions").header(KEY.0, KEY.1).body(Body::from(ask)).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!((answer.status(), log.requests().len()), (StatusCode::OK, 0), "not over yet");
    read_body(answer.into_body(), 1 << 20, "answer").await.unwrap();
    let lines = log.requests();
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    // `x`, `y`, `z`, and the token that ends it.
    let tokens = (line["input_tokens"].as_u64(), line["output_tokens"].as_u64());
    assert_eq!((&line["action"], tokens), (&json!("Generate"), (Some(1), Some(4))));
}

#[tokio::test]
async fn request_whose_caller_hangs_up_leaves_its_line() {
    let log = Log::start();
    let router = app([counting()]).router();
    let body = Body::from_stream(stream::pending::<Result<Bytes>>());
    let request = Request::post("/v1/embeddings").header(KEY.0, KEY.1).body(body).unwrap();
    let mut answer = Box::pin(router.oneshot(request));
    assert!((&mut answer).now_or_never().is_none());
    assert!(log.requests().is_empty());
    drop(answer);
    let lines = log.requests();
    let [line] = &lines[..] else { panic!("{lines:#?}") };
    assert_eq!((&line["outcome"], &line["identity"]), (&json!("unanswered"), &json!("app")));
}
