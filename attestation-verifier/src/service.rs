//! The running service: identity, store and routes put together on two sockets.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use strongroom_appraisal::Roots;
use strongroom_tlog::NoteVerifier;
use strongroom_transport::{Bound, ServeLimits, ServerIdentity, bind, serve, server_config, server_config_asking};
use strongroom_wire::spiffe::TrustDomain;
use strongroom_wire::{Realm, Result};
use tokio::sync::watch;

use crate::admin::Change;
use crate::admin_gate::AdminGate;
use crate::budget::Budgets;
use crate::clock::Clock;
use crate::config::{Config, Leases};
use crate::custody::Custodies;
use crate::feed::Feeds;
use crate::identity::{Identity, PublicIdentity};
use crate::metrics::{self, Metrics};
use crate::models::Models;
use crate::platform::KnownKeys;
use crate::private_file;
use crate::sessions::Sessions;
use crate::state_lock::StateLock;
use crate::store::Store;
use crate::token_keys::TokenKeys;
use crate::unproven::Unproven;
use crate::vendors::{PEER_QUESTIONS, Vendors};
use crate::{admin, routes};

/// Everything that decides. Its methods are in `release.rs` and `admin.rs`.
#[derive(Debug)]
pub struct Verifier {
    pub(crate) store: Store,
    /// What wraps the values of the keys in it.
    pub(crate) custodies: Custodies,
    pub(crate) roots: Roots,
    /// Keys that were verified under them.
    pub(crate) known: KnownKeys,
    pub(crate) sessions: Sessions,
    /// How many may be accepted at a time.
    pub(crate) most_sessions: u64,
    pub(crate) models: Models,
    pub(crate) tokens: TokenKeys,
    /// How often shared token keys were looked at, by one at a time.
    pub(crate) refreshed: tokio::sync::Mutex<u64>,
    pub(crate) gate: AdminGate,
    /// Changes that another person has to approve.
    pub(crate) approval: BTreeSet<Change>,
    /// What people may still change for now, by their names.
    pub(crate) changes: Mutex<Budgets<String>>,
    pub(crate) unproven: Unproven,
    pub(crate) metrics: Metrics,
    /// Whose cosignatures on the log's checkpoints are kept.
    pub(crate) witnesses: Vec<NoteVerifier>,
    /// Where endorsements come from that evidence comes without; `None`: from nowhere.
    pub(crate) vendors: Option<Vendors>,
    pub(crate) leases: Leases,
    pub(crate) feeds: Feeds,
    /// In which identities are given; `None`: none are.
    pub(crate) trust_domain: Option<TrustDomain>,
    pub(crate) clock: Clock,
}

/// A verifier with its two sockets bound, not yet answering.
#[derive(Debug)]
pub struct Service {
    verifier: Arc<Verifier>,
    tls: ServerIdentity,
    kbs: Bound,
    admin: Bound,
    metrics: Option<Bound>,
    identity: PublicIdentity,
    limits: ServeLimits,
    /// Held until it ends.
    lock: StateLock,
}

/// What others know the verifier of `config` by. Identity, master key and store are made where it is their first start; a service
/// may run.
///
/// # Errors
/// Those of [`Config::roots`], [`Identity::load_or_create`] and of opening the store.
pub async fn public_identity(config: &Config) -> Result<PublicIdentity> {
    let realm = config.roots()?.realm();
    if config.database()?.is_shared() {
        private_file::create_folder(&config.state)?;
        let store = open_store(config, realm).await?;
        let identity = Identity::shared(&store, &config.state, &config.names, realm).await?;
        return Ok(identity.public(store.log().verifier()));
    }
    let identity = Identity::load_or_create(&config.state, &config.names, realm)?;
    let log = match Store::log_key(&config.database()?, &config.master_key, realm).await {
        Some(key) => key,
        None => open_store(config, realm).await?.log().verifier().clone(),
    };
    Ok(identity.public(&log))
}

/// One makes the store at a time, whoever finds none.
async fn open_store(config: &Config, realm: Realm) -> Result<Store> {
    let _creating = StateLock::creating(&config.state)?;
    Store::open(config.database()?, &config.master_key, realm).await
}

impl Service {
    /// Loads or makes everything that `config` names and binds both sockets.
    ///
    /// # Errors
    /// Those of the parts: a realm that is not that of the state, files that others can read, a store that does not open,
    /// addresses that cannot be bound. `configuration-invalid`: another service runs on the same state.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self> {
        let roots = config.roots()?;
        let realm = roots.realm();
        config.trust_domain.as_ref().map_or(Ok(()), |domain| domain.verify_realm(realm))?;
        private_file::create_folder(&config.state)?;
        let own = match config.database()?.is_shared() {
            false => Some(Identity::load_or_create(&config.state, &config.names, realm)?),
            true => None,
        };
        let lock = StateLock::serving(&config.state)?;
        let store = open_store(config, realm).await?;
        let identity = match own {
            Some(own) => own,
            None => Identity::shared(&store, &config.state, &config.names, realm).await?,
        };
        if let Err(refusal) = store.begin_reading().await?.policy_set_in_force().await {
            tracing::warn!(%refusal, advice = refusal.code.advice(), "no key is released to anybody");
        }
        let public = identity.public(store.log().verifier());
        let questions = config.endorsements.as_ref().map_or(PEER_QUESTIONS, |stated| stated.peer_questions);
        let vendors = config.fetcher()?;
        let vendors = vendors.map(|fetcher| Vendors::new(fetcher, roots.clone(), clock.clone(), questions));
        let custodies = Custodies::open(&config.custodies, store.master()).await?;
        let verifier = Verifier {
            store,
            custodies,
            roots,
            known: KnownKeys::default(),
            sessions: Sessions::default(),
            most_sessions: config.sessions,
            models: Models::new(&config.registries)?,
            tokens: identity.tokens,
            refreshed: tokio::sync::Mutex::default(),
            gate: AdminGate::load(config)?,
            approval: config.admin_approval.clone(),
            changes: Mutex::new(Budgets::new(admin::CHANGES)),
            unproven: Unproven::default(),
            metrics: Metrics::default(),
            witnesses: config.witnesses()?,
            vendors,
            leases: config.leases.clone(),
            feeds: Feeds::default(),
            trust_domain: config.trust_domain.clone(),
            clock,
        };
        verifier.renew_authorities().await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(bind(&address.to_string()).await?),
            None => None,
        };
        tracing::info!(%realm, pin = %public.pin, log = public.log_key, "verifier opened");
        Ok(Self {
            verifier: Arc::new(verifier),
            tls: identity.tls,
            kbs: bind(&config.listen).await?,
            admin: bind(&config.admin_listen).await?,
            metrics,
            identity: public,
            limits: ServeLimits {
                grace: config.grace(),
                max_connections_of_peer: config.peer_connections,
                ..ServeLimits::default()
            },
            lock,
        })
    }

    /// Where the KBS protocol is spoken.
    pub const fn kbs_addr(&self) -> SocketAddr {
        self.kbs.local_addr()
    }

    /// Where the admin API is.
    pub const fn admin_addr(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Where everybody reads the metrics, where there is such an address.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(Bound::local_addr)
    }

    /// What a deployment document names it by.
    pub const fn identity(&self) -> &PublicIdentity {
        &self.identity
    }

    /// Answers until `shutdown`, then finishes open requests within the configured grace.
    ///
    /// # Errors
    /// Those of [`serve()`].
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let _lock = self.lock;
        let verifier = Arc::clone(&self.verifier);
        let (tls, asking) = (server_config(&self.tls)?, server_config_asking(&self.tls)?);
        let (stop, stopping) = watch::channel(false);
        let stopped = |mut stopping: watch::Receiver<bool>| async move {
            // A sender that is gone means stop, too.
            drop(stopping.wait_for(|stop| *stop).await);
        };
        let metrics = metrics::routes(Arc::clone(&self.verifier));
        let metrics = self.metrics.map(|bound| serve(bound, None, metrics, self.limits, stopped(stopping.clone())));
        let all = async {
            tokio::try_join!(
                serve(
                    self.kbs,
                    Some(tls),
                    routes::kbs(Arc::clone(&self.verifier)),
                    self.limits,
                    stopped(stopping.clone()),
                ),
                serve(self.admin, Some(asking), admin::admin(self.verifier), self.limits, stopped(stopping.clone())),
                async {
                    match metrics {
                        Some(serving) => serving.await,
                        None => Ok(()),
                    }
                },
            )
        };
        let signal = async {
            shutdown.await;
            stop.send_replace(true);
        };
        let summaries = verifier.summarise_until(stopped(stopping.clone()));
        let renewals = verifier.renew_until(stopped(stopping.clone()));
        let token_keys = verifier.refresh_tokens_until(stopped(stopping.clone()));
        let custodies = verifier.custodies.watch_until(stopped(stopping.clone()));
        let authorities = verifier.renew_authorities_until(stopped(stopping.clone()));
        tokio::join!(all, signal, summaries, renewals, token_keys, custodies, authorities).0.map(drop)
    }
}

/// The store's file in the state folder, where the configuration names no other database.
pub fn store_path(state: &Path) -> std::path::PathBuf {
    state.join("verifier.sqlite")
}
