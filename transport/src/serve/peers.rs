//! How many connections one peer has at a time.

use core::net::{IpAddr, Ipv6Addr};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The open connections of each network.
#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<HashMap<IpAddr, usize>>);

/// A connection's place among those of its peer. Dropped, it is free.
#[derive(Debug)]
pub(super) struct Place {
    peers: Arc<Peers>,
    network: IpAddr,
}

impl Peers {
    /// A place among at most `most` of one network, which is not zero; `None`: all are taken. There are no more networks than connections.
    pub(super) fn place(self: &Arc<Self>, peer: IpAddr, most: usize) -> Option<Place> {
        let network = network(peer);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(network).or_default();
        if *count >= most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place { peers: Arc::clone(self), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.peers.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = open.get(&self.network).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            open.remove(&self.network);
        } else {
            open.insert(self.network, left);
        }
    }
}

/// The network that counts as one peer: one host of IPv6 has as many addresses as it likes below its /64.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => mapped.into(),
            None => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        },
        IpAddr::V4(_) => peer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_has_its_places_and_a_network_of_ipv6_is_one_peer() {
        let peers = Arc::new(Peers::default());
        let [one, two, other]: [IpAddr; 3] =
            ["2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        let first = peers.place(one, 2).unwrap();
        let _second = peers.place(two, 2).unwrap();
        assert!(peers.place(one, 2).is_none());
        let third = peers.place(other, 2).unwrap();
        drop(first);
        assert!(peers.place(two, 2).is_some());
        drop(third);
        assert_eq!(peers.0.lock().unwrap().len(), 1, "who is gone is forgotten");
    }
}
