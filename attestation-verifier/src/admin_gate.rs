//! Who may administer: one token, compared in constant time, and a limit on how often a peer may be wrong.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strongroom_appraisal::UnixTime;
use strongroom_wire::digest::Sha256;
use strongroom_wire::{Code, Refusal, Result};
use zeroize::Zeroizing;

use crate::clock::is_within;
use crate::private_file;

/// Failures of one peer within [`WINDOW`] after which its further ones are `busy`.
const FAILURES: u32 = 10;
/// In seconds.
const WINDOW: u64 = 60;
/// Peers whose failures are counted at one time.
const PEERS: usize = 1024;
/// The shortest token in a file that somebody else made: 128 bits in hex.
const SHORTEST: usize = 32;

/// The gate in front of the admin API. It keeps the token's digest, never the token.
#[derive(Debug)]
pub(crate) struct AdminGate {
    token: Sha256,
    failures: Mutex<HashMap<IpAddr, Failures>>,
}

#[derive(Debug)]
struct Failures {
    since: UnixTime,
    count: u32,
}

/// Proof that the administrator asked. The only way to one is [`AdminGate::authorize`].
#[derive(Debug)]
pub(crate) struct Administrator(());

impl AdminGate {
    /// Loads the token from a private file, which is made of 32 random bytes in hex where it is absent.
    ///
    /// # Errors
    /// `file-mode-unsafe`; `io`; `key-invalid`: shorter than 32 characters.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let token = private_file::load_or_create(path, || {
            let mut bytes = Zeroizing::new([0; 32]);
            rand::fill(bytes.as_mut()).map_err(|_| Refusal::new(Code::Internal, "random admin token"))?;
            Ok(Zeroizing::new(hex::encode(bytes.as_ref()).into_bytes()))
        })?;
        let token = token.trim_ascii();
        if token.len() < SHORTEST {
            return Err(Refusal::new(Code::KeyInvalid, format!("admin token in {}", path.display()))
                .got(format!("{} characters", token.len()))
                .want(format!("at least {SHORTEST}")));
        }
        Ok(Self { token: Sha256::of(token), failures: Mutex::default() })
    }

    /// Lets the administrator in, however often others were wrong from the same address.
    ///
    /// # Errors
    /// `admin-unauthorized`: no token, or another one; `busy`: the same, of a peer that was wrong ten times within this
    /// minute.
    pub(crate) fn authorize(&self, headers: &HeaderMap, peer: Option<IpAddr>, now: UnixTime) -> Result<Administrator> {
        let presented = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let presented = presented.and_then(|value| value.strip_prefix(b"Bearer "));
        // Digests, so that not even the token's length shows in how long the comparison takes.
        let same = presented.map(|token| verify_slices_are_equal(&Sha256::of(token).0, &self.token.0));
        if same == Some(Ok(())) {
            return Ok(Administrator(()));
        }
        // A peer without an address shares its count with all others of the kind.
        let peer = peer.unwrap_or(IpAddr::from([0; 16]));
        let mut failures = self.lock();
        failures.retain(|_, failures| is_within(WINDOW, failures.since, now));
        if failures.get(&peer).is_some_and(|failures| failures.count >= FAILURES) {
            return Err(Refusal::new(Code::Busy, "too many wrong admin tokens").got(peer));
        }
        if failures.len() < PEERS || failures.contains_key(&peer) {
            let failures = failures.entry(peer).or_insert(Failures { since: now, count: 0 });
            failures.count = failures.count.saturating_add(1);
        }
        Err(Refusal::new(Code::AdminUnauthorized, "admin token").got(if presented.is_some() {
            "a wrong one"
        } else {
            "none"
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(token: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(token).unwrap())])
    }

    fn gate() -> (tempfile::TempDir, AdminGate, String) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let gate = AdminGate::load(&path).unwrap();
        let token = std::fs::read_to_string(&path).unwrap();
        (folder, gate, token)
    }

    fn code(gate: &AdminGate, headers: &HeaderMap, peer: u8, now: u64) -> Option<Code> {
        gate.authorize(headers, Some(IpAddr::from([127, 0, 0, peer])), now).err().map(|refusal| refusal.code)
    }

    #[test]
    fn token_of_the_file_accepted_and_others_refused() {
        let (_folder, gate, token) = gate();
        assert_eq!(token.len(), 64);
        assert_eq!(code(&gate, &headers(&format!("Bearer {token}")), 1, 0), None);
        for wrong in
            [token.clone(), format!("Bearer {token}0"), format!("Bearer {}", token.split_at(1).1), "Bearer ".into()]
        {
            assert_eq!(code(&gate, &headers(&wrong), 1, 0), Some(Code::AdminUnauthorized));
        }
        assert_eq!(code(&gate, &HeaderMap::new(), 1, 0), Some(Code::AdminUnauthorized));
    }

    #[test]
    fn peer_that_is_wrong_too_often_is_busy_for_a_minute_and_the_right_token_gets_through() {
        let (_folder, gate, token) = gate();
        let right = headers(&format!("Bearer {token}"));
        for _ in 0..FAILURES {
            assert_eq!(code(&gate, &headers("Bearer wrong"), 1, 100), Some(Code::AdminUnauthorized));
        }
        assert_eq!(code(&gate, &headers("Bearer wrong"), 1, 100), Some(Code::Busy));
        assert_eq!(code(&gate, &right, 1, 100), None);
        assert_eq!(
            code(&gate, &headers("Bearer wrong"), 1, 100),
            Some(Code::Busy),
            "a right one forgives no wrong one"
        );
        assert_eq!(code(&gate, &headers("Bearer wrong"), 2, 100), Some(Code::AdminUnauthorized));
        assert_eq!(code(&gate, &headers("Bearer wrong"), 1, 100 + WINDOW), Some(Code::AdminUnauthorized));
    }

    #[test]
    fn clock_that_steps_back_ends_the_minute() {
        let (_folder, gate, _) = gate();
        for _ in 0..FAILURES {
            code(&gate, &headers("Bearer wrong"), 1, 10_000);
        }
        assert_eq!(code(&gate, &headers("Bearer wrong"), 1, 10_000), Some(Code::Busy));
        assert_eq!(code(&gate, &headers("Bearer wrong"), 1, 9_999), Some(Code::AdminUnauthorized));
    }

    #[test]
    fn short_token_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        private_file::create(&path, b"password\n").unwrap();
        assert_eq!(AdminGate::load(&path).unwrap_err().code, Code::KeyInvalid);
    }
}
