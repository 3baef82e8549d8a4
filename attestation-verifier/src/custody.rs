//! Custodies: what wraps the values of stored keys and opens them again, each under its id, so that none can be passed off as
//! another. The store has what they wrapped, and says of each key which one it was; the value of a key is in memory only while it
//! is stored, wrapped anew or released.
//!
//! The first that is configured wraps; the others open what they once wrapped, until it is wrapped anew. The master key is always
//! one of them, and the only one where none is configured.

mod pkcs11;
mod transit;

pub(crate) use pkcs11::{name as token_name, wrapping_key};

use crate::config;
use crate::master_key::MasterKey;
use core::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

/// The longest that a custody is waited for: a guest that asks for a key gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often custodies are asked whether they are there.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a custody comes to.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A value as a custody wrapped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrapped {
    /// Which did: its name and, where its own key has versions, `@` and that.
    pub by: String,
    /// What it made of the value, which it alone opens.
    pub bytes: Vec<u8>,
}

impl Wrapped {
    pub(crate) fn by(name: &str, bytes: Vec<u8>) -> Self {
        Self { by: name.to_owned(), bytes }
    }
}

/// The value of a key. Never shown; erased on drop.
pub(crate) struct KeyValue(Zeroizing<Vec<u8>>);

impl KeyValue {
    pub(crate) const fn new(value: Zeroizing<Vec<u8>>) -> Self {
        Self(value)
    }

    /// For whoever wraps or compares it.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValue")
    }
}

/// Something that wraps values of keys.
pub(crate) trait Custody: fmt::Debug + Send + Sync {
    /// What rows call it by; the same as long as it opens what it wrapped.
    fn name(&self) -> &str;

    /// Wraps a value under the id that it is stored at.
    ///
    /// # Errors
    /// `custody-unavailable`; `busy`.
    fn wrap<'a>(&'a self, id: &'a str, value: &'a [u8]) -> Answer<'a, Wrapped>;

    /// The value that [`Self::wrap`] wrapped under this id.
    ///
    /// # Errors
    /// `store-failed`: it was wrapped under another key or id, or is not what was wrapped; `custody-unavailable`; `busy`.
    fn unwrap<'a>(&'a self, id: &'a str, wrapped: &'a [u8]) -> Answer<'a, KeyValue>;

    /// Answers only where it could wrap and unwrap.
    ///
    /// # Errors
    /// `custody-unavailable`.
    fn health(&self) -> Answer<'_, ()>;
}

/// All custodies of a service.
#[derive(Debug)]
pub(crate) struct Custodies(Vec<Kept>);

/// One of them, and why it did not answer last.
#[derive(Debug)]
struct Kept {
    custody: Arc<dyn Custody>,
    failed: Mutex<Option<Refusal>>,
}

impl Custodies {
    /// Those that are configured, in their order, and the master key where it is among them, or else at the end.
    ///
    /// # Errors
    /// Those of [`pkcs11::Token::open`] and [`transit::Transit::new`]. One that is gone is none: it is asked for until it is there.
    pub(crate) async fn open(configured: &[config::Custody], master: Arc<MasterKey>) -> Result<Self> {
        let mut all: Vec<Arc<dyn Custody>> = Vec::new();
        for custody in configured {
            all.push(match custody {
                config::Custody::MasterKey {} => master.clone(),
                config::Custody::Pkcs11 { uri } => Arc::new(pkcs11::Token::open(uri).await?),
                config::Custody::Transit(engine) => Arc::new(transit::Transit::new(engine)?),
            });
        }
        if !all.iter().any(|custody| custody.name() == master.name()) {
            all.push(master);
        }
        Ok(Self(all.into_iter().map(|custody| Kept { custody, failed: Mutex::new(None) }).collect()))
    }

    /// Wraps a value by the first of them.
    ///
    /// # Errors
    /// Those of [`Custody::wrap`].
    pub(crate) async fn wrap(&self, id: &str, value: &[u8]) -> Result<Wrapped> {
        let first = self.0.first().ok_or_else(|| Refusal::new(Code::Internal, "no custody"))?;
        first.ask(first.custody.wrap(id, value)).await
    }

    /// Opens a value by the one that wrapped it.
    ///
    /// # Errors
    /// Those of [`Custody::unwrap`]; `custody-unavailable`: also where it is not configured any more.
    pub(crate) async fn unwrap(&self, id: &str, wrapped: &Wrapped) -> Result<KeyValue> {
        let is_its = |kept: &&Kept| match wrapped.by.strip_prefix(kept.custody.name()) {
            Some(rest) => rest.is_empty() || rest.starts_with('@'),
            None => false,
        };
        let kept = self.0.iter().find(is_its).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|kept| kept.custody.name()).collect();
            unavailable("custody of a key")
                .got(&wrapped.by)
                .want(format!("one of the configured: {}", names.join(", ")))
        })?;
        kept.ask(kept.custody.unwrap(id, &wrapped.bytes)).await
    }

    /// Whether all of them answered when they were last asked.
    ///
    /// # Errors
    /// `custody-unavailable`.
    pub(crate) fn ready(&self) -> Result<()> {
        self.0.iter().try_for_each(|kept| match &*kept.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(()),
        })
    }

    /// Asks each now, and again every few seconds: what was gone is known to be back before a guest asks.
    pub(crate) async fn watch_until(&self, stop: impl Future<Output = ()>) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let watch = async {
            loop {
                ticks.tick().await;
                for kept in &self.0 {
                    drop(kept.ask(kept.custody.health()).await);
                }
            }
        };
        tokio::select! {
            () = watch => {}
            () = stop => {}
        }
    }
}

impl Kept {
    /// Waits for an answer, and remembers whether there was one.
    async fn ask<T>(&self, answer: Answer<'_, T>) -> Result<T> {
        let late = || unavailable(self.custody.name()).got(format!("no answer within {PATIENCE:?}"));
        let answer = tokio::time::timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(late()));
        let failed = match &answer {
            Err(refusal) if refusal.code == Code::CustodyUnavailable => Some(refusal.clone()),
            // It was not asked.
            Err(refusal) if refusal.code == Code::Busy => return answer,
            _ => None,
        };
        let mut before = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*before, &failed) {
            (None, Some(refusal)) => tracing::error!(%refusal, custody = self.custody.name(), "custody is gone"),
            (Some(_), None) => tracing::info!(custody = self.custody.name(), "custody is back"),
            _ => {}
        }
        *before = failed;
        answer
    }
}

/// A refusal for what a custody cannot do just now.
pub(crate) fn unavailable(what: impl Into<String>) -> Refusal {
    Refusal::new(Code::CustodyUnavailable, what)
}
