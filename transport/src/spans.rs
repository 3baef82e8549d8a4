//! What requests took how long, told to a collector: OpenTelemetry's protocol (OTLP 1.x) over HTTP, in its JSON encoding, with the
//! names of its semantic conventions for HTTP servers.
//!
//! A span has the ids of its [trace](crate::trace), the method, the route by its pattern, the status and two times. Nothing in
//! it is the caller's text but the ids, which are numbers, and nothing waits for the collector: what it does not take in time is
//! counted in the log, and is no more.

use crate::http::{Body, HttpClient, full, read_body};
use crate::trace::{Route, Trace, text};
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use serde_json::{Value, json};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};
use strongroom_wire::{Code, Refusal, Result};
use tokio::sync::mpsc;
use tokio::time;

/// Spans that wait at the most.
const WAITING: usize = 4096;
/// Spans of one request to the collector, and how long it is waited for that there are as many.
const BATCH: usize = 512;
const INTERVAL: Duration = Duration::from_secs(1);
/// How long the collector may take over them.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read.
const ANSWER: usize = 64 * 1024;

/// Methods that are told by name; all others are one (`_OTHER`).
const METHODS: [Method; 7] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH];

static COLLECTOR: OnceLock<Sender> = OnceLock::new();

struct Sender {
    spans: mpsc::Sender<Span>,
    dropped: AtomicU64,
}

/// Tells the collector at `endpoint`, under which it has `v1/traces`, of every request that this process answers from now on, as
/// those of `service`. What was asked in the last second before the process ends may be missing.
///
/// # Errors
/// `configuration-invalid`: no such URL; `internal`: this process has a collector.
pub fn tell(endpoint: &str, service: &'static str, http: HttpClient) -> Result<()> {
    let invalid = || Refusal::new(Code::ConfigurationInvalid, "url of the collector of traces").got(endpoint);
    let uri = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let uri: Uri = uri.parse().map_err(|e| invalid().because(e))?;
    if uri.host().is_none() {
        return Err(invalid().want("`https://HOST[:PORT]`"));
    }
    let (spans, received) = mpsc::channel(WAITING);
    let sender = Sender { spans, dropped: AtomicU64::new(0) };
    COLLECTOR.set(sender).map_err(|_| Refusal::new(Code::Internal, "a second collector of traces"))?;
    tokio::spawn(send_all(received, uri, service, http));
    Ok(())
}

/// A request that is being answered.
pub(crate) struct Asked {
    trace: Trace,
    method: &'static str,
    route: Route,
    began: SystemTime,
}

impl Asked {
    pub(crate) fn now(trace: Trace, method: &Method) -> Self {
        let known = METHODS.iter().find(|known| *known == method);
        let method = match known.map(Method::as_str) {
            Some("GET") => "GET",
            Some("HEAD") => "HEAD",
            Some("POST") => "POST",
            Some("PUT") => "PUT",
            Some("DELETE") => "DELETE",
            Some("OPTIONS") => "OPTIONS",
            Some("PATCH") => "PATCH",
            _ => "_OTHER",
        };
        Self { trace, method, route: Route::default(), began: SystemTime::now() }
    }

    /// Where its route is written down.
    pub(crate) fn route(&self) -> Route {
        Route::clone(&self.route)
    }

    /// Its answer is about to be sent.
    pub(crate) fn answered(self, status: StatusCode) {
        let Some(collector) = COLLECTOR.get() else { return };
        if collector.spans.try_send(Span { asked: self, status, ended: SystemTime::now() }).is_err() {
            collector.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request that was answered.
struct Span {
    asked: Asked,
    status: StatusCode,
    ended: SystemTime,
}

impl Span {
    /// A `Span` of opentelemetry/proto/trace/v1; ids are hexadecimal there, and 64-bit numbers text.
    fn json(&self) -> Value {
        let Asked { trace, method, route, began } = &self.asked;
        let nanos = |time: &SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string();
        let route = route.get().map(|path| path.as_str());
        let mut attributes = vec![
            attribute("http.request.method", json!({ "stringValue": method })),
            attribute("http.response.status_code", json!({ "intValue": self.status.as_u16().to_string() })),
        ];
        attributes.extend(route.map(|route| attribute("http.route", json!({ "stringValue": route }))));
        let parent = if trace.parent == [0; 8] { String::new() } else { text(&trace.parent) };
        json!({
            "traceId": text(&trace.trace),
            "spanId": text(&trace.span),
            "parentSpanId": parent,
            "name": route.map_or_else(|| (*method).to_owned(), |route| format!("{method} {route}")),
            // SPAN_KIND_SERVER.
            "kind": 2,
            "startTimeUnixNano": nanos(began),
            "endTimeUnixNano": nanos(&self.ended),
            "attributes": attributes,
            // STATUS_CODE_ERROR is the server's alone; what a caller did wrong leaves it unset.
            "status": if self.status.is_server_error() { json!({ "code": 2 }) } else { json!({}) },
        })
    }
}

fn attribute(key: &str, value: Value) -> Value {
    json!({ "key": key, "value": value })
}

async fn send_all(mut spans: mpsc::Receiver<Span>, uri: Uri, service: &str, http: HttpClient) {
    let mut is_failing = false;
    loop {
        let mut batch = Vec::new();
        if spans.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let more = async {
            let mut room = BATCH.saturating_sub(batch.len());
            while room > 0 {
                match spans.recv_many(&mut batch, room).await {
                    0 => break,
                    more => room = room.saturating_sub(more),
                }
            }
        };
        // Fewer than a batch are sent too, a second late.
        let _ = time::timeout(INTERVAL, more).await;
        let sent = send(&batch, &uri, service, &http).await;
        // Said once, until it is over.
        match &sent {
            Err(refusal) if !is_failing => tracing::warn!(%refusal, "spans are not told to the collector"),
            Ok(()) if is_failing => tracing::info!("spans are told to the collector again"),
            _ => {}
        }
        is_failing = sent.is_err();
        let dropped = COLLECTOR.get().map_or(0, |collector| collector.dropped.swap(0, Ordering::Relaxed));
        if dropped > 0 {
            tracing::warn!(dropped, "spans that the collector was too slow for");
        }
    }
}

/// # Errors
/// Those of [`HttpClient::send`]; `network`: the collector does not take them.
async fn send(batch: &[Span], uri: &Uri, service: &str, http: &HttpClient) -> Result<()> {
    let spans: Vec<_> = batch.iter().map(Span::json).collect();
    let resource = json!({ "attributes": [
        attribute("service.name", json!({ "stringValue": service })),
        attribute("service.version", json!({ "stringValue": env!("CARGO_PKG_VERSION") })),
    ] });
    let scope = json!({ "name": "strongroom" });
    let body =
        json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "scope": scope, "spans": spans }] }] });
    let body: Body = full(body.to_string().into_bytes());
    let mut request =
        Request::post(uri.clone()).body(body).map_err(|e| Refusal::new(Code::Internal, "spans").because(e))?;
    request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let (head, body) = http.send(request, PATIENCE).await?.into_parts();
    drop(time::timeout(PATIENCE, read_body(body, ANSWER, "answer of the collector")).await);
    match head.status.is_success() {
        true => Ok(()),
        false => Err(Refusal::new(Code::Network, "collector of traces").got(head.status).want(StatusCode::OK)),
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("trace", &self.trace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{TRACEPARENT, routed};
    use crate::{ServeLimits, ServerTrust, bind, install_crypto, serve};
    use axum::Router;
    use axum::routing::{get, post};
    use std::net::SocketAddr;
    use tokio::sync::oneshot;

    async fn served(router: Router) -> (SocketAddr, oneshot::Sender<()>) {
        let bound = bind("127.0.0.1:0").await.unwrap();
        let (address, (stop, stopped)) = (bound.local_addr(), oneshot::channel::<()>());
        tokio::spawn(serve(bound, None, router, ServeLimits::default(), async { drop(stopped.await) }));
        (address, stop)
    }

    #[tokio::test]
    async fn collector_is_told_of_route_and_trace_and_of_nothing_that_the_caller_wrote() {
        install_crypto();
        let (told, mut heard) = mpsc::unbounded_channel();
        let traces = move |body: String| {
            let told = told.clone();
            async move { told.send(body).unwrap() }
        };
        let (collector, _stop_collector) = served(Router::new().route("/v1/traces", post(traces))).await;
        let http = HttpClient::new(&ServerTrust::WebPki, true).unwrap();
        assert_eq!(tell("/v1", "test", http.clone()).unwrap_err().code, Code::ConfigurationInvalid);
        tell(&format!("http://{collector}/"), "test", http.clone()).unwrap();
        let things = Router::new().route("/things/{id}", get(async || StatusCode::SERVICE_UNAVAILABLE));
        let (server, _stop_server) = served(routed(things)).await;
        let ask = async |path: &str| {
            let request = Request::get(format!("http://{server}{path}"));
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let request = request.header(TRACEPARENT, trace).body(full(Vec::new())).unwrap();
            http.send(request, PATIENCE).await.unwrap().status()
        };
        assert_eq!(ask("/things/mark?mark").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(ask("/mark").await, StatusCode::NOT_FOUND);
        let mut spans = Vec::new();
        while spans.len() < 2 {
            let body = heard.recv().await.unwrap();
            assert!(!body.contains("mark"), "{body}");
            let body: Value = serde_json::from_str(&body).unwrap();
            let of = &body["resourceSpans"][0];
            assert_eq!(of["resource"]["attributes"][0]["value"]["stringValue"], "test");
            // What the collector itself answered is a span too: it is of this process.
            let all = of["scopeSpans"][0]["spans"].as_array().unwrap().iter();
            spans.extend(all.filter(|span| span["traceId"] == "4bf92f3577b34da6a3ce929d0e0e4736").cloned());
        }
        let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["GET /things/{id}", "GET"]);
        let [first, second] = spans.as_slice() else { panic!("more than two") };
        assert_eq!((&first["parentSpanId"], &first["kind"]), (&json!("00f067aa0ba902b7"), &json!(2)));
        assert_eq!((&first["status"], &second["status"]), (&json!({ "code": 2 }), &json!({})));
        let at = |name: &str| first[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(at("startTimeUnixNano") > 0 && at("startTimeUnixNano") <= at("endTimeUnixNano"));
        assert_eq!(first["attributes"][1]["value"]["intValue"], "503");
        assert_eq!(first["attributes"][2]["value"]["stringValue"], "/things/{id}");
    }
}
