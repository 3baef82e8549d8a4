//! Many connections: each goes through the gate, and no request reaches a key it was not meant for.

use crate::enclave::{EVIDENCE_REQUEST, Enclave, Guest, NOW, terms};
use crate::impostor::Impostor;
use crate::switch::Switch;
use bytes::Bytes;
use core::pin::Pin;
use core::task::{Context, Poll};
use http::Request;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Frame};
use std::time::Duration;
use strongroom_client::{AttestedClient, PoolOptions};
use strongroom_transport::http::{empty, full};
use strongroom_transport::{Body, BoxError, read_body};
use strongroom_wire::Code;
use tokio::sync::mpsc;
use tokio::time;

const ASKED: &str = "POST /v1/ask";

/// A body whose chunks are sent one by one by the test.
pub(crate) struct Fed(mpsc::UnboundedReceiver<Bytes>);

pub(crate) fn fed() -> (mpsc::UnboundedSender<Bytes>, Body) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Fed(receiver).boxed_unsync())
}

impl hyper::body::Body for Fed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.get_mut().0.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

pub(crate) fn options() -> PoolOptions {
    PoolOptions { clock: || NOW, queue_timeout: Duration::from_millis(300), ..PoolOptions::default() }
}

fn client(switch: &Switch) -> AttestedClient {
    AttestedClient::new(&switch.url(), terms(), options()).unwrap()
}

fn ask(body: Body) -> Request<Body> {
    Request::post("/v1/ask").body(body).unwrap()
}

async fn asked(client: &AttestedClient, question: &'static str) -> Bytes {
    let answer = client.send(ask(full(question))).await.unwrap();
    read_body(answer.into_body(), 100, "answer").await.unwrap()
}

async fn enclave_behind_switch() -> (Enclave, Switch) {
    let enclave = Guest::approved().run().await;
    let switch = Switch::to(enclave.address).await;
    (enclave, switch)
}

#[tokio::test]
async fn requests_one_after_another_share_one_connection_and_one_attestation() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    for question in ["a", "b", "c"] {
        assert_eq!(asked(&client, question).await, question);
    }
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, ASKED, ASKED, ASKED]);
    assert_eq!(switch.connections(), 1);
}

#[tokio::test]
async fn further_connection_to_a_known_key_used_without_evidence() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    let first = client.lease().await.unwrap();
    let second = client.lease().await.unwrap();
    assert_eq!(first.verified().channel_key(), second.verified().channel_key());
    assert_eq!(switch.connections(), 2);
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn each_client_attests_for_itself() {
    let (enclave, switch) = enclave_behind_switch().await;
    client(&switch).verify().await.unwrap();
    client(&switch).verify().await.unwrap();
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn second_connection_with_another_key_refused_while_the_first_goes_on() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    let (chunks, body) = fed();
    chunks.send("before ".into()).unwrap();
    let mut answer = client.send(ask(body)).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "before ");

    let impostor = Impostor::relaying(&enclave).await;
    switch.turn_to(impostor.address);
    let refusal = client.send(ask(full("prompt"))).await.unwrap_err();
    assert_eq!(refusal.code, Code::ChannelKeyMismatch);
    assert_eq!(impostor.seen(), [EVIDENCE_REQUEST]);

    chunks.send("after".into()).unwrap();
    drop(chunks);
    assert_eq!(read_body(answer, 100, "answer").await.unwrap(), "after");
}

#[tokio::test]
async fn connection_found_broken_replaced_through_the_same_gate() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    asked(&client, "a").await;
    switch.cut();
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(asked(&client, "b").await, "b");

    let impostor = Impostor::substituting_its_key(&enclave).await;
    switch.turn_to(impostor.address);
    switch.cut();
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.send(ask(full("c"))).await.unwrap_err().code, Code::ReportDataMismatch);
    assert_eq!(impostor.seen(), [EVIDENCE_REQUEST]);
}

#[tokio::test]
async fn unsent_request_goes_to_a_fresh_connection_of_the_same_key() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    asked(&client, "a").await;
    let lease = client.lease().await.unwrap();
    switch.cut();
    time::sleep(Duration::from_millis(200)).await;
    let answer = lease.send(ask(full("b"))).await.unwrap();
    assert_eq!(read_body(answer.into_body(), 100, "answer").await.unwrap(), "b");
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, ASKED, ASKED]);
}

#[tokio::test]
async fn unsent_request_does_not_go_to_another_key_though_that_is_attested_too() {
    let (_, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    asked(&client, "a").await;
    let lease = client.lease().await.unwrap();
    let twin = Guest::approved().run().await;
    switch.turn_to(twin.address);
    switch.cut();
    time::sleep(Duration::from_millis(200)).await;
    assert_eq!(lease.send(ask(full("b"))).await.unwrap_err().code, Code::Network);
    assert_eq!(twin.seen(), [EVIDENCE_REQUEST]);
    // A request of its own may go there: the twin is approved.
    assert_eq!(asked(&client, "c").await, "c");
}

#[tokio::test]
async fn request_that_was_on_its_way_is_not_sent_again() {
    let (enclave, switch) = enclave_behind_switch().await;
    let client = client(&switch);
    asked(&client, "a").await;
    let (chunks, body) = fed();
    chunks.send("half".into()).unwrap();
    let mut answer = client.send(ask(body)).await.unwrap().into_body();
    assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    switch.cut();
    assert!(answer.frame().await.unwrap().is_err());
    assert_eq!(enclave.seen(), [EVIDENCE_REQUEST, ASKED, ASKED]);
}

#[tokio::test]
async fn connections_are_bounded_and_come_free_with_the_end_of_an_answer() {
    let (_, switch) = enclave_behind_switch().await;
    let options = PoolOptions { connections: 1, ..options() };
    let client = AttestedClient::new(&switch.url(), terms(), options).unwrap();
    let answer = client.send(ask(full("a"))).await.unwrap();
    assert!(!answer.body().is_end_stream());
    assert_eq!(client.send(ask(full("b"))).await.unwrap_err().code, Code::Busy);
    read_body(answer.into_body(), 100, "answer").await.unwrap();
    assert_eq!(asked(&client, "b").await, "b");
    assert_eq!(switch.connections(), 1);
}

#[tokio::test]
async fn answer_dropped_half_read_costs_its_connection_and_no_slot() {
    let (_, switch) = enclave_behind_switch().await;
    let options = PoolOptions { connections: 1, ..options() };
    let client = AttestedClient::new(&switch.url(), terms(), options).unwrap();
    let (_chunks, body) = fed();
    drop(client.send(ask(body)).await.unwrap());
    assert_eq!(asked(&client, "b").await, "b");
    assert_eq!(switch.connections(), 2);
}

#[tokio::test]
async fn client_of_no_connections_refused() {
    let none = PoolOptions { connections: 0, ..options() };
    let refusal = AttestedClient::new("https://enclave.example", terms(), none).unwrap_err();
    assert_eq!(refusal.code, Code::ConfigurationInvalid);
    assert_eq!(
        AttestedClient::new("http://enclave.example", terms(), options()).unwrap_err().code,
        Code::PlaintextRefused
    );
}

#[tokio::test]
async fn answer_that_takes_too_long_refused() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = PoolOptions { connect_timeout: Duration::from_millis(100), ..options() };
    let url = format!("https://{}", silent.local_addr().unwrap());
    let client = AttestedClient::new(&url, terms(), options).unwrap();
    assert_eq!(client.send(ask(empty())).await.unwrap_err().code, Code::Timeout);
}
