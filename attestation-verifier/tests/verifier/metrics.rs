//! `/metrics`, for people who may read and for whoever reaches the address that is for it, and traces.

use crate::guest::Guest;
use crate::world::{KEY, World};
use http::{Method, Request};
use std::net::TcpListener;
use std::time::Duration;
use strongroom_transport::http::empty;
use strongroom_transport::{HttpClient, ServerTrust, read_body};

/// An address that was free a moment ago.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

async fn read(address: &str) -> String {
    let http = HttpClient::new(&ServerTrust::WebPki, true).unwrap();
    let request = Request::get(format!("http://{address}/metrics")).body(empty()).unwrap();
    let answer = http.send(request, Duration::from_secs(10)).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4");
    String::from_utf8(read_body(answer.into_body(), 1 << 20, "metrics").await.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn what_was_answered_is_counted_without_a_name_of_anybody() {
    let (mut world, document) = World::ready().await;
    let address = free();
    world.configure(&format!("metrics-listen = '{address}'"), "").await;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    guest.key(KEY).await;
    guest.fetch("other/key/v1").await;
    world.admin_with(Method::GET, "keys", vec![], Some("Bearer wrong")).await;
    let text = read(&address).await;
    for line in [
        "strongroom_verifier_answers_total{route=\"attest\",code=\"ok\"} 1",
        "strongroom_verifier_answers_total{route=\"release\",code=\"ok\"} 1",
        "strongroom_verifier_answers_total{route=\"release\",code=\"key-unknown\"} 1",
        "strongroom_verifier_answers_total{route=\"admin\",code=\"admin-unauthorized\"} 1",
        "strongroom_verifier_answer_seconds_count{route=\"attest\"} 1",
        "strongroom_verifier_answer_seconds_count{route=\"release\"} 2",
        "strongroom_verifier_sessions 1",
        "strongroom_verifier_keys{state=\"enabled\"} 1",
        "strongroom_verifier_changes_waiting 0",
    ] {
        assert!(text.lines().any(|had| had == line), "{line}\n{text}");
    }
    for name in [KEY, "other/key", "127.0.0.1", &world.signer.public().pem()] {
        assert!(!text.contains(name), "{name}");
    }
}

#[tokio::test]
async fn metrics_beside_the_admin_api_are_for_people_who_may_read() {
    let world = World::start().await;
    for _ in 0..3 {
        let text = world.metrics(true).await;
        assert!(text.body.starts_with(b"# HELP strongroom_verifier_answers_total "));
    }
    assert_eq!(world.metrics(false).await.code(), "admin-unauthorized");
    let rows = world.audit().await;
    let read = rows.iter().filter(|row| row["subject"] == "GET /metrics" && row["code"] == "");
    assert_eq!(read.count(), 1, "who reads them again and again does not fill the log");
}
