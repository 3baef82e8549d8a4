//! Servers reached through a proxy, and proxies that do not let us through.

use crate::peers::{Running, get, hello, identity, run};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use strongroom_transport::{HttpClient, Protocol, Proxies, ServeLimits, ServerIdentity, ServerTrust, server_config};
use strongroom_wire::{Code, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

type Heads = Arc<Mutex<Vec<String>>>;

/// A proxy that answers `CONNECT` with `refusal`, or else with a tunnel to `server` whatever its name; and every other request
/// by itself. It remembers the heads of what it was asked.
async fn proxy(server: SocketAddr, refusal: Option<&'static str>) -> (SocketAddr, Heads) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let heads = Heads::default();
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, server, refusal, Arc::clone(&seen)));
        }
    });
    (addr, heads)
}

async fn answer(mut stream: TcpStream, server: SocketAddr, refusal: Option<&str>, heads: Heads) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let tunnel = head.starts_with("CONNECT ");
    heads.lock().unwrap().push(head);
    match refusal {
        Some(refusal) => stream.write_all(refusal.as_bytes()).await.unwrap(),
        None if tunnel => {
            stream.write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n").await.unwrap();
            let mut server = TcpStream::connect(server).await.unwrap();
            drop(copy_bidirectional(&mut stream, &mut server).await);
        }
        None => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nproxy").await.unwrap(),
    }
}

fn through(proxy: SocketAddr, except: &str, trust: &ServerTrust) -> HttpClient {
    let url = format!("http://anna:geheim@{proxy}");
    let proxies = Proxies::new(Some(&url), Some(&url), except).unwrap();
    HttpClient::through(proxies, trust, true, Protocol::Tls13).unwrap()
}

async fn tls_server() -> (Running, ServerTrust) {
    let identity = ServerIdentity::generate(&["server.test".to_owned()]).unwrap();
    let server = run(hello(), Some(server_config(&identity).unwrap()), ServeLimits::default()).await;
    (server, ServerTrust::Ca(identity.certificate_pem().into_bytes()))
}

const BASIC: &str = "proxy-authorization: basic yw5uytpnzwhlaw0=";

#[tokio::test]
async fn tls_server_reached_through_a_tunnel_that_reads_nothing() {
    let (server, trust) = tls_server().await;
    let (proxy, heads) = proxy(server.addr, None).await;
    let client = through(proxy, "", &trust);
    assert_eq!(get(&client, "https://server.test:8443/").await.unwrap(), "hello");
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 1);
    assert!(heads[0].starts_with("CONNECT server.test:8443 HTTP/1.1\r\nHost: server.test:8443\r\n"), "{}", heads[0]);
    assert!(heads[0].to_lowercase().contains(BASIC), "{}", heads[0]);
}

#[tokio::test]
async fn server_behind_the_tunnel_is_judged_as_without_one() {
    let (server, _) = tls_server().await;
    let (proxy, _) = proxy(server.addr, None).await;
    let other = ServerTrust::Ca(identity().certificate_pem().into_bytes());
    let refusal = get(&through(proxy, "", &other), "https://server.test/").await.unwrap_err();
    assert_eq!(refusal.code, Code::TlsFailed);
}

#[tokio::test]
async fn plain_server_asked_for_in_absolute_form() {
    let (server, trust) = tls_server().await;
    let (proxy, heads) = proxy(server.addr, None).await;
    assert_eq!(get(&through(proxy, "", &trust), "http://server.test:81/x?y").await.unwrap(), "proxy");
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get http://server.test:81/x?y http/1.1\r\n"), "{head}");
    assert!(head.contains(BASIC), "{head}");
}

#[tokio::test]
async fn excepted_and_loopback_servers_not_asked_for_at_the_proxy() {
    let server = run(hello(), None, ServeLimits::default()).await;
    let (proxy, heads) = proxy(server.addr, None).await;
    let client = through(proxy, "server.test", &ServerTrust::WebPki);
    assert_eq!(get(&client, &format!("http://{}/", server.addr)).await.unwrap(), "hello");
    assert_eq!(get(&client, "http://server.test:1/").await.unwrap_err().code, Code::Network);
    assert!(heads.lock().unwrap().is_empty());
}

#[tokio::test]
async fn proxy_that_refuses_has_its_code() {
    let (server, trust) = tls_server().await;
    for (answer, want) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", Code::ProxyRefused),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", Code::ProxyRefused),
        ("garbage\r\n\r\n", Code::ProxyRefused),
        ("HTTP/1.1 503 Busy\r\n\r\n", Code::Network),
        ("", Code::Network),
    ] {
        let (proxy, _) = proxy(server.addr, Some(answer)).await;
        let refused: Result<String> = get(&through(proxy, "", &trust), "https://server.test/").await;
        assert_eq!(refused.unwrap_err().code, want, "{answer:?}");
    }
    let long: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)).into_boxed_str());
    let (proxy, _) = proxy(server.addr, Some(long)).await;
    assert_eq!(get(&through(proxy, "", &trust), "https://server.test/").await.unwrap_err().code, Code::TooLarge);
}
