//! Sessions of the KBS protocol: a nonce that is good for one attestation, and after it the right to fetch keys for the
//! attested key, until the session expires.
//!
//! All of it is in memory: a restart ends every session. Their number is bounded: a new one takes the place of the oldest
//! that proved nothing, those whose nonce was used last of all, and none takes the place of an accepted one. What that costs does not grow
//! with their number: whoever opens sessions and leaves them costs others nothing but their own that lie as long unused.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::rand;
use strongroom_appraisal::UnixTime;
use strongroom_wire::bytes::to_base64;
use strongroom_wire::kbs::Tee;
use strongroom_wire::{Code, Refusal, Result};

use crate::attest::Attested;

/// How long a session lives, in seconds: the KBS protocol's default of five minutes.
pub const LIFETIME: u64 = 300;

/// Sessions at one time. A session that proved nothing is about 200 bytes, an accepted one holds its report and its
/// deployment document, which a release policy names.
pub(crate) const CAPACITY: usize = 4096;

/// The sessions of one verifier.
#[derive(Debug)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
    capacity: usize,
}

/// Sessions by id, and their ids by the order in which they were opened, which is that in which they end.
#[derive(Debug, Default)]
struct Table {
    sessions: HashMap<String, Session>,
    /// Those whose nonce nobody used yet.
    unproven: BTreeMap<u64, String>,
    /// Those whose nonce was used, in the order of that.
    spent: BTreeMap<u64, String>,
    accepted: BTreeMap<u64, String>,
    next: u64,
}

#[derive(Debug)]
struct Session {
    challenged: Challenged,
    expires: UnixTime,
    state: State,
    number: u64,
}

/// What a session was opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenged {
    /// What the nonce is good for.
    pub(crate) purpose: Purpose,
    /// 32 random bytes, in base64 for keys and in hex for passports.
    pub(crate) nonce: String,
}

/// What evidence is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Keys, by the KBS protocol, for a guest that says it is of that platform.
    Keys(Tee),
    /// An attestation result for others.
    Passport,
}

#[derive(Debug)]
enum State {
    /// The nonce was given out.
    Challenged,
    /// The nonce was used; what it was used for was refused, or is being appraised.
    Spent,
    /// Evidence for the nonce was accepted.
    Accepted(Arc<Attested>),
}

/// A session that was just opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The cookie's value: 32 hex digits. Of a passport the nonce.
    pub id: String,
    /// As [`Challenged::nonce`].
    pub nonce: String,
    /// When it ends.
    pub expires: UnixTime,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::with_capacity(CAPACITY)
    }
}

impl Sessions {
    /// Room for `capacity` sessions.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { table: Mutex::default(), capacity }
    }

    /// How many are open, or ended and not cleared away yet.
    pub(crate) fn count(&self) -> usize {
        self.lock().sessions.len()
    }

    /// Opens a session for that purpose.
    ///
    /// # Errors
    /// `busy`: every place is taken by an accepted session.
    pub(crate) fn open(&self, purpose: Purpose, now: UnixTime) -> Result<Opened> {
        let nonce = random::<32>()?;
        let (id, nonce) = match purpose {
            Purpose::Keys(_) => (hex::encode(random::<16>()?), to_base64(&nonce)),
            Purpose::Passport => (hex::encode(nonce), hex::encode(nonce)),
        };
        let expires = now.saturating_add(LIFETIME);
        let mut table = self.lock();
        if table.sessions.len() >= self.capacity {
            table.make_room(now)?;
        }
        let number = table.next;
        table.next = number.saturating_add(1);
        let challenged = Challenged { purpose, nonce: nonce.clone() };
        table.unproven.insert(number, id.clone());
        table.sessions.insert(id.clone(), Session { challenged, expires, state: State::Challenged, number });
        Ok(Opened { id, nonce, expires })
    }

    /// Takes what a session was opened with, and so its nonce, which nobody gets a second time.
    ///
    /// # Errors
    /// `session-unknown`, `session-expired`, `nonce-used`.
    pub(crate) fn take_nonce(&self, id: &str, now: UnixTime) -> Result<Challenged> {
        let mut table = self.lock();
        let spent = table.next;
        let session = table.current(id, now)?;
        match session.state {
            State::Challenged => {
                session.state = State::Spent;
                let opened = core::mem::replace(&mut session.number, spent);
                let challenged = session.challenged.clone();
                table.next = spent.saturating_add(1);
                table.unproven.remove(&opened);
                table.spent.insert(spent, id.to_owned());
                Ok(challenged)
            }
            State::Spent | State::Accepted(_) => Err(Refusal::new(Code::NonceUsed, "session")),
        }
    }

    /// Lets a session whose nonce was taken fetch keys.
    ///
    /// # Errors
    /// `session-unknown`, `session-expired`: it ended meanwhile; `nonce-used`: it is not one whose nonce was just taken.
    pub(crate) fn accept(&self, id: &str, attested: Attested, now: UnixTime) -> Result<()> {
        let mut table = self.lock();
        let session = table.current(id, now)?;
        match session.state {
            State::Spent => {
                session.state = State::Accepted(Arc::new(attested));
                let number = session.number;
                table.spent.remove(&number);
                table.accepted.insert(number, id.to_owned());
                Ok(())
            }
            State::Challenged | State::Accepted(_) => Err(Refusal::new(Code::NonceUsed, "session")),
        }
    }

    /// What was attested in a session.
    ///
    /// # Errors
    /// `session-unknown`: also where nothing was accepted in it; `session-expired`.
    pub(crate) fn attested(&self, id: &str, now: UnixTime) -> Result<Arc<Attested>> {
        match &self.lock().current(id, now)?.state {
            State::Accepted(attested) => Ok(Arc::clone(attested)),
            State::Challenged | State::Spent => {
                Err(Refusal::new(Code::SessionUnknown, "session").got("nothing was accepted in it"))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // No session is ever half changed, so what a panicking thread left is sound.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn current(&mut self, id: &str, now: UnixTime) -> Result<&mut Session> {
        let session = self.sessions.get_mut(id).ok_or_else(|| Refusal::new(Code::SessionUnknown, "session"))?;
        if now < session.expires {
            return Ok(session);
        }
        Err(Refusal::new(Code::SessionExpired, "session").got(now).want(format!("before {}", session.expires)))
    }

    /// Takes one session out: of the accepted ones the oldest where that is over, else the oldest whose nonce nobody used, else the
    /// one whose nonce was used first: what is being appraised gives way to no flood of challenges. An expired one
    /// is kept as long as there is room, to be told from one that never was.
    fn make_room(&mut self, now: UnixTime) -> Result<()> {
        let is_over = |id: &String| self.sessions.get(id).is_none_or(|session| now >= session.expires);
        let over = self.accepted.first_key_value().is_some_and(|(_, id)| is_over(id));
        let oldest = match over {
            true => self.accepted.pop_first(),
            false => self.unproven.pop_first().or_else(|| self.spent.pop_first()),
        };
        let (_, id) = oldest.ok_or_else(|| Refusal::new(Code::Busy, "sessions").got(self.sessions.len()))?;
        self.sessions.remove(&id);
        Ok(())
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

    const KEYS: Purpose = Purpose::Keys(Tee::Snp);

    #[test]
    fn nonce_is_taken_once() {
        let sessions = Sessions::default();
        let opened = sessions.open(KEYS, 0).unwrap();
        let challenged = Challenged { purpose: KEYS, nonce: opened.nonce };
        assert_eq!(sessions.take_nonce(&opened.id, 1).unwrap(), challenged);
        assert_eq!(sessions.take_nonce(&opened.id, 1).unwrap_err().code, Code::NonceUsed);
        assert_eq!(sessions.attested(&opened.id, 1).unwrap_err().code, Code::SessionUnknown);
    }

    #[test]
    fn of_many_threads_one_takes_the_nonce() {
        let sessions = Sessions::default();
        let id = sessions.open(KEYS, 0).unwrap().id;
        let taken = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100).map(|_| scope.spawn(|| sessions.take_nonce(&id, 0).is_ok())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).filter(|taken| *taken).count()
        });
        assert_eq!(taken, 1);
    }

    #[test]
    fn session_ends_after_its_lifetime() {
        let sessions = Sessions::default();
        let id = sessions.open(KEYS, 1000).unwrap().id;
        assert_eq!(sessions.take_nonce(&id, 1000 + LIFETIME).unwrap_err().code, Code::SessionExpired);
        assert!(sessions.take_nonce(&id, 1000 + LIFETIME - 1).is_ok());
        assert_eq!(sessions.take_nonce("0", 1000).unwrap_err().code, Code::SessionUnknown);
    }

    #[test]
    fn session_that_is_being_appraised_outlasts_a_flood_of_challenges() {
        let sessions = Sessions::with_capacity(3);
        let id = sessions.open(KEYS, 0).unwrap().id;
        sessions.take_nonce(&id, 0).unwrap();
        (0..100).for_each(|_| drop(sessions.open(Purpose::Passport, 1).unwrap()));
        sessions.accept(&id, attested(), 1).unwrap();
        assert!(sessions.attested(&id, 1).is_ok());
        // Where all that is left was used, the one that was used first goes.
        let [first, second] = [0, 1].map(|_| sessions.open(KEYS, 1).unwrap().id);
        for id in [&first, &second] {
            sessions.take_nonce(id, 1).unwrap();
        }
        drop(sessions.open(KEYS, 1).unwrap());
        assert_eq!(sessions.accept(&first, attested(), 1).unwrap_err().code, Code::SessionUnknown);
        sessions.accept(&second, attested(), 1).unwrap();
    }

    #[test]
    fn newest_sessions_displace_the_oldest_unproven_one() {
        let sessions = Sessions::with_capacity(2);
        let [first, second, third] = [0, 1, 2].map(|now| sessions.open(KEYS, now).unwrap().id);
        assert_eq!(sessions.take_nonce(&first, 2).unwrap_err().code, Code::SessionUnknown);
        assert!(sessions.take_nonce(&second, 2).is_ok());
        assert!(sessions.take_nonce(&third, 2).is_ok());
    }

    #[test]
    fn tens_of_thousands_of_half_open_sessions_end_nobody_s_accepted_one_and_take_no_more_room_than_the_limit() {
        let sessions = Sessions::default();
        let id = sessions.open(KEYS, 0).unwrap().id;
        sessions.take_nonce(&id, 0).unwrap();
        sessions.accept(&id, attested(), 0).unwrap();
        let first = sessions.open(KEYS, 0).unwrap().id;
        let flood = |count: usize| {
            let begun = std::time::Instant::now();
            (0..count).for_each(|_| drop(sessions.open(Purpose::Passport, 1).unwrap()));
            begun.elapsed()
        };
        let empty = flood(CAPACITY - 2);
        flood(10_000);
        let full = flood(CAPACITY - 2);
        assert_eq!(sessions.take_nonce(&first, 1).unwrap_err().code, Code::SessionUnknown);
        assert_eq!(sessions.attested(&id, 1).unwrap().seq, 1);
        let table = sessions.lock();
        assert_eq!((table.sessions.len(), table.unproven.len(), table.accepted.len()), (CAPACITY, CAPACITY - 1, 1));
        // A scan of all of them for each new one would be a hundred times as much.
        assert!(full < empty.saturating_mul(10), "{empty:?} with room, {full:?} without");
    }

    /// What an accepted session holds, made of a report that a fake hierarchy signed.
    fn attested() -> Attested {
        use crate::platform::{Authentic, Bound};
        use strongroom_appraisal::{Endorsements, Roots, authenticate};
        use strongroom_devkit::amd::{Hierarchy, VekSpec};
        use strongroom_wire::digest::Sha256;
        let hierarchy = Hierarchy::shared().unwrap();
        let vek = hierarchy.issue(VekSpec::default()).unwrap();
        let mut endorsements = Endorsements::new();
        endorsements.add(&hierarchy.certificate_table(&vek).unwrap().encode().unwrap()).unwrap();
        let roots = Roots::test(hierarchy.ark.certificate()).unwrap();
        let report = strongroom_devkit::report::ReportSpec::default().sign(&vek).unwrap();
        let key = strongroom_jose::TeeKey::generate_p256().unwrap();
        let settings = "version = 1\nroot = 'amd'\nattester = 'configfs-tsm'\nregistry = []\n\
            [verifier]\nurl = 'https://v'\npin = 'PIN'\ntoken-key = ''\n[runtime]\nonnxruntime = 'PIN'\n\
            [[model]]\nname = 'm'\nreference = 'r/m@sha256:PIN'\n\
            [[trust.rule]]\nrepository = 'r/m'\n[[trust.rule.signer]]\nname = 'a'\nkey = 'k'\n";
        let settings = settings.replace("PIN", &"00".repeat(32));
        let document =
            format!("version = '0.1.0'\nalgorithm = 'sha256'\n[data]\n'strongroom.toml' = \"\"\"{settings}\"\"\"\n");
        Attested {
            authentic: Authentic::Snp(authenticate(&report, &endorsements, &roots, 1_800_000_000).unwrap()),
            bound: Bound { report_data: [0; 64], document: Sha256([0; 32]) },
            deployment: strongroom_wire::deployment::Deployment::parse(document.as_bytes()).unwrap(),
            recipient: strongroom_jose::RecipientKey::parse(key.public()).unwrap(),
            thumbprint: String::new(),
            seq: 1,
        }
    }

    #[test]
    fn accepted_session_is_displaced_by_none_and_makes_room_when_it_expires() {
        let sessions = Sessions::with_capacity(1);
        let id = sessions.open(KEYS, 0).unwrap().id;
        assert_eq!(sessions.accept(&id, attested(), 0).unwrap_err().code, Code::NonceUsed);
        sessions.take_nonce(&id, 0).unwrap();
        sessions.accept(&id, attested(), 0).unwrap();
        assert_eq!(sessions.accept(&id, attested(), 0).unwrap_err().code, Code::NonceUsed);
        assert_eq!(sessions.open(KEYS, 1).unwrap_err().code, Code::Busy);
        assert_eq!(sessions.attested(&id, LIFETIME - 1).unwrap().seq, 1);
        assert_eq!(sessions.attested(&id, LIFETIME).unwrap_err().code, Code::SessionExpired);
        assert!(sessions.open(KEYS, LIFETIME).is_ok());
    }

    #[test]
    fn ids_and_nonces_are_never_the_same() {
        let sessions = Sessions::default();
        let (one, two) = (sessions.open(KEYS, 0).unwrap(), sessions.open(KEYS, 0).unwrap());
        assert!(one.id != two.id && one.nonce != two.nonce);
        assert_eq!((one.id.len(), one.nonce.len()), (32, 44));
    }
}
