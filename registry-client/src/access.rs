//! How a registry is reached, and as whom.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::fmt;
use core::time::Duration;
use http::HeaderValue;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::Zeroizing;

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

    /// The credentials for `host` in a container tool's `config.json`: `auths.<host>.auth`, base64 of `user:password`.
    /// Entries of another form (identity tokens, credential helpers) are none.
    ///
    /// # Errors
    /// `configuration-invalid`: not such a file. `too-large`: over [`limits::CREDENTIALS_FILE`].
    pub fn from_config_json(json: &[u8], host: &str) -> Result<Option<Self>> {
        let what = "config.json";
        // The cause would show what stands in the wrong place, which may be a secret.
        let file: ConfigJson = document::parse_json(json, what, limits::CREDENTIALS_FILE, Code::ConfigurationInvalid)
            .map_err(|refusal| Refusal { what: what.to_owned(), ..refusal })?;
        let Some(auth) = file
            .auths
            .get(host)
            .and_then(|entry| entry.auth.as_ref())
            .map(Password::expose)
            .filter(|auth| !auth.is_empty())
        else {
            return Ok(None);
        };
        // The cause would show a part of the secret.
        let invalid = || Refusal::new(Code::ConfigurationInvalid, what).got(format!("auth of `{host}`"));
        let pair = Zeroizing::new(STANDARD.decode(auth).map_err(|_| invalid().want("base64"))?);
        let pair = core::str::from_utf8(&pair).map_err(|_| invalid().want("text"))?;
        let (username, password) = pair.split_once(':').ok_or_else(|| invalid().want("user:password"))?;
        Ok(Some(Self { username: username.to_owned(), password: Password::new(password.to_owned()) }))
    }

    /// Where container tools keep `config.json`: `$DOCKER_CONFIG`, else `~/.docker`. For the command line alone: services are
    /// given their credentials by their configuration.
    pub fn users_folder() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))
    }

    /// The credentials for `host` in the `config.json` of `folder` ([`Self::users_folder`]); `None` where there is no such
    /// file.
    ///
    /// # Errors
    /// `io`: the file cannot be read; else as [`Self::from_config_json`].
    pub fn load(folder: &Path, host: &str) -> Result<Option<Self>> {
        let path = folder.join("config.json");
        let failed = |e: &std::io::Error| Refusal::io(path.display(), e);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(&error)),
        };
        // One byte more than is accepted, so that a longer file is seen; one allocation, so that no copy is left behind.
        let most = limits::CREDENTIALS_FILE.saturating_add(1);
        let mut json = Zeroizing::new(Vec::with_capacity(most));
        file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut json).map_err(|e| failed(&e))?;
        Self::from_config_json(&json, host).map_err(|refusal| refusal.within(path.display()))
    }
}

/// Members that are not known are passed over: the file belongs to other tools.
#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Password>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = r#"{"auths":{"r:5000":{"auth":"YW5uYTpwYTpzcw=="},"h:1":{}},"credsStore":"x"}"#;

    #[test]
    fn basic_entry_of_the_host_read() {
        let credentials = Credentials::from_config_json(CONFIG.as_bytes(), "r:5000").unwrap().unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.expose()), ("anna", "pa:ss"));
        assert_eq!(credentials.basic().unwrap(), "Basic YW5uYTpwYTpzcw==");
    }

    #[test]
    fn host_without_basic_entry_has_no_credentials() {
        for host in ["r", "r:5001", "h:1"] {
            assert!(Credentials::from_config_json(CONFIG.as_bytes(), host).unwrap().is_none(), "{host}");
        }
    }

    #[test]
    fn entry_that_is_not_a_pair_refused_without_its_text() {
        for (entry, secret) in [
            (r#"{"auth":"!secret"}"#, "!secret"),
            (r#"{"auth":"c2VjcmV0"}"#, "c2VjcmV0"),
            (r#""secret""#, "secret"),
            (r#"{"auth":{"secret":1}}"#, "secret"),
            (r#"{"auth":4711}"#, "4711"),
        ] {
            let json = format!(r#"{{"auths":{{"r:1":{entry}}}}}"#);
            let refusal = Credentials::from_config_json(json.as_bytes(), "r:1").unwrap_err();
            assert_eq!(refusal.code, Code::ConfigurationInvalid);
            assert!(!refusal.to_string().contains(secret) && !refusal.to_string().contains("secret"), "{refusal}");
        }
    }

    #[test]
    fn file_up_to_the_limit_accepted_and_over_it_refused() {
        let folder = tempfile::tempdir().unwrap();
        let load = |length| {
            let mut json = CONFIG.to_owned();
            json.push_str(&" ".repeat(length - CONFIG.len()));
            std::fs::write(folder.path().join("config.json"), json).unwrap();
            Credentials::load(folder.path(), "r:5000")
        };
        assert!(load(limits::CREDENTIALS_FILE).unwrap().is_some());
        assert_eq!(load(limits::CREDENTIALS_FILE + 1).unwrap_err().code, Code::TooLarge);
        assert_eq!(load(2 * limits::CREDENTIALS_FILE).unwrap_err().code, Code::TooLarge);
    }

    #[test]
    fn folder_without_file_has_no_credentials() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Credentials::load(folder.path(), "r:5000").unwrap().is_none());
        std::fs::write(folder.path().join("config.json"), CONFIG).unwrap();
        assert!(Credentials::load(folder.path(), "r:5000").unwrap().is_some());
    }

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
