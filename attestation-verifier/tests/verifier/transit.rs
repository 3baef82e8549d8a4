//! Keys in the custody of a transit engine. It is a server of our own that answers as OpenBao's and Vault's published API says
//! (transit, token and AppRole), over TLS and with real authenticated encryption.

use crate::guest::Guest;
use crate::world::{KEY, KEY_VALUE, World};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use strongroom_transport::{ServeLimits, ServerIdentity, bind, serve, server_config};
use strongroom_wire::bytes::{from_base64, to_base64};
use tokio::sync::oneshot;

/// An engine, the tokens that it lets in, and what it was asked.
#[derive(Default)]
pub(crate) struct Engine {
    /// By version, from 1.
    keys: Mutex<Vec<RandomizedNonceKey>>,
    pub(crate) tokens: Mutex<Vec<String>>,
    pub(crate) sealed: Mutex<bool>,
    asked: Mutex<Vec<(String, Value)>>,
}

impl Engine {
    fn rotate(&self) {
        let key = [u8::try_from(self.keys.lock().unwrap().len() + 1).unwrap(); 32];
        self.keys.lock().unwrap().push(RandomizedNonceKey::new(&AES_256_GCM, &key).unwrap());
    }

    /// How often it was asked this.
    fn asked(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|(asked, _)| asked == path).count()
    }

    /// How often it opened what it had wrapped under that key's id.
    pub(crate) fn opened(&self, id: &str) -> usize {
        let bound = to_base64(format!("strongroom/stored-key/v1\0{id}").as_bytes());
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(path, asked)| path.contains("/decrypt/") && asked["associated_data"] == bound).count()
    }

    fn encrypt(&self, asked: &Value) -> Value {
        let keys = self.keys.lock().unwrap();
        let bytes = |name: &str| from_base64(asked[name].as_str().unwrap(), name).unwrap();
        let mut text = bytes("plaintext");
        let nonce =
            keys.last().unwrap().seal_in_place_append_tag(Aad::from(bytes("associated_data")), &mut text).unwrap();
        let sealed = to_base64(&[nonce.as_ref().as_slice(), &text].concat());
        json!({ "data": { "ciphertext": format!("vault:v{}:{sealed}", keys.len()), "key_version": keys.len() } })
    }

    fn decrypt(&self, asked: &Value) -> Option<Value> {
        let mut parts = asked["ciphertext"].as_str()?.splitn(3, ':').skip(1);
        let version: usize = parts.next()?.strip_prefix('v')?.parse().ok()?;
        let sealed = from_base64(parts.next()?, "ciphertext").ok()?;
        let aad = from_base64(asked["associated_data"].as_str()?, "associated_data").ok()?;
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>()?;
        let (keys, mut text) = (self.keys.lock().unwrap(), text.to_vec());
        let key = keys.get(version.checked_sub(1)?)?;
        let plain = key.open_in_place(Nonce::from(nonce), Aad::from(aad), &mut text).ok()?;
        Some(json!({ "data": { "plaintext": to_base64(plain) } }))
    }
}

async fn answer(State(engine): State<Arc<Engine>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let refuse = |status: StatusCode, why: &str| (status, axum::Json(json!({ "errors": [why] }))).into_response();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let path = uri.path().strip_prefix("/v1/").unwrap();
    engine.asked.lock().unwrap().push((path.to_owned(), asked.clone()));
    if *engine.sealed.lock().unwrap() {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "Vault is sealed");
    }
    let token = headers.get("x-vault-token").map(|token| token.to_str().unwrap().to_owned());
    let lease = |token: &str| json!({ "auth": { "client_token": token, "lease_duration": 3600, "renewable": true } });
    if path == "auth/approle/login" {
        if asked != json!({ "role_id": "verifier", "secret_id": "a secret id" }) {
            return refuse(StatusCode::BAD_REQUEST, "invalid role or secret ID");
        }
        let mut tokens = engine.tokens.lock().unwrap();
        tokens.push(format!("token-{}", engine.asked("auth/approle/login")));
        return axum::Json(lease(tokens.last().unwrap())).into_response();
    }
    let token = token.filter(|token| engine.tokens.lock().unwrap().contains(token));
    let Some(token) = token else { return refuse(StatusCode::FORBIDDEN, "permission denied") };
    let answer = match path {
        "auth/token/renew-self" => Some(lease(&token)),
        "transit/encrypt/strongroom" => Some(engine.encrypt(&asked)),
        "transit/decrypt/strongroom" => engine.decrypt(&asked),
        _ => return refuse(StatusCode::NOT_FOUND, "no handler for route"),
    };
    match answer {
        Some(answer) => axum::Json(answer).into_response(),
        None => refuse(StatusCode::BAD_REQUEST, "cipher: message authentication failed"),
    }
}

/// An engine that is served until this is dropped.
pub(crate) struct Served {
    pub(crate) engine: Arc<Engine>,
    pub(crate) custody: String,
    _stop: oneshot::Sender<()>,
}

impl Served {
    /// One whose custody is configured with `login`, and files that it may name in `folder`.
    pub(crate) async fn start(folder: &std::path::Path, login: &str) -> Self {
        let identity = ServerIdentity::generate(&["localhost".to_owned()]).unwrap();
        let bound = bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", bound.local_addr().port());
        let engine = Arc::new(Engine::default());
        engine.rotate();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&engine));
        let (stop, stopped) = oneshot::channel::<()>();
        let tls = server_config(&identity).unwrap();
        tokio::spawn(serve(bound, Some(tls), router, ServeLimits::default(), async move { drop(stopped.await) }));
        for (name, text) in [("bao-token", "token-of-a-file\n"), ("bao-secret", "a secret id\n")] {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::write(folder.join(name), text).unwrap();
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let login = login.replace("FOLDER", &folder.display().to_string());
        let ca = identity.certificate_pem();
        let custody =
            format!("[[custody]]\nkind = 'transit'\nurl = '{url}'\nkey = 'strongroom'\nca = '''{ca}'''\n{login}\n");
        Self { engine, custody, _stop: stop }
    }
}

const ROLE: &str = "role-id = 'verifier'\nsecret-id-file = 'FOLDER/bao-secret'";
pub(crate) const FILE: &str = "token-file = 'FOLDER/bao-token'";

async fn code(guest: &Guest<'_>) -> String {
    let answer = guest.fetch(KEY).await;
    if answer.status == 200 { String::new() } else { answer.code() }
}

async fn ready(world: &World) -> u16 {
    world.kbs(Method::GET, "/readyz", &[], vec![]).await.status.as_u16()
}

/// What a rotation of [`KEY`] says of its custody.
async fn rotate(world: &World) -> String {
    let answer = world.admin(Method::POST, &format!("keys/{KEY}/rotate"), vec![]).await;
    if answer.status == 200 { answer.json()["custody"].as_str().unwrap().to_owned() } else { answer.code() }
}

/// A verifier whose keys are in the custody of an engine, and a guest that it accepted.
pub(crate) async fn world(login: &str) -> (World, Vec<u8>, Served) {
    let (mut world, document) = World::ready().await;
    let served = Served::start(world.folder.path(), login).await;
    served.engine.tokens.lock().unwrap().push("token-of-a-file".to_owned());
    world.stop().await;
    world.start_with(&served.custody).await;
    assert_eq!(rotate(&world).await, "transit:transit/strongroom@1");
    (world, document, served)
}

#[tokio::test]
async fn key_is_wrapped_under_its_id_by_the_newest_version_of_the_engine_s_key_and_opened_by_each() {
    for login in [ROLE, FILE] {
        let (world, document, served) = world(login).await;
        let engine = &served.engine;
        let guest = Guest::launch(&world, &document).await;
        guest.attest().await;
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
        engine.rotate();
        assert_eq!(guest.key(KEY).await, KEY_VALUE, "an older version opens what it wrapped");
        assert_eq!(rotate(&world).await, "transit:transit/strongroom@2");
        assert_eq!(guest.key(KEY).await, KEY_VALUE);
        let bound = to_base64(format!("strongroom/stored-key/v1\0{KEY}").as_bytes());
        let asked = engine.asked.lock().unwrap();
        let decrypted: Vec<_> = asked.iter().filter(|(path, _)| path == "transit/decrypt/strongroom").collect();
        assert!(decrypted.iter().all(|(_, asked)| asked["associated_data"] == bound), "{decrypted:?}");
        assert_eq!(decrypted.len(), 4, "three releases, and a rotation");
        drop(asked);
        for file in std::fs::read_dir(world.folder.path().join("state")).unwrap() {
            let bytes = std::fs::read(file.unwrap().path()).unwrap();
            let marked = to_base64(&KEY_VALUE);
            assert!(!bytes.windows(16).any(|window| window == &KEY_VALUE[..16] || window == &marked.as_bytes()[..16]));
        }
    }
}

#[tokio::test]
async fn engine_that_gives_nothing_has_nothing_released_and_is_used_again_once_it_does() {
    let (world, document, served) = world(ROLE).await;
    let engine = &served.engine;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    *engine.sealed.lock().unwrap() = true;
    assert_eq!(code(&guest).await, "custody-unavailable");
    assert_eq!((ready(&world).await, rotate(&world).await.as_str()), (503, "custody-unavailable"));
    *engine.sealed.lock().unwrap() = false;
    assert_eq!(code(&guest).await, "");
    assert_eq!(ready(&world).await, 200);
    assert_eq!(world.decisions("release").await, ["custody-unavailable", ""]);
    // A token that ended is had anew for the role.
    let logins = engine.asked("auth/approle/login");
    engine.tokens.lock().unwrap().clear();
    assert_eq!(code(&guest).await, "");
    assert_eq!(engine.asked("auth/approle/login"), logins + 1);
}

#[tokio::test]
async fn token_in_a_file_is_renewed_and_read_again_where_it_ended() {
    let (world, document, served) = world(FILE).await;
    let engine = &served.engine;
    assert_eq!(engine.asked("auth/token/renew-self"), 1);
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    *engine.tokens.lock().unwrap() = vec!["another-token".to_owned()];
    assert_eq!(code(&guest).await, "custody-unavailable");
    std::fs::write(world.folder.path().join("bao-token"), "another-token\n").unwrap();
    assert_eq!(code(&guest).await, "");
}

#[tokio::test]
async fn value_that_an_engine_does_not_recognise_is_not_taken_for_an_engine_that_is_gone() {
    let (world, document, served) = world(ROLE).await;
    let engine = &served.engine;
    let guest = Guest::launch(&world, &document).await;
    guest.attest().await;
    engine.keys.lock().unwrap().clear();
    assert_eq!(code(&guest).await, "store-failed");
    assert_eq!(ready(&world).await, 200);
}
