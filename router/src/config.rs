//! The configuration file: addresses, and the verifier whose word is taken.

use serde::{Deserialize, Deserializer, de};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;
use strongroom_jose::{TokenVerifier, signing_key, thumbprint};
use strongroom_transport::{HttpClient, ServerTrust};
use strongroom_wire::bytes::{from_base64, hex_array};
use strongroom_wire::{Code, Refusal, Result, document, limits};

/// The configuration of a router. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `host:port` that clients connect to.
    pub listen: String,
    /// `host:port` of `/healthz`, `/readyz` and `/metrics`, without TLS. Say `127.0.0.1:…`.
    pub admin_listen: String,
    /// Where feeds come from, `https://…`: each replica of the verifier. They are asked in turn where one fails.
    pub feeds: Vec<String>,
    /// SHA-256 of the verifier's TLS key, in hex: `pin` in what `strongroom-verifier --identity` prints.
    #[serde(deserialize_with = "pin")]
    pub verifier_pin: [u8; 32],
    /// The key that feeds are signed by, in base64: `token_key` there.
    pub feed_key: String,
    /// Connections at one time, of all tenants together.
    #[serde(default = "connections")]
    pub connections: usize,
    /// Seconds between two looks at whether a guest can be reached.
    #[serde(default = "probe")]
    pub probe: u64,
    /// Filter of the log on stderr, as `tracing` understands it.
    #[serde(default = "info")]
    pub log: String,
    /// Seconds from SIGTERM until open connections are cut off.
    #[serde(default = "grace")]
    pub grace: u64,
}

const fn connections() -> usize {
    4_000
}

const fn probe() -> u64 {
    2
}

fn info() -> String {
    "info".to_owned()
}

const fn grace() -> u64 {
    30
}

fn pin<'de, D: Deserializer<'de>>(deserializer: D) -> core::result::Result<[u8; 32], D::Error> {
    let text = String::deserialize(deserializer)?;
    hex_array(&text, "pin").map_err(de::Error::custom)
}

impl Config {
    /// Loads a configuration of at most [`limits::CONFIGURATION`] bytes.
    ///
    /// # Errors
    /// `io`, and those of [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        let io = |e| Refusal::io(path.display(), &e);
        let most = u64::try_from(limits::CONFIGURATION).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
        Self::parse(&bytes).map_err(|refusal| refusal.within(path.display()))
    }

    /// Parses a configuration.
    ///
    /// # Errors
    /// `configuration-invalid`, `unknown-field`, `too-large`; `key-invalid`: `feed-key`.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let config: Self =
            document::parse_toml(toml, "configuration", limits::CONFIGURATION, Code::ConfigurationInvalid)?;
        let invalid = |what: &str| Refusal::new(Code::ConfigurationInvalid, what);
        if config.feeds.is_empty() || config.feeds.iter().any(|feed| !feed.starts_with("https://")) {
            return Err(invalid("`feeds`").got(format!("{:?}", config.feeds)).want("one or more of https://…"));
        }
        for (what, number) in [("`connections`", config.connections == 0), ("`probe`", config.probe == 0)] {
            if number {
                return Err(invalid(what).got(0).want("1 or more"));
            }
        }
        config.feed_key()?;
        Ok(config)
    }

    /// What verifies feeds.
    pub(crate) fn feed_key(&self) -> Result<TokenVerifier> {
        TokenVerifier::new(&from_base64(&self.feed_key, "`feed-key`")?)
    }

    /// Where they come from, by that key.
    pub(crate) fn feeds(&self) -> Result<Vec<String>> {
        let key = thumbprint(&signing_key(&from_base64(&self.feed_key, "`feed-key`")?)?)?;
        Ok(self.feeds.iter().map(|url| format!("{url}?key={key}")).collect())
    }

    /// What asks for them.
    pub(crate) fn client(&self) -> Result<HttpClient> {
        HttpClient::new(&ServerTrust::Pin(self.verifier_pin), false)
    }

    /// How often guests are looked at.
    pub(crate) const fn probe(&self) -> Duration {
        Duration::from_secs(self.probe)
    }

    /// The time for open connections after SIGTERM.
    pub(crate) const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_jose::TokenSigner;
    use strongroom_wire::bytes::to_base64;

    fn code(feeds: &str, pin: &str, more: &str) -> Option<Code> {
        let key = to_base64(TokenSigner::generate().unwrap().spki_der());
        let text = format!(
            "listen = 'a:1'\nadmin-listen = 'a:2'\nfeeds = {feeds}\nverifier-pin = '{pin}'\nfeed-key = '{key}'\n{more}"
        );
        Config::parse(text.as_bytes()).err().map(|refusal| refusal.code)
    }

    #[test]
    fn verifier_over_tls_accepted_and_plain_http_no_verifier_a_short_pin_and_unknown_keys_refused() {
        let (feeds, pin) = ("['https://v/v1/feed']", "ab".repeat(32));
        assert_eq!(code(feeds, &pin, ""), None);
        assert_eq!(code(feeds, &pin, "connections = 1\nprobe = 1"), None);
        for other in ["['http://v/v1/feed']", "[]", "['https://v', 'v']"] {
            assert_eq!(code(other, &pin, ""), Some(Code::ConfigurationInvalid), "{other}");
        }
        assert_eq!(code(feeds, "ab", ""), Some(Code::ConfigurationInvalid));
        assert_eq!(code(feeds, &pin, "insecure = true"), Some(Code::UnknownField));
        for zero in ["connections = 0", "probe = 0"] {
            assert_eq!(code(feeds, &pin, zero), Some(Code::ConfigurationInvalid), "{zero}");
        }
    }

    #[test]
    fn key_of_another_kind_refused() {
        let text = "listen = 'a:1'\nadmin-listen = 'a:2'\nfeeds = ['https://v']\nfeed-key = 'AAAA'\n";
        let text = format!("{text}verifier-pin = '{}'", "ab".repeat(32));
        assert_eq!(Config::parse(text.as_bytes()).unwrap_err().code, Code::KeyInvalid);
    }
}
