//! Authorization at a registry: `Basic`, and tokens of a token service (distribution's token authentication).
//!
//! What was obtained for a registry is sent to that registry's origin and to nobody else. User and password go to the
//! registry, and to the token service that it names.

use crate::access::{Credentials, Password};
use crate::challenge::Challenge;
use crate::status;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use serde::Deserialize;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use strongroom_transport::patience::{is_passing, is_passing_status, retry_after};
use strongroom_transport::{Body, HttpClient, Patience, http as bodies, read_body};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::Zeroizing;

/// What a request wants to do with a repository: what a token has to allow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    repository: String,
    push: bool,
    /// Another repository, to be read.
    source: Option<String>,
}

impl Scope {
    /// Read from `repository`.
    pub(crate) fn pull(repository: &str) -> Self {
        Self { repository: repository.to_owned(), push: false, source: None }
    }

    /// Read from `repository` and write to it.
    pub(crate) fn push(repository: &str) -> Self {
        Self { push: true, ..Self::pull(repository) }
    }

    /// And read from `source`.
    pub(crate) fn with_source(self, source: Option<&str>) -> Self {
        Self { source: source.map(str::to_owned), ..self }
    }

    /// `repository:<name>:<actions>` (distribution, "Token Scope Documentation"), as parameters of a query.
    fn parameters(&self) -> String {
        let actions = if self.push { "pull,push" } else { "pull" };
        let mut text = format!("scope={}", query(&format!("repository:{}:{actions}", self.repository)));
        if let Some(source) = &self.source {
            text.push_str("&scope=");
            text.push_str(&query(&format!("repository:{source}:pull")));
        }
        text
    }
}

/// The answer of a token service; some call the token `access_token`.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<Password>,
    access_token: Option<Password>,
}

/// Who we are at one registry, and what it gave us for that.
#[derive(Debug)]
pub(crate) struct Authorizer {
    credentials: Option<Credentials>,
    granted: Mutex<HashMap<Scope, HeaderValue>>,
    /// Held by who is obtaining something.
    renewing: tokio::sync::Mutex<()>,
}

impl Authorizer {
    pub(crate) fn new(credentials: Option<Credentials>) -> Self {
        Self { credentials, granted: Mutex::default(), renewing: tokio::sync::Mutex::default() }
    }

    /// The `Authorization` that was last obtained for `scope`.
    pub(crate) fn granted(&self, scope: &Scope) -> Option<HeaderValue> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).get(scope).cloned()
    }

    /// Answers the challenges of a 401 to a request that showed `shown`: a token where the registry has a token service, else
    /// user and password. Of several requests whose token ran out together, one obtains the new one.
    ///
    /// # Errors
    /// `registry-unauthorized`: no challenge that can be answered, or the token service said no. `registry-failed`: the token
    /// service gave no token.
    pub(crate) async fn renew(
        &self,
        http: &HttpClient,
        scope: &Scope,
        shown: Option<&HeaderValue>,
        challenge: &HeaderMap,
        patience: Patience,
    ) -> Result<()> {
        let _one = self.renewing.lock().await;
        let granted = self.granted(scope);
        if granted.is_some() && granted.as_ref() != shown {
            return Ok(());
        }
        let values = challenge.get_all(header::WWW_AUTHENTICATE).into_iter().filter_map(|value| value.to_str().ok());
        let challenges: Vec<_> = values.flat_map(Challenge::parse).collect();
        let bearer = challenges.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        let value = match (bearer, &self.credentials) {
            (Some(bearer), _) => self.fetch_token(http, scope, bearer, patience).await?,
            (None, Some(credentials)) if challenges.contains(&Challenge::Basic) => credentials.basic()?,
            (None, credentials) => {
                let got = if credentials.is_some() { "a challenge of another kind" } else { "no credentials" };
                return Err(Refusal::new(Code::RegistryUnauthorized, "registry").got(got).want("Basic or Bearer"));
            }
        };
        self.granted.lock().unwrap_or_else(PoisonError::into_inner).insert(scope.clone(), value);
        Ok(())
    }

    async fn fetch_token(
        &self,
        http: &HttpClient,
        scope: &Scope,
        challenge: &Challenge,
        patience: Patience,
    ) -> Result<HeaderValue> {
        let Challenge::Bearer { realm, service } = challenge else {
            return Err(Refusal::new(Code::Internal, "challenge without a token service"));
        };
        let what = "token service";
        let failed = || Refusal::new(Code::RegistryFailed, what);
        // Ours, and not the one that the challenge names: whoever answers for the registry would choose what our credentials
        // are good for.
        let mut parameters = scope.parameters();
        if let Some(service) = service {
            parameters.push_str("&service=");
            parameters.push_str(&query(service));
        }
        let request = || {
            let request = match self.credentials.as_ref().and_then(Credentials::identity_token) {
                Some(token) => exchange_of(realm, &parameters, token),
                None => question(self.credentials.as_ref(), realm, &parameters)?,
            };
            request.map_err(|e| failed().because(e).got(realm).want("a url"))
        };
        let mut attempt = 1;
        let response = loop {
            let answer = http.send(request()?, patience.answer).await;
            let asked = match &answer {
                Ok(response) if is_passing_status(response.status()) => retry_after(response.headers()),
                Err(refusal) if is_passing(refusal) => None,
                _ => break answer,
            };
            if attempt >= patience.attempts {
                break answer;
            }
            patience.wait(attempt, asked).await;
            attempt += 1;
        };
        let response = response.map_err(|refusal| refusal.within(what))?;
        let response = status::expect(response, &[StatusCode::OK], what).await?;
        let body = Zeroizing::new(read_body(response.into_body(), limits::TOKEN, what).await?.to_vec());
        let answer: TokenAnswer = document::parse_json(&body, what, limits::TOKEN, Code::RegistryFailed)
            // The cause could show a part of the token.
            .map_err(|_| failed().got("another document").want("a token"))?;
        let token = answer.token.or(answer.access_token).filter(|token| !token.expose().is_empty());
        let token = token.ok_or_else(|| failed().got("no token"))?;
        let mut value = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.expose())))
            .map_err(|_| failed().got("a token that is no header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// The request for a token (distribution, "Token Authentication Specification"), as the user where there is one.
fn question(credentials: Option<&Credentials>, realm: &str, parameters: &str) -> Result<http::Result<Request<Body>>> {
    let mut request = Request::get(format!("{realm}{}{parameters}", if realm.contains('?') { '&' } else { '?' }));
    if let Some(credentials) = credentials {
        request = request.header(header::AUTHORIZATION, credentials.basic()?);
    }
    Ok(request.body(bodies::empty()))
}

/// The exchange of an identity token for a token (distribution, "Oauth2 Token Authentication"; RFC 6749 §6).
fn exchange_of(realm: &str, parameters: &str, token: &str) -> http::Result<Request<Body>> {
    let form = format!("grant_type=refresh_token&client_id=strongroom&{parameters}&refresh_token={}", query(token));
    Request::post(realm).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(bodies::full(form))
}

/// `text` for a query (RFC 3986 §3.4): all but unreserved characters escaped.
pub(crate) fn query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => escaped.push(char::from(byte)),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_escapes_all_but_unreserved() {
        assert_eq!(query("repository:a/b:pull,push &ä"), "repository%3Aa%2Fb%3Apull%2Cpush%20%26%C3%A4");
    }

    #[test]
    fn scope_names_its_actions() {
        assert_eq!(Scope::pull("a/b").parameters(), "scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(Scope::push("a/b").parameters(), "scope=repository%3Aa%2Fb%3Apull%2Cpush");
        let mounting = Scope::push("a").with_source(Some("b"));
        assert_eq!(mounting.parameters(), "scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull");
    }
}
