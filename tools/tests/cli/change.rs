//! Who calls, by certificate or token, and changes that wait for another person, against a server that answers as a verifier does.

use crate::run::{Run, set_mode, strongroom, text, write_secret};
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use serde_json::json;
use std::path::PathBuf;
use strongroom_transport::{PeerCertificates, ServeLimits, ServerIdentity, bind, serve, server_config_asking};
use strongroom_wire::bytes::to_base64;

const ID: &str = "0123456789abcdef0123456789abcdef";

/// A service that takes whoever shows a certificate, and makes no change at once.
struct Service {
    url: String,
    pin: String,
    folder: tempfile::TempDir,
    _runtime: tokio::runtime::Runtime,
}

impl Service {
    fn start() -> Self {
        let identity = ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let bound = runtime.block_on(bind("127.0.0.1:0")).unwrap();
        let url = format!("https://localhost:{}", bound.local_addr().port());
        let config = server_config_asking(&identity).unwrap();
        let router = Router::new().fallback(answer);
        runtime.spawn(serve(bound, Some(config), router, ServeLimits::default(), core::future::pending()));
        let folder = tempfile::tempdir().unwrap();
        let service = Self { url, pin: hex::encode(identity.spki_sha256()), folder, _runtime: runtime };
        let me = ServerIdentity::generate(&["me".to_owned()]).unwrap();
        std::fs::write(service.file("me.pem"), me.certificate_pem()).unwrap();
        write_secret(&service.file("me.key"), me.private_key_pem().unwrap().expose());
        service
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, command: &[&str], more: &[&str]) -> Run {
        let flags = ["--verifier", &self.url, "--verifier-pin", &self.pin];
        strongroom(command.iter().copied().chain(flags).chain(more.iter().copied()))
    }

    fn as_me(&self, command: &[&str]) -> Run {
        self.run(command, &["--admin-cert", text(&self.file("me.pem")), "--admin-key", text(&self.file("me.key"))])
    }
}

async fn answer(request: Request) -> Response {
    if request.extensions().get::<PeerCertificates>().is_none() || request.headers().contains_key("authorization") {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let mut change = json!({
        "id": ID, "method": "PUT", "path": "/admin/v1/policies/a/b/c", "digest": "ab".repeat(32),
        "asked_by": { "name": "alice", "by": "token" }, "created": 1_767_225_600, "expires": 1_767_312_000,
    });
    let target = request.uri().path_and_query().unwrap().as_str();
    let json = match (request.method().as_str(), target.strip_prefix("/admin/v1/").unwrap()) {
        ("GET", "changes") => json!([change]),
        ("GET", path) if path == format!("changes/{ID}") => {
            change["body"] = json!(to_base64(b"version = 1\n\x1b[2J"));
            change
        }
        ("POST", path) if path == format!("changes/{ID}/reject") => change,
        ("POST", path) if path == format!("changes/{ID}/approve?digest={}", "ab".repeat(32)) => {
            json!({ "id": "a/b/c", "version": 1 })
        }
        ("POST", "keys/a/b/c/disable") => return (StatusCode::ACCEPTED, axum::Json(change)).into_response(),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    axum::Json(json).into_response()
}

#[test]
fn change_that_waits_ends_the_command_and_says_what_another_person_runs() {
    let service = Service::start();
    let waits = service.as_me(&["key", "disable", "a/b/c"]).refused(1, "approval-pending");
    let next = format!("strongroom change approve {ID} --digest {}", "ab".repeat(32));
    assert!(waits.stderr.contains(&next), "{}", waits.stderr);
    let json = service.as_me(&["key", "disable", "a/b/c", "--json"]).refused(1, "approval-pending").json();
    assert!(json["refused"]["want"].as_str().unwrap().contains(&next), "{json}");
}

#[test]
fn change_is_listed_shown_approved_by_its_digest_and_rejected() {
    let service = Service::start();
    let listed = service.as_me(&["change", "list"]).done();
    assert!(listed.stdout.contains("PUT /admin/v1/policies/a/b/c  alice (token)"), "{}", listed.stdout);
    assert_eq!(service.as_me(&["change", "list", "--json"]).done().json()[0]["id"], ID);
    let shown = service.as_me(&["change", "show", ID]).done();
    assert!(shown.stdout.contains("version = 1\n\u{fffd}[2J"), "{}", shown.stdout);
    let approve = |digest: &str| service.as_me(&["change", "approve", ID, "--digest", digest, "--json"]);
    assert_eq!(approve(&"ab".repeat(32)).done().json()["version"], 1);
    approve(&"cd".repeat(32)).refused(1, "verifier-refused");
    assert_eq!(service.as_me(&["change", "approve", ID]).code, 2, "of what was seen alone");
    assert_eq!(service.as_me(&["change", "show", "../keys"]).code, 2);
    assert!(service.as_me(&["change", "reject", ID]).done().stdout.contains(ID));
}

#[test]
fn caller_shows_a_certificate_with_its_key_or_a_token_and_not_both() {
    let service = Service::start();
    let (certificate, key) = (service.file("me.pem"), service.file("me.key"));
    let [certificate, key] = [&certificate, &key].map(|path| text(path));
    let list = |more: &[&str]| service.run(&["change", "list"], more);
    list(&["--admin-cert", certificate, "--admin-key", key]).done();
    list(&[]).refused(2, "usage");
    let token = service.file("token");
    write_secret(&token, "a.b.c");
    list(&["--admin-token-file", text(&token)]).refused(1, "admin-unauthorized");
    for wrong in [
        &["--admin-cert", certificate][..],
        &["--admin-key", key],
        &["--admin-cert", certificate, "--admin-key", key, "--admin-token-file", text(&token)],
    ] {
        assert_eq!(list(wrong).code, 2, "{wrong:?}");
    }
    let other = service.file("other.key");
    let stranger = ServerIdentity::generate(&["me".to_owned()]).unwrap();
    write_secret(&other, stranger.private_key_pem().unwrap().expose());
    list(&["--admin-cert", certificate, "--admin-key", text(&other)]).refused(2, "key-invalid");
    set_mode(&service.file("me.key"), 0o644);
    list(&["--admin-cert", certificate, "--admin-key", key]).refused(2, "file-mode-unsafe");
}
