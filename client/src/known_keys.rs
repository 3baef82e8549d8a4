//! The keys that were attested a short while ago, so that further connections to them need no evidence of their own.

use core::time::Duration;
use std::collections::HashMap;
use strongroom_wire::digest::Sha256;
use tokio::time::Instant;

/// How long an attestation speaks for a key (DESIGN §3.5). The key never leaves the enclave that it was attested in; what
/// ages is the platform's standing: revocations and TCB floors.
pub(crate) const FRESH_FOR: Duration = Duration::from_secs(600);
/// Keys that are remembered: more than the enclaves behind one address, and a bound on what a peer with ever new keys,
/// all attested, can make us keep.
const MOST_KEYS: usize = 256;

/// A key and the policy that it was accepted under, by digest. Under another policy it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyUnderPolicy {
    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) key: Sha256,
    /// SHA-256 of the policy document.
    pub(crate) policy: Sha256,
}

/// Attested keys, each with the proof `P` of it.
#[derive(Debug)]
pub(crate) struct KnownKeys<P> {
    keys: HashMap<KeyUnderPolicy, Known<P>>,
}

#[derive(Debug)]
struct Known<P> {
    proof: P,
    since: Instant,
}

impl<P: Clone> KnownKeys<P> {
    pub(crate) fn new() -> Self {
        Self { keys: HashMap::new() }
    }

    /// The proof of `key` and its age's beginning, where it is no older than ten minutes at `now`.
    pub(crate) fn fresh(&self, key: KeyUnderPolicy, now: Instant) -> Option<(P, Instant)> {
        self.keys.get(&key).filter(|known| known.is_fresh(now)).map(|known| (known.proof.clone(), known.since))
    }

    /// Forgets a key where `is_over` of what was proven of it.
    pub(crate) fn forget(&mut self, key: KeyUnderPolicy, is_over: impl FnOnce(&P) -> bool) {
        if self.keys.get(&key).is_some_and(|known| is_over(&known.proof)) {
            self.keys.remove(&key);
        }
    }

    /// Remembers what was proven at `since`: the moment before its nonce was drawn.
    pub(crate) fn remember(&mut self, key: KeyUnderPolicy, proof: P, since: Instant) {
        self.keys.retain(|_, known| known.is_fresh(since));
        if self.keys.len() >= MOST_KEYS {
            let oldest = self.keys.iter().min_by_key(|(_, known)| known.since).map(|(key, _)| *key);
            oldest.and_then(|key| self.keys.remove(&key));
        }
        self.keys.insert(key, Known { proof, since });
    }
}

impl<P> Known<P> {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) <= FRESH_FOR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(key: u8, policy: u8) -> KeyUnderPolicy {
        KeyUnderPolicy { key: Sha256([key; 32]), policy: Sha256([policy; 32]) }
    }

    #[test]
    fn key_known_for_ten_minutes_and_not_a_second_longer() {
        let (mut known, start) = (KnownKeys::new(), Instant::now());
        known.remember(key(1, 1), "proof", start);
        assert_eq!(known.fresh(key(1, 1), start + Duration::from_secs(600)), Some(("proof", start)));
        assert_eq!(known.fresh(key(1, 1), start + Duration::from_secs(601)), None);
    }

    #[test]
    fn key_that_was_forgotten_not_known_and_another_still() {
        let (mut known, now) = (KnownKeys::new(), Instant::now());
        [1, 2].into_iter().for_each(|name| known.remember(key(name, 1), "proof", now));
        known.forget(key(1, 1), |proof| *proof == "proof");
        known.forget(key(2, 1), |proof| *proof == "another");
        assert_eq!([1, 2].map(|name| known.fresh(key(name, 1), now).is_some()), [false, true]);
    }

    #[test]
    fn other_key_and_other_policy_not_known() {
        let (mut known, now) = (KnownKeys::new(), Instant::now());
        known.remember(key(1, 1), "proof", now);
        assert_eq!(known.fresh(key(2, 1), now), None);
        assert_eq!(known.fresh(key(1, 2), now), None);
    }

    #[test]
    fn oldest_key_gives_way_to_one_too_many() {
        let (mut known, start) = (KnownKeys::new(), Instant::now());
        let name = |i: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&i.to_le_bytes());
            KeyUnderPolicy { key: Sha256(bytes), policy: Sha256([0; 32]) }
        };
        for i in 0..=MOST_KEYS {
            known.remember(name(i), i, start + Duration::from_millis(u64::try_from(i).unwrap()));
        }
        assert_eq!(known.keys.len(), MOST_KEYS);
        assert_eq!(known.fresh(name(0), start), None);
        assert_eq!(known.fresh(name(1), start).map(|(proof, _)| proof), Some(1));
        assert_eq!(known.fresh(name(MOST_KEYS), start).map(|(proof, _)| proof), Some(MOST_KEYS));
    }
}
