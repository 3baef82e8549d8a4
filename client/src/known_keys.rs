//! The keys that were attested a short while ago, so that further connections to them need no evidence of their own.

use crate::Verified;
use core::time::Duration;
use std::collections::HashMap;
use std::sync::Arc;
use strongroom_wire::digest::Sha256;
use tokio::time::Instant;

/// How long an attestation speaks for a key (DESIGN §3.5). The key never leaves the enclave that it was attested in; what
/// ages is the platform's standing: revocations and TCB floors.
const FRESH_FOR: Duration = Duration::from_secs(600);
/// Keys that are remembered: more than the enclaves behind one address, and a bound on what a peer with ever new keys,
/// all attested, can make us keep.
const MOST_KEYS: usize = 256;

/// Attested keys, by key and by the policy that they were accepted under.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    keys: HashMap<(Sha256, Sha256), Known>,
}

#[derive(Debug)]
struct Known {
    verified: Arc<Verified>,
    since: Instant,
}

impl KnownKeys {
    /// What was verified of `key` under `policy`, where that was no longer than ten minutes before `now`.
    pub(crate) fn fresh(&self, key: Sha256, policy: Sha256, now: Instant) -> Option<Arc<Verified>> {
        self.keys.get(&(key, policy)).filter(|known| known.is_fresh(now)).map(|known| Arc::clone(&known.verified))
    }

    /// Remembers what was verified at `since`: the moment before its nonce was drawn.
    pub(crate) fn remember(&mut self, verified: Arc<Verified>, since: Instant) {
        self.keys.retain(|_, known| known.is_fresh(since));
        if self.keys.len() >= MOST_KEYS {
            let oldest = self.keys.iter().min_by_key(|(_, known)| known.since).map(|(name, _)| *name);
            oldest.and_then(|name| self.keys.remove(&name));
        }
        self.keys.insert((verified.channel_key(), verified.policy()), Known { verified, since });
    }
}

impl Known {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) <= FRESH_FOR
    }
}
