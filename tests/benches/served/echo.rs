//! A server of the same TLS, HTTP and authentication as an enclave's, which computes nothing: it answers every request with as many bytes.

use crate::role::{Player, Role};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use std::io::Read as _;
use strongroom_transport::{ServeLimits, ServerIdentity, bind, read_body, serve, server_config_asking};
use strongroom_wire::digest::Sha256;
use strongroom_wire::limits;

/// A server for callers with `key`, whose answers are of `length` bytes: its process, and where it listens.
pub(crate) fn start(key: &str, length: usize) -> (Player, String) {
    let mut player = Player::start(Role::Echo, &[key, &length.to_string()]);
    let address = player.hear().trim().to_owned();
    (player, address)
}

pub(crate) fn play(given: &[&str]) {
    let (key, body) = (Sha256::of(given[0].as_bytes()), Bytes::from(vec![b'0'; given[1].parse().unwrap()]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let tls = server_config_asking(&ServerIdentity::generate(&["127.0.0.1".to_owned()]).unwrap()).unwrap();
        let bound = bind("127.0.0.1:0").await.unwrap();
        println!("{}", bound.local_addr());
        let router = Router::new().fallback(post(move |request: Request| answer(key, body, request)));
        let ended = async {
            let input = tokio::task::spawn_blocking(|| std::io::stdin().read(&mut [0]));
            drop(input.await);
        };
        serve(bound, Some(tls), router, ServeLimits::default(), ended).await.unwrap();
    });
}

async fn answer(key: Sha256, answer: Bytes, request: Request) -> Response {
    let shown =
        request.headers().get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let hash = Sha256::of(shown.unwrap_or_default());
    if verify_slices_are_equal(&hash.0, &key.0).is_err() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    read_body(request.into_body(), limits::API_BODY, "request body").await.unwrap();
    ([(header::CONTENT_TYPE, "application/json")], Body::from(answer)).into_response()
}
