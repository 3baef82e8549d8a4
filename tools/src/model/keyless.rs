//! Signing as an identity: Fulcio certifies a fresh key, Rekor logs what it signed, and authorities stamp it (RFC 3161).

use crate::files;
use clap::Args;
use core::time::Duration;
use http::{Method, Request, header};
use std::path::PathBuf;
use strongroom_artifact::{CertificateRequest, TrustedRoot};
use strongroom_registry_client::{SignAsIdentity, Signing};
use strongroom_transport::{HttpClient, ServerTrust, http as body, read_body};
use strongroom_wire::{Code, Refusal, Result, limits};

/// Rekor takes seconds to answer where it waits for its own log.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Whom to ask for a signature by identity.
#[derive(Args, Clone)]
pub(crate) struct KeylessArguments {
    /// Sign as an identity in place of a key: the one that the token of --identity-token-file is of.
    #[arg(long, requires = "identity_token_file")]
    pub(crate) keyless: bool,
    /// The OpenID Connect token for the audience `sigstore`, read each time that something is signed, since it lasts minutes;
    /// `-` is standard input, for one signature alone.
    #[arg(long, value_name = "FILE", requires = "keyless")]
    identity_token_file: Option<PathBuf>,
    /// The certificate authority.
    #[arg(long, value_name = "URL", default_value = "https://fulcio.sigstore.dev")]
    fulcio: String,
    /// The transparency log.
    #[arg(long, value_name = "URL", default_value = "https://rekor.sigstore.dev")]
    rekor: String,
    /// A timestamp authority (RFC 3161), whose word is wanted too.
    #[arg(long, value_name = "URL")]
    timestamp: Vec<String>,
    /// Sigstore's `trusted_root.json` for what they say; the public instance's unless named.
    #[arg(long, value_name = "FILE")]
    trusted_root: Option<PathBuf>,
}

/// Reads a trusted root; the public instance's where none is named.
pub(super) fn read_root(path: Option<&PathBuf>) -> Result<TrustedRoot> {
    let Some(path) = path else { return TrustedRoot::public() };
    let bytes = files::read(path, limits::POLICY)?;
    let text = String::from_utf8(bytes).map_err(|e| Refusal::new(Code::TrustedRootInvalid, "trusted root").because(e));
    text.and_then(|text| TrustedRoot::parse(&text)).map_err(|refusal| refusal.within(format!("`{}`", path.display())))
}

impl KeylessArguments {
    /// Whether the token can be read once only.
    pub(super) fn signs_once(&self) -> bool {
        self.identity_token_file.as_ref().is_some_and(|path| path.as_os_str() == "-")
    }

    /// Signs `payload`, an in-toto statement; gives the bundle.
    ///
    /// 1. Ask Fulcio to certify a fresh key for the token's identity.
    /// 2. Sign, and have Rekor log it.
    /// 3. Have the signature stamped.
    /// 4. Verify all of it, as others will: a service's word is worth what the trusted root says.
    pub(super) async fn sign(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let root = read_root(self.trusted_root.as_ref())?;
        let path = self.identity_token_file.as_ref().ok_or_else(|| Refusal::new(Code::Usage, "identity token"))?;
        let token = files::read_secret(path)?;
        let token = core::str::from_utf8(&token).map_err(|e| Refusal::new(Code::TokenInvalid, "token").because(e))?;
        let client = HttpClient::new(&ServerTrust::WebPki, true)?;
        // 1.
        let request = CertificateRequest::new(token.trim())?;
        let json = "application/json";
        let certified = post(&client, &self.fulcio, "/api/v2/signingCert", json, request.body().to_vec()).await?;
        // 2.
        let signed = request.sign(&certified, payload)?;
        let logged = post(&client, &self.rekor, "/api/v1/log/entries", json, signed.log_request()?).await?;
        // 3.
        let mut stamps = Vec::new();
        for authority in &self.timestamp {
            let query = signed.timestamp_query()?;
            stamps.push(post(&client, authority, "", "application/timestamp-query", query).await?);
        }
        // 4.
        let bundle = signed.bundle(&logged, &stamps)?;
        root.verify_made(&bundle).map_err(|refusal| refusal.within("signature that was just made"))?;
        Ok(bundle)
    }
}

impl SignAsIdentity for KeylessArguments {
    fn sign<'a>(&'a self, payload: &'a [u8]) -> Signing<'a> {
        Box::pin(Self::sign(self, payload))
    }
}

async fn post(client: &HttpClient, url: &str, path: &str, kind: &str, content: Vec<u8>) -> Result<Vec<u8>> {
    let url = format!("{}{path}", url.trim_end_matches('/'));
    let failed = || Refusal::new(Code::SigningServiceFailed, format!("`{url}`"));
    let request =
        Request::builder().method(Method::POST).uri(&url).header(header::CONTENT_TYPE, kind).body(body::full(content));
    let request = request.map_err(|e| Refusal::new(Code::Usage, format!("`{url}`")).because(e))?;
    let response = client.send(request, TIMEOUT).await?;
    let status = response.status();
    let answer = read_body(response.into_body(), limits::SIGNATURE, &url).await?;
    if status.is_success() {
        return Ok(answer.to_vec());
    }
    let said: String = String::from_utf8_lossy(&answer).chars().filter(|c| !c.is_control()).take(200).collect();
    Err(failed().got(status.as_u16()).want("200 or 201").because(said))
}
