//! Custody by the transit engine of OpenBao or Vault, over HTTPS: it wraps and unwraps under a key that it does not give out, with
//! the id of what is wrapped as associated data (`POST /v1/<mount>/encrypt|decrypt/<key>`). A version of its key is part of what it
//! wraps; it goes on opening what older ones wrapped as long as it keeps them.

use super::{Answer, Custody, KeyValue, Wrapped, unavailable};
use crate::config::Transit as Config;
use crate::erased::Erased;
use crate::master_key::aad;
use crate::private_file;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use strongroom_transport::http::full;
use strongroom_transport::{HttpClient, ServerTrust, read_body};
use strongroom_wire::bytes::{from_base64, to_base64};
use strongroom_wire::{Code, Refusal, Result, limits};
use tokio::sync::{Mutex, Semaphore};
use zeroize::Zeroizing;

/// The longest that one call may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Tokens are renewed no more and no less often than this, however long they say that they last.
const LEAST: Duration = Duration::from_secs(5);
const MOST: Duration = Duration::from_secs(3600);

/// Wraps by a transit engine.
#[derive(Debug)]
pub(crate) struct Transit {
    name: String,
    url: String,
    path: String,
    key: String,
    login: Login,
    http: HttpClient,
    token: Mutex<Option<Held>>,
    places: Semaphore,
}

/// Where a token comes from.
#[derive(Debug)]
enum Login {
    /// It is in a file, which somebody else may renew.
    File(PathBuf),
    /// It is given for a role (`auth/approle`).
    Role { id: String, secret: PathBuf },
}

/// A token, and when it is to be renewed.
struct Held {
    token: HeaderValue,
    renew: Instant,
}

impl core::fmt::Debug for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Held")
    }
}

#[derive(Deserialize)]
struct Data<T> {
    data: T,
}

#[derive(Deserialize)]
struct Encrypted {
    ciphertext: String,
}

#[derive(Deserialize)]
struct Decrypted {
    plaintext: Text,
}

#[derive(Deserialize)]
struct Authenticated {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: Text,
    lease_duration: u64,
}

/// Text of an answer that is a secret.
#[derive(Deserialize)]
#[serde(from = "String")]
struct Text(Zeroizing<String>);

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

/// Why a call came to nothing.
enum Failure {
    /// With this token: another may be let in.
    Forbidden(Refusal),
    /// What was asked is wrong, not who asks.
    Rejected(Refusal),
    Other(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Other(refusal)
    }
}

impl Failure {
    fn refusal(self) -> Refusal {
        match self {
            Self::Forbidden(refusal) | Self::Rejected(refusal) | Self::Other(refusal) => refusal,
        }
    }
}

impl Transit {
    /// By the engine and the key of it that are configured. Nobody is asked yet.
    ///
    /// # Errors
    /// `configuration-invalid`: a CA bundle that is none, or no way to log in, or two.
    pub(crate) fn new(config: &Config) -> Result<Self> {
        let login = match (&config.token_file, &config.role_id, &config.secret_id_file) {
            (Some(file), None, None) => Login::File(file.clone()),
            (None, Some(id), Some(secret)) => Login::Role { id: id.clone(), secret: secret.clone() },
            _ => {
                let refusal = Refusal::new(Code::ConfigurationInvalid, "transit custody");
                return Err(refusal.want("`token-file`, or `role-id` and `secret-id-file`"));
            }
        };
        let trust = config.ca.as_ref().map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.clone().into_bytes()));
        Ok(Self {
            name: config.name(),
            url: config.url.trim_end_matches('/').to_owned(),
            path: config.mount.clone(),
            key: config.key.clone(),
            login,
            http: HttpClient::new(&trust, false)?,
            token: Mutex::new(None),
            places: Semaphore::new(limits::CUSTODY_CALLS),
        })
    }

    /// A call of the engine by `body`; once more with another token where one is not let in any more.
    async fn ask<T: DeserializeOwned>(&self, verb: &str, body: &impl Serialize) -> core::result::Result<T, Failure> {
        let busy = || Refusal::new(Code::Busy, "calls that wait for a transit engine").want(limits::CUSTODY_CALLS);
        let _place = self.places.try_acquire().map_err(|_| busy())?;
        let path = format!("{}/{verb}/{}", self.path, self.key);
        let token = self.token().await?;
        match self.call(&path, Some(token.clone()), body).await {
            Err(Failure::Forbidden(_)) => {
                drop(self.token.lock().await.take_if(|held| held.token == token));
                self.call(&path, Some(self.token().await?), body).await
            }
            answer => answer,
        }
    }

    /// The token, renewed or had anew where it is time.
    async fn token(&self) -> Result<HeaderValue> {
        let mut held = self.token.lock().await;
        if let Some(Held { token, renew }) = &*held {
            if Instant::now() < *renew {
                return Ok(token.clone());
            }
            if let Ok(auth) = self.renewed(token.clone()).await {
                return self.hold(&mut held, &auth);
            }
            *held = None;
        }
        let auth = match &self.login {
            Login::File(file) => {
                let token = text(file)?;
                match self.renewed(sensitive(&token)?).await {
                    // One that cannot be renewed is as good as it is.
                    Err(Failure::Rejected(_)) => Auth { client_token: Text(token), lease_duration: u64::MAX },
                    auth => auth.map_err(Failure::refusal)?,
                }
            }
            Login::Role { id, secret } => {
                #[derive(Serialize)]
                struct Role<'a> {
                    role_id: &'a str,
                    secret_id: &'a str,
                }
                let secret = text(secret)?;
                let role = Role { role_id: id, secret_id: &secret };
                self.call::<Authenticated>("auth/approle/login", None, &role).await.map_err(Failure::refusal)?.auth
            }
        };
        self.hold(&mut held, &auth)
    }

    async fn renewed(&self, token: HeaderValue) -> core::result::Result<Auth, Failure> {
        let none = serde_json::Map::new();
        self.call::<Authenticated>("auth/token/renew-self", Some(token), &none).await.map(|answer| answer.auth)
    }

    fn hold(&self, held: &mut Option<Held>, auth: &Auth) -> Result<HeaderValue> {
        let token = sensitive(&auth.client_token.0)?;
        // Half of what is left: a renewal that fails leaves time to try again.
        let renew = Duration::from_secs(auth.lease_duration / 2).clamp(LEAST, MOST);
        *held = Some(Held { token: token.clone(), renew: Instant::now() + renew });
        Ok(token)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        path: &str,
        token: Option<HeaderValue>,
        body: &impl Serialize,
    ) -> core::result::Result<T, Failure> {
        let internal = |e| Refusal::new(Code::Internal, "request to a transit engine").because(e);
        let body = serde_json::to_vec(body).map_err(|e| internal(e.to_string()))?;
        let mut request = Request::builder().method(Method::POST).uri(format!("{}/v1/{path}", self.url));
        request = request.header(header::CONTENT_TYPE, "application/json").header("X-Vault-Request", "true");
        if let Some(token) = token {
            request = request.header("X-Vault-Token", token);
        }
        let request = request.body(full(body)).map_err(|e| internal(e.to_string()))?;
        let gone = |refusal: Refusal| unavailable(&self.name).because(refusal);
        let response = self.http.send(request, PATIENCE).await.map_err(gone)?;
        let status = response.status();
        let read = tokio::time::timeout(PATIENCE, read_body(response.into_body(), limits::CUSTODY_ANSWER, "answer"));
        let late = |_| unavailable(&self.name).got("an answer that does not end");
        let answer = Erased::of(read.await.map_err(late)?.map_err(gone)?);
        // What it says of an error may repeat what it was asked.
        let said = unavailable(&self.name).got(status).want(StatusCode::OK);
        match status {
            StatusCode::OK => {
                Ok(serde_json::from_slice(answer.expose()).map_err(|_| said.got("an answer of another shape"))?)
            }
            StatusCode::FORBIDDEN => Err(Failure::Forbidden(said)),
            StatusCode::BAD_REQUEST => Err(Failure::Rejected(said)),
            _ => Err(Failure::Other(said)),
        }
    }
}

impl Custody for Transit {
    fn name(&self) -> &str {
        &self.name
    }

    fn wrap<'a>(&'a self, id: &'a str, value: &'a [u8]) -> Answer<'a, Wrapped> {
        Box::pin(async move {
            let body = Encrypt { plaintext: &Zeroizing::new(to_base64(value)), associated_data: &to_base64(&aad(id)) };
            let Data::<Encrypted> { data: Encrypted { ciphertext } } =
                self.ask("encrypt", &body).await.map_err(Failure::refusal)?;
            let version = ciphertext.split(':').nth(1).and_then(|version| version.strip_prefix('v'));
            let version: u64 = version
                .and_then(|version| version.parse().ok())
                .ok_or_else(|| unavailable(&self.name).got("a ciphertext without version").want("`vault:vN:…`"))?;
            Ok(Wrapped { by: format!("{}@{version}", self.name), bytes: ciphertext.into_bytes() })
        })
    }

    fn unwrap<'a>(&'a self, id: &'a str, wrapped: &'a [u8]) -> Answer<'a, KeyValue> {
        Box::pin(async move {
            let failed =
                || Refusal::new(Code::StoreFailed, format!("value that `{}` wrapped does not open", self.name));
            let ciphertext = core::str::from_utf8(wrapped).map_err(|_| failed())?;
            let body = Decrypt { ciphertext, associated_data: &to_base64(&aad(id)) };
            let answer: Data<Decrypted> = match self.ask("decrypt", &body).await {
                Err(Failure::Rejected(refusal)) => return Err(failed().because(refusal)),
                answer => answer.map_err(Failure::refusal)?,
            };
            let value = from_base64(&answer.data.plaintext.0, "plaintext").map_err(|_| failed())?;
            Ok(KeyValue::new(Zeroizing::new(value)))
        })
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.wrap("strongroom/health/v1", b"health").await.map(drop) })
    }
}

#[derive(Serialize)]
struct Encrypt<'a> {
    plaintext: &'a str,
    associated_data: &'a str,
}

#[derive(Serialize)]
struct Decrypt<'a> {
    ciphertext: &'a str,
    associated_data: &'a str,
}

/// The line in a private file.
fn text(file: &Path) -> Result<Zeroizing<String>> {
    let bytes = private_file::load(file).map_err(|refusal| unavailable("credentials of a custody").because(refusal))?;
    let text = core::str::from_utf8(&bytes).map_err(|_| unavailable(file.display().to_string()).want("text"))?;
    Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn sensitive(token: &str) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(token).map_err(|_| unavailable("token of a transit engine"))?;
    value.set_sensitive(true);
    Ok(value)
}
