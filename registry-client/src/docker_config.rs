//! `config.json` of container tools: as whom they log in where. For the command line alone; services are given their
//! credentials by their configuration.

mod helper;

use crate::access::{Credentials, Password};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::time::Duration;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::Zeroizing;

/// How long a credential helper may take: some ask their user.
const HELPER: Duration = Duration::from_secs(60);
/// What Docker Hub is called in these files, whatever its host is called in references.
const HUB: &str = "https://index.docker.io/v1/";
const WHAT: &str = "config.json";

/// Members that are not known are passed over: the file belongs to other tools.
#[derive(Deserialize)]
struct ConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Password>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<Password>,
}

impl Credentials {
    /// The credentials for `host` in a container tool's `config.json`, if they are written there: `auths.<host>.identitytoken`,
    /// else `auths.<host>.auth`, base64 of `user:password`. Credential helpers are not asked.
    ///
    /// # Errors
    /// `configuration-invalid`: not such a file. `too-large`: over [`limits::CREDENTIALS_FILE`].
    pub fn from_config_json(json: &[u8], host: &str) -> Result<Option<Self>> {
        ConfigJson::parse(json)?.written(host)
    }

    /// Where container tools keep `config.json`: `$DOCKER_CONFIG`, else `~/.docker`.
    pub fn users_folder() -> Option<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")))
    }

    /// The credentials for `host` by the `config.json` of `folder` ([`Self::users_folder`]): of the credential helper that is
    /// named for the host, else of the one for all hosts, else those that are written there. `None` where there are none, or
    /// no such file. Blocks while a helper asks its user, a minute at most.
    ///
    /// # Errors
    /// `io`: the file cannot be read; `configuration-invalid`: it is none, or a helper is missing or failed; `timeout`: a helper
    /// took longer; `too-large`.
    pub fn load(folder: &Path, host: &str) -> Result<Option<Self>> {
        Self::load_with(folder, host, None)
    }

    /// [`Self::load`], with helpers looked for on `path` in place of the process's own `PATH`.
    fn load_with(folder: &Path, host: &str, path: Option<&OsStr>) -> Result<Option<Self>> {
        let file = folder.join(WHAT);
        let within = |refusal: Refusal| refusal.within(file.display());
        let Some(json) = read(&file)? else { return Ok(None) };
        let config = ConfigJson::parse(&json).map_err(within)?;
        if let Some(name) = config.helper(host) {
            let found = helper::ask(name, server(host), path, HELPER).map_err(within)?;
            if found.is_some() {
                return Ok(found);
            }
        }
        config.written(host).map_err(within)
    }
}

impl ConfigJson {
    fn parse(json: &[u8]) -> Result<Self> {
        // The cause would show what stands in the wrong place, which may be a secret.
        document::parse_json(json, WHAT, limits::CREDENTIALS_FILE, Code::ConfigurationInvalid)
            .map_err(|refusal| Refusal { what: WHAT.to_owned(), ..refusal })
    }

    /// The name of the helper that keeps the credentials for `host`.
    fn helper(&self, host: &str) -> Option<&str> {
        let named = self.helpers.iter().find(|(key, _)| is_key_of(key, host)).map(|(_, name)| name);
        named.or(self.store.as_ref()).map(String::as_str).filter(|name| !name.is_empty())
    }

    fn written(&self, host: &str) -> Result<Option<Credentials>> {
        let entry = self.auths.get(host).or_else(|| {
            let mut others = self.auths.iter();
            others.find(|(key, _)| is_key_of(key, host)).map(|(_, entry)| entry)
        });
        let text = |password: &Option<Password>| {
            password
                .as_ref()
                .map(|password| Zeroizing::new(password.expose().to_owned()))
                .filter(|text| !text.is_empty())
        };
        let Some(entry) = entry else { return Ok(None) };
        if let Some(mut token) = text(&entry.identity_token) {
            return Ok(Some(Credentials::of_identity_token(Password::new(core::mem::take(&mut *token)))));
        }
        let Some(auth) = text(&entry.auth) else { return Ok(None) };
        // The cause would show a part of the secret.
        let invalid = || Refusal::new(Code::ConfigurationInvalid, WHAT).got(format!("auth of `{host}`"));
        let pair = Zeroizing::new(STANDARD.decode(auth.as_bytes()).map_err(|_| invalid().want("base64"))?);
        let pair = core::str::from_utf8(&pair).map_err(|_| invalid().want("text"))?;
        let (username, password) = pair.split_once(':').ok_or_else(|| invalid().want("user:password"))?;
        Ok(Some(Credentials { username: username.to_owned(), password: Password::new(password.to_owned()) }))
    }
}

/// What `host` is called by container tools.
fn server(host: &str) -> &str {
    if matches!(host, "docker.io" | "index.docker.io" | "registry-1.docker.io") { HUB } else { host }
}

/// Whether `key` means `host`: itself, or a URL of it, as older tools wrote.
fn is_key_of(key: &str, host: &str) -> bool {
    let bare = |text: &str| {
        let text = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        text.strip_suffix("/v1").or_else(|| text.strip_suffix("/v2")).unwrap_or(text).to_owned()
    };
    bare(key) == bare(server(host))
}

/// All of a file, if there is one.
fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let failed = |e: &std::io::Error| Refusal::io(path.display(), e);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&error)),
    };
    // One byte more than is accepted, so that a longer file is seen; one allocation, so that no copy is left behind.
    let most = limits::CREDENTIALS_FILE.saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes).map_err(|e| failed(&e))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const CONFIG: &str = r#"{"auths":{"r:5000":{"auth":"YW5uYTpwYTpzcw=="},"h:1":{}},"other":"x"}"#;

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
    fn older_forms_of_a_host_are_the_same_host() {
        for (key, host, want) in [
            ("https://r.example/v1/", "r.example", true),
            ("https://r.example", "r.example", true),
            ("http://r.example:5000/v2/", "r.example:5000", true),
            ("https://index.docker.io/v1/", "registry-1.docker.io", true),
            ("https://r.example.evil/v1/", "r.example", false),
            ("https://r.example/other", "r.example", false),
            ("r.example:5000", "r.example", false),
        ] {
            let json = format!(r#"{{"auths":{{"{key}":{{"auth":"YTpi"}}}}}}"#);
            let found = Credentials::from_config_json(json.as_bytes(), host).unwrap();
            assert_eq!(found.is_some(), want, "{key} for {host}");
        }
    }

    #[test]
    fn identity_token_stands_before_user_and_password() {
        let json = r#"{"auths":{"r:1":{"auth":"YTpi","identitytoken":"geheim"},"r:2":{"auth":"YTpi"}}}"#;
        let of = |host| Credentials::from_config_json(json.as_bytes(), host).unwrap().unwrap();
        assert_eq!(of("r:1").identity_token(), Some("geheim"));
        assert_eq!(of("r:2").identity_token(), None);
    }

    /// A folder with a `config.json` and a helper `docker-credential-test` that is this shell script.
    fn folder(config: &str, script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(WHAT), config).unwrap();
        let helper = folder.path().join("docker-credential-test");
        std::fs::write(&helper, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    const HELPERS: &str = r#"{"credHelpers":{"r:1":"test"},"auths":{"r:1":{"auth":"YTpi"},"r:2":{"auth":"YTpi"}}}"#;

    fn asked(folder: &tempfile::TempDir, host: &str) -> Result<Option<Credentials>> {
        let path = std::env::join_paths([folder.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
        Credentials::load_with(folder.path(), host, Some(&path))
    }

    #[test]
    fn helper_of_a_host_asked_for_that_host_alone() {
        let script = r#"read -r server; [ "$1" = get ] || exit 9
            echo "{\"ServerURL\":\"$server\",\"Username\":\"user of $server\",\"Secret\":\"geheim\"}""#;
        let folder = folder(HELPERS, script);
        let credentials = asked(&folder, "r:1").unwrap().unwrap();
        assert_eq!((credentials.username.as_str(), credentials.password.expose()), ("user of r:1", "geheim"));
        assert_eq!(asked(&folder, "r:2").unwrap().unwrap().username, "a");
    }

    #[test]
    fn store_of_all_hosts_asked_and_what_it_lacks_read_from_the_file() {
        let config = r#"{"credsStore":"test","auths":{"r:1":{},"r:2":{"auth":"YTpi"}}}"#;
        let script = r#"case $(cat) in r:1) echo '{"Username":"<token>","Secret":"t"}';;
            *) echo 'credentials not found in native keychain'; exit 1;; esac"#;
        let folder = folder(config, script);
        assert_eq!(asked(&folder, "r:1").unwrap().unwrap().identity_token(), Some("t"));
        assert_eq!(asked(&folder, "r:2").unwrap().unwrap().username, "a");
        assert!(asked(&folder, "r:3").unwrap().is_none());
    }

    #[test]
    fn helper_that_fails_refused_and_its_answer_not_shown() {
        for (script, want) in [
            ("exit 3", Code::ConfigurationInvalid),
            ("echo 'keychain is locked'; exit 1", Code::ConfigurationInvalid),
            ("echo '{\"Username\":\"u\",\"Secret\":\"geheim\"}'; exit 1", Code::ConfigurationInvalid),
            ("echo geheim", Code::ConfigurationInvalid),
            ("echo '{\"Username\":[\"geheim\"]}'", Code::ConfigurationInvalid),
            ("yes geheim", Code::TooLarge),
        ] {
            let refusal = asked(&folder(HELPERS, script), "r:1").unwrap_err();
            assert_eq!(refusal.code, want, "{script}");
            assert!(!refusal.to_string().contains("geheim"), "{refusal}");
        }
        let locked = asked(&folder(HELPERS, "echo 'keychain is locked'; exit 1"), "r:1").unwrap_err();
        assert!(locked.to_string().contains("keychain is locked"), "{locked}");
    }

    #[test]
    fn helper_that_is_missing_or_no_name_refused() {
        for name in ["absent", "../test", "a/b", "-x y"] {
            let config = format!(r#"{{"credsStore":"{name}"}}"#);
            assert_eq!(
                asked(&folder(&config, "exit 0"), "r:1").unwrap_err().code,
                Code::ConfigurationInvalid,
                "{name}"
            );
        }
    }
}
