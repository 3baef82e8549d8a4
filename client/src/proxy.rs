//! A local endpoint in front of verified enclaves, for OpenAI's clients and those of the Open Inference Protocol: plain HTTP on a
//! loopback address.

mod answer;
mod headers;
mod upload;

use crate::AttestedClient;
use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{MethodFilter, get, on};
use http::StatusCode;
use hyper::body::Body as _;
use strongroom_transport::{Bound, ServeLimits, serve};
use strongroom_wire::{Code, Refusal, Result, limits};

/// Serves the proxy on `bound` until `shutdown` resolves, then lets open requests finish.
///
/// `/v1/…`, `/v2`, `/v2/…` and `/openapi.json` are forwarded: method, path, query, headers (`Authorization` too; neither hop-by-hop ones nor `Host`) and bodies,
/// streamed both ways. `GET /healthz` says that the proxy lives. Anything else is answered here with `route-unknown`.
///
/// Not one byte of a request leaves before the connection it leaves on is attested; where that is refused the answer is 502
/// with the refusal's code. Errors of the proxy have OpenAI's shape, `{"error":{"message","type","param","code"}}`.
///
/// # Errors
/// `plaintext-refused` the address is not a loopback one: prompts would cross a network unprotected.
pub async fn serve_proxy(
    bound: Bound,
    client: AttestedClient,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let address = bound.local_addr();
    if !address.ip().to_canonical().is_loopback() {
        return Err(Refusal::new(Code::PlaintextRefused, "proxy address").got(address).want("a loopback address"));
    }
    serve(bound, None, router(client), ServeLimits::default(), shutdown).await
}

fn router(client: AttestedClient) -> Router {
    // CONNECT and TRACE speak to proxies, not through them.
    let forwarded = MethodFilter::GET
        .or(MethodFilter::HEAD)
        .or(MethodFilter::POST)
        .or(MethodFilter::PUT)
        .or(MethodFilter::PATCH)
        .or(MethodFilter::DELETE)
        .or(MethodFilter::OPTIONS);
    ["/v1/{*path}", "/v2", "/v2/{*path}", "/openapi.json"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, on(forwarded, forward)))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(unknown)
        .method_not_allowed_fallback(unknown)
        .with_state(client)
}

async fn unknown(request: Request) -> Response {
    let route = format!("{} `{}`", request.method(), request.uri().path());
    answer::refusal(
        StatusCode::NOT_FOUND,
        &Refusal::new(Code::RouteUnknown, route).want("/v1/…, /v2/… or /openapi.json"),
    )
}

async fn forward(State(client): State<AttestedClient>, request: Request) -> Response {
    match try_forward(&client, request).await {
        Ok(response) => response,
        Err((status, refusal)) => {
            tracing::warn!(%status, %refusal, "not forwarded");
            answer::refusal(status, &refusal)
        }
    }
}

async fn try_forward(
    client: &AttestedClient,
    request: Request,
) -> core::result::Result<Response, (StatusCode, Refusal)> {
    let announced = request.body().size_hint().lower();
    if usize::try_from(announced).map_or(true, |announced| announced > limits::API_BODY) {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, upload::too_large(announced)));
    }
    let lease = client.lease().await.map_err(|refusal| (StatusCode::BAD_GATEWAY, refusal))?;

    let (mut head, body) = request.into_parts();
    headers::keep_end_to_end(&mut head.headers);
    headers::leave_framing_to_body(&mut head.headers);
    // The next hop has its own connection, of which extensions of this one say nothing.
    head.extensions.clear();
    let (body, overrun) = upload::limited(body, limits::API_BODY);
    let answer = lease.send(Request::from_parts(head, body)).await.map_err(|refusal| {
        let status = if overrun.happened() { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_GATEWAY };
        (status, refusal)
    })?;
    let (mut head, body) = answer.into_parts();
    headers::keep_end_to_end(&mut head.headers);
    head.extensions.clear();
    Ok(Response::from_parts(head, AxumBody::new(body)))
}
