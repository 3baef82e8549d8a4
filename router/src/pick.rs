//! Which guest gets a connection: one that is live, and has the fewest.

use crate::backends::{Backends, Guest};
use core::cmp::Reverse;
use std::sync::Arc;
use strongroom_wire::feed::{BackendState, Feed, Share};
use strongroom_wire::{Code, Refusal, Result};

/// Where a connection for a name may go.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) tenant: String,
    pub(crate) share: Share,
    /// Lease and guest, in the order in which they are to be tried.
    pub(crate) guests: Vec<(String, Arc<Guest>)>,
}

/// The guests for `name` at `now`: those with a lease that is live, those that took the last connection first, and of them the
/// one with the fewest; of those with equally many, another one for each `turn`.
///
/// # Errors
/// `route-unknown`; `no-backend`: nobody holds a lease.
pub(crate) fn pick(feed: &Feed, now: u64, name: &str, backends: &Backends, turn: usize) -> Result<Picked> {
    let route = feed.routes.get(name).ok_or_else(|| Refusal::new(Code::RouteUnknown, "server name").got(name))?;
    let none = |got: &str| Refusal::new(Code::NoBackend, format!("route `{name}`")).got(got).want("a live lease");
    let share = *feed.tenants.get(&route.tenant).ok_or_else(|| none("a tenant without a share"))?;
    let live = route.backends.iter().filter(|(_, one)| one.state == BackendState::Live && one.expires > now);
    let mut guests: Vec<_> = live.filter_map(|(lease, _)| Some((lease.clone(), backends.get(lease)?))).collect();
    if guests.is_empty() {
        return Err(none("none"));
    }
    let first = turn % guests.len();
    guests.rotate_left(first);
    guests.sort_by_cached_key(|(_, guest)| (Reverse(guest.is_reachable()), guest.load()));
    Ok(Picked { tenant: route.tenant.clone(), share, guests })
}

/// Whether a lease is live at `now`.
pub(crate) fn is_live(feed: &Feed, now: u64, name: &str, lease: &str) -> bool {
    let backend = feed.routes.get(name).and_then(|route| route.backends.get(lease));
    backend.is_some_and(|one| one.state == BackendState::Live && one.expires > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strongroom_wire::feed::{AUDIENCE, Backend, Route};

    fn feed(states: &[(&str, BackendState, u64)]) -> Feed {
        let backend = |n: usize, state, expires| {
            let port = u16::try_from(n).unwrap();
            Backend { addr: ([127, 0, 0, 1], port).into(), expires, state }
        };
        let backends =
            states.iter().enumerate().map(|(n, (lease, state, end))| ((*lease).into(), backend(n, *state, *end)));
        let routes = [("r".into(), Route { tenant: "a".into(), backends: backends.collect() })].into();
        let tenants = [("a".into(), Share { connections: 1, per_second: 1 })].into();
        Feed { aud: AUDIENCE.into(), iss: "v".into(), iat: 1, exp: 2, seq: 1, tenants, routes }
    }

    fn picked(feed: &Feed, backends: &Backends, turn: usize) -> core::result::Result<Vec<String>, Code> {
        backends.update(feed);
        let picked = pick(feed, 10, "r", backends, turn).map_err(|refusal| refusal.code)?;
        Ok(picked.guests.into_iter().map(|(lease, _)| lease).collect())
    }

    #[test]
    fn lease_that_is_live_is_picked_and_one_that_ended_drains_or_is_revoked_is_not() {
        use BackendState::{Draining, Live, Revoked};
        let backends = Backends::default();
        let all =
            feed(&[("live", Live, 11), ("ended", Live, 10), ("draining", Draining, 11), ("revoked", Revoked, 11)]);
        assert_eq!(picked(&all, &backends, 0), Ok(vec!["live".to_owned()]));
        assert!(is_live(&all, 10, "r", "live"));
        for lease in ["ended", "draining", "revoked", "another"] {
            assert!(!is_live(&all, 10, "r", lease), "{lease}");
        }
        assert_eq!(picked(&feed(&[("ended", Live, 10)]), &backends, 0), Err(Code::NoBackend));
        assert_eq!(pick(&all, 10, "other", &backends, 0).unwrap_err().code, Code::RouteUnknown);
    }

    #[test]
    fn guest_with_the_fewest_connections_comes_first_and_equal_ones_take_turns() {
        let backends = Backends::default();
        let all = feed(&[("x", BackendState::Live, 11), ("y", BackendState::Live, 11), ("z", BackendState::Live, 11)]);
        let first = |turn| picked(&all, &backends, turn).unwrap().remove(0);
        assert_eq!([first(0), first(1), first(2), first(3)], ["x", "y", "z", "x"]);
        let _held = [backends.get("x").unwrap().hold(), backends.get("y").unwrap().hold()];
        assert_eq!([first(0), first(1)], ["z", "z"]);
        let _more = [backends.get("z").unwrap().hold(), backends.get("z").unwrap().hold()];
        assert_eq!([first(0), first(1)], ["x", "y"]);
    }
}
