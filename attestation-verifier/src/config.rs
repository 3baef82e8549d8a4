//! The service's configuration file: addresses, paths and registries. Trust is not in it: who gets a key is decided by the
//! release policies in the store, and whose evidence counts by the vendors' roots, or by one test root in their place. It is long
//! because every key of the file stands in it, with what it means.

mod administration;
mod custody;

pub use administration::{AdminCertificates, AdminEntry, AdminIssuer};
pub use custody::{Custody, Transit};

use serde::Deserialize;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strongroom_appraisal::Roots;
use strongroom_endorsements::{Cache, Fetcher, KDS, PCS, Patience};
use strongroom_registry_client::{Access, Credentials, Password};
use strongroom_tlog::{NoteVerifier, Role};
use strongroom_transport::{HttpClient, ServerTrust, spans};
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{Code, Refusal, Result, document, lease, limits};

use crate::admin::Change;
use crate::networks::Network;
use crate::private_file;
use crate::service::store_path;
use crate::sessions::{MOST_SESSIONS, SESSIONS};
use crate::store::Database;
use crate::vendors::{PEER_QUESTIONS, QUESTIONS};

/// With a vendor that fails: a guest waits, and comes back sooner than a longer patience would end.
const PATIENCE: Patience = Patience {
    attempts: 3,
    first_wait: Duration::from_millis(500),
    longest_wait: Duration::from_secs(10),
    answer: Duration::from_secs(6),
};

/// The configuration of a verifier. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// `host:port` of the KBS protocol.
    pub listen: String,
    /// `host:port` of the admin API.
    pub admin_listen: String,
    /// `host:port` of `/metrics`, without TLS and for everybody who reaches it: a loopback address. Absent: viewers alone read them, on
    /// the address of the admin API.
    #[serde(default)]
    pub metrics_listen: Option<SocketAddr>,
    /// Folder of the store and of the identity files; made at first start.
    pub state: PathBuf,
    /// Where the store is in place of a SQLite file in `state`: the URL of a PostgreSQL database, without a password. Any number of
    /// verifiers may share it.
    #[serde(default)]
    pub database: Option<String>,
    /// Private file of that URL, in which there may be a password.
    #[serde(default)]
    pub database_file: Option<PathBuf>,
    /// PEM file of the authority of the database's TLS certificate, which has to name its host. Without it, PostgreSQL is spoken to over
    /// a Unix socket or the loopback interface alone.
    #[serde(default)]
    pub database_ca: Option<PathBuf>,
    /// The key that the store hangs on: a file of 32 bytes, 64 hex digits, or what a token's key wrapped, made at first start; or
    /// `credential:NAME`, a credential of systemd's.
    pub master_key: PathBuf,
    /// What wraps the values of keys: the first those that are stored from now on. Absent: the master key.
    #[serde(rename = "custody", default)]
    pub custodies: Vec<Custody>,
    /// File of the break-glass token, whose bearer may do everything that one person may. Made at first start. Absent: there is none.
    #[serde(default)]
    pub admin_token: Option<PathBuf>,
    /// The authorities whose certificates name people.
    #[serde(default)]
    pub admin_certificates: Option<AdminCertificates>,
    /// The issuers whose tokens name people.
    #[serde(rename = "admin-issuer", default)]
    pub admin_issuers: Vec<AdminIssuer>,
    /// Who may administer, and with which roles.
    #[serde(rename = "admin", default)]
    pub admins: Vec<AdminEntry>,
    /// Changes that another person has to approve.
    #[serde(default)]
    pub admin_approval: BTreeSet<Change>,
    /// PEM of one root certificate that evidence is verified under, in place of AMD's and Intel's. It makes this a verifier of the
    /// test realm, whose store no other realm opens.
    #[serde(default)]
    pub test_root: Option<PathBuf>,
    /// Connections that one peer (one /64 of IPv6) may have open to each of the addresses: 1 to 512, of 512 in all. More where all
    /// guests are behind one address.
    #[serde(default = "peer_connections")]
    pub peer_connections: usize,
    /// Guests that may have been accepted within five minutes, each to fetch keys for as long: 1 to 1,048,576, of all verifiers that
    /// share a store. Each takes some 12 KiB of it until then. Beyond them, `busy`.
    #[serde(default = "sessions")]
    pub sessions: u64,
    /// Names in the TLS certificate. Clients pin its key and do not look at them.
    #[serde(default)]
    pub names: Vec<String>,
    /// Filter of the log on stderr, as `tracing` understands it.
    #[serde(default = "info")]
    pub log: String,
    /// How each line of it is written.
    #[serde(default)]
    pub log_format: LogFormat,
    /// Whom to tell what requests took how long. Absent: nobody.
    #[serde(default)]
    pub traces: Option<Traces>,
    /// Do not start where memory could be swapped to a disk. Otherwise that is warned of.
    #[serde(default)]
    pub lock_memory: bool,
    /// Seconds from SIGTERM until open requests are cut off.
    #[serde(default = "grace")]
    pub grace: u64,
    /// The registries that manifests and signatures may be fetched from.
    #[serde(rename = "registry", default)]
    pub registries: Vec<Registry>,
    /// Keys of the witnesses whose cosignatures on the audit log's checkpoints are kept, as c2sp.org/signed-note writes them.
    #[serde(default)]
    pub log_witnesses: Vec<String>,
    /// Where endorsements come from that evidence comes without. Absent: from nowhere.
    #[serde(default)]
    pub endorsements: Option<Endorsements>,
    /// Which leases guests are given.
    #[serde(default)]
    pub leases: Leases,
    /// The SPIFFE trust domain in which guests are given identities: one that ends in `.test` in the test realm, and no such elsewhere.
    /// Absent: none are given.
    #[serde(default)]
    pub trust_domain: Option<TrustDomain>,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, with the request's `trace_id` (W3C Trace Context) in `span`.
    Json,
}

/// A collector of OpenTelemetry's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Traces {
    /// Where it takes OTLP over HTTP: `https://HOST:4318`.
    pub url: String,
    /// PEM certificates of the authority that vouches for it; absent: the public ones.
    #[serde(default)]
    pub ca: Option<String>,
    /// Speak HTTP without TLS where the URL says `http`.
    #[serde(default)]
    pub plain_http: bool,
}

impl Traces {
    /// Tells it of every request from now on.
    ///
    /// # Errors
    /// `configuration-invalid`.
    pub fn begin(&self) -> Result<()> {
        let trust = self.ca.as_ref().map_or(ServerTrust::WebPki, |ca| ServerTrust::Ca(ca.clone().into_bytes()));
        spans::tell(&self.url, "strongroom-verifier", HttpClient::new(&trust, self.plain_http)?)
    }
}

/// Which leases guests are given.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Leases {
    /// How long one lasts: 30 to [`lease::LONGEST`].
    pub seconds: u64,
    /// Where routers may be sent to. A guest that says that it listens elsewhere gets a lease and no connections.
    pub networks: Vec<Network>,
}

impl Default for Leases {
    fn default() -> Self {
        Self { seconds: lease::LIFETIME, networks: Vec::new() }
    }
}

/// Where endorsements are kept and whom they are asked of. Nobody here is trusted: what comes is verified under the roots.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Endorsements {
    /// Folder of what was fetched; several processes may share it. Absent: `endorsements` in the state folder.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// AMD's Key Distribution Service, or a mirror of it.
    #[serde(default = "kds")]
    pub kds: String,
    /// Intel's Provisioning Certification Service, or a PCCS or mirror in its place.
    #[serde(default = "pcs")]
    pub pcs: String,
    /// PEM certificates of the authority that vouches for both; absent: the public ones.
    #[serde(default)]
    pub ca: Option<String>,
    /// Speak HTTP without TLS where the URL says `http`.
    #[serde(default)]
    pub plain_http: bool,
    /// Ask nobody: what is kept is used, whatever its age.
    #[serde(default)]
    pub offline: bool,
    /// New chips that one network address may ask for at once, and as many more as minutes pass: 1 to 32. More is for guests
    /// that are all behind one address, and lets that one spend all that all of them have.
    #[serde(default = "peer_questions")]
    pub peer_questions: u32,
}

/// A registry and how it is reached. Nothing that comes from it is trusted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Registry {
    /// `host[:port]`, as in references.
    pub host: String,
    /// Speak HTTP without TLS.
    #[serde(default)]
    pub plain_http: bool,
    /// PEM certificates of the authority that signed its TLS certificate, as in a deployment document; absent: the
    /// public ones.
    #[serde(default)]
    pub ca: Option<String>,
    /// The user to log in as.
    #[serde(default)]
    pub username: Option<String>,
    /// File of the password, mode 0600.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

fn info() -> String {
    "info".to_owned()
}

const fn grace() -> u64 {
    30
}

const fn peer_connections() -> usize {
    256
}

const fn sessions() -> u64 {
    SESSIONS
}

const fn peer_questions() -> u32 {
    PEER_QUESTIONS
}

fn kds() -> String {
    KDS.to_owned()
}

fn pcs() -> String {
    PCS.to_owned()
}

impl Config {
    /// Loads a configuration of at most [`limits::CONFIGURATION`] bytes.
    ///
    /// # Errors
    /// `io`, `configuration-invalid`, `unknown-field`, `too-large`.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = load(path, limits::CONFIGURATION)?;
        Self::parse(&bytes).map_err(|refusal| refusal.within(path.display()))
    }

    /// Parses a configuration.
    ///
    /// # Errors
    /// `configuration-invalid`, `unknown-field`, `too-large`.
    pub fn parse(toml: &[u8]) -> Result<Self> {
        let config: Self =
            document::parse_toml(toml, "configuration", limits::CONFIGURATION, Code::ConfigurationInvalid)?;
        for registry in &config.registries {
            if registry.username.is_some() != registry.password_file.is_some() {
                return Err(Refusal::new(Code::ConfigurationInvalid, format!("registry `{}`", registry.host))
                    .want("`username` and `password-file` together"));
            }
        }
        if !(30..=lease::LONGEST).contains(&config.leases.seconds) {
            return Err(Refusal::new(Code::ConfigurationInvalid, "leases: `seconds`")
                .got(config.leases.seconds)
                .want(format!("30 to {}", lease::LONGEST)));
        }
        if let Some(Endorsements { peer_questions, .. }) = &config.endorsements
            && !(1..=QUESTIONS).contains(peer_questions)
        {
            return Err(Refusal::new(Code::ConfigurationInvalid, "endorsements: `peer-questions`")
                .got(peer_questions)
                .want(format!("1 to {QUESTIONS}")));
        }
        if let Some(Endorsements { kds, pcs, plain_http, .. }) = &config.endorsements {
            let allowed = |url: &str| url.starts_with("https://") || (*plain_http && url.starts_with("http://"));
            if let Some((name, url)) = [("kds", kds), ("pcs", pcs)].into_iter().find(|(_, url)| !allowed(url)) {
                return Err(Refusal::new(Code::ConfigurationInvalid, format!("endorsements: `{name}`"))
                    .got(url)
                    .want("https://…, or http://… together with `plain-http = true`"));
            }
        }
        if let Some(address) = config.metrics_listen.filter(|address| !address.ip().is_loopback()) {
            return Err(Refusal::new(Code::ConfigurationInvalid, "`metrics-listen`")
                .got(address)
                .want("a loopback address: nobody is asked there who they are"));
        }
        if !(1..=512).contains(&config.peer_connections) {
            return Err(Refusal::new(Code::ConfigurationInvalid, "`peer-connections`")
                .got(config.peer_connections)
                .want("1 to 512"));
        }
        if !(1..=MOST_SESSIONS).contains(&config.sessions) {
            return Err(Refusal::new(Code::ConfigurationInvalid, "`sessions`")
                .got(config.sessions)
                .want(format!("1 to {MOST_SESSIONS}")));
        }
        config.verify_administration()?;
        config.witnesses()?;
        let invalid = |what: &str| Refusal::new(Code::ConfigurationInvalid, what);
        match (&config.database, &config.database_file) {
            (Some(_), Some(_)) => return Err(invalid("`database`").got("`database-file` too").want("one of them")),
            (Some(url), None) if Database::postgres(url, config.database_ca.as_deref())?.has_password() => {
                return Err(invalid("`database`").got("a password").want("it in a `database-file`"));
            }
            (None, None) if config.database_ca.is_some() => {
                return Err(invalid("`database-ca`").want("it together with `database` or `database-file`"));
            }
            _ => {}
        }
        custody::verify(&config.custodies)?;
        Ok(config)
    }

    /// Where the store is.
    ///
    /// # Errors
    /// `configuration-invalid`: no URL, or one over a network without `database-ca`; those of reading a private file.
    pub(crate) fn database(&self) -> Result<Database> {
        let ca = self.database_ca.as_deref();
        match (&self.database, &self.database_file) {
            (Some(url), _) => Database::postgres(url, ca),
            (None, Some(path)) => {
                let bytes = private_file::load(path)?;
                let invalid = |_| Refusal::new(Code::ConfigurationInvalid, path.display().to_string()).want("text");
                Database::postgres(core::str::from_utf8(&bytes).map_err(invalid)?.trim_end(), ca)
            }
            (None, None) => Ok(Database::sqlite(&store_path(&self.state))),
        }
    }

    /// The witnesses of the audit log.
    ///
    /// # Errors
    /// `configuration-invalid`: no key, or that of no witness; more than [`limits::NOTE_SIGNATURES`] leave room for.
    pub fn witnesses(&self) -> Result<Vec<NoteVerifier>> {
        let wrong =
            |key: &str| Refusal::new(Code::ConfigurationInvalid, "`log-witnesses`").got(key).want("a witness' key");
        if self.log_witnesses.len() >= limits::NOTE_SIGNATURES {
            return Err(wrong("too many").want(format!("fewer than {}", limits::NOTE_SIGNATURES)));
        }
        let parse = |key: &String| match NoteVerifier::parse(key) {
            Ok(witness) if witness.role() == Role::Witness => Ok(witness),
            _ => Err(wrong(key)),
        };
        self.log_witnesses.iter().map(parse).collect()
    }

    /// What fetches and keeps endorsements, where any are.
    ///
    /// # Errors
    /// `configuration-invalid`: a CA bundle that is none.
    pub fn fetcher(&self) -> Result<Option<Fetcher>> {
        let Some(stated) = &self.endorsements else { return Ok(None) };
        let trust = stated.ca.as_ref().map_or(ServerTrust::WebPki, |pem| ServerTrust::Ca(pem.clone().into_bytes()));
        let access = strongroom_endorsements::Access {
            kds: stated.kds.clone(),
            pcs: stated.pcs.clone(),
            trust,
            plain_http: stated.plain_http,
            offline: stated.offline,
            patience: PATIENCE,
            ..strongroom_endorsements::Access::default()
        };
        let folder = stated.cache.clone().unwrap_or_else(|| self.state.join("endorsements"));
        Fetcher::new(access, Cache::new(folder)).map(Some)
    }

    /// The roots that evidence is verified under; with them, the realm of this verifier.
    ///
    /// # Errors
    /// `io`, `too-large`, and those of [`Roots::test`].
    pub fn roots(&self) -> Result<Roots> {
        match &self.test_root {
            None => Roots::builtin(),
            Some(path) => {
                let bytes = load(path, limits::ENDORSEMENT)?;
                Roots::test(&bytes).map_err(|refusal| refusal.within(path.display()))
            }
        }
    }

    /// The time to finish open requests after SIGTERM.
    pub const fn grace(&self) -> Duration {
        Duration::from_secs(self.grace)
    }
}

impl Registry {
    /// How the registry is reached, its password read from its file.
    ///
    /// # Errors
    /// Those of reading a private file; `configuration-invalid` where the password is not text.
    pub fn access(&self) -> Result<Access> {
        let credentials = match (&self.username, &self.password_file) {
            (Some(username), Some(path)) => {
                let bytes = private_file::load(path)?;
                let password = core::str::from_utf8(&bytes)
                    .map_err(|_| Refusal::new(Code::ConfigurationInvalid, path.display().to_string()).want("text"))?;
                let password = Password::new(password.trim_end_matches(['\r', '\n']).to_owned());
                Some(Credentials { username: username.clone(), password })
            }
            _ => None,
        };
        Ok(Access { plain_http: self.plain_http, ca: self.ca.clone(), credentials, ..Access::default() })
    }
}

/// A file of at most `limit` bytes, of which no more are read however long it is.
///
/// # Errors
/// `io`, `too-large`.
pub(crate) fn load(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let io = |e| Refusal::io(path.display(), &e);
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(most).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() > limit {
        return Err(Refusal::too_large(path.display().to_string(), "more bytes", limit));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
