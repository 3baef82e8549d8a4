//! Connections that have not said yet where they want to go: few at a time from one address, so that one that says nothing takes
//! no place from others.

use core::net::IpAddr;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use strongroom_wire::{Code, Refusal, Result};

/// From one address at one time. Clients behind one address that are more come back.
pub(crate) const PER_PEER: u32 = 64;

/// How many each address has.
#[derive(Debug, Default)]
pub(crate) struct Greetings {
    of: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct Greeting {
    of: Arc<Mutex<HashMap<IpAddr, u32>>>,
    peer: IpAddr,
}

impl Greetings {
    /// # Errors
    /// `busy`.
    pub(crate) fn enter(&self, peer: IpAddr) -> Result<Greeting> {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(peer).or_default();
        if *count >= PER_PEER {
            return Err(Refusal::new(Code::Busy, "connections without a ClientHello").got(*count).want(PER_PEER));
        }
        *count = count.saturating_add(1);
        Ok(Greeting { of: Arc::clone(&self.of), peer })
    }
}

impl Drop for Greeting {
    fn drop(&mut self) {
        let mut all = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_of_an_address_accepted_and_one_more_refused_until_one_ends() {
        let (greetings, peer) = (Greetings::default(), IpAddr::from([192, 0, 2, 1]));
        let mut held: Vec<_> = (0..PER_PEER).map(|_| greetings.enter(peer).unwrap()).collect();
        assert_eq!(greetings.enter(peer).unwrap_err().code, Code::Busy);
        assert!(greetings.enter(IpAddr::from([192, 0, 2, 2])).is_ok());
        held.pop();
        held.push(greetings.enter(peer).unwrap());
        drop(held);
        assert!(greetings.of.lock().unwrap().is_empty());
    }
}
