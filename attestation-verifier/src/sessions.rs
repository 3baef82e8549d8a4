//! Sessions of the KBS protocol: a nonce that is good for one attestation, and after it the right to fetch keys for the
//! attested key, until the session expires.
//!
//! A challenge is kept nowhere. Its nonce says what it is good for and until when, under a code of the store's master key, so that every
//! verifier that shares the store knows it, and however many are opened and left, they cost nothing. What was used is in the store:
//! nonces in the very transaction of the decision that they were used for, and what was attested with the bytes that it was judged
//! by. In memory is only what spares asking the store: which nonces were used here, and what was attested lately.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::rand;
use strongroom_appraisal::UnixTime;
use strongroom_wire::bytes::{hex_array, to_base64};
use strongroom_wire::kbs::Tee;
use strongroom_wire::{Code, Refusal, Result};

use crate::attest::Attested;
use crate::store::Store;

/// How long a session lives, in seconds: the KBS protocol's default of five minutes.
pub const LIFETIME: u64 = 300;

/// Accepted sessions at a time in a store, where the configuration says no other number: 218 new ones a second for as long as one
/// likes, in less than a GiB.
pub(crate) const SESSIONS: u64 = 65_536;

/// As many as it may say.
pub(crate) const MOST_SESSIONS: u64 = 1_048_576;

/// Accepted sessions in the memory of a verifier, the newest. One holds its evidence, endorsements and deployment document, which a
/// release policy names. The others are verified again out of the store, where one comes back.
const CAPACITY: usize = 4096;

/// Nonces in memory that were used here, the newest. What proved something is in the store.
const SPENT: usize = 65_536;

/// Random bytes of a nonce, what it is good for, when it ends, and its code.
const RANDOM: usize = 10;
const ENDS: usize = 5;
const CODE: usize = 16;

/// A challenge, and the session that it opens.
pub(crate) type Nonce = [u8; RANDOM + 1 + ENDS + CODE];

/// What a session was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenged {
    /// What the nonce is good for.
    pub(crate) purpose: Purpose,
    pub(crate) nonce: Nonce,
    /// When it ends.
    pub(crate) expires: UnixTime,
}

/// What evidence is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Keys, by the KBS protocol, for a guest that says it is of that platform.
    Keys(Tee),
    /// An attestation result for others, or a lease: which, report data says.
    Passport,
}

/// What one verifier remembers.
#[derive(Debug)]
pub(crate) struct Sessions {
    spent: Mutex<Recent<()>>,
    accepted: Mutex<Recent<Arc<Attested>>>,
}

/// By nonce, in the order in which they end; no more than there is room for.
#[derive(Debug)]
struct Recent<T> {
    entries: BTreeMap<(UnixTime, Nonce), T>,
    capacity: usize,
}

impl Purpose {
    fn byte(self) -> Result<u8> {
        let Self::Keys(tee) = self else { return Ok(0) };
        let at = Tee::ALL.iter().position(|one| *one == tee).and_then(|at| u8::try_from(at).ok());
        at.map(|at| at.saturating_add(1)).ok_or_else(|| Refusal::new(Code::Internal, "platform"))
    }

    fn of_byte(byte: u8) -> Option<Self> {
        match byte.checked_sub(1) {
            None => Some(Self::Passport),
            Some(at) => Tee::ALL.get(usize::from(at)).copied().map(Self::Keys),
        }
    }
}

impl Challenged {
    /// Opens a session for that purpose.
    ///
    /// # Errors
    /// `internal`: no randomness.
    pub(crate) fn open(store: &Store, purpose: Purpose, now: UnixTime) -> Result<Self> {
        let expires = now.saturating_add(LIFETIME);
        let mut head = random::<RANDOM>()?.to_vec();
        head.push(purpose.byte()?);
        head.extend(expires.to_be_bytes().iter().skip(size_of::<u64>() - ENDS));
        let code = store.nonce_code(&head);
        head.extend(code.iter().take(CODE));
        let nonce = head.try_into().map_err(|_| Refusal::new(Code::Internal, "nonce"))?;
        Ok(Self { purpose, nonce, expires })
    }

    /// The session of that id.
    ///
    /// # Errors
    /// `session-unknown`: none that was opened on this store; `session-expired`.
    pub(crate) fn of(store: &Store, id: &str, now: UnixTime) -> Result<Self> {
        let unknown = || Refusal::new(Code::SessionUnknown, "session");
        let nonce: Nonce = hex_array(id, "session").map_err(|_| unknown())?;
        let (head, code) = nonce.split_at(RANDOM + 1 + ENDS);
        store.verify_nonce_code(head, code).map_err(|_| unknown())?;
        let (purpose, ends) = head.get(RANDOM..).and_then(|rest| rest.split_first()).ok_or_else(unknown)?;
        let purpose = Purpose::of_byte(*purpose).ok_or_else(unknown)?;
        let expires = ends.iter().fold(0, |ends, byte| ends << 8 | u64::from(*byte));
        let challenged = Self { purpose, nonce, expires };
        challenged.verify_current(now).map(|()| challenged)
    }

    /// # Errors
    /// `session-expired`.
    pub(crate) fn verify_current(&self, now: UnixTime) -> Result<()> {
        if now < self.expires {
            return Ok(());
        }
        Err(Refusal::new(Code::SessionExpired, "session").got(now).want(format!("before {}", self.expires)))
    }

    /// The cookie's value: 64 hex digits.
    pub(crate) fn id(&self) -> String {
        hex::encode(self.nonce)
    }

    /// The nonce as a guest gets it: in base64 for keys, in hex for passports.
    pub(crate) fn text(&self) -> String {
        match self.purpose {
            Purpose::Keys(_) => to_base64(&self.nonce),
            Purpose::Passport => self.id(),
        }
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self { spent: Mutex::new(Recent::of(SPENT)), accepted: Mutex::new(Recent::of(CAPACITY)) }
    }
}

impl Sessions {
    /// Takes the nonce of a session, which nobody gets a second time here. Whether another verifier that shares the store took it, the
    /// store says when something is decided.
    ///
    /// # Errors
    /// `session-unknown`, `session-expired`, `nonce-used`.
    pub(crate) fn take(&self, store: &Store, id: &str, now: UnixTime) -> Result<Challenged> {
        let challenged = Challenged::of(store, id, now)?;
        // No entry is ever half made, so what a panicking thread left is sound.
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.put(&challenged, (), now) { Ok(challenged) } else { Err(Refusal::new(Code::NonceUsed, "session")) }
    }

    /// Remembers what was attested in a session.
    pub(crate) fn remember(&self, attested: &Arc<Attested>, now: UnixTime) {
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.put(&attested.session, Arc::clone(attested), now);
    }

    /// What was attested in a session, if that is remembered.
    pub(crate) fn find(&self, session: &Challenged) -> Option<Arc<Attested>> {
        let accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.entries.get(&(session.expires, session.nonce)).cloned()
    }
}

impl<T> Recent<T> {
    fn of(capacity: usize) -> Self {
        Self { entries: BTreeMap::new(), capacity }
    }

    /// Whether it is new. Those that ended make room, or else the one that ends first.
    fn put(&mut self, session: &Challenged, value: T, now: UnixTime) -> bool {
        while self.entries.first_key_value().is_some_and(|((expires, _), _)| *expires <= now) {
            self.entries.pop_first();
        }
        let new = self.entries.insert((session.expires, session.nonce), value).is_none();
        if self.entries.len() > self.capacity {
            self.entries.pop_first();
        }
        new
    }
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| Refusal::new(Code::Internal, "randomness"))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Database;
    use strongroom_wire::Realm;

    const KEYS: Purpose = Purpose::Keys(Tee::Snp);

    async fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::sqlite(&folder.path().join("store"));
        let store = Store::open(database, &folder.path().join("master"), Realm::Vendor).await.unwrap();
        (folder, store)
    }

    fn code<T>(outcome: Result<T>) -> Option<Code> {
        outcome.err().map(|refusal| refusal.code)
    }

    #[tokio::test]
    async fn nonce_says_what_it_is_good_for_and_is_taken_once() {
        let (_folder, store) = store().await;
        let sessions = Sessions::default();
        for purpose in Tee::ALL.into_iter().map(Purpose::Keys).chain([Purpose::Passport]) {
            let opened = Challenged::open(&store, purpose, 7).unwrap();
            assert_eq!(sessions.take(&store, &opened.id(), 8).unwrap(), opened);
            assert_eq!(code(sessions.take(&store, &opened.id(), 8)), Some(Code::NonceUsed));
            assert_eq!(opened.text().len(), if purpose == Purpose::Passport { 64 } else { 44 });
        }
    }

    #[tokio::test]
    async fn of_many_threads_one_takes_the_nonce() {
        let (_folder, store) = store().await;
        let (sessions, id) = (Sessions::default(), Challenged::open(&store, KEYS, 0).unwrap().id());
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| sessions.take(&store, &id, 0).is_ok())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }

    #[tokio::test]
    async fn session_ends_after_its_lifetime() {
        let (_folder, store) = store().await;
        let id = Challenged::open(&store, KEYS, 1000).unwrap().id();
        assert_eq!(code(Challenged::of(&store, &id, 1000 + LIFETIME)), Some(Code::SessionExpired));
        assert_eq!(code(Challenged::of(&store, &id, 1000 + LIFETIME - 1)), None);
    }

    #[tokio::test]
    async fn nonce_with_any_bit_changed_or_of_another_store_refused() {
        let ((_folder, store), (_other, other)) = (store().await, store().await);
        let opened = Challenged::open(&store, KEYS, 0).unwrap();
        assert_eq!(code(Challenged::of(&store, &opened.id(), 0)), None);
        for bit in 0..8 * opened.nonce.len() {
            let mut nonce = opened.nonce;
            nonce[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(code(Challenged::of(&store, &hex::encode(nonce), 0)), Some(Code::SessionUnknown), "{bit}");
        }
        let unknown = [opened.id().replace(char::is_alphanumeric, "0"), opened.text(), String::new(), "0".repeat(65)];
        for id in unknown {
            assert_eq!(code(Challenged::of(&store, &id, 0)), Some(Code::SessionUnknown), "{id}");
        }
        assert_eq!(code(Challenged::of(&other, &opened.id(), 0)), Some(Code::SessionUnknown));
    }

    #[tokio::test]
    async fn nonces_are_never_the_same() {
        let (_folder, store) = store().await;
        let nonces: std::collections::BTreeSet<_> =
            (0..1000).map(|_| Challenged::open(&store, KEYS, 0).unwrap().nonce).collect();
        assert_eq!(nonces.len(), 1000);
    }

    #[tokio::test]
    async fn no_more_is_remembered_than_there_is_room_for_and_nothing_that_ended() {
        let (_folder, store) = store().await;
        let mut recent = Recent::of(3);
        let opened: Vec<_> = (0..5).map(|now| Challenged::open(&store, KEYS, now).unwrap()).collect();
        for session in &opened {
            assert!(recent.put(session, (), 0));
        }
        assert_eq!(recent.entries.keys().map(|(expires, _)| expires - LIFETIME).collect::<Vec<_>>(), [2, 3, 4]);
        assert!(!recent.put(&opened[4], (), LIFETIME + 3));
        assert_eq!(recent.entries.len(), 1);
    }
}
