//! What a verifier tells its routers: which guests hold a lease now. Claims of an ES256 JWT, signed anew for each answer.
//!
//! A router takes nothing else for true. A feed that is [`AGE`] seconds old says nothing any more, and none whose `seq` is not
//! above the last one's is taken: what was withheld or repeated on the way opens no route.

use crate::{Code, Refusal, Result, limits};
use core::net::SocketAddr;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Where a verifier gives one: `?after=<the last one's seq>`, `&wait=1` where it may keep its answer back until there is a newer, and
/// `&key=<kid>` of the key that it is to be signed by.
pub const PATH: &str = "/v1/feed";
/// `aud` of feeds.
pub const AUDIENCE: &str = "strongroom-router";
/// Seconds from `iat` to `exp`, at the most.
pub const AGE: u64 = 5;
/// The longest name of a lease, in bytes.
pub const LEASE: usize = 48;
/// The longest name of a tenant, in bytes.
pub const TENANT: usize = 32;

/// All claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// [`AUDIENCE`].
    pub aud: String,
    /// The verifier's name.
    pub iss: String,
    /// Seconds since 1970.
    pub iat: u64,
    /// Seconds since 1970; at most [`AGE`] after `iat`.
    pub exp: u64,
    /// Above that of every feed before.
    pub seq: u64,
    /// What each tenant may use.
    pub tenants: BTreeMap<String, Share>,
    /// Where connections go, by the server name that they ask for (RFC 6066 §3), in lower case.
    pub routes: BTreeMap<String, Route>,
}

/// What a tenant may use of one router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Share {
    /// Connections at one time.
    pub connections: u32,
    /// New connections a second, and as many at once.
    pub per_second: u32,
}

/// Where connections for one name go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// Whose share they count against.
    pub tenant: String,
    /// The guests that may have them, by lease.
    pub backends: BTreeMap<String, Backend>,
}

/// A guest that holds a lease, or held one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    /// Where it listens.
    pub addr: SocketAddr,
    /// The end of its lease, in seconds since 1970.
    pub expires: u64,
    /// Whether it gets connections.
    pub state: BackendState,
}

/// Whether a guest gets connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackendState {
    /// It does until its lease ends.
    Live,
    /// No new ones; those that it has may finish.
    Draining,
    /// None, and those that it has are cut off.
    Revoked,
}

impl Feed {
    /// Refuses what no verifier of ours says, with `token-invalid` or `too-large`: more than [`limits::ROUTES`] names or
    /// [`limits::BACKENDS`] guests, names over [`LEASE`] and [`TENANT`], a longer life than [`AGE`], a name that no client asks for, a
    /// route of a tenant without a share, a lease that is stated twice and not the same.
    pub fn verify_sound(&self) -> Result<()> {
        let invalid = |what: String| Refusal::new(Code::TokenInvalid, what).within("feed of leases");
        if self.exp.checked_sub(self.iat).is_none_or(|age| age == 0 || age > AGE) {
            return Err(invalid("`exp`".into()).got(self.exp).want(format!("at most {AGE} s after {}", self.iat)));
        }
        let backends: usize = self.routes.values().map(|route| route.backends.len()).fold(0, usize::saturating_add);
        for (what, got, limit) in [
            ("routes", self.routes.len(), limits::ROUTES),
            ("tenants", self.tenants.len(), limits::ROUTES),
            ("backends", backends, limits::BACKENDS),
            ("name of a lease", longest(self.routes.values().flat_map(|route| route.backends.keys())), LEASE),
            ("name of a tenant", longest(self.tenants.keys()), TENANT),
        ] {
            if got > limit {
                return Err(Refusal::too_large(what, got, limit).within("feed of leases"));
            }
        }
        let mut leases: BTreeMap<&str, &Backend> = BTreeMap::new();
        for (name, route) in &self.routes {
            for (lease, backend) in &route.backends {
                // One guest may serve several names, in one place and one state.
                if leases.insert(lease, backend).is_some_and(|before| before != backend) {
                    return Err(invalid(format!("lease `{lease}`")).got("two of one name"));
                }
            }
            if !is_server_name(name) {
                return Err(invalid("name of a route".into()).got(name).want("a DNS name in lower case"));
            }
            if !self.tenants.contains_key(&route.tenant) {
                let names: BTreeSet<_> = self.tenants.keys().collect();
                return Err(invalid(format!("tenant of `{name}`"))
                    .got(&route.tenant)
                    .want(format!("one of {names:?}")));
            }
        }
        Ok(())
    }
}

fn longest<'a>(names: impl Iterator<Item = &'a String>) -> usize {
    names.map(String::len).max().unwrap_or(0)
}

/// A name as RFC 1123 §2.1 has it, in lower case.
fn is_server_name(name: &str) -> bool {
    let label = |label: &str| {
        let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| word(byte) || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Feed {
        let addr = "192.0.2.1:443".parse().unwrap();
        let backend = Backend { addr, expires: 100, state: BackendState::Live };
        let route = Route { tenant: "a".into(), backends: [("lease".into(), backend)].into() };
        Feed {
            aud: AUDIENCE.into(),
            iss: "verifier".into(),
            iat: 10,
            exp: 15,
            seq: 1,
            tenants: [("a".into(), Share { connections: 1, per_second: 1 })].into(),
            routes: [("embed.example".into(), route)].into(),
        }
    }

    fn code(change: impl FnOnce(&mut Feed)) -> Option<Code> {
        let mut feed = feed();
        change(&mut feed);
        feed.verify_sound().err().map(|refusal| refusal.code)
    }

    #[test]
    fn feed_of_five_seconds_accepted_and_longer_or_none_refused() {
        assert_eq!(code(|_| ()), None);
        for exp in [16, 10, 9] {
            assert_eq!(code(|feed| feed.exp = exp), Some(Code::TokenInvalid), "{exp}");
        }
    }

    #[test]
    fn names_that_clients_ask_for_accepted_and_others_refused() {
        let named = |name: &str| {
            code(|feed| {
                let route = feed.routes.remove("embed.example").unwrap();
                feed.routes.insert(name.to_owned(), route);
            })
        };
        for name in ["a", "a-1.b", &format!("{}.b", "a".repeat(63))] {
            assert_eq!(named(name), None, "{name}");
        }
        for name in ["", "A", "a_b", "-a", "a-", "a..b", "a.", &"a".repeat(64), &"a.".repeat(127)] {
            assert_eq!(named(name), Some(Code::TokenInvalid), "{name}");
        }
    }

    #[test]
    fn as_many_routes_and_backends_as_allowed_accepted_and_one_more_refused() {
        let routes = |count: usize| {
            code(|feed| {
                let route = Route { tenant: "a".into(), backends: BTreeMap::new() };
                feed.routes = (0..count).map(|n| (format!("r{n}"), route.clone())).collect();
            })
        };
        assert_eq!((routes(limits::ROUTES), routes(limits::ROUTES + 1)), (None, Some(Code::TooLarge)));
        let backends = |count: usize| {
            code(|feed| {
                let route = feed.routes.get_mut("embed.example").unwrap();
                let one = route.backends["lease"];
                route.backends = (0..count).map(|n| (n.to_string(), one)).collect();
            })
        };
        assert_eq!((backends(limits::BACKENDS), backends(limits::BACKENDS + 1)), (None, Some(Code::TooLarge)));
    }

    #[test]
    fn longest_feed_fits_a_token() {
        let mut feed = feed();
        let addr = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
        let name = |n: usize, length: usize| format!("{n:0>length$}");
        let backend = Backend { addr, expires: u64::from(u32::MAX), state: BackendState::Draining };
        feed.tenants = (0..limits::ROUTES)
            .map(|n| (name(n, TENANT), Share { connections: u32::MAX, per_second: u32::MAX }))
            .collect();
        let long = |n| format!("{}.{}.{}.{}", name(n, 63), name(n, 63), name(n, 63), name(n, 61));
        let empty = |n| Route { tenant: name(n, TENANT), backends: BTreeMap::new() };
        feed.routes = (0..limits::ROUTES).map(|n| (long(n), empty(n))).collect();
        let first = feed.routes.first_entry().unwrap().into_mut();
        first.backends = (0..limits::BACKENDS).map(|n| (name(n, LEASE), backend)).collect();
        feed.verify_sound().unwrap();
        // In base64, with header and signature.
        let length = serde_json::to_vec(&feed).unwrap().len() * 4 / 3 + 512;
        assert!(length <= limits::TOKEN, "{length}");
        for (tenant, lease) in [(TENANT + 1, LEASE), (TENANT, LEASE + 1)] {
            let mut feed = feed.clone();
            feed.tenants.insert(name(0, tenant), Share { connections: 1, per_second: 1 });
            feed.tenants.pop_last();
            feed.routes.values_mut().next().unwrap().backends = [(name(0, lease), backend)].into();
            assert_eq!(feed.verify_sound().unwrap_err().code, Code::TooLarge, "{tenant} {lease}");
        }
    }

    #[test]
    fn lease_that_is_stated_twice_alike_accepted_and_in_two_states_refused() {
        let twice = |state| {
            code(|feed| {
                let mut other = feed.routes["embed.example"].clone();
                other.backends.get_mut("lease").unwrap().state = state;
                feed.routes.insert("other.example".into(), other);
            })
        };
        assert_eq!(twice(BackendState::Live), None);
        assert_eq!(twice(BackendState::Revoked), Some(Code::TokenInvalid));
    }

    #[test]
    fn route_of_a_tenant_without_a_share_refused() {
        assert_eq!(code(|feed| feed.tenants.clear()), Some(Code::TokenInvalid));
    }

    #[test]
    fn member_that_is_not_known_refused() {
        let mut json = serde_json::to_value(feed()).unwrap();
        assert_eq!(serde_json::from_value::<Feed>(json.clone()).unwrap(), feed());
        json["more"] = 1.into();
        assert!(serde_json::from_value::<Feed>(json).is_err());
    }
}
