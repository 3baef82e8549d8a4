//! The verifier's admin API: the one service that this command line manages.

use crate::files;
use bytes::Bytes;
use clap::Args;
use core::time::Duration;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use strongroom_transport::{Body, HttpClient, ServerIdentity, ServerTrust, http as body, read_body};
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::Zeroizing;

/// The longest that one call may take: it is answered from a local database.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most of an answer that is read: a page of decisions, each with every check's got and want.
const ANSWER: usize = 64 << 20;

/// Which verifier, and as whom.
///
/// No flag is required in clap's own sense, so that a command may also go without all of them (`Option<Service>`); what is
/// missing is named, all of it at once, where the flags are read.
#[derive(Args)]
#[command(next_help_heading = "Verifier")]
pub(crate) struct Service {
    /// The verifier's admin address, as `https://host:port`.
    #[arg(long, value_name = "URL")]
    verifier: Option<String>,
    /// SHA-256 of the verifier's TLS key, as `strongroom-verifier --identity` prints it.
    #[arg(long, value_name = "HEX", value_parser = Sha256::from_hex, conflicts_with = "verifier_ca")]
    verifier_pin: Option<Sha256>,
    /// Certificates of the authority that vouches for the verifier's name, instead of a pin.
    #[arg(long, value_name = "FILE")]
    verifier_ca: Option<PathBuf>,
    /// A file of mode 600 with your token: of your OpenID provider, or the break-glass token.
    #[arg(long, value_name = "FILE", conflicts_with = "admin_cert")]
    admin_token_file: Option<PathBuf>,
    /// Your certificate, with those of the authorities between it and the one that the verifier knows, in PEM.
    #[arg(long, value_name = "FILE", requires = "admin_key")]
    admin_cert: Option<PathBuf>,
    /// The P-256 key of that certificate, in PEM: mode 600.
    #[arg(long, value_name = "FILE", requires = "admin_cert")]
    admin_key: Option<PathBuf>,
}

/// A client of one verifier's admin API. What the service refuses comes back as its own refusal.
pub(crate) struct AdminClient {
    base: String,
    http: HttpClient,
    /// `None`: the connection says who calls.
    authorization: Option<HeaderValue>,
}

/// What a service says of a change that waits.
#[derive(Deserialize)]
struct Waiting {
    id: String,
    digest: Sha256,
}

/// What a service says when it refuses. Members that are not known are passed over: the code is what counts.
#[derive(Default, Deserialize)]
struct Answer {
    code: Option<String>,
    #[serde(alias = "detail", alias = "message")]
    what: Option<String>,
    got: Option<String>,
    want: Option<String>,
}

impl Service {
    /// Reads the files that are named. No connection is made yet.
    ///
    /// # Errors
    /// `usage`: a flag is missing; those of the files.
    pub(crate) fn client(&self) -> Result<AdminClient> {
        let trust = match (self.verifier_pin, &self.verifier_ca) {
            (Some(pin), _) => Some(ServerTrust::Pin(pin.0)),
            (None, Some(path)) => Some(ServerTrust::Ca(files::read(path, limits::CONFIGURATION)?)),
            (None, None) => None,
        };
        let (Some(verifier), Some(trust)) = (&self.verifier, trust) else { return Err(self.incomplete()) };
        let (http, authorization) = match (&self.admin_token_file, &self.admin_cert, &self.admin_key) {
            (Some(token), ..) => (HttpClient::new(&trust, false)?, Some(authorization(token)?)),
            (None, Some(certificate), Some(key)) => (HttpClient::named(&identity(certificate, key)?, &trust)?, None),
            _ => return Err(self.incomplete()),
        };
        Ok(AdminClient { base: verifier.trim_end_matches('/').to_owned(), http, authorization })
    }

    fn incomplete(&self) -> Refusal {
        let flags = [
            ("--verifier URL", self.verifier.is_some()),
            ("--verifier-pin HEX (or --verifier-ca FILE)", self.verifier_pin.is_some() || self.verifier_ca.is_some()),
            (
                "--admin-cert FILE --admin-key FILE (or --admin-token-file FILE)",
                self.admin_token_file.is_some() || self.admin_cert.is_some(),
            ),
        ];
        let those = |given: bool| {
            let flags = flags.iter().filter(|flag| flag.1 == given).map(|flag| flag.0).collect::<Vec<_>>();
            if flags.is_empty() { "none of them".to_owned() } else { flags.join(", ") }
        };
        Refusal::new(Code::Usage, format!("flags for the verifier are missing: {}", those(false)))
            .got(those(true))
            .want(flags.map(|flag| flag.0).join(", "))
    }
}

/// The header that says who calls.
fn authorization(path: &Path) -> Result<HeaderValue> {
    let invalid = || {
        Refusal::new(Code::ConfigurationInvalid, format!("`{}`", path.display()))
            .want("a token: one line of printable characters")
    };
    let file = files::read_secret(path)?;
    let token = core::str::from_utf8(&file).map_err(|_| invalid())?.trim();
    let text = Zeroizing::new(format!("Bearer {token}"));
    let mut value = HeaderValue::from_str(&text).ok().filter(|_| !token.is_empty()).ok_or_else(invalid)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Who calls, by certificate and key.
fn identity(certificate: &Path, key: &Path) -> Result<ServerIdentity> {
    let key = files::read_secret(key)?;
    let identity = ServerIdentity::load_pem(&files::read(certificate, limits::KEY_FILE)?, &key);
    identity.map_err(|refusal| refusal.within("--admin-cert and --admin-key"))
}

impl AdminClient {
    /// `GET /admin/v1/<path>`, the answer as it is.
    pub(crate) async fn get(&self, path: &str) -> Result<Bytes> {
        self.call(Method::GET, path, body::empty()).await
    }

    /// [`Self::get`] of JSON.
    pub(crate) async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        parse(path, &self.get(path).await?)
    }

    /// `PUT` or `POST /admin/v1/<path>`, answered with JSON.
    pub(crate) async fn send_json<T: DeserializeOwned>(&self, method: Method, path: &str, content: Body) -> Result<T> {
        parse(path, &self.send(method, path, content).await?)
    }

    /// The same, the answer as it is.
    pub(crate) async fn send(&self, method: Method, path: &str, content: Body) -> Result<Bytes> {
        self.call(method, path, content).await
    }

    async fn call(&self, method: Method, path: &str, content: Body) -> Result<Bytes> {
        let mut request = Request::builder().method(method).uri(format!("{}/admin/v1/{path}", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request
            .body(content)
            .map_err(|e| Refusal::new(Code::Usage, format!("verifier `{}`", self.base)).because(e))?;
        let response = self.http.send(request, PATIENCE).await?;
        let status = response.status();
        let bytes = read_body(response.into_body(), ANSWER, "answer of the verifier").await?;
        match status {
            StatusCode::ACCEPTED => Err(waits(path, &bytes)?),
            status if status.is_success() => Ok(bytes),
            status => Err(refusal(path, status, &bytes)),
        }
    }
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    document::parse_json(bytes, &format!("verifier's answer about `{path}`"), ANSWER, Code::Malformed)
}

/// A change that was asked for and is not made: whoever goes on as if it were would go wrong.
fn waits(path: &str, bytes: &[u8]) -> Result<Refusal> {
    let Waiting { id, digest } =
        serde_json::from_slice(bytes).map_err(|e| Refusal::malformed("verifier's answer", e))?;
    Ok(Refusal::new(Code::ApprovalPending, format!("verifier, `{path}`: change {id} waits for another person"))
        .got("1 person")
        .want(format!("2: strongroom change approve {id} --digest {digest}")))
}

/// The service's own refusal; `verifier-refused` where it does not say why.
fn refusal(path: &str, status: StatusCode, bytes: &[u8]) -> Refusal {
    let answer: Answer = serde_json::from_slice(bytes).unwrap_or_default();
    let place = format!("verifier, `{path}`");
    match answer.code.as_deref().and_then(Code::parse) {
        Some(code) => {
            let what = answer.what.unwrap_or_else(|| "refused".to_owned());
            Refusal { code, what, got: answer.got, want: answer.want }.within(place)
        }
        None if status == StatusCode::UNAUTHORIZED => Refusal::new(Code::AdminUnauthorized, place).got(status),
        None => Refusal::new(Code::VerifierRefused, place).got(status).want("an answer, or a code that says why"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusal_of_the_service_keeps_its_code_got_and_want() {
        let json = br#"{"code":"key-exists","what":"key","got":"a/b/c","want":"a new id"}"#;
        let refused = refusal("keys/a/b/c", StatusCode::CONFLICT, json);
        assert_eq!(refused.code, Code::KeyExists);
        assert_eq!((refused.got.as_deref(), refused.want.as_deref()), (Some("a/b/c"), Some("a new id")));
    }

    #[test]
    fn change_that_waits_is_not_done_and_says_what_to_do() {
        let digest = "ab".repeat(32);
        let json = format!(r#"{{"id":"c0ffee","digest":"{digest}","method":"PUT","expires":7}}"#);
        let refused = waits("keys/a/b/c", json.as_bytes()).unwrap();
        assert_eq!((refused.code, refused.fault().exit_code()), (Code::ApprovalPending, 1));
        assert!(refused.want.unwrap().ends_with(&format!("strongroom change approve c0ffee --digest {digest}")));
        assert_eq!(waits("keys", b"{}").unwrap_err().code, Code::Malformed);
    }

    #[test]
    fn answer_without_a_known_code_is_refused_all_the_same() {
        for json in [&b"{}"[..], br#"{"code":"from-the-future"}"#, b"<html>"] {
            assert_eq!(refusal("keys", StatusCode::BAD_GATEWAY, json).code, Code::VerifierRefused);
        }
        assert_eq!(refusal("keys", StatusCode::UNAUTHORIZED, b"").code, Code::AdminUnauthorized);
    }
}
