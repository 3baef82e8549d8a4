//! The asker before services of its own kind: what each cloud is asked, and what is made of each answer.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// A service that answers each connection's request with the next of these, as they stand here, and ends the connection.
fn service(answers: Vec<Vec<u8>>) -> (SocketAddr, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            asked.push(head);
            // Who has read enough may be gone.
            let _ = (&stream).write_all(&answer);
        }
        asked
    });
    (address, asked)
}

/// What the confined process makes of a service, in a thread under its filter.
fn confined(cloud: Cloud, address: SocketAddr, patience: Duration) -> core::result::Result<Vec<u8>, Code> {
    let asker = std::thread::spawn(move || {
        let connections = connections(cloud, address, patience)?;
        confine::only_what_a_socket_needs()?;
        ask(cloud, connections)
    });
    asker.join().unwrap().map_err(|refusal| refusal.code)
}

/// The outcome, and what was asked.
fn outcome(cloud: Cloud, answers: Vec<Vec<u8>>) -> (core::result::Result<Vec<u8>, Code>, Vec<String>) {
    let (address, asked) = service(answers);
    (confined(cloud, address, Duration::from_secs(5)), asked.join().unwrap())
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body]
        .concat()
}

/// What Google's answer comes to: that of one request.
fn of(answer: &[u8]) -> core::result::Result<Vec<u8>, Code> {
    outcome(Cloud::Google, vec![answer.to_vec()]).0
}

#[test]
fn amazon_is_asked_for_a_token_and_with_it_for_the_document() {
    let (document, asked) = outcome(Cloud::Aws, vec![ok(b"AQAEtoken=="), ok(b"version = 1\n")]);
    assert_eq!(document.unwrap(), b"version = 1\n");
    assert!(asked[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("GET /latest/user-data HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].contains("\r\nX-aws-ec2-metadata-token: AQAEtoken==\r\n"), "{asked:?}");
}

#[test]
fn token_that_would_be_a_header_of_its_own_is_not_sent_back() {
    for token in [&b"a\r\nX: y"[..], b"a b", b"", b"\xff"] {
        assert_eq!(outcome(Cloud::Aws, vec![ok(token)]).0, Err(Code::Malformed));
    }
    assert_eq!(outcome(Cloud::Aws, vec![ok(&[b'a'; TOKEN + 1])]).0, Err(Code::TooLarge));
}

#[test]
fn google_is_asked_for_the_attribute_of_the_instance() {
    let (document, asked) = outcome(Cloud::Google, vec![ok(b"version = 1\n")]);
    assert_eq!(document.unwrap(), b"version = 1\n");
    let path = "GET /computeMetadata/v1/instance/attributes/strongroom-deployment HTTP/1.1\r\n";
    assert!(asked[0].starts_with(path) && asked[0].contains("\r\nMetadata-Flavor: Google\r\n"), "{asked:?}");
}

#[test]
fn azure_is_asked_for_user_data_which_is_base64() {
    let (document, asked) = outcome(Cloud::Azure, vec![ok(b"dmVyc2lvbiA9IDEK")]);
    assert_eq!(document.unwrap(), b"version = 1\n");
    let path = "GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text HTTP/1.1\r\n";
    assert!(asked[0].starts_with(path) && asked[0].contains("\r\nMetadata: true\r\n"), "{asked:?}");
    assert_eq!(outcome(Cloud::Azure, vec![ok(b"version = 1")]).0, Err(Code::Malformed));
}

#[test]
fn document_that_is_not_there_or_empty_is_missing() {
    assert_eq!(of(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), Err(Code::DeploymentMissing));
    assert_eq!(of(&ok(b"")), Err(Code::DeploymentMissing));
}

#[test]
fn redirection_is_not_followed_and_no_other_status_taken() {
    for status in ["301 Moved", "302 Found", "307 Temporary Redirect", "401 Unauthorized", "204 No Content", "500 x"] {
        let answer = format!("HTTP/1.1 {status}\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(of(answer.as_bytes()), Err(Code::Network), "{status}");
    }
}

#[test]
fn document_at_its_limit_taken_and_one_that_is_said_to_be_longer_refused_before_it_comes() {
    assert_eq!(of(&ok(&vec![b'#'; limits::DEPLOYMENT])).map(|document| document.len()), Ok(limits::DEPLOYMENT));
    let longer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", limits::DEPLOYMENT + 1);
    assert_eq!(of(longer.as_bytes()), Err(Code::TooLarge));
}

#[test]
fn answer_that_is_none_of_http_refused() {
    for answer in [
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/2 200\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 2000\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200x\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 2x0\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
    ] {
        assert_eq!(of(answer.as_bytes()), Err(Code::Malformed), "{answer}");
    }
    let endless = ["HTTP/1.1 200 OK\r\nX: ", &"x".repeat(16 * 1024)].concat();
    assert_eq!(of(endless.as_bytes()), Err(Code::TooLarge));
}

#[test]
fn answer_that_is_cut_off_ends_the_asking() {
    assert_eq!(of(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nversion"), Err(Code::Network));
    assert_eq!(of(b"HTTP/1.1 200 OK\r\nConte"), Err(Code::Network));
}

#[test]
fn service_that_is_silent_or_gives_a_byte_at_a_time_gets_no_more_time_than_there_is() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(confined(Cloud::Google, address, Duration::from_millis(50)), Err(Code::Timeout));
    let drips = std::thread::spawn(move || {
        // The one that was silent came first.
        drop(listener.accept().unwrap());
        let (mut stream, _) = listener.accept().unwrap();
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    assert_eq!(confined(Cloud::Google, address, Duration::from_millis(200)), Err(Code::Timeout));
    drips.join().unwrap();
}
