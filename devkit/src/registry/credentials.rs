//! Basic authentication (RFC 7617) for the whole of `/v2/`.

use super::error::{Answer, ErrorCode, OciError};
use core::fmt;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use strongroom_wire::bytes::to_base64;
use strongroom_wire::digest::Sha256;

/// The one user of a registry. Only the digest of what the client must send is kept, so nothing here is a secret.
#[derive(Clone)]
pub struct Credentials(Sha256);

impl Credentials {
    /// The credentials `user` and `password`. RFC 7617 §2: a user has no colon in its name, or it could not log in.
    pub fn new(user: &str, password: &str) -> Self {
        let pair = format!("{user}:{password}");
        Self(Sha256::of(to_base64(pair.as_bytes()).as_bytes()))
    }

    /// Passes a request that presents these credentials; others are told to.
    pub(super) fn require(&self, headers: &HeaderMap) -> Answer<()> {
        let presented = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let presented = presented.and_then(|value| value.split_once(' '));
        match presented {
            // Digests are compared, so the time it takes tells nothing of the password.
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") && Sha256::of(token.as_bytes()) == self.0 => {
                Ok(())
            }
            _ => {
                let challenge = HeaderValue::from_static("Basic realm=\"strongroom\"");
                let error = OciError::new(ErrorCode::Unauthorized, "this registry wants its user and password");
                Err(error.with_header(WWW_AUTHENTICATE, challenge))
            }
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials")
    }
}
