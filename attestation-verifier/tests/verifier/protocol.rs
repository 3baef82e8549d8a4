//! The edges of the protocol: what is no request, and who asks without a session.

use crate::guest::{Guest, auth};
use crate::world::{KEY, World};
use http::Method;
use serde_json::json;
use strongroom_wire::limits;

#[tokio::test]
async fn challenge_is_that_of_the_protocol() {
    let world = World::start().await;
    let answer = auth(&world, json!({"version": "0.4.0", "tee": "snp", "extra-params": ""})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    let id = cookie.strip_prefix("kbs-session-id=").unwrap().split(';').next().unwrap();
    assert!(id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{cookie}");
    let challenge = answer.json();
    assert_eq!(challenge["extra-params"], "");
    assert_eq!(challenge["nonce"].as_str().unwrap().len(), 44);
}

#[tokio::test]
async fn other_tees_and_versions_refused() {
    let world = World::start().await;
    for tee in ["sample", "nvidia", "azure-snp-vtpm", "SNP", ""] {
        let answer = auth(&world, json!({"version": "0.4.0", "tee": tee, "extra-params": ""})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "platform-unsupported"), "{tee}");
    }
    for version in ["0.2.0", "0.4.1", "0.3.0", "1"] {
        let answer = auth(&world, json!({"version": version, "tee": "snp", "extra-params": ""})).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "version-unsupported"), "{version}");
    }
    let answer = auth(&world, json!({"version": "0.4.0", "tee": "snp"})).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "malformed"));
}

#[tokio::test]
async fn bodies_that_are_not_json_or_too_large_refused() {
    let world = World::start().await;
    let answer = world.kbs(Method::POST, "/kbs/v0/auth", &[], b"{".to_vec()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "malformed"));
    let answer = world.kbs(Method::POST, "/kbs/v0/auth", &[], vec![b' '; limits::KBS_BODY + 1]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "too-large"));
}

#[tokio::test]
async fn requests_without_a_session_refused_as_clients_expect() {
    let (world, document) = World::ready().await;
    let path = format!("/kbs/v0/resource/{KEY}");
    let answer = world.kbs(Method::GET, &path, &[], vec![]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "session-unknown"));
    let kind = answer.json()["type"].as_str().unwrap().to_owned();
    assert_eq!(kind, "https://github.com/confidential-containers/kbs/errors/TokenNotFound");
    assert!(answer.json()["detail"].is_string());

    let mut guest = Guest::launch(&world, &document).await;
    guest.cookie = format!("kbs-session-id={}", "0".repeat(32));
    assert_eq!(guest.refused(&guest.attestation()).await, "session-unknown");
    guest.cookie = "other=1".into();
    assert_eq!(guest.refused(&guest.attestation()).await, "session-unknown");
}

#[tokio::test]
async fn token_of_another_issuer_or_form_refused() {
    let (world, document) = World::ready().await;
    let guest = Guest::launch(&world, &document).await;
    let token = guest.attest().await;
    let (head, _) = token.rsplit_once('.').unwrap();
    let forged = strongroom_jose::TokenSigner::generate().unwrap().sign(&json!({"aud": "strongroom-kbs"})).unwrap();
    let path = format!("/kbs/v0/resource/{KEY}");
    for bearer in [format!("Bearer {forged}"), format!("Bearer {head}."), "Bearer ".into(), format!("Basic {token}")] {
        // A cookie beside a bad token does not help.
        let headers = [("authorization", bearer.as_str()), ("cookie", guest.cookie.as_str())];
        let answer = world.kbs(Method::GET, &path, &headers, vec![]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "token-invalid"));
        assert!(answer.json()["type"].as_str().unwrap().ends_with("/TokenVerifierError"));
    }
}

#[tokio::test]
async fn unknown_routes_and_plugins_are_not_found() {
    let world = World::start().await;
    for (method, path, kind) in [
        (Method::GET, "/kbs/v0/auth", "PluginNotFound"),
        (Method::POST, "/kbs/v0/resource/a/b/c", "PluginNotFound"),
        (Method::POST, "/kbs/v0/resource-policy", "PluginNotFound"),
        (Method::GET, "/kbs/v0/sample/a/b", "PluginNotFound"),
        (Method::GET, "/metrics", "InvalidRequestPath"),
        (Method::GET, "/admin/v1/keys", "InvalidRequestPath"),
    ] {
        let answer = world.kbs(method, path, &[], vec![]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (404, "route-unknown"), "{path}");
        assert!(answer.json()["type"].as_str().unwrap().ends_with(kind), "{path}");
    }
    assert_eq!(world.kbs(Method::HEAD, "/kbs/v0/resource/a/b/c", &[], vec![]).await.status, 404);
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.kbs(Method::GET, path, &[], vec![]).await.status, 200);
    }
}
