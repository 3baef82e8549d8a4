//! The service's configuration: addresses, paths, names, log level. Nothing here can weaken trust, so a key that tried to
//! (a pin, a trust file, a digest) is unknown and refused; all that is in the deployment document, which is measured.

use core::fmt;
use core::net::SocketAddr;
use serde::Deserialize;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use strongroom_wire::{Code, Refusal, Result, document, limits};
use zeroize::{Zeroize as _, Zeroizing};

/// A whole configuration file, TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `host:port` to listen on.
    pub listen: String,
    /// The deployment document, as the host delivered it.
    pub deployment: PathBuf,
    /// The security processor's socket; used only where the deployment document names attester `socket`.
    #[serde(default)]
    pub attester_socket: Option<PathBuf>,
    /// The ONNX Runtime shared library; the deployment document has its digest.
    pub onnxruntime: PathBuf,
    /// DNS names and addresses for the TLS certificate. Attested clients do not look at them.
    #[serde(default)]
    pub names: Vec<String>,
    /// Where routers reach it, as `address:port`. The verifier says in which networks it believes that; absent: no router does.
    #[serde(default)]
    pub advertise: Option<SocketAddr>,
    /// Where `/metrics` is, without TLS and for everybody who reaches it; absent: nowhere. Its numbers name nobody and quote nothing.
    /// Beside what whoever sees the traffic knows, they say how many tokens there were, as the log's lines do.
    #[serde(default)]
    pub metrics_listen: Option<SocketAddr>,
    /// The Unix datagram socket of whoever watches that this process does not hang; absent: nobody ([`crate::heartbeat`]).
    #[serde(default)]
    pub heartbeat: Option<PathBuf>,
    /// How much is logged.
    #[serde(default)]
    pub log: LogLevel,
    /// Do not start where memory could be swapped to a disk of the guest's, which the host sees. An image that has no swap needs no
    /// lock.
    #[serde(default)]
    pub lock_memory: bool,
    /// Mebibytes that the files of all models may take together when one is loaded while others are served, that which it replaces
    /// among them; absent: as much as the machine has free.
    #[serde(default)]
    pub model_memory: Option<u32>,
    /// Seconds from SIGTERM until open requests are cut off.
    #[serde(default = "thirty")]
    pub grace: u64,
    /// Names and passwords for registries. A registry is trusted with nothing, so neither are these.
    #[serde(default)]
    pub registry_credentials: Vec<RegistryCredentials>,
    /// Mirrors of registries. What comes from one is held to the digest that the registry's own answer is held to.
    #[serde(default)]
    pub registry_mirror: Vec<RegistryMirror>,
    /// The proxies that registries and their mirrors are reached through.
    #[serde(default)]
    pub proxy: ProxyNames,
}

/// Where else the content of a registry may be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryMirror {
    /// The registry's `host[:port]` as in the deployment document.
    pub registry: String,
    /// The mirror, `host[:port][/prefix]`. `registry-credentials` of its host are its own.
    pub mirror: String,
    /// Speak HTTP without TLS to it.
    #[serde(default)]
    pub plain_http: bool,
    /// PEM of the authority behind its TLS certificate; the public ones where absent.
    #[serde(default)]
    pub ca: Option<String>,
}

/// Proxies by the scheme of what is reached through them. They are not shown: they may hold a password.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProxyNames {
    /// For `http`: `[http://][user:password@]host:port`.
    #[serde(default)]
    pub http: Option<String>,
    /// For `https`.
    #[serde(default)]
    pub https: Option<String>,
    /// What is reached without one, as in `NO_PROXY`.
    #[serde(default)]
    pub except: String,
}

/// How one registry is logged in to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryCredentials {
    /// `host[:port]` as in the deployment document.
    pub host: String,
    /// The user's name.
    pub username: String,
    /// A file with the password, readable by its owner only; a newline at its end is not part of it.
    pub password_file: PathBuf,
}

/// How much is logged. There is no level below `debug`: prompts are at none of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what is suspicious.
    Warn,
    /// And what happened: each stage of the boot, the start, the stop, and each request in a line.
    #[default]
    Info,
    /// And each connection that was lost.
    Debug,
}

const fn thirty() -> u64 {
    30
}

impl fmt::Debug for ProxyNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyNames").field("except", &self.except).finish_non_exhaustive()
    }
}

impl Config {
    /// Parses a configuration file.
    ///
    /// # Errors
    /// `unknown-field` a key that is not one; `configuration-invalid`; `too-large`.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        document::parse_toml(toml, "configuration", limits::CONFIGURATION, Code::ConfigurationInvalid)
    }

    /// Reads and parses a configuration file.
    ///
    /// # Errors
    /// `io`; and as [`Self::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        Self::parse(&read_limited(path, limits::CONFIGURATION)?).map_err(|refusal| refusal.within(path.display()))
    }
}

impl RegistryCredentials {
    /// The password.
    ///
    /// # Errors
    /// `io`; `file-mode-unsafe` others than its owner may read the file; `configuration-invalid` it is not text.
    pub fn password(&self) -> Result<Zeroizing<String>> {
        let path = &self.password_file;
        let file = File::open(path).map_err(|e| Refusal::io(path.display(), &e))?;
        self.password_in(&file)
    }

    /// Mode and content are of one file, whatever the path leads to in the meantime.
    fn password_in(&self, file: &File) -> Result<Zeroizing<String>> {
        let path = &self.password_file;
        let mode = file.metadata().map_err(|e| Refusal::io(path.display(), &e))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Refusal::new(Code::FileModeUnsafe, format!("`{}`", path.display()))
                .got(format!("{:o}", mode & 0o777))
                .want("600"));
        }
        let bytes = Zeroizing::new(read_open(file, path, limits::KEY_FILE)?);
        let text = core::str::from_utf8(&bytes).map_err(|_| {
            Refusal::new(Code::ConfigurationInvalid, format!("`{}`", path.display())).got("bytes").want("text")
        })?;
        Ok(Zeroizing::new(text.strip_suffix('\n').unwrap_or(text).to_owned()))
    }
}

/// All of a file of at most `limit` bytes.
///
/// # Errors
/// `io`, `too-large`.
pub fn read_limited(path: &Path, limit: usize) -> Result<Vec<u8>> {
    read_open(&File::open(path).map_err(|e| Refusal::io(path.display(), &e))?, path, limit)
}

fn read_open(file: &File, path: &Path, limit: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_end(&mut bytes).map_err(|e| Refusal::io(path.display(), &e))?;
    if bytes.len() > limit {
        bytes.zeroize();
        return Err(Refusal::too_large(format!("`{}`", path.display()), format!("more than {limit} bytes"), limit));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const LEAST: &str = "listen = '127.0.0.1:0'\ndeployment = '/d'\nonnxruntime = '/o'\n";

    #[test]
    fn least_configuration_accepted_with_its_defaults() {
        let config = Config::parse(LEAST.as_bytes()).unwrap();
        assert_eq!((config.log, config.grace), (LogLevel::Info, 30));
        assert!(config.attester_socket.is_none() && config.registry_credentials.is_empty());
    }

    #[test]
    fn trust_in_the_configuration_refused() {
        for trust in [
            "pin = 'aa'",
            "test-root = '/ark.pem'",
            "trust = '/trust.toml'",
            "insecure = true",
            "runtime-digest = 'aa'",
            "[[principal]]\nname = 'a'",
        ] {
            let refusal = Config::parse(format!("{LEAST}{trust}\n").as_bytes()).unwrap_err();
            assert_eq!(refusal.code, Code::UnknownField, "{trust}");
        }
    }

    #[test]
    fn configuration_without_a_needed_key_or_with_another_level_refused() {
        assert_eq!(Config::parse(b"listen = 'a'").unwrap_err().code, Code::ConfigurationInvalid);
        let trace = Config::parse(format!("{LEAST}log = 'trace'").as_bytes()).unwrap_err();
        assert_eq!(trace.code, Code::ConfigurationInvalid);
        assert_eq!(Config::parse(format!("{LEAST}log = 'debug'").as_bytes()).unwrap().log, LogLevel::Debug);
    }

    #[test]
    fn password_file_of_its_owner_read_and_of_everyone_refused() {
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        fs::write(&password_file, "open sesame\n").unwrap();
        let credentials = RegistryCredentials { host: "r".into(), username: "u".into(), password_file };
        let mode = |mode| fs::set_permissions(&credentials.password_file, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        assert_eq!(*credentials.password().unwrap(), "open sesame");
        mode(0o640);
        assert_eq!(credentials.password().unwrap_err().code, Code::FileModeUnsafe);
    }

    #[test]
    fn mode_and_password_are_those_of_the_open_file() {
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        let write = |content: &str, mode: u32| {
            drop(fs::remove_file(&password_file));
            fs::write(&password_file, content).unwrap();
            fs::set_permissions(&password_file, fs::Permissions::from_mode(mode)).unwrap();
            File::open(&password_file).unwrap()
        };
        let (unsafe_file, safe_file) = (write("first", 0o644), write("second", 0o600));
        let credentials = RegistryCredentials { host: "r".into(), username: "u".into(), password_file };
        assert_eq!(credentials.password_in(&unsafe_file).unwrap_err().code, Code::FileModeUnsafe);
        assert_eq!(*credentials.password_in(&safe_file).unwrap(), "second");
    }

    #[test]
    fn file_at_the_limit_read_and_over_it_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "four").unwrap();
        assert_eq!(read_limited(&path, 4).unwrap(), b"four");
        assert_eq!(read_limited(&path, 3).unwrap_err().code, Code::TooLarge);
        assert_eq!(read_limited(&folder.path().join("none"), 3).unwrap_err().code, Code::Io);
    }
}
