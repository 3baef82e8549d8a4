//! The asker before services of its own kind: what each cloud is asked, and what is made of each answer.

use super::*;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::thread::JoinHandle;

/// A service that answers each request with the next of these, as they stand here, and then keeps silent until the asker is gone.
fn service(answers: Vec<Vec<u8>>) -> (Connection, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let asked = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(&stream);
        let mut asked = Vec::new();
        for answer in answers {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            asked.push(head);
            (&stream).write_all(&answer).unwrap();
        }
        // A client that left without reading all resets the connection.
        let _ = reader.read_line(&mut String::new());
        asked
    });
    (Connection::new(stream, Duration::from_secs(5)), asked)
}

fn ok(body: &[u8]) -> Vec<u8> {
    [format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), body]
        .concat()
}

/// What Google's answer comes to: that of one request.
fn of(answer: &[u8]) -> core::result::Result<Vec<u8>, Code> {
    let (connection, asked) = service(vec![answer.to_vec()]);
    let outcome = ask(Cloud::Google, connection).map_err(|refusal| refusal.code);
    asked.join().unwrap();
    outcome
}

#[test]
fn amazon_is_asked_for_a_token_and_with_it_for_the_document() {
    let (connection, asked) = service(vec![ok(b"AQAEtoken=="), ok(b"version = 1\n")]);
    assert_eq!(ask(Cloud::Aws, connection).unwrap(), b"version = 1\n");
    let asked = asked.join().unwrap();
    assert!(asked[0].starts_with("PUT /latest/api/token HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[0].contains("\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{asked:?}");
    assert!(asked[1].starts_with("GET /latest/user-data HTTP/1.1\r\n"), "{asked:?}");
    assert!(asked[1].contains("\r\nX-aws-ec2-metadata-token: AQAEtoken==\r\n"), "{asked:?}");
}

#[test]
fn token_that_would_be_a_header_of_its_own_is_not_sent_back() {
    for token in [&b"a\r\nX: y"[..], b"a b", b"", b"\xff"] {
        let (connection, asked) = service(vec![ok(token)]);
        assert_eq!(ask(Cloud::Aws, connection).unwrap_err().code, Code::Malformed);
        assert_eq!(asked.join().unwrap().len(), 1);
    }
    let (connection, asked) = service(vec![ok(&[b'a'; TOKEN + 1])]);
    assert_eq!(ask(Cloud::Aws, connection).unwrap_err().code, Code::TooLarge);
    asked.join().unwrap();
}

#[test]
fn google_is_asked_for_the_attribute_of_the_instance() {
    let (connection, asked) = service(vec![ok(b"version = 1\n")]);
    assert_eq!(ask(Cloud::Google, connection).unwrap(), b"version = 1\n");
    let asked = asked.join().unwrap();
    let path = "GET /computeMetadata/v1/instance/attributes/strongroom-deployment HTTP/1.1\r\n";
    assert!(asked[0].starts_with(path) && asked[0].contains("\r\nMetadata-Flavor: Google\r\n"), "{asked:?}");
}

#[test]
fn azure_is_asked_for_user_data_which_is_base64() {
    let (connection, asked) = service(vec![ok(b"dmVyc2lvbiA9IDEK")]);
    assert_eq!(ask(Cloud::Azure, connection).unwrap(), b"version = 1\n");
    let asked = asked.join().unwrap();
    let path = "GET /metadata/instance/compute/userData?api-version=2021-01-01&format=text HTTP/1.1\r\n";
    assert!(asked[0].starts_with(path) && asked[0].contains("\r\nMetadata: true\r\n"), "{asked:?}");
    let (connection, asked) = service(vec![ok(b"version = 1")]);
    assert_eq!(ask(Cloud::Azure, connection).unwrap_err().code, Code::Malformed);
    asked.join().unwrap();
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
fn answer_that_is_cut_off_or_does_not_come_ends_the_asking() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connect = |patience| Connection::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap(), patience);
    let silent = connect(Duration::from_millis(50));
    assert_eq!(ask(Cloud::Google, silent).unwrap_err().code, Code::Timeout);
    let cut = connect(Duration::from_secs(5));
    let asked = std::thread::spawn(move || {
        // The silent one came first.
        let _silent = listener.accept().unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        assert_ne!(stream.read(&mut request).unwrap(), 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nversion").unwrap();
    });
    assert_eq!(ask(Cloud::Google, cut).unwrap_err().code, Code::Network);
    asked.join().unwrap();
}
