//! What a server lets its peers do, and how it ends.

use crate::peers::{SOON, exchange, get, hello, identity, nobody, run};
use axum::Extension;
use axum::routing::{get as on_get, post as on_post};
use std::sync::Arc;
use std::time::{Duration, Instant};
use strongroom_transport::{
    HttpClient, PeerAddr, ServeLimits, ServerTrust, bind, http, read_body, serve, server_config, shutdown_signal,
};
use strongroom_wire::{Code, Refusal};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

const SHORT: Duration = Duration::from_millis(150);
const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";

fn plain_client() -> HttpClient {
    HttpClient::new(&ServerTrust::WebPki, true).unwrap()
}

#[tokio::test]
async fn handlers_see_the_peers_address() {
    let router = axum::Router::new()
        .route("/", on_get(|Extension(peer): Extension<PeerAddr>| async move { peer.0.to_string() }));
    let server = run(router, None, ServeLimits::default()).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let ours = stream.local_addr().unwrap().to_string();
    assert!(exchange(&mut stream, GET).await.ends_with(&ours));
}

#[tokio::test]
async fn slow_request_head_closed_and_complete_one_answered() {
    let limits = ServeLimits { header_timeout: SHORT, ..ServeLimits::default() };
    let server = run(hello(), None, limits).await;
    let mut quick = TcpStream::connect(server.addr).await.unwrap();
    assert!(exchange(&mut quick, GET).await.starts_with("HTTP/1.1 200"));

    let (mut reader, mut writer) = TcpStream::connect(server.addr).await.unwrap().into_split();
    let trickle = tokio::spawn(async move {
        for byte in GET.iter().cycle() {
            if writer.write_all(&[byte.to_ascii_lowercase().max(b'a')]).await.is_err() {
                return;
            }
            sleep(SHORT / 10).await;
        }
    });
    let mut answer = Vec::new();
    // Closed, cleanly or by a reset: what matters is that no answer came and that it ended.
    drop(timeout(SOON, reader.read_to_end(&mut answer)).await.expect("the server closes"));
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    trickle.abort();
}

#[tokio::test]
async fn idle_connection_closed() {
    let limits = ServeLimits { header_timeout: SHORT, ..ServeLimits::default() };
    let server = run(hello(), None, limits).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let answer = exchange(&mut stream, b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"));
}

#[tokio::test]
async fn unfinished_tls_handshake_closed() {
    let limits = ServeLimits { handshake_timeout: SHORT, ..ServeLimits::default() };
    let server = run(hello(), Some(server_config(&identity()).unwrap()), limits).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    // The first bytes of a ClientHello, and no more.
    assert_eq!(exchange(&mut stream, &[22, 3, 1, 2, 0]).await, "");
}

#[tokio::test]
async fn request_head_over_limit_refused() {
    let limits = ServeLimits { max_header_bytes: 1024, ..ServeLimits::default() };
    let server = run(hello(), None, limits).await;
    for (length, status) in [(512, "200"), (2048, "431")] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        let padding = "x".repeat(length);
        let request = format!("GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\nx-padding: {padding}\r\n\r\n");
        assert!(exchange(&mut stream, request.as_bytes()).await.starts_with(&format!("HTTP/1.1 {status}")));
    }
}

#[tokio::test]
async fn connection_over_the_limit_waits_for_a_slot() {
    let limits = ServeLimits { max_connections: 1, ..ServeLimits::default() };
    let server = run(hello(), None, limits).await;
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    first.readable().await.unwrap();

    let mut second = TcpStream::connect(server.addr).await.unwrap();
    second.write_all(GET).await.unwrap();
    assert!(timeout(SHORT, second.readable()).await.is_err(), "answered beside the first");
    drop(first);
    assert!(exchange(&mut second, b"").await.ends_with("hello"));
}

#[tokio::test]
async fn connection_over_a_peer_s_limit_is_closed_and_after_one_of_its_own_ends_answered() {
    let limits = ServeLimits { max_connections_of_peer: 1, ..ServeLimits::default() };
    let server = run(hello(), None, limits).await;
    let mut first = TcpStream::connect(server.addr).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    first.readable().await.unwrap();
    let mut second = TcpStream::connect(server.addr).await.unwrap();
    // Closed, with what was sent unread or not: an end, or a reset.
    assert!(matches!(second.read(&mut [0; 1]).await, Ok(0) | Err(_)));
    drop(first);
    // The server notices the end of the first in its own time.
    let answered = async {
        loop {
            let mut third = TcpStream::connect(server.addr).await.unwrap();
            let sent = third.write_all(GET).await;
            let mut answer = String::new();
            if sent.is_ok() && third.read_to_string(&mut answer).await.is_ok() && answer.ends_with("hello") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), answered).await.unwrap();
}

#[tokio::test]
async fn server_without_a_single_connection_refused() {
    for limits in [
        ServeLimits { max_connections: 0, ..ServeLimits::default() },
        ServeLimits { max_connections_of_peer: 0, ..ServeLimits::default() },
    ] {
        let bound = bind("127.0.0.1:0").await.unwrap();
        let refusal = serve(bound, None, hello(), limits, async {}).await.unwrap_err();
        assert_eq!(refusal.code, Code::ConfigurationInvalid);
    }
}

#[tokio::test]
async fn address_already_taken_refused() {
    let bound = bind("127.0.0.1:0").await.unwrap();
    assert_eq!(bind(&bound.local_addr().to_string()).await.unwrap_err().code, Code::Network);
    bind(&nobody().to_string()).await.unwrap();
}

#[tokio::test]
async fn silent_request_body_times_out_and_thinking_handler_does_not() {
    let limits = ServeLimits { idle_timeout: SHORT, ..ServeLimits::default() };
    let read = |body: axum::body::Body| async {
        read_body(body, 100, "request").await.map_or_else(|refusal| refusal.code.to_string(), |_| "whole".to_owned())
    };
    let think = || async {
        sleep(3 * SHORT).await;
        "thought"
    };
    let router = axum::Router::new().route("/read", on_post(read)).route("/think", on_get(think));
    let server = run(router, None, limits).await;
    let post = |sent: &'static str| {
        format!("POST /read HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 4\r\n\r\n{sent}")
    };
    for (sent, want) in [("four", "whole"), ("fo", "timeout")] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        let answer = exchange(&mut stream, post(sent).as_bytes()).await;
        assert!(answer.ends_with(want), "{answer}");
    }
    let url = format!("http://{}/think", server.addr);
    assert_eq!(get(&plain_client(), &url).await.unwrap(), "thought");
}

#[tokio::test]
async fn peer_that_never_reads_its_answer_loses_its_slot() {
    let limits = ServeLimits { idle_timeout: SHORT, max_connections: 1, ..ServeLimits::default() };
    let router = hello().route("/long", on_get(|| async { vec![0_u8; 64 * 1024 * 1024] }));
    let server = run(router, None, limits).await;
    let mut greedy = TcpStream::connect(server.addr).await.unwrap();
    greedy.write_all(b"GET /long HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    greedy.readable().await.unwrap();
    let mut next = TcpStream::connect(server.addr).await.unwrap();
    assert!(exchange(&mut next, GET).await.ends_with("hello"));
    drop(greedy);
}

#[tokio::test]
async fn panicking_handler_costs_its_own_request_only() {
    let router = hello().route(
        "/panic",
        on_get(|| async {
            if true {
                panic!("of the test")
            }
        }),
    );
    let server = run(router, None, ServeLimits::default()).await;
    let client = plain_client();
    let request = ::http::Request::get(format!("http://{}/panic", server.addr)).body(http::empty()).unwrap();
    assert_eq!(client.send(request, SOON).await.unwrap().status(), 500);
    assert_eq!(get(&client, &format!("http://{}/", server.addr)).await.unwrap(), "hello");
}

#[tokio::test]
async fn answer_over_limit_refused() {
    let router = axum::Router::new()
        .route("/{length}", on_get(|path: axum::extract::Path<usize>| async move { vec![b'x'; path.0] }));
    let server = run(router, None, ServeLimits::default()).await;
    let client = plain_client();
    assert_eq!(get(&client, &format!("http://{}/1024", server.addr)).await.unwrap().len(), 1024);
    assert_eq!(get(&client, &format!("http://{}/1025", server.addr)).await.unwrap_err().code, Code::TooLarge);
}

#[tokio::test]
async fn refusal_of_an_upload_source_comes_back_as_it_was() {
    let router =
        axum::Router::new().route("/", on_post(|body: axum::body::Bytes| async move { body.len().to_string() }));
    let server = run(router, None, ServeLimits::default()).await;
    let client = plain_client();
    let upload = |chunks: Vec<Result<bytes::Bytes, Refusal>>| {
        let body = http::stream(futures_util::stream::iter(chunks));
        client.send(::http::Request::post(format!("http://{}/", server.addr)).body(body).unwrap(), SOON)
    };
    let four = || Ok(bytes::Bytes::from_static(b"four"));
    let answer = upload(vec![four(), four()]).await.unwrap();
    assert_eq!(&read_body(answer.into_body(), 10, "answer").await.unwrap()[..], b"8");
    let broken = Err(Refusal::new(Code::Io, "source"));
    assert_eq!(upload(vec![four(), broken]).await.unwrap_err().code, Code::Io);
}

/// A server whose only handler tells when it has started and ends when it is told to.
async fn with_open_request(grace: Duration) -> (crate::peers::Running, Arc<Notify>, TcpStream) {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (started, finish) = (Arc::clone(&started), Arc::clone(&finish));
        move || async move {
            started.notify_one();
            finish.notified().await;
            "finished"
        }
    };
    let router = axum::Router::new().route("/", on_get(handler));
    let server = run(router, None, ServeLimits { grace, ..ServeLimits::default() }).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: test\r\n\r\n").await.unwrap();
    started.notified().await;
    (server, finish, stream)
}

#[tokio::test]
async fn open_request_finished_before_the_server_ends() {
    let (server, finish, mut stream) = with_open_request(SOON).await;
    server.stop.send(()).unwrap();
    while TcpStream::connect(server.addr).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    assert!(!server.served.is_finished());
    finish.notify_one();
    let answer = exchange(&mut stream, b"").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("finished"), "{answer}");
    timeout(SOON, server.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn request_that_outlasts_the_grace_period_cut_off() {
    let (server, _finish, mut stream) = with_open_request(SHORT).await;
    server.stop.send(()).unwrap();
    timeout(SOON, server.served).await.unwrap().unwrap().unwrap();
    assert_eq!(exchange(&mut stream, b"").await, "");
}

#[tokio::test]
async fn idle_connections_do_not_delay_the_end() {
    let long = 3 * SOON;
    let limits = ServeLimits { grace: long, handshake_timeout: long, header_timeout: long, ..ServeLimits::default() };
    let identity = identity();
    let server = run(hello(), Some(server_config(&identity).unwrap()), limits).await;
    let _in_handshake = TcpStream::connect(server.addr).await.unwrap();
    // Connections are accepted in their order, so once this one was answered the handshake above has begun.
    let client = HttpClient::new(&ServerTrust::Pin(identity.spki_sha256()), false).unwrap();
    assert_eq!(get(&client, &format!("https://{}/", server.addr)).await.unwrap(), "hello");
    let stopped = Instant::now();
    server.stop.send(()).unwrap();
    timeout(SOON, server.served).await.unwrap().unwrap().unwrap();
    assert!(stopped.elapsed() < SOON);
}

#[tokio::test]
async fn sigterm_resolves_the_shutdown_signal() {
    let signal = shutdown_signal();
    let killed = std::process::Command::new("sh").arg("-c").arg(format!("kill -TERM {}", std::process::id())).status();
    assert!(killed.unwrap().success());
    timeout(SOON, signal).await.unwrap();
}
