//! How the command line reaches a registry: as the user whom other container tools logged in, through the proxy that the
//! environment names.

use crate::files;
use clap::Args;
use std::env;
use std::path::PathBuf;
use strongroom_registry_client::{Access, Cache, CacheLimits, Credentials, Mirror, Proxies, Reference, RegistryClient};
use strongroom_wire::{Code, Refusal, Result, limits};

const GIB: u64 = 1 << 30;
/// What is kept of interrupted downloads where no cache is named: the weights of a large model.
const INTERRUPTED: u64 = 64 * GIB;

/// How the registry is reached. What comes from it is verified all the same.
#[derive(Args)]
pub(crate) struct RegistryArguments {
    /// Speak HTTP without TLS.
    #[arg(long, help_heading = "Registry")]
    plain_http: bool,
    /// Certificates of the authority that vouches for the registry, instead of the public ones.
    #[arg(id = "registry-ca", long = "ca", value_name = "FILE", help_heading = "Registry")]
    ca: Option<PathBuf>,
    /// Ask this mirror first for what has a digest. It is believed in nothing. May be given several times.
    #[arg(long = "mirror", value_name = "HOST[:PORT][/PREFIX]", help_heading = "Registry")]
    mirrors: Vec<String>,
    /// The folder with the config.json of container tools, their credential helpers included; else $DOCKER_CONFIG, or
    /// ~/.docker.
    #[arg(long, value_name = "DIR", help_heading = "Registry")]
    docker_config: Option<PathBuf>,
}

/// Where downloads are kept.
#[derive(Args)]
pub(crate) struct CacheArguments {
    /// Keep layers in this folder, and take from it what is there; any number of processes may. Without it, only what came
    /// of an interrupted pull is kept, in the user's cache folder, so that the next one goes on from there.
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache", help_heading = "Cache")]
    cache: Option<PathBuf>,
    /// How many GiB of layers the cache keeps: what was not used for longest goes.
    #[arg(long, value_name = "GIB", default_value_t = 64, requires = "cache", help_heading = "Cache")]
    cache_size: u64,
    /// Keep nothing, not even of an interrupted pull.
    #[arg(long, help_heading = "Cache")]
    no_cache: bool,
}

impl RegistryArguments {
    /// A client of the registry that `reference` names. No connection is made yet.
    pub(crate) fn client(&self, reference: &Reference) -> Result<RegistryClient> {
        self.client_with(reference, None)
    }

    /// [`Self::client`], with a cache.
    pub(crate) fn client_with(&self, reference: &Reference, cache: Option<Cache>) -> Result<RegistryClient> {
        let mirrors = self.mirrors.iter().map(|place| {
            let host = place.split('/').next().unwrap_or_default();
            Mirror::new(place, self.access(host)?)
        });
        let access = Access { mirrors: mirrors.collect::<Result<_>>()?, cache, ..self.access(reference.host())? };
        RegistryClient::new(reference.host(), access)
    }

    /// How `host` is reached, as its own user.
    fn access(&self, host: &str) -> Result<Access> {
        let text = |path: &PathBuf| {
            String::from_utf8(files::read(path, limits::CONFIGURATION)?)
                .map_err(|e| Refusal::new(Code::ConfigurationInvalid, format!("`{}`", path.display())).because(e))
        };
        let ca = self.ca.as_ref().map(text).transpose()?;
        let credentials = match self.docker_config.clone().or_else(Credentials::users_folder) {
            Some(folder) => Credentials::load(&folder, host)?,
            None => None,
        };
        Ok(Access { plain_http: self.plain_http, ca, credentials, proxies: proxies()?, ..Access::default() })
    }
}

impl CacheArguments {
    /// The cache that was asked for.
    pub(crate) fn open(&self) -> Result<Option<Cache>> {
        if self.no_cache {
            return Ok(None);
        }
        if let Some(folder) = &self.cache {
            let limit = self.cache_size.saturating_mul(GIB);
            return Cache::open(folder, CacheLimits { blobs: limit, partial: limit }).map(Some);
        }
        let Some(folder) = users_cache() else { return Ok(None) };
        let limits = CacheLimits { blobs: 0, partial: INTERRUPTED };
        Ok(Cache::open(&folder.join("strongroom/pulls"), limits)
            // Nobody asked for it.
            .inspect_err(|refusal| tracing::debug!(%refusal, "an interrupted pull will begin anew"))
            .ok())
    }
}

/// `$XDG_CACHE_HOME`, else `~/.cache`.
fn users_cache() -> Option<PathBuf> {
    let set = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))
}

/// The proxies that the environment names, as for other tools: `https_proxy`, `http_proxy` and `no_proxy`, or the same in
/// upper case.
fn proxies() -> Result<Proxies> {
    let set = |name: &str| {
        let value = env::var(name).or_else(|_| env::var(name.to_ascii_uppercase()));
        value.ok().filter(|value| !value.trim().is_empty())
    };
    let (http, https) = (set("http_proxy"), set("https_proxy"));
    Proxies::new(http.as_deref(), https.as_deref(), &set("no_proxy").unwrap_or_default())
}
