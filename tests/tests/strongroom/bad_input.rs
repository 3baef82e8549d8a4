//! What peers, callers and operators get wrong: each mistake has its documented status and code, and no service breaks.

use crate::system::guest::Deployed;
use crate::system::http::Http;
use crate::system::process::{Finished, run};
use crate::system::program;
use crate::system::world::{API_KEY, World};
use http::Method;
use serde_json::json;
use std::fs;
use std::process::Command;
use strongroom_wire::{Code, limits};

/// A request, and what it is answered with.
type Mistake<'a> = (Method, &'a str, &'a [(&'a str, &'a str)], Vec<u8>, u16, Code);

fn attempt(http: &Http, base: &str, mistakes: &[Mistake<'_>]) {
    for (method, path, headers, body, status, code) in mistakes {
        let answer = http.send(method.clone(), &format!("{base}{path}"), headers, body.clone());
        let sent = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!(answer.refusal(), (*status, *code), "{method} {path} {headers:?} {sent}: {}", answer.text());
    }
}

#[track_caller]
fn assert_unharmed(http: &Http, base: &str, log: &str) {
    assert_eq!(http.send(Method::GET, &format!("{base}/healthz"), &[], "").status, 200);
    assert!(!log.contains("panic"), "{log}");
}

/// Requests that end before they are whole. There may be an answer; it is none of a service that broke.
fn break_off(http: &Http, authority: &str, path: &str) {
    let whole = format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{\"version\":");
    for cut in [0, 3, 20, whole.find("\r\n\r\n").unwrap(), whole.len()] {
        let answer = http.break_off(authority, &whole[..cut]);
        assert!(!answer.starts_with("HTTP/1.1 5"), "{cut}: {answer}");
    }
    let answer = http.break_off(authority, "\u{0}\u{1}GARBAGE\r\n\r\n");
    assert!(!answer.starts_with("HTTP/1.1 5") && !answer.starts_with("HTTP/1.1 2"), "{answer}");
}

#[test]
fn verifier_refuses_what_has_no_shape_with_its_code() {
    let world = World::start();
    let http = Http::pinned(world.verifier.pin);
    let base = format!("https://{}", world.verifier.kbs);
    let cookie = [("cookie", "kbs-session-id=0123456789abcdef0123456789abcdef")];
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let post = |path, body, code| (Method::POST, path, &[][..], body, 401, code);
    let with_cookie = |path, body, code| (Method::POST, path, &cookie[..], body, 401, code);
    let get = |path, code| (Method::GET, path, &cookie[..], Vec::new(), 401, code);
    let [auth, attest] = ["/kbs/v0/auth", "/kbs/v0/attest"];
    attempt(
        &http,
        &base,
        &[
            post(auth, b"{".to_vec(), Code::Malformed),
            post(auth, Vec::new(), Code::Malformed),
            post(auth, vec![0xff; 16], Code::Malformed),
            post(auth, json(json!({"version": 4, "tee": "snp", "extra-params": {}})), Code::Malformed),
            post(auth, json(json!({"version": "0.4.0", "tee": "snp"})), Code::Malformed),
            post(attest, b"{}".to_vec(), Code::SessionUnknown),
            with_cookie(attest, b"not json".to_vec(), Code::Malformed),
            with_cookie(attest, b"{}".to_vec(), Code::Malformed),
            (Method::GET, "/kbs/v0/resource/a/b/c", &[], Vec::new(), 401, Code::SessionUnknown),
            (
                Method::GET,
                "/kbs/v0/resource/a/b/c",
                &[("authorization", "Bearer a.b.c")],
                Vec::new(),
                401,
                Code::TokenInvalid,
            ),
            (
                Method::GET,
                "/kbs/v0/resource/a/b/c",
                &[("authorization", "Basic eA==")],
                Vec::new(),
                401,
                Code::TokenInvalid,
            ),
            get("/kbs/v0/resource/a/b/c", Code::SessionUnknown),
            // Whoever has no session is told nothing of names; who has one, `malformed` (docs/attacks.md).
            get("/kbs/v0/resource/a/b", Code::SessionUnknown),
            get("/kbs/v0/resource/../../state", Code::SessionUnknown),
            get("/kbs/v0/resource/a/b/.c", Code::SessionUnknown),
            get("/kbs/v0/resource/a/b/%2e%2e", Code::SessionUnknown),
            (Method::GET, "/kbs/v0/other", &[], Vec::new(), 404, Code::RouteUnknown),
            (Method::DELETE, auth, &[], Vec::new(), 404, Code::RouteUnknown),
            (Method::GET, "/admin/v1/keys", &[], Vec::new(), 404, Code::RouteUnknown),
        ],
    );
    for path in [auth, attest] {
        let oversized = http.announce(&world.verifier.kbs, path, &cookie, limits::KBS_BODY + 1);
        assert_eq!(oversized.refusal(), (413, Code::TooLarge), "{path}");
    }
    break_off(&http, &world.verifier.kbs, auth);
    assert_unharmed(&http, &base, &world.verifier.process.log());
}

#[test]
fn nonce_of_another_length_is_refused_and_uses_the_session_up() {
    let world = World::start();
    let http = Http::pinned(world.verifier.pin);
    let base = format!("https://{}/kbs/v0", world.verifier.kbs);
    let request = json!({"version": "0.4.0", "tee": "snp", "extra-params": {}}).to_string();
    let challenge = http.send(Method::POST, &format!("{base}/auth"), &[], request);
    let cookie = challenge.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let nonce = challenge.json()["nonce"].as_str().unwrap().to_owned();
    let attestation = |nonce: &str| {
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ECDH-ES+A256KW", "x": "eA", "y": "eQ"});
        json!({
            "init-data": null,
            "runtime-data": {"nonce": nonce, "tee-pubkey": key},
            "tee-evidence": {"primary_evidence": {}, "additional_evidence": ""},
        })
        .to_string()
    };
    let attest = |nonce: &str| {
        http.send(Method::POST, &format!("{base}/attest"), &[("cookie", &cookie)], attestation(nonce)).refusal()
    };
    assert_eq!(attest(&nonce[..nonce.len() - 4]), (401, Code::NonceMismatch));
    assert_eq!(attest(&nonce), (401, Code::NonceUsed));
}

#[test]
fn verifier_s_administrator_is_told_what_was_wrong() {
    let world = World::start();
    let http = Http::pinned(world.verifier.pin);
    let base = format!("https://{}", world.verifier.admin);
    let token = format!("Bearer {}", world.verifier.admin_token());
    let admin = [("authorization", token.as_str())];
    let put = |path, body: &[u8], status, code| (Method::PUT, path, &admin[..], body.to_vec(), status, code);
    let [key, policy] = ["/admin/v1/keys/a/b/c", "/admin/v1/policies/a/b/c"];
    let listed = http.send(Method::GET, &format!("{base}/admin/v1/keys"), &admin, "");
    assert_eq!((listed.status, listed.json()), (200, json!([])));
    attempt(
        &http,
        &base,
        &[
            (Method::GET, "/admin/v1/keys", &[], Vec::new(), 401, Code::AdminUnauthorized),
            (Method::GET, "/admin/v1/keys", &[("authorization", "Bearer x")], Vec::new(), 401, Code::AdminUnauthorized),
            put(policy, b"not toml", 400, Code::PolicyInvalid),
            put(policy, b"version = 1\n", 400, Code::PolicyInvalid),
            put(policy, b"\xff\xfe", 400, Code::Malformed),
            put(key, &vec![1; limits::RESOURCE + 1], 413, Code::TooLarge),
            put("/admin/v1/keys/a/b", b"x", 400, Code::Malformed),
            put("/admin/v1/keys/a/b/../c", b"x", 400, Code::Malformed),
            (Method::GET, "/admin/v1/audit?after=x", &admin, Vec::new(), 400, Code::RequestInvalid),
            (Method::GET, key, &admin, Vec::new(), 404, Code::KeyUnknown),
            (Method::GET, "/admin/v1/other", &admin, Vec::new(), 404, Code::RouteUnknown),
        ],
    );
    break_off(&http, &world.verifier.admin, policy);
    assert_unharmed(&http, &base, &world.verifier.process.log());
}

#[test]
fn enclave_refuses_what_has_no_shape_with_its_code() {
    let Some(deployed) = Deployed::start("MODEL_TINY") else { return };
    let guest = &deployed.guest;
    let (http, base) = (Http::of_first_use(&guest.address), format!("https://{}", guest.address));
    let key = format!("Bearer {API_KEY}");
    let caller = [("authorization", key.as_str())];
    let embeddings = "/v1/embeddings";
    let json = |value: serde_json::Value| value.to_string().into_bytes();
    let post = |body, status, code| (Method::POST, embeddings, &caller[..], body, status, code);
    let evidence = |path| (Method::GET, path, &[][..], Vec::new(), 400, Code::Malformed);
    let long = format!("/.well-known/strongroom/evidence?nonce={}", "ab".repeat(33));
    attempt(
        &http,
        &base,
        &[
            (Method::POST, embeddings, &[], json(json!({"model": "model", "input": "a"})), 401, Code::Unauthenticated),
            post(b"not json".to_vec(), 400, Code::RequestInvalid),
            post(Vec::new(), 400, Code::RequestInvalid),
            post(vec![0xff; 16], 400, Code::RequestInvalid),
            post(json(json!({"model": "model", "input": 1})), 400, Code::RequestInvalid),
            post(json(json!({"model": "model", "input": []})), 400, Code::RequestInvalid),
            post(json(json!({"model": ["model"], "input": "a"})), 400, Code::RequestInvalid),
            post(json(json!({"model": "model", "input": [u32::MAX]})), 400, Code::RequestInvalid),
            post(json(json!({"model": "model", "input": "a", "dimensions": 7})), 400, Code::RequestInvalid),
            post(json(json!({"model": "model", "input": vec!["a"; limits::API_INPUTS + 1]})), 413, Code::TooLarge),
            post(json(json!({"model": "other", "input": "a"})), 404, Code::ModelUnknown),
            evidence("/.well-known/strongroom/evidence"),
            evidence("/.well-known/strongroom/evidence?nonce="),
            evidence("/.well-known/strongroom/evidence?nonce=ab"),
            evidence(&long),
            evidence("/.well-known/strongroom/evidence?nonce=zz"),
            (Method::GET, "/v1/other", &caller, Vec::new(), 404, Code::RouteUnknown),
            (Method::GET, embeddings, &caller, Vec::new(), 405, Code::RouteUnknown),
        ],
    );
    let oversized = http.announce(&guest.address, embeddings, &caller, limits::API_BODY + 1);
    assert_eq!(oversized.refusal(), (413, Code::TooLarge));
    break_off(&http, &guest.address, embeddings);
    assert_unharmed(&http, &base, &guest.process.log());
}

#[test]
fn configuration_with_an_unknown_key_is_refused_and_the_same_without_it_passes() {
    let folder = tempfile::tempdir().unwrap();
    let verifier =
        "listen = '127.0.0.1:0'\nadmin-listen = '127.0.0.1:0'\nstate = 'state'\nmaster-key = 'm'\nadmin-token = 't'\n";
    let enclave = "listen = '127.0.0.1:0'\ndeployment = 'd.toml'\nonnxruntime = 'libonnxruntime.so'\n";
    for (name, sound) in [("strongroom-verifier", verifier), ("strongroom-enclave", enclave)] {
        let path = folder.path().join("config.toml");
        let check = |content: &str| -> Finished {
            fs::write(&path, content).unwrap();
            run(Command::new(program(name)).arg("--config").arg(&path).arg("--check").current_dir(folder.path()))
        };
        check(sound).ok();
        assert_eq!(check(&format!("{sound}insecure = true\n")).refused(), Code::UnknownField, "{name}");
        assert_eq!(check(&format!("{sound}trust = 'anybody'\n")).refused(), Code::UnknownField, "{name}");
        assert_eq!(check(&sound.replace("'127.0.0.1:0'", "5")).refused(), Code::ConfigurationInvalid, "{name}");
        assert_eq!(check("listen = ").refused(), Code::ConfigurationInvalid, "{name}");
        assert_eq!(check("listen = 'a:1'").refused(), Code::ConfigurationInvalid, "{name}");
        fs::remove_file(&path).unwrap();
        let absent = run(Command::new(program(name)).arg("--config").arg(&path).arg("--check"));
        assert_eq!(absent.refused(), Code::Io, "{name}");
    }
    // A check makes nothing: no state, no keys.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}
