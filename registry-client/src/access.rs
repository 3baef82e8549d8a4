//! How a registry is reached, and as whom.

use crate::blobs::Ranges;
use crate::cache::Cache;
use crate::mirror::Mirror;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use strongroom_transport::pace::Pace;
use strongroom_transport::{Patience, Proxies};
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// The user's name of what is an identity token.
const IDENTITY_TOKEN: &str = "<token>";

/// How one registry is reached. The default: TLS to a host of the public web, anonymously.
#[derive(Debug, Default)]
pub struct Access {
    /// Speak HTTP without TLS. What is pulled is verified all the same; credentials are not confidential.
    pub plain_http: bool,
    /// PEM certificates of the authorities that vouch for the registry and for every host that it refers to; `None`: the
    /// public ones.
    pub ca: Option<String>,
    /// As whom; `None`: anonymously.
    pub credentials: Option<Credentials>,
    /// How long a slow or failing registry is waited for.
    pub patience: Patience,
    /// How slowly a blob may come once it is on its way. Manifests and lists keep to the default.
    pub pace: Pace,
    /// The proxies that registry, token service and mirrors' stores are reached through.
    pub proxies: Proxies,
    /// Who else may have what is named by a digest, asked in this order before the registry itself.
    pub mirrors: Vec<Mirror>,
    /// How long blobs are divided.
    pub ranges: Ranges,
    /// Where layers are kept between two pulls, and what came of them before one was interrupted; `None`: nowhere.
    pub cache: Option<Cache>,
}

/// A user and a password, or a token that stands for one.
#[derive(Debug)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password.
    pub password: Password,
}

/// A password. It is never shown, and zeroised when dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password over.
    pub fn new(password: String) -> Self {
        Self(Zeroizing::new(password))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

impl Credentials {
    /// Credentials that are an identity token (distribution, "Oauth2 Token Authentication").
    pub(crate) fn of_identity_token(token: Password) -> Self {
        Self { username: IDENTITY_TOKEN.to_owned(), password: token }
    }

    /// The identity token that stands for the user, if it is one: its user is named `<token>`, as by container tools.
    pub(crate) fn identity_token(&self) -> Option<&str> {
        (self.username == IDENTITY_TOKEN).then(|| self.password.expose())
    }

    /// `Authorization: Basic …` (RFC 7617 §2).
    ///
    /// # Errors
    /// `configuration-invalid`: the user's name has a colon.
    pub(crate) fn basic(&self) -> Result<HeaderValue> {
        let invalid = |why: &str| Refusal::new(Code::ConfigurationInvalid, "registry credentials").because(why);
        if self.username.contains(':') {
            return Err(invalid("a user's name has no colon"));
        }
        let pair = Zeroizing::new(format!("{}:{}", self.username, self.password.expose()));
        let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut value = HeaderValue::from_str(&text).map_err(|_| invalid("not a header value"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_not_shown() {
        let credentials = Credentials { username: "anna".to_owned(), password: Password::new("geheim".to_owned()) };
        let access = Access { credentials: Some(credentials), ..Access::default() };
        assert!(!format!("{access:?}").contains("geheim"));
    }

    #[test]
    fn user_with_colon_refused() {
        let credentials = Credentials { username: "an:na".to_owned(), password: Password::new(String::new()) };
        assert_eq!(credentials.basic().unwrap_err().code, Code::ConfigurationInvalid);
    }
}
